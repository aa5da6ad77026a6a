"""What the harness makes of a learner's answers, and what a learner never gets to see."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import tiny_context, tiny_task
from toys import World

from benchbench.errors import BenchError, OldFormError, UsageError
from benchbench.plugins import Learner, TrainResult
from benchbench.results.record import unpack_hits
from benchbench.running.scoring import answer, score

SURE = np.eye(3, dtype=np.float32)


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    return World(tmp_path / "plugins", tmp_path / "results")


def some(count: int):
    task = tiny_task()
    return replace(task, test=replace(task.test, images=task.test.images[:count]))


# -- Numbers -----------------------------------------------------------------------------------------------------------


def test_accuracy_and_hits_are_those_of_the_first_largest_probability():
    outcome = TrainResult(np.array([[0.5, 0.5, 0], [0, 0.5, 0.5], [0, 0, 1], [0.2, 0.3, 0.5]], np.float32), steps=7)
    result = score(outcome, some(4), np.array([0, 2, 2, 1]))
    assert (result.accuracy, result.n_test, result.steps) == (0.5, 4, 7)
    assert unpack_hits(result.hits, 4).tolist() == [True, False, True, False]
    assert (result.best_on_test, result.curve) == (None, ())


@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor])
def test_what_was_scored_on_the_way_enters_the_curve(kind):
    """As probabilities, logits or classes; with a loss at that step or without."""
    task, labels = some(4), np.array([0, 1, 2, 0])
    task.evaluate(2, lambda: kind(SURE[[0, 1, 2, 0]]))
    task.evaluate(4, lambda: kind(np.array([0, 1, 1, 1])))
    task.evaluate("zero_shot", lambda: kind(9 * SURE[[0, 0, 0, 1]]))
    outcome = TrainResult(SURE[[0, 1, 1, 0]], steps=6, curve=[(2, 0.5), (6, 0.25)], details={"a": 1})
    result = score(outcome, task, labels)
    assert result.curve == ((2, 0.5, 1.0), (4, None, 0.5), (6, 0.25, 0.75))
    assert (result.accuracy, result.best_on_test) == (0.75, 1.0)
    assert result.details == {"a": 1, "zero_shot_accuracy": 0.25}
    assert outcome.details == {"a": 1}


def test_a_last_step_that_was_scored_on_the_way_too_counts_once():
    task = some(2)
    task.evaluate(3, lambda: np.array([0, 0]))
    assert score(TrainResult(SURE[[0, 1]], steps=3), task, np.array([0, 1])).best_on_test is None


def test_an_evaluation_tells_nothing_and_wants_every_image():
    task = some(4)
    assert task.evaluate(1, lambda: np.zeros(4, np.int64)) is None
    with pytest.raises(ValueError, match=r"task.evaluate\(2, ...\) got answers for 3 of 4 test images"):
        task.evaluate(2, lambda: np.zeros(3, np.int64))


@pytest.mark.parametrize(
    "given",
    [
        np.ones((4, 2), np.float32),  # of three classes
        np.ones((4, 1), np.int64),
        np.ones((4, 3, 1), np.float32),
        np.ones(4, bool),  # hits, as in version 0.1
        np.ones(4),
        torch.ones(4, dtype=torch.bool),
        [0, 0, 0, 0],
    ],
)
def test_an_evaluation_of_another_form_is_refused_and_not_compared(given):
    with pytest.raises(
        ValueError, match=r"^task.evaluate\(2, ...\) takes \(N, 3\) probabilities or logits, or whole \(N,\)"
    ):
        some(4).evaluate(2, lambda: given)


@pytest.mark.parametrize("at", [None, 1.5])
def test_an_evaluation_is_at_a_step_or_has_a_name(at):
    with pytest.raises(ValueError, match="the step must be a whole number, or a name"):
        some(4).evaluate(at, lambda: SURE[[0, 0, 0, 0]])


# -- What is refused ---------------------------------------------------------------------------------------------------


def answered(given, tmp_path):
    class Fixed(Learner):
        def train(self, task, context):
            return given(task)

    return answer(Fixed(), some(2), tiny_context(tmp_path), "mine.py")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (lambda _: None, "train must return a TrainResult; got NoneType"),
        (lambda _: TrainResult(SURE), r"a float32 array of shape \(2, 3\); got float32 \(3, 3\)"),
        (lambda _: TrainResult(SURE[:2].astype(float)), r"of shape \(2, 3\); got float64 \(2, 3\)"),
        (lambda _: TrainResult([[1, 0, 0]] * 2), r"of shape \(2, 3\); got list \(\)"),
        (lambda _: TrainResult(SURE[:2] * np.nan), "must be finite and not negative"),
        (lambda _: TrainResult(SURE[:2] - [[0.5, -0.5, 0]]), "got float64"),
        (lambda _: TrainResult(np.array([[1, 1, -1]] * 2, np.float32)), "must be finite and not negative"),
        (lambda _: TrainResult(SURE[:2] * 2), r"must sum to 1 \(a softmax of logits does\); one sum is 2$"),
        (lambda _: TrainResult(SURE[:2], curve=[(1, 0.5, 0.9)]), r"pairs, .* task.evaluate; got \(1, 0.5, 0.9\)"),
        (lambda _: TrainResult(SURE[:2], curve=[("a", 0.5)]), r"must hold \(step, loss\) pairs, .*; got \('a', 0.5\)"),
        (lambda _: TrainResult(SURE[:2], curve=[3]), r"must hold \(step, loss\) pairs, .*; got 3"),
        (
            lambda _: TrainResult(SURE[:2], curve=iter([(1, 0.5)])),
            "curve must be a list of .* pairs; got list_iterator",
        ),
        (lambda _: TrainResult(SURE[:2], steps=None), "steps must be a whole number; got None"),
        (lambda _: TrainResult(SURE[:2], images_seen="7"), "images_seen must be a whole number; got '7'"),
        (lambda _: TrainResult(SURE[:2], details=None), "details must be a dictionary; got NoneType"),
    ],
)
def test_an_answer_of_another_form_is_one_line(given, message, tmp_path):
    with pytest.raises(BenchError, match=f"^mine.py: .*{message}"):
        answered(given, tmp_path)


@pytest.mark.parametrize(
    ("given", "what"),
    [
        (lambda _: TrainResult(hits=np.array([True, False])), r"TrainResult\(hits=...\) is the old form"),
        (lambda _: TrainResult(np.array([True, False]), None, 5), r"TrainResult\(hits=...\) is the old form"),
        (lambda task: TrainResult(SURE[:2], details={"right": task.test.labels}), "task.test has no labels"),
    ],
)
def test_a_learner_of_the_old_form_is_told_what_to_change(given, what, tmp_path):
    with pytest.raises(UsageError, match=rf"^mine.py: {what}; return probabilities=..., float32 \(N, classes\)"):
        answered(given, tmp_path)


def test_counts_of_numpy_are_counts(world):
    text = (world.folder / "toylearner.py").read_text("utf-8")
    counted = text.replace(
        "TrainResult(answers, 5, 50, 3", "TrainResult(answers, np.int64(5), np.int64(50), np.int64(3)"
    )
    assert counted != text
    (world.folder / "toycounted.py").write_text(counted, "utf-8")
    (record,) = world.run(gen="real", metric="none", learner="toycounted")
    assert (record.error, record.result.images_seen) == (None, 50)


def test_a_run_of_a_learner_of_the_old_form_says_so_in_its_record(world):
    text = (world.folder / "toylearner.py").read_text("utf-8")
    old = text.replace("TrainResult(answers, 5", "TrainResult(found == 0, None, 5")
    assert old != text
    (world.folder / "toyold.py").write_text(old, "utf-8")
    (record,) = world.run(gen="real", metric="none", learner="toyold")
    assert record.status == "failed"
    assert record.error.startswith("toyold.py: TrainResult(hits=...) is the old form; return probabilities=")


def test_images_without_labels_are_like_any_object_without_them():
    test = tiny_task().test
    assert not hasattr(test, "labels")
    with pytest.raises(OldFormError):
        _ = test.labels


# -- What is seen ------------------------------------------------------------------------------------------------------

SPY = '''
import gc, types
from dataclasses import dataclass
import numpy as np
from benchbench import Learner, TrainResult

def parts(item):
    """What an object leads to: attributes, contents, closures; but neither modules nor classes."""
    if isinstance(item, (types.ModuleType, type)):
        return
    if isinstance(item, types.FunctionType):
        yield from (item.__closure__, item.__defaults__, item.__kwdefaults__)
        return
    yield from gc.get_referents(item)
    if isinstance(item, np.ndarray):
        yield from (item.base, getattr(item, "__dict__", None))
    if type(item).__module__.startswith("benchbench"):
        for name in dir(item):
            try:
                value = getattr(item, name)
            except Exception:
                continue
            if not callable(value) or isinstance(value, types.FunctionType):
                yield value

@dataclass(frozen=True)
class Spy(Learner):
    """Looks for labels in all that it is given."""
    axes = frozenset()

    def train(self, task, context):
        seen, waiting, arrays = {}, [task, context], set()
        while waiting and len(seen) < 300_000:
            item = waiting.pop()
            if id(item) in seen:
                continue
            seen[id(item)] = item
            if isinstance(item, np.ndarray) and item.ndim == 1 and item.dtype.kind in "iub":
                arrays.add(tuple(item.tolist()))
            elif isinstance(item, (list, tuple)) and len(item) == len(task.test):
                arrays.add(tuple(item) if all(isinstance(one, int) for one in item) else ())
            waiting += parts(item)
        found = {"arrays": sorted(arrays), "complete": not waiting}
        return TrainResult(np.full((len(task.test), 3), 1 / 3, np.float32), details=found)
'''


def test_a_spying_learner_finds_no_test_label(world):
    """Of all that it reaches from its task and context, nothing is the labels; those of other parts it does find."""
    (world.folder / "toyspy.py").write_text(SPY, "utf-8")
    (record,) = world.run(gen="real", metric="none", learner="toyspy", data="toydata:held_out=9")
    assert record.result.n_test == 12
    assert record.result.accuracy == pytest.approx(1 / 3)
    found = [tuple(item) for item in record.result.details["arrays"]]
    assert record.result.details["complete"]
    assert tuple(i % 3 for i in range(24)) in found, "training labels"
    assert tuple(i % 3 for i in range(9)) in found, "validation labels"
    assert tuple(i % 3 for i in range(12)) not in found
