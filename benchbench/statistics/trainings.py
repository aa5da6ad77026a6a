"""What trainings on several draws say: a mean accuracy, or the paired difference of two rows, with its interval.

Training s on draw k classifies test image i rightly or not. A difference is taken image by image between the trainings
that two rows share, then averaged over the trainings of each draw: ``d[k, i]``, K draws and N images. Its mean varies
with the draws and with the images, both samples of many::

    variance = max(S_draws - S_rest / N, 0) / K  +  S_images / N

``S_draws`` is the sample variance of the K draw means, ``S_images`` that of the N image means, and ``S_rest`` that of
what is left of ``d``, noise that the first two both contain (the crossed random model: Searle, Casella and McCulloch,
"Variance Components", 1992, chapter 4). The t distribution has Satterthwaite's degrees of freedom (Biometrics Bulletin
2, 1946), from all three. The difference is not let below 0, as it comes out by chance where draws hardly matter:
without that, the variance itself can be negative.

No interval is narrower, and no p value smaller, than Student's over the draw means alone (``S_draws / K``, K - 1
degrees of freedom). Three draws that agree by chance would otherwise pass for precise: in simulation a p value of
.05 / 8, which Holm asks of eight rows, then came by chance three times as often as it says, and for two draws up to
seven times. As it is, intervals covered 94.5 to 97.5 % where draws matter, and up to 99 % for two or three draws that
make no difference at all. On one draw, its trainings take the place of the draws.

Where each draw splits the same images anew, test images differ, and the draws share most of their training images: the
variance is ``S_draws (1 / K + test / training images)`` with K - 1 degrees of freedom (Nadeau and Bengio, "Inference
for the generalization error", Machine Learning 52, 2003, section 3).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

#: Which test images a training classified rightly, bool ``(N,)``, by draw and replicate.
Trainings = Mapping[tuple[int, int], NDArray[np.bool_]]
Vector = NDArray[np.float64]

#: What a 95 % interval leaves out on each side, and test images per training image where a fifth is for testing.
TAIL, RATIO = 0.025, 0.25
ROUGH, WHOLE, ONE_DRAW, IDENTICAL = "rough", "for these training images", "this draw only", "identical"


@dataclass(frozen=True)
class Estimate:
    """A mean with what is known of its error.

    Attributes:
        value: in percent, or percentage points for a difference.
        low, high: the 95 % interval, ``None`` where there is none.
        se: standard error, in points.
        df: Satterthwaite's degrees of freedom.
        p: two-sided, against 0; ``None`` for an accuracy, and where nothing may be concluded.
        draws: that it is over.
        seeds: trainings per draw, the least of any draw.
        trainings: in all.
        note: ``""``, ``"rough"`` (two draws), ``"for these training images"`` (all there are: the interval covers
            seeds and test images), ``"this draw only"`` (one of many: likewise, and nothing may be concluded), or
            ``"identical"`` (the same answers in every training).
        draws_se: standard error from the draw means alone, in points, with one degree of freedom less than draws (than
            trainings, on one draw); interval and p heed it as well as ``se`` and ``df``.

    """

    value: float
    low: float | None
    high: float | None
    se: float | None
    df: float | None
    p: float | None
    draws: int
    seeds: int
    trainings: int
    note: str
    draws_se: float = 0.0

    def errors(self) -> list[tuple[float, float]]:
        """Return each standard error with its degrees of freedom; none where there is no interval."""
        if self.se is None or self.df is None:
            return []
        units = self.draws if self.draws > 1 else self.seeds
        return [(self.se, self.df), *([(self.draws_se, units - 1.0)] if self.draws_se else [])]

    def reach(self, *shares: float) -> float:
        """Return the sum of these quantiles of the error, in points: ``reach(.975)`` is half a 95 % interval."""
        return max(se * sum(float(special.stdtrit(df, share)) for share in shares) for se, df in self.errors())


def distinct(trainings: Trainings, answers: Mapping[tuple[int, int], str]) -> Trainings:
    """Return trainings without copies: of those on one draw that gave the same answers, the first.

    Args:
        trainings: hits by draw and replicate.
        answers: digest of the stored answers by draw and replicate; where it is ``""`` or absent, trainings of a draw
            with equal hits count as copies.
    """
    kept: dict[tuple[int, int], NDArray[np.bool_]] = {}
    seen = set[tuple[int, str | bytes]]()
    for key in sorted(trainings):
        told = answers.get(key) or np.packbits(np.asarray(trainings[key], bool)).tobytes()
        if (key[0], told) not in seen:
            seen.add((key[0], told))
            kept[key] = trainings[key]
    return kept


def accuracy(
    trainings: Trainings, *, whole: bool, shared_test: bool = True, ratio: float = RATIO, exact: bool = False
) -> Estimate:
    """Return the mean accuracy in percent.

    Its interval is Wilson's, which stays within 0..100 and holds near them, for as many independent test images as
    would have its variance (Dean and Pagano, Journal of Survey Statistics and Methodology 3, 2015).

    Args:
        trainings: hits by draw and replicate, without copies (:func:`distinct`), at least one.
        whole: whether all real training images are used, so that one draw is all there are.
        shared_test: whether all draws have the same test images.
        ratio: test images per training image, where draws split the same images anew.
        exact: whether seeds change nothing, as copies showed: one training on the one draw is all that can be had, and
            the interval covers the test images.

    Raises:
        ValueError: no training.
    """
    rows = _by_draw({key: np.asarray(hits, np.float64) for key, hits in trainings.items()})
    if not rows:
        raise ValueError("accuracy of no training")
    return _score(
        _estimate([rows], whole, shared_test, ratio, exact), min(len(hits[0]) for hits in rows.values()), exact
    )


def difference(
    ours: Trainings,
    theirs: Trainings,
    *,
    whole: bool,
    shared_test: bool = True,
    ratio: float = RATIO,
    exact: bool = False,
) -> Estimate | None:
    """Return ours minus theirs in percentage points over the draws and replicates that both have, else ``None``.

    Its ``p`` is two-sided against 0. Arguments as of :func:`accuracy`.
    """
    return mean_difference([(ours, theirs)], whole=whole, shared_test=shared_test, ratio=ratio, exact=exact)


def mean_difference(
    pairs: Sequence[tuple[Trainings, Trainings]],
    *,
    whole: bool,
    shared_test: bool = True,
    ratio: float = RATIO,
    exact: bool = False,
) -> Estimate | None:
    """Return the difference averaged over several pairs of rows, such as architectures, within each draw.

    The pairs are what it speaks of, no sample of more. Draws that one pair lacks are left out; ``None`` if none is
    left. Arguments as of :func:`accuracy`.
    """
    rows = [paired_by_draw(ours, theirs) for ours, theirs in pairs]
    if not rows or not set.intersection(*map(set, rows)):
        return None
    estimate = _estimate(rows, whole, shared_test, ratio, exact)
    if not any(hits.any() for by_draw in rows for trainings in by_draw.values() for hits in trainings):
        return replace(estimate, low=None, high=None, se=None, df=None, note=IDENTICAL)
    if not estimate.errors() or estimate.note == ONE_DRAW:
        return estimate
    ratios = [(-abs(estimate.value) / se, df) for se, df in estimate.errors()]
    return replace(estimate, p=max(2 * float(special.stdtr(df, ratio)) for ratio, df in ratios))


def paired_by_draw(ours: Trainings, theirs: Trainings) -> dict[int, list[Vector]]:
    """Return by draw the difference of hits by image, -1..1, of each training that both have on equally many images."""
    shared = sorted(ours.keys() & theirs.keys())
    both = {key: (np.asarray(ours[key], np.float64), np.asarray(theirs[key], np.float64)) for key in shared}
    return _by_draw({key: mine - other for key, (mine, other) in both.items() if mine.shape == other.shape})


def _by_draw(images: Mapping[tuple[int, int], Vector]) -> dict[int, list[Vector]]:
    """Return the trainings of each draw.

    Left out are those without images, with a value that is no number, or on another number of images than the first.
    """
    rows: dict[int, list[Vector]] = {}
    for draw, replicate in sorted(images):
        values = images[draw, replicate]
        if values.size and np.isfinite(values).all() and values.shape == rows.get(draw, [values])[0].shape:
            rows.setdefault(draw, []).append(values)
    return rows


def _estimate(
    rows: Sequence[Mapping[int, Sequence[Vector]]], whole: bool, shared_test: bool, ratio: float, exact: bool
) -> Estimate:
    """Return the mean over the draws that all of ``rows`` have, with its interval and without a test."""
    draws = sorted(set.intersection(*map(set, rows)))
    trainings = [by_draw[draw] for draw in draws for by_draw in rows]
    seeds = min(map(len, trainings))
    if len(draws) > 1:
        units = [[np.mean(by_draw[draw], axis=0) for by_draw in rows] for draw in draws]
    else:
        units = [[by_draw[draws[0]][seed] for by_draw in rows] for seed in range(seeds)]
        shared_test = True
        if exact and len(units) == 1:
            units *= 2  # a second seed would give the same
    value = 100 * float(np.mean([values.mean() for unit in units for values in unit]))
    single = WHOLE if whole and shared_test else ONE_DRAW if len(draws) == 1 else ""
    note = ROUGH if len(draws) == 2 else single
    found = Estimate(value, None, None, None, None, None, len(draws), seeds, sum(map(len, trainings)), note)
    if not shared_test:
        se, df, draws_se = _split_anew(np.array([np.mean([values.mean() for values in unit]) for unit in units]), ratio)
    elif len(units) > 1 and len({values.size for unit in units for values in unit}) == 1:
        se, df, draws_se = errors(np.array([np.mean(unit, axis=0) for unit in units]))
    else:  # one training, or test images that changed meanwhile
        return found
    if not np.isfinite(df):
        return found
    found = replace(found, se=100 * float(se), df=float(df), draws_se=100 * float(draws_se))
    half = found.reach(1 - TAIL)
    return replace(found, low=value - half, high=value + half)


def _score(found: Estimate, images: int, exact: bool) -> Estimate:
    """Return the estimate of an accuracy with Wilson's interval, for test images that all are right, too."""
    share = found.value / 100
    if found.errors() and 0 < share < 1:
        square = (found.reach(1 - TAIL) / 100) ** 2 / (share * (1 - share))
    elif share in (0, 1) and images > 1 and (found.draws > 1 or found.seeds > 1 or exact):
        found = replace(found, se=0.0, df=images - 1.0)
        square = float(special.stdtrit(images - 1, 1 - TAIL)) ** 2 / images
    else:
        return found
    centre = (share + square / 2) / (1 + square)
    half = math.sqrt(square * share * (1 - share) + square**2 / 4) / (1 + square)
    return replace(found, low=100 * max(centre - half, 0.0), high=100 * min(centre + half, 1.0))


