"""Accuracy against cost: which rows of one place no cheaper one equals, and how many real images each is worth."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from ..planning.setting import Setting
from .record import Record
from .table import Row, Table, shown_keys
from .trainings import RowTrainings, difference_of, trainings_of
from .worth import Worth, worth_of


@dataclass(frozen=True)
class Priced:
    """A row with what it costs and is worth.

    Attributes:
        row: the row of the table.
        seconds: of fitting, generating and one training; ``None`` where no training was measured.
        worth: how many real images do as well; ``None`` for the baseline, and where one number was trained on.
        beaten_by: the best row that costs less, where it is as accurate in the mean; ``None`` on the front.
        against_it: the verdict on the difference to that row, among those of this place.

    """

    row: Row
    seconds: float | None
    worth: Worth | None = None
    beaten_by: Row | None = None
    against_it: str = ""

    @property
    def accuracy(self) -> float:
        """In percent."""
        return self.row.acc_mean or 0.0


def priced_places(table: Table, records: Sequence[Record]) -> list[list[Priced]]:
    """Return the rows of each place that has a baseline and others, the cheapest first, controls left out.

    Args:
        table: all rows.
        records: that it is made of.
    """
    places: dict[Hashable, list[Row]] = {}
    for row in table.rows:
        if row.accuracy is not None and not row.setting.control:
            places.setdefault(row.setting.comparable, []).append(row)
    compared = [rows for rows in places.values() if {row.setting.baseline for row in rows} == {True, False}]
    trained = _trained(records) if compared else {}
    real: dict[Hashable, dict[int, RowTrainings]] = {}
    for row in table.rows:
        if row.setting.baseline and row.spec_id in trained:
            real.setdefault(_without_count(row.setting), {}).setdefault(row.setting.n_real, trained[row.spec_id])
    return [_front(_priced(rows, trained, real), trained) for rows in compared]


def _trained(records: Iterable[Record]) -> dict[str, RowTrainings]:
    records = list(records)
    shown = shown_keys(records)
    groups: dict[str, list[Record]] = {}
    for record in records:
        if record.key in shown:
            groups.setdefault(record.spec_id, []).append(record)
    return {spec_id: trainings_of(group) for spec_id, group in groups.items()}


def _without_count(setting: Setting) -> Hashable:
    return replace(setting, n_real=0, shots=None).comparable


def _priced(
    rows: Iterable[Row], trained: Mapping[str, RowTrainings], real: Mapping[Hashable, Mapping[int, RowTrainings]]
) -> list[Priced]:
    found = []
    for row in rows:
        seconds = None if row.train_s is None else (row.generation.seconds or 0.0) + row.train_s
        worth = None
        if not row.setting.baseline:
            worth = worth_of(trained[row.spec_id], real[_without_count(row.setting)])
        found.append(Priced(row, seconds, worth))
    return sorted(found, key=lambda it: (it.seconds is None, it.seconds or 0.0, it.row.spec_id))


def _front(rows: Sequence[Priced], trained: Mapping[str, RowTrainings]) -> list[Priced]:
    """Return the rows, the cheapest first, with what beats those behind the front."""
    from ..statistics.families import holm, verdict

    beaten: dict[str, Row] = {}
    best: Priced | None = None
    for it in rows:
        if it.seconds is not None and (best is None or it.accuracy > best.accuracy):
            best = it
        elif it.seconds is not None and best is not None:
            beaten[it.row.spec_id] = best.row
    found = [difference_of([(trained[spec_id], trained[row.spec_id])]) for spec_id, row in beaten.items()]
    words = map(verdict, found, holm([None if estimate is None else estimate.p for estimate in found]))
    told = dict(zip(beaten, words, strict=True))
    ids = [it.row.spec_id for it in rows]
    return [replace(it, beaten_by=beaten.get(i), against_it=told.get(i, "")) for i, it in zip(ids, rows, strict=True)]
