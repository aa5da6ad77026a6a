"""What recorded trainings tell of the variance of a difference, for ``bench plan --detect``."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING

from ..planning.setting import Setting
from .record import Record
from .table import shown_keys
from .trainings import RowTrainings, spread_between, trainings_of

if TYPE_CHECKING:
    from ..statistics.designs import Spread


class Recorded:
    """The rows of a results folder that can be compared with a baseline."""

    def __init__(self, records: Sequence[Record]) -> None:
        shown = shown_keys(records)
        groups: dict[str, list[Record]] = {}
        for record in records:
            if record.key in shown and record.result is not None and not record.cell.control:
                groups.setdefault(record.spec_id, []).append(record)
        rows = [(group[0].cell.setting.without_paths(), trainings_of(group)) for group in groups.values()]
        self.baselines = {setting.comparable: row for setting, row in rows if setting.baseline}
        self.rows = [(setting, row) for setting, row in rows if setting.comparable in self.baselines]
        self.rows = [(setting, row) for setting, row in self.rows if not setting.baseline]

    def spread(self, settings: Sequence[Setting]) -> tuple[Spread | None, int]:
        """Return the variance of the mean difference over planned settings, and the trainings that it is from.

        It is the average over all recorded generators and mixes that have a row, and a baseline, in each of the places
        of ``settings``: of the planned mix where there is one.

        Args:
            settings: one, or those of several architectures.
        """
        places = [setting.comparable for setting in settings]
        sources: dict[Hashable, dict[Hashable, tuple[RowTrainings, RowTrainings]]] = {}
        for setting, row in self.rows:
            if setting.comparable in places:
                source = sources.setdefault((setting.mix, setting.gen, setting.n_syn), {})
                source[setting.comparable] = row, self.baselines[setting.comparable]
        whole = {source: list(pairs.values()) for source, pairs in sources.items() if len(pairs) == len(set(places))}
        mixed = {source: pairs for source, pairs in whole.items() if source[0] == settings[0].mix}  # type: ignore[index]
        chosen = list((mixed or whole).values())
        found = [spread for pairs in chosen if (spread := spread_between(pairs)) is not None]
        return _average(found), sum(len(ours.hits) + len(theirs.hits) for pairs in chosen for ours, theirs in pairs)


def _average(found: Sequence[Spread]) -> Spread | None:
    """Return the mean of each part over the spreads that know it."""
    from ..statistics.designs import Spread

    known = [spread for spread in found if spread.between is not None] or list(found)
    if not known:
        return None

    def mean(values: Sequence[float | None]) -> float | None:
        numbers = [value for value in values if value is not None]
        return sum(numbers) / len(numbers) if numbers else None

    # Where some rows have one training for each draw, the variance of draws and that of trainings cannot be told apart.
    within = [spread.within for spread in known]
    if None in within and any(value is not None for value in within):
        known = [spread for spread in known if spread.within is not None]
    return Spread(
        mean([spread.between for spread in known]),
        mean([spread.within for spread in known]),
        mean([spread.images for spread in known]) or 0.0,
        whole=known[0].whole,
    )
