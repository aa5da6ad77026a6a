"""What was measured in each cell of a recipe, beside what the paper prints, and which of its claims hold.

Cells are found among the records by the identity of their setting. Claims are tested with the statistics of all tables:
paired differences over the draws and seeds that two cells share, Holm over the claims of the recipe.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..results.record import Record
from ..results.table import shown_keys
from ..results.trainings import accuracy_of, difference_of, trainings_of
from .experiments import COSTS, Cell, Experiment
from .recipe import ACCURACY, Claim, Printed, Recipe

if TYPE_CHECKING:
    from ..statistics.trainings import Estimate

HOLDS, FAILS, OPEN = "holds", "does not hold here", "not shown"


@dataclass(frozen=True)
class Measured:
    """A cell with its value.

    Attributes:
        cell: the cell.
        printed: what the paper has in this place, ``None`` for nothing.
        estimate: mean and interval in the unit of the measure (accuracy in percent); ``None`` without a record.
        failed: trainings that failed.
    """

    cell: Cell
    printed: Printed | None
    estimate: Estimate | None
    failed: int


@dataclass(frozen=True)
class Comparison:
    """One of the comparisons of a claim; positive differences speak for it, whatever the measure.

    Attributes:
        ours, theirs: the two cells.
        places: part, row and column of the two, as the claim goes through them: a level row stands in every column.
        printed: the paper's difference, ``None`` where it does not print both.
        estimate: the measured difference, ``None`` where the cells share no draw.
    """

    ours: Cell
    theirs: Cell
    places: tuple[tuple[str, str, str], tuple[str, str, str]]
    printed: float | None
    estimate: Estimate | None


@dataclass(frozen=True)
class Judged:
    """A claim with what came of it.

    Attributes:
        claim: the claim.
        comparisons: in the order of the grid.
        elsewhere: the paper's differences where its grid has other labels than this one, by label.
        says: ``"holds"``, ``"does not hold here"`` or ``"not shown"``, with the reason where nothing can be concluded.
    """

    claim: Claim
    comparisons: tuple[Comparison, ...]
    elsewhere: tuple[tuple[str, float], ...]
    says: str


@dataclass(frozen=True)
class Outcome:
    """A recipe held against a results folder."""

    experiment: Experiment
    cells: tuple[Measured, ...]
    claims: tuple[Judged, ...]


def hold_against(experiment: Experiment, records: Iterable[Record]) -> Outcome:
    """Return what the records say of every cell and every claim of a planned recipe."""
    from ..statistics.claims import level, obstacle, together
    from ..statistics.families import ALPHA, holm

    values, printed = _Values(records), experiment.recipe.printed
    cells = tuple(
        Measured(cell, printed.get(cell.place), values.estimate(cell), values.failed[cell.spec_id])
        for cell in experiment.cells
    )
    by_place = experiment.by_place
    claims, parts = experiment.world.claims, experiment.world.parts
    every = [(claim, *pair) for claim in claims for pair in claim.pairs(parts)]
    comparisons: dict[Claim, list[Comparison]] = {claim: [] for claim in claims}
    for claim, ours, theirs in every:
        if ours in by_place and theirs in by_place:
            one, other = by_place[ours], by_place[theirs]
            told = _printed(printed, ours, theirs, less=one.less)
            comparisons[claim].append(Comparison(one, other, (ours, theirs), told, values.difference(one, other)))
    estimates = {claim: [it.estimate for it in some] for claim, some in comparisons.items()}
    tested = {claim: together(some) for claim, some in estimates.items() if claim.within is None}
    adjusted = dict(zip(tested, holm([p for p, _ in tested.values()]), strict=True))
    judged = []
    for claim, some in comparisons.items():
        if claim.within is not None:
            way = level(estimates[claim], claim.within)
        else:
            p = adjusted[claim]
            way = tested[claim][1] if p is not None and p <= ALPHA else 0
        why = obstacle(estimates[claim])
        if not all(values.done[cell.spec_id] for one in some for cell in (one.ours, one.theirs)):
            why = "not all of it is measured"
        word = {1: HOLDS, -1: FAILS}.get(way, f"{OPEN} ({why})" if why else OPEN)
        here = any(one.printed is not None for one in some)
        less = any(one.ours.less for one in some)
        judged.append(Judged(claim, tuple(some), () if here else _elsewhere(experiment.recipe, claim, less), word))
    return Outcome(experiment, cells, tuple(judged))


def _printed(
    printed: Mapping[tuple[str, str, str], Printed],
    ours: tuple[str, str, str],
    theirs: tuple[str, str, str],
    *,
    less: bool,
) -> float | None:
    if ours not in printed or theirs not in printed:
        return None
    return (printed[ours].value - printed[theirs].value) * (-1 if less else 1)


def _elsewhere(recipe: Recipe, claim: Claim, less: bool) -> tuple[tuple[str, float], ...]:
    """Return the paper's own differences for a claim, where it is in the paper's grid in the same words."""
    found = []
    for told in (it for it in recipe.published.claims if it.text == claim.text):
        for ours, theirs in told.pairs(recipe.published.parts):
            value = _printed(recipe.printed, ours, theirs, less=less)
            if value is not None:
                label = ", ".join(name for name, other in zip(ours, theirs, strict=True) if name == other and name)
                found.append((label, value))
    return tuple(found)


class _Values:
    """The records that tables show, by setting, and what cells read from them."""

    def __init__(self, records: Iterable[Record]) -> None:
        every = list(records)
        shown = shown_keys(every)
        self.done: dict[str, list[Record]] = defaultdict(list)
        self.failed: dict[str, int] = defaultdict(int)
        for record in every:
            if record.key in shown and record.result is not None:
                self.done[record.spec_id].append(record)
            elif record.key in shown:
                self.failed[record.spec_id] += 1

    def estimate(self, cell: Cell) -> Estimate | None:
        """Return what was measured in a cell, ``None`` for nothing."""
        from ..statistics.draws import over_draws

        if cell.measure == ACCURACY:
            return accuracy_of(trainings_of(self.done[cell.spec_id]))
        numbers = self._numbers(cell)
        return over_draws(numbers, whole=cell.setting.whole) if numbers else None

    def difference(self, ours: Cell, theirs: Cell) -> Estimate | None:
        """Return by how much ours is better than theirs, over what both share."""
        from ..statistics.draws import difference_over_draws

        if ours.less:
            ours, theirs = theirs, ours
        if ours.measure == ACCURACY:
            return difference_of([(trainings_of(self.done[ours.spec_id]), trainings_of(self.done[theirs.spec_id]))])
        whole = ours.setting.whole and theirs.setting.whole
        return difference_over_draws(self._numbers(ours), self._numbers(theirs), whole=whole)

    def _numbers(self, cell: Cell) -> dict[int, float]:
        """Return the measure of each draw's images; all trainings of a draw share them."""
        numbers: dict[int, float] = {}
        for record in sorted(self.done[cell.spec_id], key=_training):
            value: Any = _cost(record, cell.measure) if cell.measure in COSTS else _scored(record, cell)
            if type(value) in (int, float) and math.isfinite(value):
                numbers.setdefault(record.cell.draw, float(value))
        return numbers


def _training(record: Record) -> tuple[int, int]:
    return record.cell.draw, record.cell.replicate


def _scored(record: Record, cell: Cell) -> Any:
    return record.metrics.get(cell.metric, {}).get(cell.measure)


def _cost(record: Record, measure: str) -> float | None:
    cost, real = record.cost, record.cell.n_real
    learning, sampling = cost.fit_s or 0.0, cost.sample_s
    if measure == "learning_s":
        return cost.fit_s and cost.fit_s / real
    if sampling is None or not cost.sample_images:
        return None
    return sampling / cost.sample_images if measure == "sampling_s" else (learning + sampling) / real
