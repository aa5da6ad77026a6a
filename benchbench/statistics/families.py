"""Verdicts over many rows that are compared at once, what a design can show, and which rows are tied."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .trainings import IDENTICAL, ONE_DRAW, Estimate

#: Chance of any false verdict in a family of rows, and the power that "detectable" means.
ALPHA, POWER = 0.05, 0.8
BETTER, WORSE, SAME, TOO_FEW = "better", "worse", "no difference shown", "not enough trainings"


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Return p values adjusted for their number (Holm, Scandinavian Journal of Statistics 6, 1979); ``None`` stays."""
    known = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, place) in enumerate(known):
        largest = max(largest, min(1.0, p * (len(known) - rank)))
        adjusted[place] = largest
    return adjusted


def verdict(estimate: Estimate | None, adjusted: float | None) -> str:
    """Return ``"better"``, ``"worse"``, ``"no difference shown"``, ``"not enough trainings"`` or ``""``.

    Args:
        estimate: the difference to the baseline, ``None`` without one.
        adjusted: its p value as :func:`holm` adjusts it in its family.

    Empty where nothing is compared, where one draw stands for many, and for identical answers.
    """
    if estimate is None or estimate.note in (ONE_DRAW, IDENTICAL):
        return ""
    if adjusted is None:
        return TOO_FEW
    if adjusted > ALPHA:
        return SAME
    return BETTER if estimate.value > 0 else WORSE


def tie_groups(values: Sequence[float | None], difference: Callable[[int, int], Estimate | None]) -> list[int | None]:
    """Return the group of each row, from 1: the best row and all that are not shown to be worse, then the best left.

    Args:
        values: accuracy of each row; one that is ``None`` has no group.
        difference: returns row ``i`` minus row ``j``, paired. Rows that share no training are not shown to differ.
    """
    groups: list[int | None] = [None] * len(values)
    left = sorted((place for place, value in enumerate(values) if value is not None), key=lambda i: -(values[i] or 0.0))
    group = 0
    while left:
        group += 1
        best, rest = left[0], left[1:]
        found = [difference(place, best) for place in rest]
        adjusted = holm([None if estimate is None else estimate.p for estimate in found])
        told = map(verdict, found, adjusted)
        worse = [place for place, word in zip(rest, told, strict=True) if word == WORSE]
        for place in left:
            if place not in worse:
                groups[place] = group
        left = worse
    return groups


def detectable(estimate: Estimate | None, rows: int) -> float | None:
    """Return the smallest difference that a design finds in 80 % of cases, in percentage points.

    ``(t(1 - a / 2) + t(.8)) se`` with ``a = .05 / rows``, at the estimate's standard errors and degrees of freedom.

    Args:
        estimate: the difference of a row to its baseline; without a p value nothing can be found, ``None``.
        rows: compared in the family.
    """
    if estimate is None or estimate.p is None:
        return None
    return estimate.reach(1 - ALPHA / max(rows, 1) / 2, POWER)
