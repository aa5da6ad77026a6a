"""How far trainings got: accuracy on their own training images, whether they were still rising, accuracy by steps.

A learner tells it under ``learning`` among the details of its result: ``train_accuracy`` (share of its own training
images, without augmentation, that it classifies rightly after the last step), ``rising`` (bool) and ``curve``; one that
minimises a function to its end tells in ``converged`` (bool) that further steps change nothing.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .record import Result

#: Percent of its own training images below which a network has not learned them.
LEARNED = 80.0


@dataclass(frozen=True)
class Learning:
    """What the trainings of a row say of how far they got.

    Attributes:
        train_accuracy: mean accuracy in percent on their own training images; ``None`` where none says it.
        steps: of one training, the most.
        rising: trainings that were still getting better.
        trainings: that say anything.
        converged: whether all of them are at their end, however much of their images they know.

    """

    train_accuracy: float | None
    steps: int
    rising: int
    trainings: int
    converged: bool = False

    @property
    def learned(self) -> bool:
        """Whether they know their own training images, as far as they say, or what they can know of them."""
        return self.converged or self.train_accuracy is None or self.train_accuracy >= LEARNED

    @property
    def text(self) -> str:
        """What a reader of the row must know, ``""`` if nothing: it compares networks on their way, not at the end."""
        after = f"after {self.steps:,} step{'' if self.steps == 1 else 's'}"
        share = "" if self.train_accuracy is None else f"{self.train_accuracy:.0f} % on its own training images {after}"
        if not self.learned:
            return f"{share}: it has not learned them yet."
        if self.rising:
            every = (
                "Still rising" if self.rising == self.trainings else f"{self.rising} of {self.trainings} still rising"
            )
            return f"{every}: {share or after}."
        return ""


def learning_of(results: Sequence[Result]) -> Learning | None:
    """Return what results say of it, ``None`` if nothing; what is no share or no truth value is passed over."""
    told = [(result, known) for result in results if isinstance(known := result.details.get("learning"), Mapping)]
    shares = [share for _, known in told if (share := _share(known.get("train_accuracy"))) is not None]
    rising = sum(known.get("rising") is True for _, known in told)
    if not shares and not rising:
        return None
    mean = 100 * statistics.fmean(shares) if shares else None
    converged = all(known.get("converged") is True for _, known in told)
    return Learning(mean, max(result.steps for result, _ in told), rising, len(told), converged)


def curve_of(results: Sequence[Result]) -> tuple[tuple[float, float], ...]:
    """Return ``(step, mean test accuracy in percent)`` at the steps at which every training was scored."""
    curves = [
        {step: known for step, _, share in result.curve if (known := _share(share)) is not None} for result in results
    ]
    steps = sorted(set.intersection(*map(set, curves))) if curves else []
    return tuple((step, 100 * statistics.fmean(curve[step] for curve in curves)) for step in steps)


def _share(value: Any) -> float | None:
    fits = type(value) in (int, float) and math.isfinite(value) and 0 <= value <= 1
    return float(value) if fits else None
