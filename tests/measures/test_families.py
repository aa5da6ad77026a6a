"""Holm, verdicts, tie groups and detectable differences: values worked by hand."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from benchbench.statistics.families import detectable, holm, tie_groups, verdict
from benchbench.statistics.trainings import Estimate

FOUND = Estimate(2.0, 0.5, 3.5, 0.7, 20.0, 0.01, 5, 1, 5, "")


def estimate(value: float, p: float | None = 0.01, **more) -> Estimate:
    return dataclasses.replace(FOUND, value=value, p=p, **more)


def test_holm_by_hand():
    """Four values: .01 four times, .02 three times, .03 twice, .04 once; none falls below the one before."""
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.01, None, 0.5, 0.9]) == [pytest.approx(0.03), None, 1.0, 1.0]
    assert holm([]) == []
    assert holm([None]) == [None]


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_lies_between_the_value_and_bonferronis(values):
    adjusted = holm(values)
    for value, after in zip(values, adjusted, strict=True):
        assert value <= after <= min(1.0, value * len(values)) + 1e-12
    order = sorted(range(len(values)), key=lambda place: values[place])
    assert [adjusted[place] for place in order] == sorted(adjusted)


@pytest.mark.parametrize(
    ("found", "adjusted", "word"),
    [
        (estimate(2), 0.05, "better"),
        (estimate(-2), 0.049, "worse"),
        (estimate(2), 0.0501, "no difference shown"),
        (estimate(2, None), None, "not enough trainings"),
        (estimate(2, None, note="this draw only"), None, ""),
        (estimate(0, None, note="identical"), None, ""),
        (estimate(2, 0.001, note="for these training images"), 0.01, "better"),
        (None, None, ""),
    ],
)
def test_verdicts(found, adjusted, word):
    assert verdict(found, adjusted) == word


def groups_of(values, p_values):
    """Return tie groups where ``p_values[i, j]`` tells rows apart, i being worse."""

    def difference(i, j):
        return estimate(values[i] - values[j], p_values.get((i, j), 0.9))

    return tie_groups(values, difference)


def test_tie_groups_begin_at_the_best_row_left():
    values = [80.0, None, 90.0, 89.0, 70.0]
    assert groups_of(values, {(4, 2): 0.001, (0, 2): 0.002}) == [2, None, 1, 1, 2]
    assert groups_of(values, {(4, 2): 0.001, (0, 2): 0.002, (4, 0): 0.04}) == [2, None, 1, 1, 3]
    # .02 alone would part row 0 from row 2; of three it does not (Holm), as .03 does not of two.
    assert groups_of(values, {(0, 2): 0.02}) == [1, None, 1, 1, 1]
    assert tie_groups([], lambda i, j: None) == []
    assert tie_groups([1.0, 2.0], lambda i, j: None) == [1, 1]


def test_the_detectable_difference_by_hand():
    both = stats.t.ppf(1 - 0.05 / 6 / 2, 20) + stats.t.ppf(0.8, 20)
    assert detectable(FOUND, 6) == pytest.approx(both * 0.7)
    few = dataclasses.replace(FOUND, draws=3, draws_se=0.7)  # two degrees of freedom of the draws weigh more
    assert detectable(few, 6) == pytest.approx((stats.t.ppf(1 - 0.05 / 6 / 2, 2) + stats.t.ppf(0.8, 2)) * 0.7)
    assert detectable(estimate(2, None), 6) is None
    assert detectable(None, 6) is None
