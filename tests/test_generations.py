"""How many images a generator makes: filters that drop some, one image per real one, test images transformed."""

from __future__ import annotations

import json

import pytest
from toys import World

from benchbench.errors import UsageError
from benchbench.results.table import build_table
from benchbench.store.store import Store

SIEVE = '''
from __future__ import annotations
from dataclasses import dataclass
import numpy as np
from benchbench import Generator, param

@dataclass(frozen=True)
class ToySieve(Generator):
    """Keeps the brightest images of the link before."""
    needs_upstream = True
    may_yield_fewer = True
    share: float = param(0.5, low=0, high=2, stage="sample", help="Share that is kept.")
    oversample: int = param(1, low=1, help="Images asked of the link before for each one.")

    def upstream_count(self, n_syn):
        return n_syn * self.oversample

    def fit(self, train, context):
        chosen = context.upstream.subset([i for i in context.shard if i < len(context.upstream)])
        np.save(context.folder / "light.npy", chosen.images.mean(axis=(1, 2, 3)))
        context.report(scored=len(chosen))

    def sample(self, train, context):
        light = np.concatenate([np.load(folder / "light.npy") for folder in context.fitted])
        kept = np.argsort(light)[::-1][: int(self.share * context.n_syn)]
        context.report(dropped=len(light) - len(kept), share=np.float32(0.5))
        yield context.upstream.subset(kept)
'''

MIRROR = '''
from __future__ import annotations
from dataclasses import dataclass
from benchbench import Generator, param

@dataclass(frozen=True)
class ToyMirror(Generator):
    """Every real image, mirrored; one for one."""
    drop: int = param(0, low=0, help="Images that get lost.")

    def output_count(self, train_count, asked, default):
        return train_count

    def sample(self, train, context):
        yield from self.transform(train, context)

    def transform(self, images, context):
        kept = images.subset(range(len(images) - self.drop))
        yield kept.with_images(255 - kept.images[:, :, ::-1])
'''

REVERSED = "ImageSet(kept.images, kept.labels, images.classes[::-1])"


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    made = World(tmp_path / "plugins", tmp_path / "results")
    (made.folder / "toysieve.py").write_text(SIEVE, "utf-8")
    (made.folder / "toymirror.py").write_text(MIRROR, "utf-8")
    return made


def sizes(plan, stage):
    return [step.units for step in plan.steps.values() if step.stage == stage]


def test_a_filter_may_leave_fewer_and_tables_say_how_many(world):
    (record,) = world.run(gen="toygen+toysieve", baseline=False)
    assert record.status == "done"
    assert (record.cell.n_syn, record.cost.sample_images) == (40, 20)
    assert record.cost.images_per_s["sample"] == pytest.approx(20 / record.cost.sample_s, rel=0.01)
    assert record.metrics["toymetric.py"]["n_score"] == 12  # half of the real images: the baseline needs the others
    (row,) = build_table([record]).rows
    assert (row.setting.n_syn, row.generation.n_made) == (40, 20)
    assert "20 of 40" in (world.results / "leaderboard.md").read_text("utf-8")


def test_what_a_step_reports_is_in_the_record(world):
    (record,) = world.run(gen="toygen+toysieve", baseline=False)
    (told,) = record.facts["sample"]
    assert told.pop("step").startswith("sample toysieve.py")
    assert told == {"dropped": 20, "share": 0.5}
    assert [fact["scored"] for fact in record.facts["fit"]] == [40]
    assert json.loads(record.text())["facts"] == record.facts


def test_the_threshold_of_a_filter_repeats_nothing_before_it(world):
    one = world.plan(gen="toygen+toysieve", baseline=False)
    other = world.plan(gen="toygen+toysieve:share=0.25", baseline=False)
    same = {step.key for step in one.steps.values()} & {step.key for step in other.steps.values()}
    stages = sorted(step.stage for key, step in one.steps.items() if key in same)
    assert stages == ["data", "fit", "fit", "sample"]  # the filter's own sample, training and score are new
    alone = world.plan(gen="toygen", baseline=False)
    assert {key for key, step in alone.steps.items() if step.stage == "sample"} <= same


def test_a_filter_asks_the_link_before_for_more(world):
    plan = world.plan(gen="toygen+toysieve:oversample=3", baseline=False)
    assert sizes(plan, "sample") == [120, 40]
    assert sizes(plan, "fit") == [24, 120]  # the second fit works on the first link's images
    assert {cell.setting.n_syn for cell in plan.cells} == {40}


def test_a_filter_has_no_more_than_it_is_given(world):
    plan = world.plan(gen="toymirror+toysieve", baseline=False)
    assert sizes(plan, "sample") == [24, 24]
    assert {cell.setting.n_syn for cell in plan.cells} == {24}


def test_one_image_per_real_one_whatever_is_asked_for(world):
    plan = world.plan(gen=["toymirror", "toygen"], n_syn="30,40", baseline=False)
    assert sorted(sizes(plan, "sample")) == [24, 30, 40]
    assert len(plan.cells) == 3
    images = {step.body["images"] for step in plan.steps.values() if step.stage == "score"}
    assert images == {12}  # half of the 24 real images: the baseline needs the other half
    wider = world.plan(gen="toymirror", data="toydata:per_class=40", n_syn="30", shots="2", baseline=False)
    assert {step.body["images"] for step in wider.steps.values() if step.stage == "score"} == {6}


