"""Intervals of accuracies and paired differences: cases worked by hand, and what has no interval."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from benchbench.statistics.trainings import accuracy, difference, distinct, mean_difference


def hits(*texts: str) -> dict[tuple[int, int], np.ndarray]:
    """Return trainings, one draw each: ``"1101"`` is right on the first, second and fourth test image."""
    return {(draw, 0): np.array([sign == "1" for sign in text], bool) for draw, text in enumerate(texts)}


def seeds(*texts: str, draw: int = 0) -> dict[tuple[int, int], np.ndarray]:
    """Return trainings of one draw."""
    return {(draw, seed): row for (seed, _), row in hits(*texts).items()}


def interval(found) -> tuple[float | None, ...]:
    return found.low, found.high, found.se, found.df, found.p


NONE = (None,) * 5


def test_the_difference_worked_by_hand():
    """Three draws, four images: d = [[1, 0, 1, 0], [1, 0, 0, -1], [1, 1, 1, 0]]."""
    found = difference(hits("1111", "1010", "1110"), hits("0101", "0011", "0000"), whole=False)
    # Draw means 1/2, 0, 3/4: variance 7/48. Image means 1, 1/3, 2/3, -1/3: variance 35/108.
    of_draws, of_images = 4 * 7 / 48, 3 * 35 / 108
    # Sum of squares about the mean 5/12: 7 - 12 (5/12)^2 = 59/12, less 2 and 3 of these; 6 degrees of freedom.
    rest = (59 / 12 - 2 * of_draws - 3 * of_images) / 6
    variance = (of_draws - rest + of_images) / 12
    df = (12 * variance) ** 2 / (of_draws**2 / 2 + of_images**2 / 3 + rest**2 / 6)
    assert (found.value, found.se, found.df) == pytest.approx((100 * 5 / 12, 100 * variance**0.5, df))
    draws_se = 100 * (7 / 48 / 3) ** 0.5
    half = max(stats.t.ppf(0.975, df) * found.se, stats.t.ppf(0.975, 2) * draws_se)
    assert (found.low, found.high) == pytest.approx((found.value - half, found.value + half))
    assert half == pytest.approx(stats.t.ppf(0.975, 2) * draws_se)  # the draw means alone say less
    assert found.p == pytest.approx(2 * stats.t.sf(found.value / found.se, df))  # but not of a difference as small
    assert found.p > 2 * stats.t.sf(found.value / draws_se, 2)
    assert (found.draws, found.seeds, found.trainings, found.note) == (3, 1, 3, "")


def test_draws_that_agree_leave_the_error_of_the_test_images():
    """Every draw is the same, so that only images vary: their means are 1, 0, 0, 0."""
    found = difference(hits(*["1100"] * 3), hits(*["0100"] * 3), whole=False)
    assert found.se == pytest.approx(100 * (1 / 4 / 4) ** 0.5)
    assert found.df == pytest.approx(3)
    assert found.p == pytest.approx(2 * stats.t.sf(1, 3))


def test_seeds_are_averaged_within_their_draw_first():
    """Three seeds of one draw do not outweigh one seed of the other."""
    ours = seeds("1111", "1110", "1101") | seeds("1000", draw=1)
    theirs = seeds("0000", "0000", "0000") | seeds("0000", draw=1)
    found = difference(ours, theirs, whole=False)
    assert found.value == pytest.approx(100 * (10 / 12 + 1 / 4) / 2)
    assert (found.draws, found.seeds, found.trainings, found.note) == (2, 1, 4, "rough")
    assert found.df >= 1


def test_differences_are_taken_over_what_both_rows_have():
    ours, theirs = hits("1111", "1100", "0000"), hits("0000", "1000")
    found = difference(ours, theirs, whole=False)
    assert (found.value, found.draws) == (pytest.approx(100 * (1 + 1 / 4) / 2), 2)
    assert difference(seeds("11"), seeds("00", draw=1), whole=False) is None
    assert difference({}, {}, whole=False) is None
    assert difference(seeds("110"), seeds("11"), whole=False) is None  # another test set
    swapped = difference(theirs, ours, whole=False)
    assert (swapped.value, swapped.low, swapped.p) == pytest.approx((-found.value, -found.high, found.p))


def test_one_draw_of_all_images_is_tested_over_its_seeds():
    ours, theirs = seeds("1111", "1010", "1110"), seeds("0101", "0011", "0000")
    found = difference(ours, theirs, whole=True)
    over_draws = difference(hits("1111", "1010", "1110"), hits("0101", "0011", "0000"), whole=False)
    assert interval(found) == interval(over_draws)
    assert (found.draws, found.seeds, found.note) == (1, 3, "for these training images")


def test_one_draw_of_many_has_no_p_value():
    found = difference(seeds("1111", "1010"), seeds("0101", "0011"), whole=False)
    assert (found.p, found.note) == (None, "this draw only")
    assert found.low < found.value < found.high


@pytest.mark.parametrize("whole", [True, False])
def test_one_training_has_no_interval(whole):
    assert interval(difference(seeds("1111"), seeds("0101"), whole=whole)) == NONE
    assert interval(accuracy(seeds("0111"), whole=whole)) == NONE
    assert interval(accuracy(seeds("1111"), whole=whole)) == NONE


def test_one_test_image_has_no_interval():
    assert interval(difference(hits("1", "0", "1"), hits("0", "0", "0"), whole=False)) == NONE
    assert interval(accuracy(hits("1", "0", "1"), whole=False)) == NONE
    assert interval(accuracy(hits("1", "1", "1"), whole=False)) == NONE


def test_a_variance_that_comes_out_as_nothing_gives_no_interval():
    """Draws and images cancel: d = [[1, -1], [-1, 1]]; and every image is right in one row and wrong in the other."""
    assert interval(difference(hits("10", "01"), hits("01", "10"), whole=False)) == NONE
    found = difference(hits("100", "010", "001"), hits("000", "000", "000"), whole=False)
    assert interval(found) == NONE
    assert found.value == pytest.approx(100 / 3)
    assert interval(difference(hits("11", "11"), hits("00", "00"), whole=False)) == NONE


def test_identical_rows_differ_by_nothing_and_are_not_tested():
    found = difference(hits("0110", "1010"), hits("0110", "1010"), whole=False)
    assert (found.value, found.note) == (0.0, "identical")
    assert interval(found) == NONE


def test_what_is_no_number_does_not_count():
    broken = hits("1111", "1010", "1110") | {(3, 0): np.array([np.nan, 1, 1, 1])} | {(4, 0): np.array([], bool)}
    real = hits("0101", "0011", "0000", "0000", "")
    assert difference(broken, real, whole=False) == difference(hits("1111", "1010", "1110"), real, whole=False)
    assert accuracy(broken, whole=False).draws == 3
    with pytest.raises(ValueError, match=r"^accuracy of no training$"):
        accuracy({(0, 0): np.array([np.nan])}, whole=False)


def test_the_mean_over_architectures_is_taken_within_each_draw():
    one = hits("1111", "1010", "1110"), hits("0101", "0011", "0000")
    two = hits("1100", "1000", "1111", "1111"), hits("0000", "1100", "0110", "0000")
    found = mean_difference([one, two], whole=False)
    means = np.array([(1 / 2 + 1 / 2) / 2, (0 - 1 / 4) / 2, (3 / 4 + 1 / 2) / 2])
    assert found.value == pytest.approx(100 * means.mean())  # the fourth draw has one architecture alone
    assert found.draws_se == pytest.approx(100 * (means.var(ddof=1) / 3) ** 0.5)
    assert (found.draws, found.seeds, found.trainings) == (3, 1, 6)
    assert mean_difference([one, (hits("1"), {})], whole=False) is None
    assert mean_difference([], whole=False) is None
    twice = mean_difference([one, one], whole=False)
    assert interval(twice) == pytest.approx(interval(difference(*one, whole=False)))


def test_splits_anew_count_the_images_that_they_share():
    ours, theirs = hits("1111", "1010", "1110"), hits("0101", "0011", "0000")
    found = difference(ours, theirs, whole=True, shared_test=False, ratio=0.5)
    assert found.se == pytest.approx(100 * (7 / 48 * (1 / 3 + 1 / 2)) ** 0.5)
    assert (found.df, found.note) == (2, "")
    uneven = difference(hits("1111", "110"), hits("0101", "000"), whole=True, shared_test=False)
    assert uneven.value == pytest.approx(100 * (1 / 2 + 2 / 3) / 2)
    assert uneven.note == "rough"
    assert interval(difference(hits("1111", "110"), hits("0101", "000"), whole=True)) == NONE


def test_the_interval_of_an_accuracy_is_wilsons():
    right = np.arange(100) < 90
    found = accuracy({(draw, 0): right for draw in range(3)}, whole=False)  # draws agree: 100 images, 99 df
    square = stats.t.ppf(0.975, 99) ** 2
    count = 0.9 * 0.1 / (found.se / 100) ** 2
    assert (found.value, found.df, count) == pytest.approx((90, 99, 99))
    centre, half = 0.9 + square / 198, (square * (0.09 / 99 + square / 4 / 99**2)) ** 0.5
    assert (found.low, found.high) == pytest.approx(
        (100 * (centre - half) / (1 + square / 99), 100 * (centre + half) / (1 + square / 99))
    )
    every = accuracy({(draw, 0): np.ones(100, bool) for draw in range(3)}, whole=False)
    assert (every.value, every.high, every.low) == pytest.approx((100, 100, 100 / (1 + square / 100)))


def test_copies_count_once():
    trainings = seeds("1100", "1100", "1101") | seeds("1100", draw=1)
    unknown = distinct(trainings, {})
    assert list(unknown) == [(0, 0), (0, 2), (1, 0)]
    told = {(0, 0): "a", (0, 1): "b", (0, 2): "a", (1, 0): "a"}
    assert list(distinct(trainings, told)) == [(0, 0), (0, 1), (1, 0)]
    assert list(distinct(trainings, told | {(0, 1): ""})) == [(0, 0), (0, 1), (1, 0)]


def test_a_learner_without_randomness_varies_with_the_test_images_alone():
    found = difference(seeds("1100"), seeds("0100"), whole=True, exact=True)
    assert (found.se, found.df) == (pytest.approx(25), pytest.approx(3))
    assert (found.draws, found.seeds, found.note) == (1, 1, "for these training images")
    assert accuracy(seeds("1111"), whole=True, exact=True).low < 100
