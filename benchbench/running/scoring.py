"""From a learner's answers to the numbers of a record. Test labels are met here, after the training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import BenchError, OldFormError, UsageError
from ..plugins import TrainResult
from ..plugins.images import Images
from ..results.record import Result, pack_hits
from ..statistics.classifier import measures
from .parts import joined

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from ..plugins import ImageSet, Learner, Task
    from ..plugins.context import Context

#: How far from 1 the probabilities of one image may sum up: float32, a thousand classes, mixed precision.
TOLERANCE = 1e-3


def answer(learner: Learner, task: Task, context: Context, subject: str) -> TrainResult:
    """Train, and return what the learner answered, checked.

    Args:
        learner: resolved.
        task: given to it.
        context: given to it.
        subject: the learner as the user spelled it, the start of messages.

    Raises:
        UsageError: the learner was written for an earlier version; the message says what to change.
        BenchError: its answer is not as :class:`~benchbench.plugins.TrainResult` describes it.
        Exception: whatever else the learner raises.
    """
    try:
        outcome = learner.train(task, context)
    except OldFormError as error:
        raise UsageError(f"{subject}: {error}") from None
    if problem := flaw(outcome, task):
        raise BenchError(f"{subject}: {problem}")
    return outcome


def images_to_classify(folder: Path, validation: ImageSet | None, context: Context) -> Images:
    """Return the test images, and behind them those of a validation part that settings are chosen on.

    Args:
        folder: of the test images.
        validation: ``None`` where nothing is chosen.
        context: of the step; its scratch folder takes both in one file.
    """
    test = Images.load(folder)
    if validation is None:
        return test
    return Images(joined(test.images, validation.images, context.scratch / ".classified.npy"), test.classes)


def split_off(outcome: TrainResult, task: Task, count: int) -> tuple[NDArray[np.float32], TrainResult, Task]:
    """Return the probabilities of the images behind the first ``count``, and outcome and task about those alone."""
    answers = {at: found[:count] for at, found in task.answers.items()}
    alone = replace(task, test=replace(task.test, images=task.test.images[:count]), answers=answers)
    return outcome.probabilities[count:], replace(outcome, probabilities=outcome.probabilities[:count]), alone


def flaw(outcome: object, task: Task) -> str | None:
    """Return what is wrong with what ``train`` returned, ``None`` where nothing is."""
    if not isinstance(outcome, TrainResult):
        return f"train must return a {TrainResult.__name__}; got {type(outcome).__name__}"
    given, shape = outcome.probabilities, (len(task.test), len(task.info.classes))
    if not isinstance(given, np.ndarray) or given.dtype != np.float32 or given.shape != shape:
        got = f"{getattr(given, 'dtype', type(given).__name__)} {tuple(getattr(given, 'shape', ()))}"
        return f"probabilities must be a float32 array of shape {shape}; got {got}"
    if not np.isfinite(given).all() or given.min(initial=0) < 0:
        return "probabilities must be finite and not negative"
    sums = given.sum(axis=1)
    if len(sums) and (worst := float(sums[np.abs(sums - 1).argmax()])) and abs(worst - 1) > TOLERANCE:
        return f"probabilities of an image must sum to 1 (a softmax of logits does); one sum is {worst:.4g}"
    for name in ("steps", "images_seen", "parameters"):
        if not isinstance(count := getattr(outcome, name), Integral):
            return f"{name} must be a whole number; got {count!r}"
    if not isinstance(outcome.details, Mapping):
        return f"details must be a dictionary; got {type(outcome.details).__name__}"
    if not hasattr(outcome.curve, "__len__"):  # an iterator would be empty when it is read again
        return f"curve must be a list of (step, loss) pairs; got {type(outcome.curve).__name__}"
    for point in outcome.curve:
        if not hasattr(point, "__len__") or len(point) != 2 or not all(map(_is_number, point)):
            return f"curve must hold (step, loss) pairs, accuracies come from task.evaluate; got {point!r}"
    return None


def _is_number(value: object) -> bool:
    """Return whether a value is a number, of NumPy or torch too."""
    return isinstance(value, Real) or getattr(value, "ndim", None) == 0


def score(outcome: TrainResult, task: Task, labels: NDArray[np.int64]) -> Result:
    """Compare a learner's answers with the labels of the test images, int64 ``(N,)``.

    The best accuracy is that of all steps at which the test set was scored, the last one included; there is none where
    the last one is the only one. The measures are those of the probabilities as given, before they are rounded to be
    kept (:class:`~benchbench.results.answers.Answers`).
    """
    hits = outcome.probabilities.argmax(axis=1) == labels
    accuracy = float(hits.mean())
    on_the_way: dict[int, float] = {}
    details = dict(outcome.details)
    for at, found in task.answers.items():
        share = float(np.mean(_array(found) == labels))
        if isinstance(at, str):
            details[f"{at}_accuracy"] = share
        elif at != outcome.steps:
            on_the_way[at] = share
    losses: dict[int, float | None] = {**dict.fromkeys(on_the_way), **dict(outcome.curve)}
    shares = {**on_the_way, outcome.steps: accuracy}
    return Result(
        accuracy=accuracy,
        best_on_test=max(shares.values()) if on_the_way else None,
        n_test=len(labels),
        hits=pack_hits(hits),
        steps=outcome.steps,
        images_seen=outcome.images_seen,
        parameters=outcome.parameters,
        curve=tuple((step, losses[step], shares.get(step)) for step in sorted(losses)),
        details=details,
        measures=measures(outcome.probabilities, labels),
    )


def _array(found: Any) -> NDArray[np.int64]:
    """Return classes as an array; reading a tensor of an accelerator waits for it."""
    return np.asarray(found.cpu() if hasattr(found, "cpu") else found)
