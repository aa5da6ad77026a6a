"""The splits of a dataset: where it has no test part of its own, each draw splits its images anew."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from ..plugins import DatasetInfo
from ..plugins.parameters import parameters
from .cells import PlannedCell
from .resolved import ResolvedPlugin


class Splits:
    """What the steps of each draw read; a dataset whose parts are fixed has one split for all draws.

    Attributes:
        data: the dataset as it was asked for, which names the rows of all draws.
        info: its facts, which are those of the first draw.
    """

    def __init__(self, data: ResolvedPlugin, info: DatasetInfo) -> None:
        self.data, self.info = data, info
        self._known = {data.plugin: (data, info)}

    def of(self, draw: int) -> tuple[ResolvedPlugin, DatasetInfo]:
        """Return the dataset of a draw, counted from 0, and its facts.

        Raises:
            UsageError: the dataset has no split for that draw.
        """
        first, plugin = self.data.plugin, self.data.plugin.of_draw(draw, self.info)
        if plugin not in self._known:
            names = (item.name for item in parameters(type(plugin)))
            others = [name for name in names if getattr(plugin, name) != getattr(first, name)]
            shown = tuple(dict.fromkeys([*self.data.set_values, *others]))  # so that steps tell splits apart
            self._known[plugin] = replace(self.data, plugin=plugin, set_values=shown), plugin.info()
        return self._known[plugin]


def splits_told(cells: Iterable[PlannedCell]) -> Iterator[str]:
    """Yield a line for each dataset that the cells see in several splits."""
    keys: dict[str, set[str]] = {}
    for cell in cells:
        keys.setdefault(cell.setting.data, set()).add(cell.data)
    for data, several in keys.items():
        if len(several) > 1:
            yield f"{len(several)} splits of {data}: each draw has training and test images of its own"
