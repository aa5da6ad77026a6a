"""What holds: claims of a planned recipe against records with known answers."""

from __future__ import annotations

import json

import pytest
from handmade import record
from recipetexts import LEVELS
from toys import write_toys

from benchbench.errors import UsageError
from benchbench.reproducing.compare import hold_against
from benchbench.reproducing.experiments import choose_world, plan_recipe
from benchbench.reproducing.recipe import read_recipe
from benchbench.reproducing.report import closing, grids, json_text


@pytest.fixture
def plan(tmp_path, monkeypatch):
    """Plan a recipe of toys, here with a text replaced."""
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    write_toys(tmp_path)

    def planned(*changes, data=(), **given):
        text = LEVELS
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        (tmp_path / "mine.toml").write_text(text, "utf-8")
        recipe = read_recipe("./mine.toml")
        world, kept = choose_world(recipe, data)
        return plan_recipe(recipe, world, given, kept)

    return planned


def records(experiment, correct, draws=3, seeds=2, **more):
    """Return records of each cell: ``correct`` of 200 test images, one more or less by draw and seed."""
    made = []
    for cell in experiment.cells:
        if (cell.row, cell.column) in correct:
            for draw in range(draws):
                for seed in range(seeds):
                    right = correct[cell.row, cell.column] + draw - seed
                    extra = {name: value(cell, draw) for name, value in more.items()}
                    made.append(record(spec_id=cell.spec_id, correct=right, draw=draw, replicate=seed, **extra))
    return made


def said(outcome):
    return [judged.says for judged in outcome.claims]


BOTH = {("Real", "1"): 180, ("Toy", "1"): 120, ("Toy", "2,000"): 100}


def test_a_claim_holds_where_each_comparison_is_shown(plan):
    experiment = plan()
    outcome = hold_against(experiment, records(experiment, BOTH))
    assert said(outcome) == ["holds"]
    first, second = outcome.claims[0].comparisons
    assert first.estimate.value == pytest.approx(30.0)  # percentage points of 200 images
    assert first.printed == pytest.approx(90 - 91.5)
    assert second.printed is None  # the paper does not print that cell
    assert [place[2] for place in second.places] == ["2,000", "2,000"]  # the level row stands in every column


def test_a_claim_does_not_hold_where_one_comparison_is_shown_to_be_the_other_way_round(plan):
    experiment = plan()
    outcome = hold_against(experiment, records(experiment, BOTH | {("Toy", "2,000"): 195}))
    assert said(outcome) == ["does not hold here"]


def test_a_difference_within_its_interval_is_not_shown(plan):
    experiment = plan()
    wobble = [3, -4, 2]
    made = records(experiment, BOTH | {("Toy", "2,000"): 180}, seeds=1)
    made = [
        record(spec_id=one.spec_id, correct=180 + wobble[one.cell.draw], draw=one.cell.draw)
        if one.spec_id == experiment.cells[2].spec_id
        else one
        for one in made
    ]
    assert said(hold_against(experiment, made)) == ["not shown"]


def test_what_nothing_can_be_concluded_from(plan):
    experiment = plan()
    one_draw = hold_against(experiment, records(experiment, BOTH, draws=1))
    assert said(one_draw) == ["not shown (this draw only)"]
    nothing = hold_against(experiment, [])
    assert said(nothing) == ["not shown (not all of it is measured)"]
    assert [it.estimate for it in nothing.cells] == [None] * 3
    apart = [
        it for it in records(experiment, BOTH) if (it.cell.draw == 0) == (it.spec_id == experiment.cells[0].spec_id)
    ]
    assert said(hold_against(experiment, apart)) == ["not shown (no draw in common)"]
    same = hold_against(experiment, records(experiment, dict.fromkeys(BOTH, 150)))
    assert said(same) == ["not shown (identical)"]


def test_rows_are_found_by_their_setting_not_by_their_code(plan):
    """Records of an earlier version of the code count until newer ones are there."""
    experiment = plan()
    old = records(
        experiment, BOTH, code=lambda cell, draw: "c0", created=lambda cell, draw: "2025-01-01T00:00:00+00:00"
    )
    assert said(hold_against(experiment, old))[0] == "holds"
    turned = records(experiment, BOTH | {("Real", "1"): 20})
    assert said(hold_against(experiment, [*old, *turned]))[0] == "does not hold here"


