"""Intervals and verdicts against simulation: realistic logits of images, draws and seeds, not normal differences."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from simulated import share_right, simulate

from benchbench.statistics.families import BETTER, detectable, holm, verdict
from benchbench.statistics.trainings import Trainings, accuracy, difference, errors

#: Deviations by draw, seed and image, in logits: images matter most, all alike, draws matter most. The first has what
#: trainings on the digits show, about 2.5 points from one draw or seed to another.
RATIOS = ((0.2, 0.2, 0.6), (0.35, 0.3, 0.4), (0.6, 0.2, 0.2))


def covers(units: np.ndarray, truth: float) -> np.ndarray:
    """Return whether the intervals of ``(R, K, N)`` cover the truth, bool ``(R,)``."""
    se, df, draws_se = errors(units)
    half = np.maximum(se * stats.t.ppf(0.975, df), draws_se * stats.t.ppf(0.975, units.shape[1] - 1))
    return np.abs(units.mean(axis=(-2, -1)) - truth) <= half


@pytest.mark.parametrize("images", [200, 2000])
@pytest.mark.parametrize("deviations", RATIOS)
def test_intervals_cover_the_true_difference(deviations, images):
    """Draws 3, 5 and 10, seeds 1 and 3; all draws of a simulated study are used, in groups."""
    rng = np.random.default_rng(5)
    truth = share_right(deviations, effect=0.2) - share_right(deviations)
    covered: dict[tuple[int, int], list[np.ndarray]] = {}
    for _ in range(1 if images == 200 else 6):
        theirs, ours = simulate(rng, (1500 if images == 200 else 100, 10, 3, images), deviations, effect=0.2)
        for seeds in (1, 3):
            mean = (ours[:, :, :seeds].astype(np.int8) - theirs[:, :, :seeds]).mean(axis=2, dtype=np.float32)
            for draws in (3, 5, 10):
                groups = [mean[:, start : start + draws] for start in range(0, 11 - draws, draws)]
                covered.setdefault((draws, seeds), []).extend(covers(group, truth) for group in groups)
    shares = {cell: round(100 * float(np.mean(found)), 1) for cell, found in covered.items()}
    assert all(92 <= share <= 98 for share in shares.values()), shares


@pytest.mark.parametrize("mean", [0.0, 3.5, 8.0])
def test_intervals_cover_the_true_accuracy_also_near_all(mean):
    """50, 91 and 99.9 % right; where nearly all are, Student's interval covers half of the time."""
    rng = np.random.default_rng(8)
    theirs, _ = simulate(rng, (400, 5, 1, 200), RATIOS[0], mean=mean)
    truth = 100 * share_right(RATIOS[0], mean=mean)
    found = [accuracy(trainings(rights), whole=False) for rights in theirs]
    assert all(0 <= one.low <= one.value <= one.high <= 100 for one in found)
    assert 92 <= 100 * np.mean([one.low <= truth <= one.high for one in found]) <= (98 if mean < 5 else 100)


def trainings(rights: np.ndarray) -> Trainings:
    """Return ``(K, S, N)`` as trainings by draw and replicate."""
    return {place: rights[place] for place in np.ndindex(rights.shape[:2])}


@pytest.mark.parametrize(("deviations", "draws"), [(RATIOS[2], 2), (RATIOS[1], 3), (RATIOS[2], 3), (RATIOS[1], 5)])
def test_at_most_one_family_in_twenty_has_a_false_better(deviations, draws):
    """Eight rows without effect that share their baseline."""
    rng = np.random.default_rng(6)
    false = 0
    for study in simulate(rng, (200, draws, 1, 200), deviations, methods=9).swapaxes(0, 1):
        real, *rows = map(trainings, study)
        found = [difference(row, real, whole=False) for row in rows]
        false += BETTER in map(verdict, found, holm([one.p for one in found]))
    assert false / 200 <= 0.05


@pytest.mark.parametrize(("draws", "rows", "effect"), [(3, 1, 1.4), (5, 1, 0.6), (10, 1, 0.36), (10, 5, 0.5)])
def test_a_detectable_difference_is_found_in_four_of_five_studies(draws, rows, effect):
    rng = np.random.default_rng(9)
    theirs, ours = simulate(rng, (300, draws, 1, 500), RATIOS[0], effect=effect)
    found = [difference(trainings(a), trainings(b), whole=False) for a, b in zip(ours, theirs, strict=True)]
    smallest = np.mean([detectable(one, rows) for one in found])
    assert np.mean([one.value for one in found]) == pytest.approx(smallest, rel=0.12)  # the effect was chosen so
    assert 0.7 <= np.mean([verdict(one, min(1, one.p * rows)) == BETTER for one in found]) <= 0.9


def test_splits_of_the_same_images_cover_the_true_difference():
    """Two classifiers by nearest mean, on ten features or the first five, of 250 images that are split ten times."""
    rng, size, fifth = np.random.default_rng(10), 250, 50
    centre = np.where(np.arange(10) < 3, 0.45, 0.0)

    def sample(count: int) -> tuple[np.ndarray, np.ndarray]:
        label = rng.random(count) < 0.5
        return rng.standard_normal((count, 10)) + np.where(label[:, None], centre, -centre), label

    def right(train: tuple[np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray], width: int) -> np.ndarray:
        one, two = (train[0][train[1] == label, :width].mean(axis=0) for label in (True, False))
        return ((test[0][:, :width] - (one + two) / 2) @ (one - two) > 0) == test[1]

    def both(train: tuple[np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray]) -> list[np.ndarray]:
        return [right(train, test, width) for width in (5, 10)]

    truth = np.mean([np.subtract(*map(np.mean, both(sample(size - fifth), sample(2000)))) for _ in range(600)]) * 100
    naive = covered = 0
    for _ in range(200):
        images, labels = sample(size)
        orders = [rng.permutation(size) for _ in range(10)]
        parts = [((images[o[fifth:]], labels[o[fifth:]]), (images[o[:fifth]], labels[o[:fifth]])) for o in orders]
        rows = [{(draw, 0): both(*part)[row] for draw, part in enumerate(parts)} for row in range(2)]
        found = difference(*rows, whole=True, shared_test=False, ratio=0.25)
        covered += found.low <= truth <= found.high
        naive += abs(found.value - truth) <= found.reach(0.975) * np.sqrt(0.1 / 0.35)
    assert naive / 200 < 0.92 <= covered / 200
