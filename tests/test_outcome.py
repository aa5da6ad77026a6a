"""From artifacts to records: what counts as failed, what a later record must not forget."""

from __future__ import annotations

from dataclasses import replace

import pytest
from toys import World

from benchbench.results.record import Record
from benchbench.running.records import keep_known, make_record
from benchbench.store.store import Store


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """One finished run, which the tests read and do not change."""
    base = tmp_path_factory.mktemp("outcome")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCH_CACHE", str(base / "cache"))
        made = World(base / "plugins", base / "results")
        made.run(gen="toygen:parts=2")
        yield made


class Without(Store):
    """A store from which some artifacts are gone."""

    def __init__(self, root, *gone):
        super().__init__(root)
        self.gone = gone

    def has(self, key):
        return key not in self.gone and super().has(key)


@pytest.fixture
def cell(world):
    return world.plan(gen="toygen:parts=2").cells[-1]


def record(world, cell, *gone, errors=None) -> Record:
    store = Without(world.results / "artifacts", *gone)
    return make_record(cell, store, errors or {}, "e" * 16, {"toygen": "toys==1"}, store.meta)


def test_a_finished_cell(world, cell):
    made = record(world, cell)
    assert (made.status, made.error, made.key, made.spec_id) == ("done", None, cell.train, cell.spec_id)
    assert made.cell.gen == "toygen.py:parts=2"
    assert 0 <= made.result.accuracy <= 1
    assert made.result.n_test == 12
    assert made.metrics["toymetric.py"]["n_score"] == 12
    assert made.provenance.plugins == {"toygen": "toys==1"}
    assert set(made.code) >= {"data", "fit toygen.py", "sample toygen.py", "train", "score toymetric.py"}
    assert Record.from_json(made.to_json()) == made


def test_what_it_took_is_the_sum_of_its_steps(world, cell):
    store = Store(world.results / "artifacts")
    metas = [store.meta(key) for key in cell.fit]
    cost = record(world, cell).cost
    assert len(metas) == 2
    assert cost.fit_s == pytest.approx(sum(meta["seconds"] for meta in metas))
    assert (cost.fit_images, cost.sample_images) == (24, 40)
    assert cost.images_per_s["fit"] is None or cost.images_per_s["fit"] > 0
    assert cost.peak_memory_mib > 5
    assert cost.device == "cpu"
    assert cost.precision == {"fit": "fp32", "sample": "fp32", "train": "fp32"}


def test_a_learner_without_architectures_has_none(world):
    plan = world.plan(learner="toyplain", baseline=False)
    failed = record(world, plan.cells[0], errors={plan.cells[0].train: "why"})
    assert failed.cell.arch == "-"


def test_a_failed_training_is_a_failed_cell_with_its_other_facts(world, cell):
    made = record(world, cell, cell.train, errors={cell.train: "out of memory"})
    assert (made.status, made.error, made.result) == ("failed", "out of memory", None)
    assert made.metrics["toymetric.py"]["n_score"] == 12
    assert made.cost.train_s is None
    assert made.cost.sample_s is not None
    assert made.provenance.environment == "e" * 16


def test_a_failed_metric_is_no_failed_cell(world, cell):
    (score,) = cell.score.values()
    made = record(world, cell, score, errors={score: "no score today"})
    assert (made.status, made.metrics) == ("done", {"toymetric.py": {"error": "no score today"}})


def test_an_input_that_could_not_be_made_again_does_not_undo_a_training(world, cell):
    (score,) = cell.score.values()
    made = record(world, cell, cell.sample[0], score, errors={cell.sample[0]: "boom", score: "sample: boom"})
    assert made.status == "done"
    assert made.metrics["toymetric.py"] == {"error": "sample: boom"}


def test_a_result_that_vanished_is_no_crash(world, cell):
    made = record(world, cell, cell.train)
    assert made.error == "its result is no longer in the store; run again"


def test_a_later_record_keeps_what_it_did_not_ask_for(world, cell):
    full = record(world, cell)
    bare = record(world, replace(cell, score={}, code={"train": cell.code["train"]}), *cell.fit)
    assert (bare.metrics, bare.cost.fit_s) == ({}, None)
    kept = keep_known(bare, full)
    assert kept.metrics == full.metrics
    assert kept.metric_columns == full.metric_columns
    assert kept.steps["score"] == full.steps["score"]
    assert kept.code["score toymetric.py"] == full.code["score toymetric.py"]
    assert kept.cost.fit_s == full.cost.fit_s
    assert kept.cost.images_per_s["fit"] == full.cost.images_per_s["fit"]
    assert kept.cost.precision == full.cost.precision
    assert keep_known(full, bare) == full, "and adds nothing where nothing is missing"


def test_a_failure_keeps_and_lends_nothing(world, cell):
    full = record(world, cell)
    failed = record(world, cell, cell.train, errors={cell.train: "boom"})
    assert keep_known(failed, full) == failed
    assert keep_known(full, failed) == full
    assert keep_known(full, None) == full
