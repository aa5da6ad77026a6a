"""Draws of a dataset without a test part: each is a split of its own, and all of them are one row."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from toys import World

from benchbench.cli.session import show_plan
from benchbench.errors import UsageError
from benchbench.planning.options import make_request
from benchbench.planning.plan import make_plan
from benchbench.plugins.images import ImageSet
from benchbench.results.record import unpack_hits
from benchbench.results.why import explain_cell
from benchbench.running.run import run

PER_CLASS, CLASSES = 10, ("dark", "grey", "light")


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    """Return a folder of three shades of grey, 10 images each, no two alike."""
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    for label, name in enumerate(CLASSES):
        for number in range(PER_CLASS):
            noise = np.random.default_rng([label, number]).integers(0, 60, (16, 16, 3), dtype=np.uint8)
            (tmp_path / "pictures" / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(noise + np.uint8(80 * label)).save(tmp_path / "pictures" / name / f"{number}.png")
    return tmp_path / "pictures"


@pytest.fixture
def options(pictures, tmp_path):
    """Return a function that makes the options of a run of the toys on that folder."""
    world = World(tmp_path / "plugins", tmp_path / "results")

    def make(**more):
        return world.options(**more) | {"data": f"folder:path={pictures}"}

    return make


def plan_of(options):
    return make_plan(make_request(options))


def test_the_first_of_several_draws_is_the_split_of_a_single_one(options):
    one, three = plan_of(options()), plan_of(options(draws=3))
    assert one.steps.keys() < three.steps.keys()
    assert [cell.train for cell in one.cells] == [cell.train for cell in three.cells if not cell.setting.draw]


def test_draws_share_a_row_and_no_step(options):
    plan = plan_of(options(draws=3, shots=[2, 4]))
    rows = {(cell.spec_id, cell.setting.setting) for cell in plan.cells}
    assert len(plan.cells) == 3 * len(rows) == 3 * 4
    of_draw = [
        {key for cell in plan.cells if cell.setting.draw == draw for keys in cell.steps.values() for key in keys}
        for draw in range(3)
    ]
    assert sum(map(len, of_draw)) == len(set.union(*of_draw))
    for key, step in plan.steps.items():  # what a step reads is what its own draw split
        (draw,) = [number for number, keys in enumerate(of_draw) if key in keys]
        assert set(step.inputs) <= of_draw[draw]
        assert step.run["dataset"]["values"]["split_seed"] == draw


def test_test_images_of_each_draw_are_transformed(options):
    plan = plan_of(options(draws=2) | {"gen": ["real"], "test_transform": ["none", "vae:model=glyph-sd"]})
    transformed = {(cell.setting.draw, cell.data, cell.transform) for cell in plan.cells if cell.transform}
    assert len({key for _, _, key in transformed}) == len(transformed) == 2
    for _, data, key in transformed:
        assert plan.steps[key].inputs == (data,)


def test_what_trains_on_nothing_is_tested_by_each_draw(options):
    plan = plan_of(options(draws=3, learner="toyzero"))
    assert [(cell.setting.draw, cell.setting.n_real) for cell in plan.cells] == [(0, 0), (1, 0), (2, 0)]
    assert len({cell.spec_id for cell in plan.cells}) == 1


def test_parts_that_are_there_are_read_once(options, pictures):
    for part in ("train", "test"):
        (pictures / part).mkdir()
    for name in CLASSES:
        (pictures / "test" / name).mkdir()
        (pictures / name / "0.png").rename(pictures / "test" / name / "0.png")
        (pictures / name).rename(pictures / "train" / name)
    plan = plan_of(options(draws=3))
    assert sum(step.stage == "data" for step in plan.steps.values()) == 1
    assert len(plan.cells) == 6


def test_a_row_keeps_its_number_of_images_when_groups_are_of_other_sizes(options, pictures):
    for name in CLASSES:
        for number in range(PER_CLASS):
            group = (0, 0, 0, 1, 1, 2, 2, 2, 2, 3)[number]
            (pictures / name / f"{number}.png").rename(pictures / name / f"{name}{group}-{number}.png")
    plan = plan_of(options(draws=3, gen="toygen:parts=1") | {"data": rf"folder:path={pictures},group=[a-z]+\d(?=-)"})
    trained = {step.run["info"]["counts"]["train"] for step in plan.steps.values()}
    assert len(trained) > 1  # else this shows nothing
    assert len({(cell.spec_id, cell.setting.n_real, cell.setting.n_syn) for cell in plan.cells}) == 2
    for step in plan.steps.values():
        if step.stage == "fit":  # every image of the draw is fitted, however many there are
            assert step.body["shard"] == [0, step.run["info"]["counts"]["train"]]


def test_a_run_tests_each_draw_on_its_own_images(options, tmp_path):
    results = tmp_path / "results"
    records = run(results=results, executor="inline", **options(draws=3))
    assert [record.status for record in records] == ["done"] * 6
    tested = {}
    for record in records:
        (data,) = record.steps["data"]
        test = ImageSet.load(results / "artifacts" / data[:2] / data / "test")
        assert len(unpack_hits(record.result.hits, record.result.n_test)) == len(test) == 3 * 2
        tested.setdefault(record.cell.draw, set()).add(tuple(origin["source"] for origin in test.origins))
    assert [len(tests) for tests in tested.values()] == [1, 1, 1]
    assert len(set.union(*tested.values())) == 3
    assert len({record.spec_id for record in records}) == 2
    assert len(list((results / "figures").glob("*draw*.png"))) == 3
    second = next(record for record in records if record.cell.draw == 1)
    lines = explain_cell(results, second.key)["lines"]
    assert "  draw 2, seed 1, 24 real, 0 generated, quick" in lines
    assert f"  data    {second.steps['data'][0][:12]}  cached" in lines
    assert lines[-1] == "no other run of this sentence is recorded, so nothing made it run again"


def test_a_plan_says_how_many_splits_there_are(options, tmp_path, capsys):
    given = options(draws=3)
    show_plan(given, tmp_path / "results", cells=True, as_json=False)
    name = plan_of(given).cells[0].setting.data
    out = capsys.readouterr().out
    assert f"draws      3 splits of {name}: each draw has training and test images of its own\n" in out
    assert f"read {name},resolution=16,split_seed=2\n" in out
    show_plan(options(), tmp_path / "results", cells=False, as_json=False)
    assert "splits" not in capsys.readouterr().out


def test_too_many_draws_are_refused_before_any_work(options, pictures):
    for number in range(2, PER_CLASS):
        (pictures / "grey" / f"{number}.png").unlink()
    with pytest.raises(UsageError) as raised:
        plan_of(options(draws=3))
    assert str(raised.value) == (
        f"folder:path={pictures}: --draws: class 'grey' has so few images that there are 2 different test parts; "
        "give at most --draws 2, or add images"
    )
