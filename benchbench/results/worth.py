"""How many real images a row is worth: where the accuracy of the baseline, by number of images, reaches its own.

Between two numbers of images the baseline's hits are interpolated on a logarithmic scale, image by image, so that the
row is compared with them by the paired difference of the tables. The interval holds every number whose difference is
not shown to be other than 0 (an inverted test, as Fieller's: Journal of the Royal Statistical Society B 16, 1954).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .trainings import RowTrainings, paired

if TYPE_CHECKING:
    from ..statistics.trainings import Estimate

#: Numbers of images that are tried between two that were trained on.
TRIED = 16


@dataclass(frozen=True)
class Worth:
    """Numbers of real images that train as well as a row did.

    Attributes:
        images: how many; ``None`` beyond what was trained on.
        low, high: 95 % interval; ``None`` where it goes beyond what was trained on, or there is none.
        least, most: real images that were trained on.
        more: where ``images`` is ``None``: whether it is more than ``most``; else it is fewer than ``least``.
        certain: whether there is an interval at all.
        note: of the paired differences, such as ``"rough"``.

    """

    images: float | None
    low: float | None
    high: float | None
    least: int
    most: int
    more: bool
    certain: bool
    note: str

    def __str__(self) -> str:
        fewer, further = f"fewer than {self.least:,}", f"more than {self.most:,}"
        about = f"about {self.images:,.0f}" if self.images is not None else further if self.more else fewer
        low = fewer if self.low is None else f"{self.low:,.0f}"
        high = further if self.high is None else f"{self.high:,.0f}"
        if not self.certain:
            interval = "too few trainings for an interval"
        elif self.low == self.most or self.high == self.least:
            interval = "95 %: all of it is beyond what was trained on"
        else:
            interval = f"95 %: {low} to {high}"
        return f"{about} real ones ({'; '.join(filter(None, [interval, self.note]))})"


def worth_of(row: RowTrainings, real: Mapping[int, RowTrainings]) -> Worth | None:
    """Return how many real images a row is worth.

    Args:
        row: its trainings.
        real: the baseline's by number of real images, in the same place otherwise.

    Returns:
        ``None`` with fewer than two numbers of real images, or where one shares no draw and seed with the row.
    """
    from ..statistics.trainings import IDENTICAL

    sizes = sorted(size for size in real if size > 0)
    if len(sizes) < 2:
        return None
    tried: list[tuple[float, Estimate]] = []
    for fewer, further in itertools.pairwise(sizes):
        shared = _shared(row, real[fewer], real[further])
        for place in range(1 if tried else 0, TRIED + 1):
            share = place / TRIED
            found = _against(row, real[fewer], real[further], shared, share)
            if found is None:
                return None
            tried.append((fewer ** (1 - share) * further**share, found))
    below = next((place for place, (_, found) in enumerate(tried) if found.value < 0), None)
    images = _crossing(*tried[below - 1], *tried[below]) if below else None
    certain = all(found.low is not None or found.note == IDENTICAL for _, found in tried)
    open_ = [number for number, found in tried if (found.low or 0.0) <= 0 <= (found.high or 0.0)]
    shown_more = [number for number, found in tried if found.low is not None and found.low > 0]
    shown_less = [number for number, found in tried if found.high is not None and found.high < 0]
    return Worth(
        images=images,
        low=max((number for number in shown_more if number < min(open_, default=math.inf)), default=None),
        high=min((number for number in shown_less if number > max(open_, default=0.0)), default=None),
        least=sizes[0],
        most=sizes[-1],
        more=below is None,
        certain=certain,
        note=next((found.note for _, found in tried if found.note != IDENTICAL), ""),
    )


def _shared(row: RowTrainings, fewer: RowTrainings, further: RowTrainings) -> list[tuple[int, int]]:
    """Return the draws and replicates that all three have on as many test images, copies once."""
    keys = sorted(paired(row, fewer)[0].keys() & paired(row, further)[0].keys())
    return [key for key in keys if fewer.hits[key].shape == further.hits[key].shape]


def _against(
    row: RowTrainings, fewer: RowTrainings, further: RowTrainings, shared: Sequence[tuple[int, int]], share: float
) -> Estimate | None:
    """Return the row less the baseline between two numbers of images, ``share`` of the way to the larger one."""
    from ..statistics.trainings import difference

    rows = (row, fewer, further)
    return difference(
        {key: row.hits[key] for key in shared},
        {key: (1 - share) * fewer.hits[key] + share * further.hits[key] for key in shared},
        whole=all(it.whole for it in rows),
        shared_test=all(it.shared_test for it in rows),
        ratio=max(it.ratio for it in rows),
    )


def _crossing(images: float, above: Estimate, next_images: float, below: Estimate) -> float:
    """Return where the difference is 0 between two numbers of images, on a logarithmic scale."""
    share = above.value / (above.value - below.value)
    return float(images ** (1 - share) * next_images**share)
