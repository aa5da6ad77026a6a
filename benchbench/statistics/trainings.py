"""What trainings on several draws say: a mean accuracy, or the paired difference of two rows, with its interval.

Training s on draw k classifies test image i rightly or not. A difference is taken image by image between the trainings
that two rows share, then averaged over the trainings of each draw: ``d[k, i]``, K draws and N images. Its mean varies
with the draws and with the images, both samples of many::

    variance = max(S_draws - S_rest / N, 0) / K  +  S_images / N

``S_draws`` is the sample variance of the K draw means, ``S_images`` that of the N image means, and ``S_rest`` that of
what is left of ``d``, noise that the first two both contain (the crossed random model: Searle, Casella and McCulloch,
"Variance Components", 1992, chapter 4). The t distribution has Satterthwaite's degrees of freedom (Biometrics Bulletin
2, 1946), from all three. The difference is not let below 0, as it comes out by chance where draws hardly matter:
without that, the variance itself can be negative. On one draw, its trainings take the place of the draws.

Where each draw splits the same images anew, test images differ, and the draws share most of their training images: the
variance is ``S_draws (1 / K + test / training images)`` with K - 1 degrees of freedom (Nadeau and Bengio, "Inference
for the generalization error", Machine Learning 52, 2003, section 3).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import stats

#: Which test images a training classified rightly, bool ``(N,)``, by draw and replicate.
Trainings = Mapping[tuple[int, int], NDArray[np.bool_]]
Vector = NDArray[np.float64]

#: What intervals cover, and test images per training image where a fifth is for testing.
LEVEL, RATIO = 0.95, 0.25
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
    return _estimate([rows], whole, shared_test, ratio, exact)


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
    rows = [_by_draw(_paired(ours, theirs)) for ours, theirs in pairs]
    if not rows or not set.intersection(*map(set, rows)):
        return None
    estimate = _estimate(rows, whole, shared_test, ratio, exact)
    if not any(hits.any() for by_draw in rows for trainings in by_draw.values() for hits in trainings):
        return replace(estimate, low=None, high=None, se=None, df=None, note=IDENTICAL)
    if not estimate.se or estimate.note == ONE_DRAW:
        return estimate
    return replace(estimate, p=2 * float(stats.t.sf(abs(estimate.value) / estimate.se, estimate.df)))


def _paired(ours: Trainings, theirs: Trainings) -> dict[tuple[int, int], Vector]:
    """Return the difference of hits by image, in -1..1, of each training that both have on equally many images."""
    return {
        key: np.asarray(ours[key], np.float64) - np.asarray(theirs[key], np.float64)
        for key in sorted(ours.keys() & theirs.keys())
        if np.shape(ours[key]) == np.shape(theirs[key])
    }


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
    means = np.array([np.mean([values.mean() for values in unit]) for unit in units])
    if not shared_test:
        variance, df = _split_anew(means, ratio)
    elif len({values.size for unit in units for values in unit}) == 1:
        variance, df = two_way(np.array([np.mean(unit, axis=0) for unit in units]))
    else:  # test images that changed meanwhile
        variance, df = None, None
    note = WHOLE if whole and shared_test else {1: ONE_DRAW, 2: ROUGH}.get(len(draws), "")
    value, counts = 100 * float(means.mean()), (len(draws), seeds, sum(map(len, trainings)), note)
    if not variance or df is None:
        return Estimate(value, None, None, None, None, None, *counts)
    se = 100 * math.sqrt(variance)
    half = se * float(stats.t.ppf((1 + LEVEL) / 2, df))
    return Estimate(value, value - half, value + half, se, df, None, *counts)


def two_way(units: Vector) -> tuple[float | None, float | None]:
    """Return the variance of the mean of an array ``(K, N)``, draws by test images, and its degrees of freedom.

    Both are ``None`` for one draw or one image: nothing tells how much it would vary.
    """
    draws, images = units.shape
    if draws < 2 or images < 2:
        return None, None
    of_draws, of_images, rest = mean_squares(units)
    total = max(of_draws - rest, 0.0) + of_images
    spread = of_draws**2 / (draws - 1) + of_images**2 / (images - 1) + rest**2 / ((draws - 1) * (images - 1))
    return total / (draws * images), total**2 / spread if spread else None


def mean_squares(units: Vector) -> tuple[float, float, float]:
    """Return the mean squares of draws, images and their interaction of an array ``(K, N)``, both at least 2."""
    draws, images = units.shape
    by_draw, by_image = units.mean(axis=1), units.mean(axis=0)
    rest = units - by_draw[:, None] - by_image[None, :] + units.mean()
    interaction = float((rest**2).sum()) / ((draws - 1) * (images - 1))
    return images * float(by_draw.var(ddof=1)), draws * float(by_image.var(ddof=1)), interaction


def _split_anew(means: Vector, ratio: float) -> tuple[float | None, float | None]:
    if len(means) < 2:
        return None, None
    return float(means.var(ddof=1)) * (1 / len(means) + ratio), len(means) - 1.0
