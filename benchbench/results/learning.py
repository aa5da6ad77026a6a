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
#: Points below what longer trainings reach from which a network is not on its plateau.
PLATEAU = 1.0


@dataclass(frozen=True)
class Learning:
    """What the trainings of a row say of how far they got.

    Attributes:
        train_accuracy: mean accuracy in percent on their own training images; ``None`` where none says it.
        steps: of one training, the most.
        rising: trainings that were still getting better.
        trainings: that say anything.
        converged: whether all of them are at their end, however much of their images they know.
        plateau: accuracy in percent of trainings of this length and of longer ones, and the steps of these, where the
            learner knows it from the search of its recipe.

    """

    train_accuracy: float | None
    steps: int
    rising: int
    trainings: int
    converged: bool = False
    plateau: tuple[float, float, int] | None = None

    @property
    def share(self) -> str:
        """At which share of its plateau such a training is, ``""`` where it is unknown or less than a point below."""
        if self.plateau is None or self.plateau[1] - self.plateau[0] < PLATEAU:
            return ""
        short, long, steps = self.plateau
        told = f"{steps:,} steps gave {long:.1f} % in place of {short:.1f} %, on other images, in the recipe's search"
        return f"At {100 * short / long:.0f} % of its plateau: {told}."

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
    plateaus = {_plateau(known.get("plateau")) for _, known in told}
    plateau = plateaus.pop() if len(plateaus) == 1 else None
    return Learning(mean, max(result.steps for result, _ in told), rising, len(told), converged, plateau)


def _plateau(told: Any) -> tuple[float, float, int] | None:
    """Return what a learner says of its plateau; ``None`` for what is no such thing, whoever wrote it."""
    if not isinstance(told, Mapping):
        return None
    steps, levels = told.get("steps"), (told.get("accuracy"), told.get("longer"))
    short, long = (float(it) if isinstance(it, int | float) else math.nan for it in levels)
    return (short, long, steps) if 0 < short <= 100 and 0 < long <= 100 and type(steps) is int and steps > 0 else None


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
