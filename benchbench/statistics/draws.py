"""A number that each draw has once, such as a measure of its generated images, averaged over draws."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from scipy import special

from .trainings import IDENTICAL, ONE_DRAW, ROUGH, TAIL, WHOLE, Estimate


def over_draws(values: Mapping[int, float], *, whole: bool) -> Estimate:
    """Return the mean over draws with its interval, by the t distribution with draws - 1 degrees of freedom.

    Args:
        values: a finite number by draw, at least one; its unit is the estimate's.
        whole: whether all real training images are used: draws are then generations from the same images.

    Raises:
        ValueError: no draw.
    """
    if not values:
        raise ValueError("a mean over no draw")
    numbers = np.array([values[draw] for draw in sorted(values)], np.float64)
    count, mean = len(numbers), float(numbers.mean())
    note = ROUGH if count == 2 else WHOLE if whole else ONE_DRAW if count == 1 else ""
    se = float(numbers.std(ddof=1)) / math.sqrt(count) if count > 1 else 0.0
    if not se:  # a single draw, or equal numbers: nothing tells how much they would vary
        return Estimate(mean, None, None, None, None, None, count, 1, count, note)
    half = float(special.stdtrit(count - 1, 1 - TAIL)) * se
    return Estimate(mean, mean - half, mean + half, se, float(count - 1), None, count, 1, count, note)


def difference_over_draws(ours: Mapping[int, float], theirs: Mapping[int, float], *, whole: bool) -> Estimate | None:
    """Return ours minus theirs over the draws that both have, with a paired t test; ``None`` where they share none."""
    shared = {draw: ours[draw] - theirs[draw] for draw in ours.keys() & theirs.keys()}
    if not shared:
        return None
    estimate = over_draws(shared, whole=whole)
    if not any(shared.values()):
        return Estimate(0.0, None, None, None, None, None, estimate.draws, 1, estimate.draws, IDENTICAL)
    if estimate.se is None:
        return estimate
    return replace(estimate, p=2 * float(special.stdtr(estimate.df, -abs(estimate.value) / estimate.se)))
