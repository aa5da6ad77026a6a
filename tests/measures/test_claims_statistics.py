"""Claims that are several differences: which p value speaks for them, and how often they are wrong."""

from __future__ import annotations

import numpy as np
import pytest

from benchbench.statistics.claims import level, obstacle, together
from benchbench.statistics.draws import difference_over_draws

SAME = dict.fromkeys(range(5), 0.0)


def differences(*rows):
    return [difference_over_draws(dict(enumerate(row)), SAME, whole=False) for row in rows]


def test_for_a_claim_speaks_its_least_sure_difference():
    sure, less = differences([2.0, 2.1, 1.9, 2.0, 2.2], [1.0, 3.0, 0.5, 2.0, 1.5])
    assert together([sure, less]) == (less.p, 1)
    assert sure.p < less.p < 0.05


def test_against_it_speaks_its_surest_reverse_corrected_for_the_number_of_differences():
    up, down, doubtful = differences(
        [2.0, 2.1, 1.9, 2.0, 2.2], [-2.0, -2.1, -1.9, -2.0, -2.2], [-1.0, 3.0, -4.0, 2.0, -1.5]
    )
    assert together([up, down, doubtful]) == (pytest.approx(3 * down.p), -1)
    assert together([up, doubtful]) == (1.0, -1)


def test_nothing_is_concluded_where_a_difference_is_unknown():
    (up,) = differences([2.0, 2.1, 1.9, 2.0, 2.2])
    single = difference_over_draws({0: 1.0}, SAME, whole=False)
    same = difference_over_draws(SAME, SAME, whole=False)
    for other, why in ((None, "no draw in common"), (single, "this draw only"), (same, "identical")):
        assert together([up, other]) == (None, 0)
        assert obstacle([up, other]) == why
    assert together([]) == (None, 0)
    assert (obstacle([]), obstacle([up])) == ("nothing to compare", "")


def test_level_needs_the_whole_interval():
    close, far, wide = differences([0.1, -0.1, 0.0, 0.2, -0.1], [3.0, 3.1, 2.9, 3.0, 3.2], [-4.0, 4.0, 0.0, 3.0, -3.0])
    assert level([close], 1.0) == 1
    assert level([close, wide], 1.0) == 0
    assert level([close, far], 1.0) == -1
    assert level([close, None], 1.0) == 0
    assert level([], 1.0) == 0


@pytest.mark.parametrize("compared", [1, 3])
@pytest.mark.parametrize("draws", [3, 10])
def test_of_differences_that_are_nothing_at_most_five_in_a_hundred_say_anything(draws, compared):
    rng = np.random.default_rng(7)
    none = dict.fromkeys(range(draws), 0.0)
    wrong = 0
    for _ in range(1500):
        noise = rng.normal(0, 1, (compared, draws))
        p, way = together([difference_over_draws(dict(enumerate(row)), none, whole=False) for row in noise])
        wrong += way != 0 and p <= 0.05
    assert wrong / 1500 < 0.05 + 2.5 * (0.05 * 0.95 / 1500) ** 0.5
