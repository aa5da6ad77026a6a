"""Which part of one gain another gain is, with an interval."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .trainings import Estimate

#: Each of the two gains lies in its interval of this level; both do so in 95 % of cases at least (Bonferroni).
LEVEL = 0.975


def share_of(part: Estimate, whole: Estimate) -> tuple[float, float, float] | None:
    """Return ``part / whole`` with the ends of an interval that covers it in 95 % of cases at least.

    It holds every ratio of a value in the 97.5 % interval of ``part`` to one in that of ``whole``, whatever the two
    have in common, and is therefore wide.

    Args:
        part: a difference in percentage points.
        whole: another one, the gain that it is a part of.

    Returns:
        Shares, 1 for all of it; ``None`` where one has no interval, or that of ``whole`` reaches below a quarter of its
        value: a share of what is hardly known says nothing.
    """
    ends = [_ends(part), _ends(whole)]
    if None in ends or whole.value <= 0:
        return None
    (low, high), (least, most) = (end for end in ends if end is not None)
    if least <= whole.value / 4:
        return None
    ratios = [end / other for end in (low, high) for other in (least, most)]
    return part.value / whole.value, min(ratios), max(ratios)


def _ends(estimate: Estimate) -> tuple[float, float] | None:
    if not estimate.errors():
        return None
    half = estimate.reach((1 + LEVEL) / 2)
    return estimate.value - half, estimate.value + half
