"""What is kept of a training's answers, and how it is read again."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
from toys import World

import benchbench
from benchbench.errors import BenchError, UsageError
from benchbench.results.answers import FILE, Answers, load_answers
from benchbench.results.record import Record
from benchbench.statistics.classifier import measures


@pytest.fixture
def world(tmp_path):
    return World(tmp_path / "plugins", tmp_path / "results")


def probabilities(images: int, classes: int):
    powers = np.exp(np.random.default_rng(3).normal(0, 2, (images, classes)))
    return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)


def test_all_classes_are_kept_and_measures_come_from_them_again(tmp_path):
    given, labels = probabilities(500, 5), np.arange(500) % 5
    Answers.of(given, labels).save(tmp_path)
    kept = Answers.load(tmp_path)
    assert kept.classes is None
    assert kept.log_probabilities.dtype == np.float16
    np.testing.assert_allclose(kept.log_probabilities, np.log(given), rtol=2**-11, atol=1e-6)
    again, exact = measures(np.exp(kept.log_probabilities.astype(np.float32)), kept.labels), measures(given, labels)
    for name in ("balanced_accuracy", "auc", "ece", "nll"):
        assert again[name] == pytest.approx(exact[name], abs=2e-3), name


def test_of_many_classes_the_label_and_the_most_probable_are_kept(tmp_path):
    given, labels = probabilities(30, 300), np.arange(30) * 7
    Answers.of(given, labels).save(tmp_path)
    kept = Answers.load(tmp_path)
    assert kept.log_probabilities.shape == kept.classes.shape == (30, 21)
    np.testing.assert_array_equal(kept.classes[:, 0], labels)
    np.testing.assert_array_equal(kept.classes[:, 1:], np.argsort(-given, axis=1)[:, :20])
    expected = np.log(np.take_along_axis(given, kept.classes.astype(np.int64), axis=1))
    np.testing.assert_allclose(kept.log_probabilities, expected, rtol=2**-10)


def test_blocks_of_images_are_as_one(monkeypatch):
    given, labels = probabilities(10, 250), np.arange(10)
    whole = Answers.of(given, labels)
    monkeypatch.setattr("benchbench.results.answers._IMAGES", 3)
    assert Answers.of(given, labels).digest == whole.digest


def test_what_is_impossible_ends_at_minus_thirty():
    kept = Answers.of(np.eye(3, dtype=np.float32), np.arange(3))
    np.testing.assert_array_equal(kept.log_probabilities, 30 * (np.eye(3) - 1))


def test_a_digest_tells_other_answers_and_no_other_labels():
    given, labels = probabilities(20, 4), np.arange(20) % 4
    kept = Answers.of(given, labels)
    assert kept.digest == hashlib.sha256(kept.log_probabilities.tobytes()).hexdigest()
    assert Answers.of(given, labels[::-1].copy()).digest == kept.digest
    other = given.copy()
    other[3] = other[3][::-1]
    assert Answers.of(other, labels).digest != kept.digest


def test_a_run_keeps_answers_and_measures(world):
    (record,) = world.run(gen="real", metric="none")
    answers = benchbench.load_answers(record.key, world.results)
    assert answers.log_probabilities.shape == (12, 3)
    assert answers.digest == record.result.answers
    hits = answers.log_probabilities.argmax(axis=1) == answers.labels
    assert hits.mean() == record.result.accuracy
    again = measures(np.exp(answers.log_probabilities.astype(np.float32)), answers.labels)
    for name, value in record.result.measures.items():
        np.testing.assert_allclose(value, again[name], atol=1e-9, err_msg=name)
    text = record.text()
    assert Record.from_json(json.loads(text)).text() == text
    frame = benchbench.load_results(world.results, per_record=True)
    for name in ("balanced_accuracy", "auc", "ece", "nll"):
        assert frame[name][0] == record.result.measures[name]


def test_what_is_kept_decides_the_key_of_a_training_and_not_its_seed(world, monkeypatch):
    """A store of an earlier version has trainings without answers: they are made again, from the same numbers."""
    (before,) = [step for step in world.plan(gen="real", metric="none").steps.values() if step.stage == "train"]
    monkeypatch.setattr("benchbench.planning.plan.KEPT", 0)
    (after,) = [step for step in world.plan(gen="real", metric="none").steps.values() if step.stage == "train"]
    assert before.key != after.key
    assert before.body["seed"] == after.body["seed"]


def test_trainings_that_answer_alike_share_a_digest(world):
    """Replicates of a learner without randomness are copies of each other, those of another one are not."""
    world.edit("toyplain", 'context.rng("noise")', "np.random.default_rng(0)")
    alike = world.run(gen="real", metric="none", learner="toyplain", seeds=2)
    assert len({record.result.answers for record in alike}) == 1
    world.edit("toylearner", ".normal(0, 25,", ".normal(0, 90,")  # else both are right everywhere
    several = world.run(gen="real", metric="none", seeds=2)
    assert len({record.result.answers for record in several}) == 2


def test_answers_that_are_not_there_are_one_line(world):
    with pytest.raises(UsageError, match="'abc' is no key"):
        load_answers("abc", world.results)
    with pytest.raises(
        BenchError, match=rf"no {FILE}; the training was removed, or was made before answers were kept; run it again$"
    ):
        load_answers("0" * 64, world.results)
