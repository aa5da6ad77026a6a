"""Tests of claims that are several differences at once: each is above 0, or each is level."""

from __future__ import annotations

from collections.abc import Sequence

from .families import TOO_FEW
from .trainings import TAIL, Estimate


def together(estimates: Sequence[Estimate | None]) -> tuple[float | None, int]:
    """Return the p value of a claim that every difference is above 0, and the way that it speaks: 1 for it, -1 against.

    For the claim speaks only that all are above 0: then the largest p value is that of the claim (an intersection-union
    test, Berger, Technometrics 24, 1982), whatever their number. Against it speaks one that is below: the smallest p
    value of those below, times the number of all (Bonferroni). Whichever it is, what is not so is shown in at most 5 %
    of cases.

    Args:
        estimates: differences with their two-sided p values; ``None`` and those without a p value conclude nothing.

    Returns:
        ``None`` and 0 where nothing can be concluded.
    """
    known = [(it.p, it.value) for it in estimates if it is not None and it.p is not None]
    against = [p for p, value in known if value < 0]
    if against:
        return min(1.0, min(against) * len(known)), -1
    if known and len(known) == len(estimates):
        return max(p for p, _ in known), 1
    return None, 0


def level(estimates: Sequence[Estimate | None], within: float) -> int:
    """Return 1 if every 95 % interval lies within -within..within, -1 if a difference is shown to lie outside, else 0.

    Outside: its interval, at 95 % for all of them together (Bonferroni), does not reach into the limits.
    """
    known = [it for it in estimates if it is not None and it.low is not None and it.high is not None]
    if any(abs(it.value) - it.reach(1 - TAIL / len(known)) > within for it in known):
        return -1
    whole = len(known) == len(estimates) > 0
    return int(whole and all(-within <= (it.low or 0.0) and (it.high or 0.0) <= within for it in known))


def obstacle(estimates: Sequence[Estimate | None]) -> str:
    """Return why nothing can be concluded from some differences, ``""`` where nothing is in the way."""
    if not estimates or any(it is None for it in estimates):
        return "no draw in common" if estimates else "nothing to compare"
    return next((it.note or TOO_FEW for it in estimates if it is not None and it.p is None), "")
