"""Means over draws against SciPy's own t tests."""

from __future__ import annotations

import pytest
from scipy import stats

from benchbench.statistics.draws import difference_over_draws, over_draws

OURS = {0: 17.9, 1: 21.4, 2: 19.0, 3: 18.2}
THEIRS = {0: 20.1, 1: 24.0, 2: 20.2, 4: 30.0}


def test_a_mean_has_the_interval_of_a_one_sample_t_test():
    found = over_draws(OURS, whole=False)
    test = stats.ttest_1samp(list(OURS.values()), 0.0)
    low, high = test.confidence_interval(0.95)
    assert (found.low, found.high, found.df) == (pytest.approx(low), pytest.approx(high), test.df)
    assert (found.draws, found.p, found.note) == (4, None, "")


def test_a_difference_is_paired_over_the_draws_that_both_have():
    found = difference_over_draws(OURS, THEIRS, whole=False)
    test = stats.ttest_rel([OURS[d] for d in (0, 1, 2)], [THEIRS[d] for d in (0, 1, 2)])
    assert (found.value, found.p) == (pytest.approx(-2.0), pytest.approx(test.pvalue))
    assert found.draws == 3


def test_what_no_interval_can_be_had_of():
    assert over_draws({0: 3.0}, whole=False).note == "this draw only"
    assert over_draws({0: 3.0}, whole=True).note == "for these training images"
    assert over_draws({0: 3.0, 1: 4.0}, whole=True).note == "rough", "whatever the images, two draws"
    assert over_draws({0: 3.0, 1: 3.0}, whole=False).low is None
    assert difference_over_draws({0: 1.0}, {1: 1.0}, whole=False) is None
    same = difference_over_draws(OURS, OURS, whole=False)
    assert (same.value, same.p, same.note) == (0.0, None, "identical")
    with pytest.raises(ValueError, match="no draw"):
        over_draws({}, whole=False)
