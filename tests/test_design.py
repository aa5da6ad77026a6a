"""How often rows are trained, which controls stand beside them, and what a plan says of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from datasetinfos import dataset_info
from toys import World

from benchbench.errors import UsageError
from benchbench.planning.design import Design, make_design, usual_trainings
from benchbench.planning.needs import Needs
from benchbench.planning.options import make_request
from benchbench.planning.plan import Plan
from benchbench.plugins import Generator
from benchbench.plugins.catalog import catalog, load
from benchbench.plugins.images import ImageSet
from benchbench.store.store import Store

FREE = {"seeds": None, "draws": None}
SPY = '''
from __future__ import annotations
from dataclasses import dataclass
from benchbench import Generator, ImageSet

@dataclass(frozen=True)
class ToySpy(Generator):
    """Looks for the real images that it must not see."""

    def sample(self, train, context):
        assert context.rest is None
        yield train.subset([i % len(train) for i in range(context.n_syn)])
'''


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    made = World(tmp_path / "plugins", tmp_path / "results")
    (made.folder / "toyspy.py").write_text(SPY, "utf-8")
    return made


def declare(world: World, monkeypatch, **facts: object) -> None:
    """Have the toy dataset declare some facts."""
    kind = load(catalog().get("dataset", world.file("toydata")))
    info = kind.info
    monkeypatch.setattr(kind, "info", lambda self: replace(info(self), **facts))


def trainings(plan: Plan, **wanted: object) -> dict[tuple[str, str, str], list[tuple[int, int]]]:
    """Return draws and replicates by generator, mix and architecture."""
    found: dict[tuple[str, str, str], list[tuple[int, int]]] = {}
    for cell in plan.cells:
        it = cell.setting
        if all(getattr(it, name) == value for name, value in wanted.items()):
            found.setdefault((it.gen, it.mix, it.arch), []).append((it.draw, it.replicate))
    return found


def grid(draws: int, seeds: int) -> list[tuple[int, int]]:
    return [(draw, seed) for draw in range(draws) for seed in range(seeds)]


def controls(plan: Plan) -> dict[str, tuple[str, int]]:
    """Return mix and number of images by kind of control."""
    return {cell.setting.control: (cell.setting.mix, cell.setting.n_syn) for cell in plan.cells if cell.setting.control}


# Draws and seeds


@pytest.mark.parametrize(
    ("options", "generates", "baseline", "few", "whole", "added"),
    [
        ({}, True, True, (3, 2), (1, 6), True),
        ({"controls": False}, True, True, (3, 2), (1, 6), False),
        ({}, True, False, (1, 1), (1, 1), False),
        ({}, False, True, (4, 1), (1, 1), False),
        ({"controls": True}, False, True, (3, 2), (1, 6), True),
        ({"seeds": 1}, True, True, (1, 1), (1, 1), False),
        ({"seeds": 5}, False, True, (4, 5), (1, 5), False),
        ({"draws": 2}, True, True, (2, 1), (2, 1), False),
        ({"draws": 2, "seeds": 3, "controls": True}, True, True, (2, 3), (2, 3), True),
        ({"preset": "paper"}, True, True, (4, 1), (1, 5), False),
        ({"preset": "paper"}, False, True, (4, 1), (1, 5), False),
        ({"preset": "paper", "controls": True}, True, True, (4, 1), (1, 5), True),
        ({"preset": "paper", "seeds": 2}, True, True, (1, 2), (1, 2), False),
    ],
)
def test_draws_and_seeds(options, generates, baseline, few, whole, added):
    info = dataset_info(usual_draws=3, usual_seeds=2)
    made = make_design(make_request({"data": "d", **options}), info, 4, generates=generates, baseline=baseline)
    assert (made.few, made.whole, made.controls) == (few, whole, added)


def test_a_declared_single_draw_is_for_all_real_images_and_of_some_its_seeds_are_draws():
    assert usual_trainings(dataset_info()) == ((5, 1), (1, 5))
    assert usual_trainings(dataset_info(usual_draws=1, usual_seeds=3)) == ((3, 1), (1, 3))
    assert usual_trainings(dataset_info(usual_draws=3, usual_seeds=2)) == ((3, 2), (1, 6))
    made = make_design(make_request({"data": "d"}), dataset_info(), 1, generates=True, baseline=True)
    assert (made.few, made.whole) == ((5, 1), (1, 5))


def test_five_seeds_and_one_draw_under_paper_where_no_learner_has_draws_of_its_own():
    made = make_design(make_request({"data": "d", "preset": "paper"}), dataset_info(), 1, generates=True, baseline=True)
    assert made.few == made.whole == (1, 5)


def test_what_a_dataset_declares_holds_for_a_comparison_as_a_whole(world, monkeypatch):
    declare(world, monkeypatch, usual_draws=3, usual_seeds=2)
    plan = world.plan(**FREE, shots=2, controls=False)
    every = trainings(plan)
    assert len(every) == 2
    assert all(found == grid(3, 2) for found in every.values()), "the baseline has the draws and seeds of its rows"
    assert set(map(tuple, trainings(world.plan(**FREE, gen="real", shots=2)).values())) == {((0, 0),)}
    whole = world.plan(**FREE, controls=False)
    assert all(found == grid(1, 6) for found in trainings(whole).values()), "of all images there is one draw"
    assert {cell.setting.whole for cell in whole.cells} == {True}
    assert {cell.setting.whole for cell in plan.cells} == {False}
    assert {cell.setting.whole for cell in world.plan(shots=8).cells} == {True}, "all of them, asked for by number"


def test_another_generator_or_controls_train_no_baseline_anew(world):
    alone = world.plan(**FREE, gen="real", shots=2)
    (key,) = (cell.train for cell in alone.cells)
    for options in ({"gen": "toygen"}, {"gen": ["toygen", "toygen:level=3"]}, {"gen": "toygen", "controls": False}):
        plan = world.plan(**FREE, **{"shots": 2, "n_syn": 40, **options})
        baseline = [cell.train for cell in plan.cells if cell.setting.baseline]
        assert len(baseline) == len(set(baseline)) == 5
        assert baseline[0] == key


# The mix


def test_generated_images_are_mixed_with_real_ones_under_quick_alone(world):
    def mixes(**options):
        return list(dict.fromkeys(cell.setting.mix for cell in world.plan(**{"mix": None, **options}).cells))

    assert mixes() == ["1:0", "1:1"]
    assert mixes(preset="paper") == ["1:0", "0:1"]
    assert mixes(mix="0:1") == ["1:0", "0:1"]
    assert mixes(learner="toyplain") == ["1:0", "0:1"], "a learner of one source"
    assert world.plan(mix=None, learner="toyplain").warnings == ()


# Controls


def test_controls_share_everything_with_the_rows_of_generated_images(world):
    plan = world.plan(**FREE, shots=2, mix="0:1,1:1", arch="a,b", n_syn=12)
    rows = trainings(plan)
    assert {gen for gen, _, _ in rows} == {"real", "toygen.py", "more-real", "copies"}
    for name in ("toygen.py", "more-real", "copies"):
        for mix in ("0:1", "1:1"):
            for arch in "ab":
                assert rows[name, mix, arch] == grid(5, 1), "five draws: one of many has no verdict"
    assert controls(plan) == {"more-real": ("1:1", 12), "copies": ("1:1", 12)}
    seeds = {}
    for cell in plan.cells:
        it = cell.setting
        seeds.setdefault((it.arch, it.draw, it.replicate), set()).add(it.seed)
    assert all(len(found) == 1 for found in seeds.values())


def test_as_many_further_real_images_as_there_are(world):
    assert controls(world.plan(**FREE, shots=2, n_syn=40))["more-real"] == ("0:1", 18)
    assert controls(world.plan(**FREE, shots=2, n_syn=7))["more-real"] == ("0:1", 7)


def test_where_all_real_images_are_in_use_half_of_them_are_compared_with_all(world):
    for options in ({}, {"shots": 8}, {"mix": "1:1"}):
        found = controls(world.plan(**FREE, **options))
        assert found == {"half-real": ("0:1", 12), "copies": (options.get("mix", "0:1"), 40)}
    (half,) = {cell.setting.n_real for cell in world.plan(**FREE).cells if cell.setting.control == "half-real"}
    assert half == 24, "by which a learner counts its steps, as for the baseline"
    one = world.plan(**FREE, data="toydata:per_class=1")
    assert list(controls(one)) == ["copies"], "a class of one image has no half"
    assert "left out   a positive control: all real images are in use" in one.design


@pytest.mark.parametrize("options", [{"shots": 2}, {}])
def test_copies_that_are_asked_for_by_name_leave_room_for_a_positive_control(world, options):
    plan = world.plan(gen=["toygen", "copies"], seeds=2, **options)
    assert "left out   a positive control: --controls adds one" in plan.design
    added = world.plan(gen=["toygen", "copies"], seeds=2, controls=True, **options)
    assert not [line for line in added.design if line.startswith("left out")]


def test_controls_are_not_scored_unless_they_are_asked_for(world):
    plan = world.plan(**FREE, shots=2)
    assert {cell.setting.gen for cell in plan.cells if cell.score} == {"real", "toygen.py"}
    asked = world.plan(**FREE, shots=2, gen=["toygen", "more-real"])
    assert {cell.setting.gen for cell in asked.cells if cell.score} == {"real", "toygen.py", "more-real"}
    assert len(trainings(asked, control="more-real")["more-real", "0:1", "a"]) == 5, "not planned twice"


def test_a_chain_that_begins_with_a_control_is_no_result_of_a_generator(world):
    plan = world.plan(shots=2, gen="more-real+toyfilter", n_syn=6)
    assert {cell.setting.gen: cell.setting.control for cell in plan.cells} == {
        "real": "",
        "more-real+toyfilter.py": "more-real",
    }


def test_the_lightest_networks_and_fewer_draws(world, monkeypatch):
    declare(world, monkeypatch, usual_draws=3, usual_seeds=2, control_draws=1, control_archs=("b", "z"))
    plan = world.plan(**FREE, shots=2, arch="a,b,c")
    assert trainings(plan, control="more-real") == {("more-real", "0:1", "b"): grid(1, 2)}
    assert trainings(plan)["real", "1:0", "a"] == grid(3, 2)
    others = world.plan(**FREE, shots=2, arch="a")
    assert list(trainings(others, control="copies")) == [("copies", "0:1", "a")], "where none of them is in the run"
    asked = world.plan(shots=2, arch="a,b", draws=2, controls=True)
    assert trainings(asked, control="copies") == {("copies", "0:1", arch): grid(2, 1) for arch in "ab"}


def test_controls_without_a_baseline(world):
    with pytest.raises(UsageError, match=r"^--controls: are compared with the baseline row; omit --no-baseline$"):
        world.plan(controls=True, baseline=False)


def test_photographs_are_offered_a_learner_that_hardly_varies(world, monkeypatch):
    (line,) = [line for line in world.plan().design if line.startswith("to try")]
    assert line.split()[2:4] == ["--learner", "probe:model=FOLDER"]
    declare(world, monkeypatch, foundation="glyph-sd")
    assert not [line for line in world.plan().design if line.startswith("to try")], "an embedded model knows its images"


def test_further_real_images_where_there_are_none(world):
    with pytest.raises(UsageError, match=r"^more-real: all real images are in use; give --shots or --n-real$"):
        world.plan(gen="more-real")


def test_only_a_control_may_see_the_other_real_images():
    with pytest.raises(TypeError, match="only a control sees real images outside the subset"):
        type("Thief", (Generator,), {"reads_rest": True})
    with pytest.raises(TypeError, match="control is 'placebo'; it must be one of more-real, half-real, copies"):
        type("Odd", (Generator,), {"control": "placebo"})


# What is trained on


def images_of(world: World, plan: Plan, control: str) -> tuple[ImageSet, ImageSet, list[int]]:
    """Return the images of a control, the training part, and where each image stands in it."""
    store = Store(world.results / "artifacts")
    (cell, *_) = (cell for cell in plan.cells if cell.setting.control == control)
    made, train = ImageSet.load(store.path(cell.sample[-1])), ImageSet.load(store.path(cell.data) / "train")
    places = [int(np.flatnonzero((train.images == image).all((1, 2, 3)))[0]) for image in made.images]
    assert (made.labels == train.labels[places]).all()
    return made, train, places


def test_images_of_controls(world, monkeypatch):
    from benchbench.planning import subsets

    options = {"shots": 2, "n_syn": 14, "controls": True, "gen": "toyspy", "metric": "none"}
    assert all(record.status == "done" for record in world.run(**options))
    plan = world.plan(**options)
    further, train, places = images_of(world, plan, "more-real")
    subset = subsets.select(train.labels, train.classes, 2, None, 0, "toy")
    assert len(set(places)) == 14
    assert not set(places) & set(subset.tolist())
    assert sorted(further.counts) == [4, 5, 5]
    _, _, places = images_of(world, plan, "copies")
    assert set(places) == set(subset.tolist())
    assert sorted(places.count(place) for place in subset) == [2, 2, 2, 2, 3, 3]


def test_half_of_each_class(world):
    options = {"controls": True, "data": "toydata:per_class=5", "metric": "none"}
    assert all(record.status == "done" for record in world.run(**options))
    half, _, places = images_of(world, world.plan(**options), "half-real")
    assert len(set(places)) == len(half) == 8
    assert sorted(half.counts) == [2, 3, 3]


def test_further_real_images_that_are_test_images_are_counted(world):
    """Every test image of this world is in the training part too; the subset holds 6 of the 24."""
    world.edit("toydata", '["train", "validation", "test"].index(split)', "0")
    records = world.run(shots=2, n_syn=18, controls=True, metric="none")
    counted = {record.cell.gen: record.result.details.get("test_copies", 0) for record in records}
    assert counted["more-real"] > counted["copies"] // 3 > 0
    assert counted["real"] + counted["more-real"] == 12


def test_the_other_real_images_count_in_what_a_step_needs(world):
    plan = world.plan(shots=2, gen=["more-real", "copies"], n_syn=6)
    needed = {s.body["name"]: Needs(plan.steps, "cpu").of(s).images for s in plan.steps.values() if s.stage == "sample"}
    assert needed == {"more-real": 24 * 4 * 4 * 3, "copies": 6 * 4 * 4 * 3}


# What is said


def test_a_plan_says_how_often_and_which_controls(world, monkeypatch):
    few = {"usual_draws": 3, "usual_seeds": 1, "control_draws": 1, "control_archs": ("b",)}
    declare(world, monkeypatch, **few, foundation="glyph-sd")
    assert list(world.plan(**FREE, shots=2, arch="a,b").design) == [
        "trainings  3 draws x 1 seed of each row",
        "controls   more-real (18 further real images, all there are); copies (the real images repeated, 40 in all)",
        "left out   controls of a and on draw 2, 3, as toy declares; --controls with --draws and --seeds trains all",
    ]
    assert list(world.plan(seeds=2).design) == [
        "trainings  1 draw x 2 seeds of each row",
        "controls   none; --controls adds them",
    ]
    assert list(world.plan(gen="real").design) == ["trainings  1 draw x 1 seed of each row"]
    both = world.plan(**FREE, shots="2,8", learner=["toylearner", "toyzero"])
    assert both.design[0] == "trainings  3 draws x 1 seed, 1 draw x 3 seeds of each row"


def test_a_design_by_itself():
    made = Design((3, 1), (1, 3), True, 2, ("b",))
    assert [made.has_controls(draw) for draw in range(3)] == [True, True, False]
    assert made.archs_of_controls(["a", "b"]) == ("b",)
    assert made.archs_of_controls([None]) == (None,)