def test_level_is_a_limit_on_the_whole_interval(plan):
    claim = ('than = {row = "Toy"}', 'than = {row = "Toy"}\nwithin = 1.0')
    experiment = plan(claim)
    close = records(experiment, {("Real", "1"): 150, ("Toy", "1"): 150, ("Toy", "2,000"): 160}, draws=5)
    outcome = hold_against(experiment, close)
    assert said(outcome) == ["does not hold here"]
    assert closing(outcome) == []  # nothing was tested


#: Two columns of one row of results each: its accuracy and a distance.
MEASURES = (
    ('metric = "./toymetric.py"', 'metric = "fidelity"'),
    ('label = "1"\nsweep = "gen.level=1"', 'label = "1"'),
    ('label = "2,000"\nsweep = "gen.level=40"', 'label = "2,000"\nmeasure = "fd"'),
)


def test_less_of_a_distance_is_better(plan):
    printed = [("level = true\nvalues = [90]", "values = [90, 3.5]"), ('["91.5 +- 0.2", ""]', '["91.5 +- 0.2", 5.5]')]
    experiment = plan(*MEASURES, *printed)
    distance = {"Real": [1.0, 1.5, 1.25], "Toy": [4.0, 4.25, 4.75]}

    def metrics(cell, draw):
        return {"fidelity": {"fd": distance[cell.row][draw], "extractor": "mean"}}

    made = records(experiment, {(row, column): 150 for row in distance for column in ("1", "2,000")}, metrics=metrics)
    outcome = hold_against(experiment, made)
    assert said(outcome) == ["not shown (identical)"]  # in accuracy, the other column
    _, one = outcome.claims[0].comparisons
    assert one.estimate.p < 0.05
    assert (one.printed, one.estimate.value) == (pytest.approx(2.0), pytest.approx(3.0833, abs=1e-3))
    assert [it.estimate.value for it in outcome.cells if it.cell.measure == "fd"] == [
        1.25,
        pytest.approx(4.3333, abs=1e-3),
    ]
    assert "also where less of a measure is better" in closing(outcome)[0]


def test_two_measures_are_not_compared(plan):
    with pytest.raises(UsageError, match=r"^mine: claim 1 compares accuracy with fd; it must be one measure$"):
        plan(*MEASURES)  # a level row has the measure of the first column


def test_times_are_those_of_one_real_image(plan):
    experiment = plan(("[[column]]", '[[column]]\nmeasure = "made_s"'))
    outcome = hold_against(experiment, records(experiment, BOTH))
    _, made, _ = outcome.cells
    assert made.estimate.value == pytest.approx(
        (61.0 + 30.0) / 50
    )  # tests/handmade.py: 60 s and one more each draw, 30 s


def test_what_the_paper_prints_elsewhere_is_told_for_a_mapped_world(plan):
    experiment = plan(data=("few",))
    outcome = hold_against(experiment, [])
    assert outcome.claims[0].elsewhere == (("1", pytest.approx(90 - 91.5)),)
    assert [it.printed for it in outcome.cells] == [None, None]
    texts = "\n".join(note for grid in grids(outcome) for note in grid.notes)
    assert "The paper's own differences: -1.5 (1)." in texts


def test_the_family_is_all_claims_of_the_recipe(plan):
    """What is shown next to nothing else is not shown next to twenty other claims."""
    claim = '[[claim]]\ntext = "The same again, {}."\nbetter = {{row = "Real"}}\nthan = {{row = "Toy"}}\n\n'
    one, many = plan(), plan(("[on.few]", "".join(map(claim.format, range(20))) + "[on.few]"))
    ahead = {"Real": [158, 155, 157], "Toy": [150, 150, 150]}
    made = [
        record(spec_id=cell.spec_id, correct=ahead[cell.row][draw], draw=draw)
        for cell in one.cells
        for draw in range(3)
    ]
    outcome = hold_against(one, made)
    assert all(0.05 / 21 < it.estimate.p < 0.05 for it in outcome.claims[0].comparisons)
    assert said(outcome) == ["holds"]
    assert "the one claim of this recipe" in closing(outcome)[0]
    assert set(said(hold_against(many, made))) == {"not shown"}
    assert "Holm over the 21 claims" in closing(hold_against(many, made))[0]


def test_an_outcome_is_json(plan):
    experiment = plan()
    data = json.loads(json_text(hold_against(experiment, records(experiment, BOTH))))
    assert [cell["paper"] for cell in data["cells"]] == [
        {"value": 90.0, "std": None},
        {"value": 91.5, "std": 0.2},
        None,
    ]
    assert data["cells"][1]["measured"]["value"] == pytest.approx(60.25)
    assert data["claims"][0]["says"] == "holds"