def errors(units: NDArray[Any]) -> tuple[Any, Any, Any]:
    """Return the standard error of the mean of draws by test images, its degrees of freedom, and that of draws alone.

    Args:
        units: ``(..., K, N)``, K of at least 2 draws, N images.

    Returns:
        Each ``(...)``; the degrees of freedom, at least K - 1, are NaN for one image, and where the variance is 0.
    """
    draws, images = units.shape[-2:]
    with np.errstate(all="ignore"):
        of_draws, of_images, rest = mean_squares(units)
        total = np.maximum(of_draws - rest, 0) + of_images
        total = np.where(total > 1e-9 * rest, total, 0.0)  # what rounding leaves of nothing
        spread = of_draws**2 / (draws - 1) + of_images**2 / (images - 1) + rest**2 / ((draws - 1) * (images - 1))
        root = math.sqrt(draws * images)
        df = np.where(total > 0, np.maximum(total**2 / spread, draws - 1), np.nan)
        return np.sqrt(total) / root, df, np.sqrt(of_draws) / root


def mean_squares(units: NDArray[Any]) -> tuple[Any, Any, Any]:
    """Return the mean squares of draws, images and their interaction of ``units``, ``(..., K, N)``, each ``(...)``.

    NaN for one image.
    """
    draws, images = units.shape[-2:]
    by_draw, by_image = units.mean(axis=-1, dtype=np.float64), units.mean(axis=-2, dtype=np.float64)
    centre = by_draw.mean(axis=-1)
    of_draws = images * np.square(by_draw - centre[..., None]).sum(axis=-1)
    of_images = draws * np.square(by_image - centre[..., None]).sum(axis=-1)
    rest = np.square(units, dtype=np.float64).sum(axis=(-2, -1)) - draws * images * centre**2 - of_draws - of_images
    with np.errstate(all="ignore"):
        freedom = np.array([draws - 1, images - 1, (draws - 1) * (images - 1)], np.float64)
        return of_draws / freedom[0], of_images / freedom[1], np.maximum(rest, 0) / freedom[2]


def _split_anew(means: Vector, ratio: float) -> tuple[float, float, float]:
    se = float(means.std(ddof=1)) * math.sqrt(1 / len(means) + ratio)
    return se, len(means) - 1.0 if se > 1e-12 else math.nan, 0.0  # equal means differ by rounding
