"""How many draws and seeds show a difference: from the variances of trainings that are known.

With K draws, S seeds on each and the same test images, the variance of a mean difference is
``between / K + within / (K S) + images``: of the draws, of the trainings of a draw, and of the test images, which no
further training reduces (the mean squares of :mod:`benchbench.statistics.trainings`, solved for their parts).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .families import ALPHA, POWER
from .trainings import Estimate, Trainings, mean_squares, paired_by_draw

#: Draws, or seeds where there is one draw, beyond which none are looked for.
MOST = 1000


@dataclass(frozen=True)
class Spread:
    """Where the variance of a difference comes from, in squared percentage points.

    Attributes:
        between: of draws; with ``within`` where that is ``None``. ``None`` where one draw is known of many.
        within: of trainings of one draw; ``None`` where each draw has one.
        images: of the test images.
        whole: whether all real training images are used, so that seeds take the place of draws: ``between`` is theirs.

    """

    between: float | None
    within: float | None
    images: float
    whole: bool = False


def spread_of(
    pairs: Sequence[tuple[Trainings, Trainings]], *, whole: bool, split_anew: float | None = None
) -> Spread | None:
    """Return where the variance of a mean difference comes from, averaged over ``pairs`` within each draw.

    Args:
        pairs: hits of two rows each, as :func:`~benchbench.statistics.trainings.mean_difference` takes them.
        whole: whether all real training images are used.
        split_anew: test images per training image, where each draw splits the same images anew.

    Returns:
        ``None`` where nothing tells: fewer than two trainings or test images in common.
    """
    rows = [paired_by_draw(ours, theirs) for ours, theirs in pairs]
    draws = sorted(set.intersection(*map(set, rows))) if rows else []
    if split_anew is not None and len(draws) > 1:
        means = [np.mean([np.mean([hits.mean() for hits in by_draw[draw]]) for by_draw in rows]) for draw in draws]
        between = 1e4 * float(np.var(means, ddof=1))
        return Spread(between, None, between * split_anew)
    sizes = {hits.size for by_draw in rows for draw in draws for hits in by_draw[draw]}
    if len(sizes) != 1 or min(sizes) < 2:
        return None
    within = _within([[by_draw[draw] for draw in draws] for by_draw in rows])
    if len(draws) == 1:
        seeds = min(len(by_draw[draws[0]]) for by_draw in rows)
        units = np.array([np.mean([by_draw[draws[0]][seed] for by_draw in rows], axis=0) for seed in range(seeds)])
        if seeds < 2:
            return None
        between, images = _parts(units)
        return Spread(between, None, images, whole=True) if whole else Spread(None, within, images)
    units = np.array([np.mean([np.mean(by_draw[draw], axis=0) for by_draw in rows], axis=0) for draw in draws])
    between, images = _parts(units)
    if within is None:
        return Spread(between, None, images)
    each = [np.mean([1 / len(by_draw[draw]) for draw in draws]) for by_draw in rows]
    return Spread(max(between - within * float(np.mean(each)), 0.0), within, images)


def _parts(units: np.ndarray) -> tuple[float, float]:
    """Return the variance of units ``(K, N)`` and that of the images behind their mean, in squared points."""
    of_units, of_images, rest = mean_squares(units)
    count, images = units.shape
    return 1e4 * float(of_units) / images, 1e4 * max(float(of_images - rest), 0.0) / (count * images)


def _within(rows: Sequence[Sequence[Sequence[np.ndarray]]]) -> float | None:
    """Return the variance, within draws, of the mean over rows of one training each; ``None`` without a second one."""
    total = 0.0
    for draws in rows:
        free = sum(len(trainings) - 1 for trainings in draws)
        if not free:
            return None
        means = [np.array([hits.mean() for hits in trainings]) for trainings in draws]
        total += 1e4 * sum(float(np.square(each - each.mean()).sum()) for each in means) / free
    return total / len(rows) ** 2


def shows(spread: Spread, draws: int, seeds: int, rows: int) -> float | None:
    """Return the smallest difference in points that so many draws and seeds show in 80 % of cases among ``rows`` rows.

    ``None`` where the variance of draws is not known, or fewer than two draws (seeds, where all images are used).
    """
    units = seeds if spread.whole else draws
    if spread.between is None or units < 2:
        return None
    of_units = spread.between / units
    if spread.within is not None and not spread.whole:
        of_units += spread.within / (draws * seeds)
    variance = of_units + spread.images
    df = max(variance**2 / of_units**2, 1.0) * (units - 1) if of_units else 1e9
    design = Estimate(0.0, None, None, variance**0.5, df, None, draws, seeds, draws * seeds, "", of_units**0.5)
    return design.reach(1 - ALPHA / max(rows, 1) / 2, POWER)


def needed(spread: Spread, points: float, rows: int, seeds: int = 1) -> int | None:
    """Return the fewest draws (seeds, where all images are used) that show a difference, ``None`` if 1,000 do not.

    Args:
        spread: where the variance comes from.
        points: the difference, in percentage points.
        rows: compared in the family.
        seeds: trainings on each draw.
    """

    def enough(units: int) -> bool:
        found = shows(spread, *((1, units) if spread.whole else (units, seeds)), rows)
        return found is not None and found <= points

    low, high = 1, MOST
    if not enough(high):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def least(spread: Spread, rows: int) -> float | None:
    """Return what no number of trainings can undercut with these test images, in points."""
    return shows(spread, MOST, MOST, rows)
