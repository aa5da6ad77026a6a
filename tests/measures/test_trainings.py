"""Intervals of accuracies and paired differences: cases worked by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from benchbench.statistics.trainings import accuracy, difference, distinct, mean_difference


def hits(*texts: str) -> dict[tuple[int, int], np.ndarray]:
    """Return trainings, one draw each: ``"1101"`` is right on the first, second and fourth test image."""
    return {(draw, 0): np.array([sign == "1" for sign in text]) for draw, text in enumerate(texts)}


def seeds(*texts: str, draw: int = 0) -> dict[tuple[int, int], np.ndarray]:
    """Return trainings of one draw."""
    return {(draw, seed): row for (seed, _), row in hits(*texts).items()}


def test_the_difference_worked_by_hand():
    """Three draws, four images; d = [[1, 0, 1, 0], [1, 0, 0, -1], [1, 1, 1, 0]]."""
    ours, theirs = hits("1111", "1010", "1110"), hits("0101", "0011", "0000")
    found = difference(ours, theirs, whole=False)
    # Draw means 1/2, 0, 3/4: variance 7/48. Image means 1, 1/3, 2/3, -1/3: variance 35/108.
    of_draws, of_images = 4 * 7 / 48, 3 * 35 / 108
    # Sum of squares about the mean 5/12: 7 - 12 (5/12)^2 = 59/12, less 2 and 3 of these; 6 degrees of freedom.
    rest = (59 / 12 - 2 * of_draws - 3 * of_images) / 6
    variance = ((of_draws - rest) + of_images) / 12
    df = (12 * variance) ** 2 / (of_draws**2 / 2 + of_images**2 / 3 + rest**2 / 6)
    assert found is not None
    assert rest > 0 and of_draws > rest
    assert found.value == pytest.approx(100 * 5 / 12)
    assert found.se == pytest.approx(100 * variance**0.5)
    assert found.df == pytest.approx(df)
    half = stats.t.ppf(0.975, df) * 100 * variance**0.5
    assert (found.low, found.high) == (pytest.approx(found.value - half), pytest.approx(found.value + half))
    assert found.p == pytest.approx(2 * stats.t.sf(found.value / found.se, df))
    assert (found.draws, found.seeds, found.trainings, found.note) == (3, 1, 3, "")
