"""A small task on real digits for the learners on a CLIP, and contexts to train it in."""

from __future__ import annotations

import dataclasses
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchbench.planning.subsets import select
from benchbench.plugins import Context, ImageSet, Learner, Task, TrainResult
from benchbench.results.record import Result
from benchbench.running.scoring import answer, score
from benchbench_plugins.datasets.digits import Digits

INFO = Digits().info()


@cache
def digits(split: str) -> ImageSet:
    """One part of the digits."""
    folder = Path(tempfile.gettempdir())
    return Digits().load(split, Context(0, folder, folder, INFO))


def task(shots: int = 2, **changes) -> Task:
    """Train on ``shots`` real images per class; a hundred test images."""
    train = digits("train")
    real = train.subset(select(train.labels, train.classes, shots, None, 0, "digits"))
    test = digits("test").subset(np.arange(0, 500, 5))
    whole = Task(real, None, None, digits("validation"), test.without_labels(), INFO, None, (), "quick")
    return dataclasses.replace(whole, **changes)


def labels() -> NDArray[np.int64]:
    """Labels of the test images of every :func:`task`."""
    return digits("test").labels[np.arange(0, 500, 5)]


def trained(learner: Learner, given: Task, context: Context) -> tuple[TrainResult, Result]:
    """Train; return what the learner says and what the harness makes of it, with the labels of the test images."""
    outcome = answer(learner, given, context, "test")
    return outcome, score(outcome, given, labels()[: len(given.test)])


def made(shots: int = 6) -> ImageSet:
    """Other training images in the place of generated ones."""
    train = digits("train")
    return train.subset(select(train.labels, train.classes, shots, None, 9, "digits"))


def context(folder: Path, name: str = "one", seed: int = 3, **changes) -> Context:
    """Make a context; the same name is the same folders, as after a kill."""
    out, scratch = folder / name / "out", folder / name / "scratch"
    for place in (out, scratch):
        place.mkdir(parents=True, exist_ok=True)
    return Context(seed, out, scratch, INFO, **changes)
