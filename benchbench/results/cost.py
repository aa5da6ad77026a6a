"""Accuracy against cost: which rows of one place no cheaper one equals, and how many real images each is worth."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, replace

from ..planning.setting import Setting
from .table import Generation, Row, Table
from .trainings import RowTrainings, difference_of
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


def priced_places(table: Table) -> list[list[Priced]]:
    """Return the rows of each place that has a baseline and others, the cheapest first.

    Controls are left out, and settings of a sweep that were not chosen: a front on test images would choose among them.
    """
    places: dict[Hashable, list[Row]] = {}
    real: dict[Hashable, dict[int, RowTrainings]] = {}
    for row in table.rows:
        if row.trainings is not None and row.stands and not row.setting.control:
            places.setdefault(row.setting.comparable, []).append(row)
            if row.setting.baseline:
                real.setdefault(_without_count(row.setting), {}).setdefault(row.setting.n_real, row.trainings)
    compared = [rows for rows in places.values() if {row.setting.baseline for row in rows} == {True, False}]
    return [_front([_priced(row, real) for row in rows]) for rows in compared]


def points_per_hour(points: float, made: Generation) -> float | None:
    """Return what a gain in points is per hour of fitting and generating; ``None`` below a second, or unmeasured."""
    return None if made.seconds is None or made.seconds < 1 else points / made.seconds * 3600


def _without_count(setting: Setting) -> Hashable:
    return replace(setting, n_real=0, shots=None).comparable


def _priced(row: Row, real: Mapping[Hashable, Mapping[int, RowTrainings]]) -> Priced:
    seconds = None if row.train_s is None else (row.generation.seconds or 0.0) + row.train_s
    if row.setting.baseline or row.trainings is None:
        return Priced(row, seconds)
    return Priced(row, seconds, worth_of(row.trainings, real[_without_count(row.setting)]))


def _front(rows: Iterable[Priced]) -> list[Priced]:
    """Return the rows, the cheapest first, with what beats those behind the front."""
    from ..statistics.families import holm, verdict

    found = sorted(rows, key=lambda it: (it.seconds is None, it.seconds or 0.0, it.row.spec_id))
    beaten: dict[str, Row] = {}
    differences = []
    best: Priced | None = None
    for it in found:
        if it.seconds is None:
            continue
        if best is None or it.accuracy > best.accuracy:
            best = it
        elif it.row.trainings is not None and best.row.trainings is not None:
            beaten[it.row.spec_id] = best.row
            differences.append(difference_of([(it.row.trainings, best.row.trainings)]))
    words = map(verdict, differences, holm([None if it is None else it.p for it in differences]))
    told = dict(zip(beaten, words, strict=True))
    ids = [it.row.spec_id for it in found]
    return [replace(it, beaten_by=beaten.get(i), against_it=told.get(i, "")) for i, it in zip(ids, found, strict=True)]