def test_real_images_can_be_filtered(world):
    records = world.run(gen=["real+toysieve"])
    assert {record.cell.gen: record.cost.sample_images for record in records} == {"real": None, "real+toysieve.py": 12}


@pytest.mark.parametrize(
    ("spec", "error"),
    [
        ("toysieve:share=0", "toysieve.py: made 0 images where 1 to 40 were asked for (n_syn)"),
        ("toysieve:share=2,oversample=4", "toysieve.py: made 80 images where 1 to 40 were asked for (n_syn)"),
    ],
)
def test_none_and_more_than_planned_are_failures(world, spec, error):
    (record,) = world.run(gen=f"toygen+{spec}", baseline=False)
    assert record.error.endswith(error)


@pytest.mark.parametrize("stage", ["sample", "transform"])
def test_labels_that_count_the_classes_in_another_order_are_a_failure(world, stage):
    world.edit("toymirror", "import Generator, param", "import Generator, ImageSet, param")
    world.edit("toymirror", "yield kept.with_images(255 - kept.images[:, :, ::-1])", "yield " + REVERSED)
    given = {"gen": "toymirror"} if stage == "sample" else {"test_transform": world.file("toymirror")}
    record = world.run(**given)[-1]
    assert record.error.endswith("toymirror.py: made images of other classes than the dataset has, or in another order")


def test_test_images_pass_through_a_transform(world):
    plan = world.plan(gen="toygen", test_transform=["none", world.file("toymirror")])
    steps = [step for step in plan.steps.values() if step.stage == "transform"]
    assert [step.units for step in steps] == [12]
    assert [cell.setting.test for cell in plan.cells] == ["-", "toymirror.py", "-", "toymirror.py"]
    assert len({cell.spec_id for cell in plan.cells}) == len({cell.train for cell in plan.cells}) == 4
    assert len({cell.sample for cell in plan.cells if not cell.setting.baseline}) == 1
    plain = world.plan(gen="toygen")
    assert {cell.train for cell in plain.cells} < {cell.train for cell in plan.cells}


def test_a_transform_changes_what_is_tested_and_nothing_else(world):
    records = world.run(gen="toygen", test_transform=["none", world.file("toymirror")])
    accuracy = {(record.cell.gen, record.cell.test): record.result.accuracy for record in records}
    assert accuracy["real", "-"] > accuracy["real", "toymirror.py"]  # dark is light now
    (transformed,) = {key for record in records for key in record.steps.get("transform", [])}
    store = Store(world.results / "artifacts")
    assert store.meta(transformed)["images"] == 12
    text = (world.results / "leaderboard.md").read_text("utf-8")
    assert text.count(", test images through toymirror.py") == 2, "accuracies, and what stands beside them"
    again = world.run(gen="toygen", test_transform=["none", world.file("toymirror")])
    assert [record.key for record in again] == [record.key for record in records]


def test_a_transform_that_loses_images_is_refused(world):
    (record,) = world.run(gen="toygen", test_transform=[world.file("toymirror:drop=1")], baseline=False)
    assert record.error.endswith("toymirror.py: transformed 12 images into 11 others")


def test_a_transform_that_moves_labels_is_refused(world):
    world.edit("toymirror", "range(len(images) - self.drop)", "range(len(images) - 1, -1, -1)")
    (record,) = world.run(gen="toygen", test_transform=[world.file("toymirror")], baseline=False)
    assert record.error.endswith("toymirror.py: transformed images have other labels, or come in another order")


@pytest.mark.parametrize("text", ["toygen", "toygen+toymirror"])
def test_what_is_no_transform_is_said_before_anything_runs(world, text):
    chain = "+".join(world.file(name) for name in text.split("+"))
    with pytest.raises(UsageError, match=r"^--test-transform .*(cannot transform test images one for one|not a chain)"):
        world.plan(gen="toygen", test_transform=[chain])


LEAK = '''
from __future__ import annotations
from dataclasses import dataclass
import numpy as np
from benchbench import Generator, ImageSet, param

@dataclass(frozen=True)
class ToyLeak(Generator):
    """Finds some test images in its pool, as a retrieval may."""
    leaked: int = param(3, low=0, help="How many.")

    def sample(self, train, context):
        rng = np.random.default_rng(2)  # what the toy data draws its test images from
        labels = np.arange(12, dtype=np.int64) % 3
        noise = rng.integers(0, 60, (12, 4, 4, 3), dtype=np.uint8)
        test = noise + (labels * 80).astype(np.uint8)[:, None, None, None]
        rest = context.n_syn - self.leaked
        yield ImageSet(test[: self.leaked], labels[: self.leaked], train.classes)
        yield train.subset(np.arange(rest) % len(train))
'''


@pytest.mark.parametrize("leaked", [0, 3])
def test_training_on_test_images_is_counted_and_told(world, leaked):
    (world.folder / "toyleak.py").write_text(LEAK, "utf-8")
    (record,) = world.run(gen=f"toyleak:leaked={leaked}", baseline=False)
    assert record.result.details.get("test_copies", 0) == leaked
    text = (world.results / "leaderboard.md").read_text("utf-8")
    assert ("Up to 3 of its training images equal a test image in every pixel." in text) == bool(leaked)


def test_fewer_images_than_classes_are_warned_of(world):
    assert world.plan(n_syn="2").warnings == ("--n-syn 2: fewer images than the 3 classes of toy",)
    assert world.plan(n_syn="3").warnings == ()
