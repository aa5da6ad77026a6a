"""What a metric knows of the real images alone is a step of its own: made once, used by every generator."""

from __future__ import annotations

import json

import pytest
from toys import METRIC, World

from benchbench.planning.estimates import Timings
from benchbench.results.folder import read_records
from benchbench.store.store import Store

#: The toy metric in two halves.
HALVES = METRIC.split("    def score")[0].replace("import pause", "import note\nimport json")
HALVES += """
    shade: float = param(0.0, stage="score", help="Added to the difference.")

    def reference(self, real, context):
        note(f"reference {len(real)}")
        if self.fail:
            raise RuntimeError("no reference today")
        text = json.dumps({"mean": real.images.mean(), "count": len(real), "seed": context.seed})
        (context.folder / "real.json").write_text(text)

    def score(self, real, synthetic, context):
        known = json.loads((context.reference / "real.json").read_text())
        assert known["count"] == len(real)
        fd = abs(known["mean"] - synthetic.images.mean()) * self.scale + self.shade
        return {"fd": fd, "extractor": "mean", "n_score": len(synthetic), "n_reference": len(real)}
"""


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    made = World(tmp_path / "plugins", tmp_path / "results")
    monkeypatch.setenv("TOY_LOG", str(made.log))
    (made.folder / "toyhalves.py").write_text(HALVES.lstrip(), "utf-8")
    return made


def references(world, **options):
    plan = world.plan(**{"gen": ["toygen", "toygen:level=3"], "metric": "toyhalves", **options})
    return {key for key, step in plan.steps.items() if step.stage == "reference"}


def made(world):
    return [line for line in world.executed() if line.startswith("reference")]


def test_every_generator_shares_one_and_the_numbers_are_those_of_a_metric_in_one_piece(world):
    records = world.run(gen=["toygen", "toygen:level=3", "toygen+toyfilter"], metric=["toymetric", "toyhalves"])
    assert made(world) == ["reference 12", "reference 24"]  # 12 of the baseline's 24 images are on the other side
    assert len(records) == 4
    assert len({record.metrics["toyhalves.py"]["fd"] for record in records}) > 1
    for record in records:
        assert record.metrics["toyhalves.py"] == record.metrics["toymetric.py"]
        store = Store(world.results / "artifacts")
        (reference,) = record.steps["reference"]
        spent = [store.meta(key)["seconds"] for key in (reference, *record.steps["score"])]
        assert record.cost.score_s == pytest.approx(sum(spent), abs=2e-3)
    world.run(gen="toygen:level=5", metric="toyhalves")  # another generator on another day
    assert made(world) == []


def test_it_is_the_same_for_what_it_does_not_depend_on(world):
    of_generators = references(world, baseline=False)
    assert len(of_generators) == 1
    for options in ({"n_syn": 7}, {"shots": 2, "draws": 3}, {"metric": "toyhalves:shade=1"}, {"precision": "bf16"}):
        assert references(world, baseline=False, **options) == of_generators
    for options in ({"metric": "toyhalves:scale=2"}, {"preset": "paper"}, {"data": "toydata:per_class=9"}):
        assert not references(world, baseline=False, **options) & of_generators
    assert len(references(world)) == 2
    assert len(references(world, shots=2, draws=3)) == 4  # the images that a baseline leaves out differ by draw


def test_each_half_is_made_again_when_its_own_code_changes(world):
    first = world.run(metric="toyhalves")
    assert len(made(world)) == 2
    world.edit("toyhalves", "+ self.shade", "+ self.shade + 1")
    second = world.run(metric="toyhalves")
    assert made(world) == []
    for one, two in zip(first, second, strict=True):
        assert two.metrics["toyhalves.py"]["fd"] == one.metrics["toyhalves.py"]["fd"] + 1
    world.edit("toyhalves", '"mean": real.images.mean()', '"mean": real.images.mean() + 0.0')
    third = world.run(metric="toyhalves")
    assert len(made(world)) == 2
    assert third[0].steps["score"] != second[0].steps["score"]
    assert third[0].code["score toyhalves.py"] != second[0].code["score toyhalves.py"]


def test_one_that_fails_fails_the_scores_and_no_training(world):
    for record in world.run(metric="toyhalves:fail=true"):
        assert record.status == "done"
        assert "prepare toyhalves.py" in record.metrics["toyhalves.py:fail=true"]["error"]
        assert "no reference today" in record.metrics["toyhalves.py:fail=true"]["error"]


def test_a_later_run_without_the_metric_keeps_it(world):
    world.run(metric="toyhalves")
    world.run(metric="none")
    for record in read_records(world.results).records:
        assert len(record.steps["reference"]) == 1
        assert record.metrics["toyhalves.py"]["n_score"] == 12


def test_a_metric_in_one_piece_has_none(world):
    assert references(world, metric="toymetric") == set()
    plan = world.plan(metric="toymetric")
    scores = [step for step in plan.steps.values() if step.stage == "score"]
    assert scores
    assert all("reference" not in json.dumps([step.body, step.run]) for step in scores)


def test_a_parameter_may_be_called_reference(world):
    text = METRIC.replace("    least: int", '    reference: str = param("train", help="Against what.")\n    least: int')
    (world.folder / "toyword.py").write_text(text.lstrip(), "utf-8")
    assert references(world, metric="toyword:reference=test") == set()
    for record in world.run(metric=["toymetric", "toyword:reference=test"]):
        assert record.metrics["toyword.py:reference=test"] == record.metrics["toymetric.py"]


def test_a_measured_step_scales_the_guess_of_a_larger_one(world):
    """Not its images: a metric that guesses by their square takes four times as long for twice as many."""
    more = "\n    def seconds(self, stage, images, info):\n        return images**2 if stage == 'reference' else None\n"
    (world.folder / "toysquare.py").write_text((HALVES + more).lstrip(), "utf-8")

    def step(per_class, metric, stage="reference"):
        plan = world.plan(data=f"toydata:per_class={per_class}", metric=metric, baseline=False)
        return next(step for step in plan.steps.values() if step.stage == stage)

    timings = Timings(world.results)
    assert timings.estimate(step(8, "toysquare")) == 24**2
    timings.learn(step(8, "toysquare"), 2.0 * 24**2)
    assert timings.estimate(step(16, "toysquare")) == 2.0 * 48**2
    assert timings.estimate(step(8, "toysquare", "score")) is None
    timings.learn(step(8, "toymetric", "score"), 36.0)  # no guess: by the 36 images of both sides
    assert timings.estimate(step(16, "toymetric", "score")) == 48 + 24
