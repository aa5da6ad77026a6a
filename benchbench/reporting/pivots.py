"""Pivots: accuracies with one axis as columns, a pure function of a table's rows.

By augmentation (the shape of table 4 of Diffusion Inversion, Zhou et al. 2023), by architecture (figure 7c), and by
the number of real images (figures 6 and 7a). An axis with a single value makes no pivot.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, compress
from typing import Any

from rich.cells import cell_len

from ..results.table import Row, Table, natural
from ..statistics.overlap import NEARLY
from . import grid as layout
from .grid import Grid, Notes


@dataclass(frozen=True)
class Axis:
    """What the columns of a pivot are.

    Attributes:
        name: as the heading says it.
        options: the option that varies it, for file names.
        holds: whether a row has a place on this axis.
        column: sort key and text of a row's column.
        shared: what all rows of a pivot have in common.
        title: that in words.
    """

    name: str
    option: str
    holds: Callable[[Row], bool]
    column: Callable[[Row], tuple[Any, str]]
    shared: Callable[[Row], tuple[Hashable, ...]]
    title: Callable[[Row], str]


@dataclass(frozen=True)
class Value:
    """One cell: a mean in percent, its 95 % interval, and the row that it is of; none for a mean over architectures."""

    mean: float | None
    low: float | None = None
    high: float | None = None
    rows: tuple[Row, ...] = ()

    @property
    def n(self) -> str:
        """What it is over, ``"3 draws x 2 seeds"``; empty for a mean over architectures and where all failed."""
        return layout.trainings(self.rows[0].accuracy) if self.rows else ""


@dataclass(frozen=True)
class Line:
    """One line of a pivot: what tells it from the others, and a value (or none) in each column.

    ``averaged`` lines are means over all architectures; ``level`` ones are of a learner that no real image matters to,
    and have the same value in every column.
    """

    learner: str
    arch: str
    gen: str
    mix: str
    n_syn: int | None
    baseline: bool
    values: tuple[Value | None, ...]
    averaged: bool = False
    level: bool = False


@dataclass(frozen=True)
class Pivot:
    """Lines over the columns of an axis.

    Attributes:
        axis: what the columns are.
        title: what rows have to share to be in it, in words.
        columns: texts of the columns, in order.
        lines: with the architectures first, then the means over them, if there are several.
        rows: all rows that its lines show; a line with a single value is left to the detailed tables.
    """

    axis: Axis
    title: str
    columns: tuple[str, ...]
    lines: tuple[Line, ...]
    rows: tuple[Row, ...]

    @property
    def settings(self) -> int:
        """How many of the detailed tables it draws together."""
        return len({layout.shared_text(row) for row in self.rows})

    @property
    def heading(self) -> str:
        """What it shows, with the learner and the architecture that all lines turn out to share."""
        names = {"learner": "learner", "arch": "architecture"}
        shared = {name: {getattr(line, name) for line in self.lines} for name in names}
        facts = [f"{names[name]} {one}" for name, (one, *more) in shared.items() if not more and one not in ("", "-")]
        rest = [text for text in facts if f", {text}" not in self.title]
        return f"Accuracy by {self.axis.name}, %: {', '.join((self.title, *rest))}"

    def varying(self) -> list[str]:
        """Return the fields of a line that differ between lines, the generator always."""
        made = [line for line in self.lines if not line.baseline] or [line for line in self.lines if not line.level]
        fields = {"learner": self.lines, "arch": self.lines, "mix": made, "n_syn": made}
        names = [name for name, lines in fields.items() if len({getattr(line, name) for line in lines}) > 1]
        return [name for name in ("learner", "arch", "gen", "mix", "n_syn") if name in names or name == "gen"]

    def label(self, line: Line) -> list[str]:
        """Return the texts of a line's varying fields."""
        texts = {name: str(getattr(line, name)) for name in ("learner", "arch", "gen", "mix")}
        texts["n_syn"] = "-" if line.n_syn is None or line.baseline else f"{line.n_syn:,}"
        if line.level:
            texts |= {"gen": "-", "mix": "-"}  # what it might be trained on does not matter to it
        return [texts[name] for name in self.varying()]

    def common_n(self) -> str:
        """Return what most cells are over."""
        return max(statistics.multimode(value.n for line in self.lines for value in line.values if value and value.n))


#: Below a pivot; the detailed tables say how many.
COPIES = "Some of its training images equal a test image in every pixel."
NEAR = f"Some of its training images {NEARLY.format('a test image')}."
#: Likewise.
NOT_CHOSEN = "Not chosen on the validation part: no verdict."
#: Likewise.
ON_THE_WAY = "Not at the end of its learning; the detailed tables say how far it got."
#: Options of the axes that are numbers of real images.
SIZES = ("shots", "n-real")
HEADS = {"learner": "learner", "arch": "architecture", "gen": "generator", "mix": ">mix", "n_syn": ">generated"}


def pivots(table: Table) -> list[Pivot]:
    """Return the pivots of a table with at least two columns.

    Where augmentations are compared for every architecture already, only those on the base alone are compared by
    architecture once more.
    """
    every = _every(table)
    compared = {row.spec_id for pivot in every if pivot.axis.option == "aug" for row in pivot.rows}

    def again(pivot: Pivot) -> bool:
        return all(row.spec_id in compared and row.aug_links > 1 for row in pivot.rows)

    return [pivot for pivot in every if pivot.axis.option != "arch" or not again(pivot)]


def _every(table: Table) -> list[Pivot]:
    shown = []
    further = sorted({name for row in table.rows for name in row.setting.more})
    for axis in (*AXES, *map(_further, further)):
        for rows in _groups(axis, [row for row in table.rows if not row.setting.control]):
            columns = dict(sorted({axis.column(row) for row in rows}))
            lines = _lines(axis, rows, list(columns))
            if lines:
                pivot = _whole(Pivot(axis, axis.title(rows[0]), tuple(columns.values()), tuple(lines), ()))
                shown.append(_with_levels(pivot, table) if axis.option in SIZES else pivot)
    return shown


def _whole(pivot: Pivot) -> Pivot:
    """Return a pivot without the columns that no line has a value in, and with the rows that it shows."""
    kept = [any(line.values[place] for line in pivot.lines) for place in range(len(pivot.columns))]
    lines = tuple(replace(line, values=tuple(compress(line.values, kept))) for line in pivot.lines)
    rows = tuple(row for line in lines for value in line.values if value for row in value.rows)
    return replace(pivot, columns=tuple(compress(pivot.columns, kept)), lines=lines, rows=rows)


def _with_levels(pivot: Pivot, table: Table) -> Pivot:
    """Return a pivot with the lines of learners that train on no image, which go with any number of them."""
    first = pivot.rows[0]

    def belongs(row: Row) -> bool:
        it, other = row.setting, first.setting
        return not it.n_real and (it.data, it.preset, it.test) == (other.data, other.preset, other.test)

    rows = [row for row in table.rows if belongs(row)]
    levels = []
    for row in rows:
        values = (_value(row),) * len(pivot.columns)
        it = row.setting
        levels.append(Line(it.learner, it.arch, it.gen, it.mix, None, True, values, level=True))
    lines = sorted((*pivot.lines, *levels), key=lambda line: (natural(line.learner), natural(line.arch)))
    return replace(pivot, lines=tuple(lines), rows=(*pivot.rows, *rows))


def pivot_grid(pivot: Pivot, *, means_only: bool = False, widest: int | None = None) -> Grid:
    """Return a pivot as text.

    Args:
        pivot: what to show.
        means_only: leave out the single architectures where there are means over them.
        widest: columns of a terminal beyond which lines and columns change places, where that is narrower.
    """
    lines = list(pivot.lines)
    averaged = any(line.averaged for line in lines)
    if means_only and averaged:
        lines = [line for line in lines if line.averaged]
    notes, n = Notes(), pivot.common_n()
    cells = [value for line in lines for value in line.values if value and value.rows and value.mean is not None]
    every = [_marks(value.rows[0]) for value in cells]
    shared = [text for text in dict.fromkeys(chain(*every)) if all(text in texts for texts in every)]
    names = [name for name in pivot.varying() if not (means_only and averaged and name == "arch")]
    labels = [dict(zip(pivot.varying(), pivot.label(line), strict=True)) for line in lines]
    texts = [[_text(value, n, notes, shared) for value in line.values] for line in lines]
    rows = [(*(label[name] for name in names), *line) for label, line in zip(labels, texts, strict=True)]
    below = [*notes.lines(), *shared]
    if averaged:
        below.append("Means are over the architectures with equal weight, and only where none is missing.")
    if means_only and averaged:
        below.append(f"Each architecture has {n}, or what leaderboard.md says.")
    elif n:
        below.append(f"Over {n}, or as a cell says (draws x seeds); ± is half of the 95 % interval.")
    grid = Grid(
        pivot.heading,
        (*(HEADS[name] for name in names), *pivot.columns),
        tuple(rows),
        (*below, *layout.setting_notes(pivot.rows)),
    )
    if widest is None or _width(grid) <= widest:
        return grid
    across = tuple(", ".join(label[name] for name in names) for label in labels)
    turned = [(column, *(line[place] for line in texts)) for place, column in enumerate(pivot.columns)]
    other = Grid(pivot.heading, (pivot.axis.name, *across), tuple(turned), grid.notes)
    return other if _width(other) < _width(grid) else grid


def shown_instead(table: Table) -> tuple[list[Pivot], set[str]]:
    """Return the pivots that stand for several detailed tables in a short report, and the rows that they cover.

    The rows are given by their ``spec_id``. A pivot whose rows are all in an earlier one is left out.
    """
    chosen: list[Pivot] = []
    covered: set[str] = set()
    for pivot in sorted(pivots(table), key=lambda item: -item.settings):
        ids = {row.spec_id for row in pivot.rows}
        if pivot.settings > 1 and not ids <= covered:
            chosen.append(pivot)
            covered |= ids
    return chosen, covered


def _groups(axis: Axis, rows: Sequence[Row]) -> Iterator[list[Row]]:
    """Yield the rows of each pivot; a learner without augmentations goes with every augmentation of the others."""
    groups: dict[tuple[Hashable, ...], list[Row]] = defaultdict(list)
    without: dict[tuple[Hashable, ...], list[Row]] = defaultdict(list)
    for row in rows:
        if axis.holds(row):
            *rest, aug = axis.shared(row)
            (without if aug == "-" else groups)[*rest, aug].append(row)
    for (*rest, _), extra in without.items():
        matching = [key for key in groups if list(key[:-1]) == rest]
        for key in matching or [(*rest, "-")]:
            groups[key].extend(extra)
    yield from groups.values()


def _lines(axis: Axis, rows: Sequence[Row], columns: Sequence[Any]) -> list[Line]:
    def key_of(row: Row, *, counted: bool) -> tuple[Any, ...]:
        it = row.setting
        arch = "" if axis.option == "arch" else it.arch
        return it.learner, arch, it.gen, it.mix, it.n_syn if counted else None, it.baseline

    def cells(*, counted: bool) -> dict[tuple[Any, ...], list[list[Row]]]:
        by_line: dict[tuple[Any, ...], list[list[Row]]] = {}
        for row in rows:
            places = by_line.setdefault(key_of(row, counted=counted), [[] for _ in columns])
            places[columns.index(axis.column(row)[0])].append(row)
        return by_line

    # The number of generated images follows that of the real ones; it tells lines apart only where it was varied.
    by_line = cells(counted=False)
    if any(len({row.setting.n_syn for row in cell}) > 1 for line in by_line.values() for cell in line):
        by_line = cells(counted=True)
    lines = []
    for key, places in by_line.items():
        # Rows that differ in nothing shown here (another precision, other files of one name) get separate lines.
        for place in range(max(map(len, places))):
            values = [_value(cell[place]) if place < len(cell) else None for cell in places]
            learner, arch, gen, mix, n_syn, baseline = key
            lines.append(Line(learner, arch, gen, mix, n_syn, baseline, tuple(values)))
    lines.sort(key=lambda line: (natural(line.learner), natural(line.arch), *_order(line)))
    lines += _means(lines) if axis.option == "aug" else []
    # A single value says nothing about the axis.
    return [line for line in lines if sum(value is not None for value in line.values) > 1]


def _order(line: Line) -> tuple[Any, ...]:
    return not line.baseline, natural(line.gen), natural(line.mix), line.n_syn or 0


def _value(row: Row) -> Value:
    known = row.accuracy
    return Value(None, rows=(row,)) if known is None else Value(known.value, known.low, known.high, (row,))


def _means(lines: Sequence[Line]) -> list[Line]:
    """Return the lines of the means over several architectures."""
    archs = {line.arch for line in lines}
    if len(archs) < 2:
        return []
    groups: dict[tuple[Any, ...], dict[str, Line]] = {}
    for line in lines:
        key = (line.learner, line.gen, line.mix, line.n_syn, line.baseline)
        groups.setdefault(key, {}).setdefault(line.arch, line)
    averages = []
    for (learner, gen, mix, n_syn, baseline), group in groups.items():
        values: list[Value | None] = []
        for cells in zip(*(line.values for line in group.values()), strict=True):
            means = [value.mean for value in cells if value is not None and value.mean is not None]
            whole = len(means) == len(archs)
            values.append(Value(statistics.fmean(means)) if whole else None)
        averages.append(Line(learner, "mean", gen, mix, n_syn, baseline, tuple(values), averaged=True))
    return sorted(averages, key=_order)


def _text(value: Value | None, n: str, notes: Notes, shared: Sequence[str]) -> str:
    if value is None or not value.rows:  # a hole, or a mean over architectures
        return "-" if value is None or value.mean is None else layout.points(value.mean)
    (row,) = value.rows
    if value.mean is None:
        return row.status
    half = None if value.low is None or value.high is None else (value.high - value.low) / 2
    text = layout.points(value.mean) + ("" if half is None else f" ± {layout.points(half)}")
    text += "" if value.n == n or row.accuracy is None else f" ({row.accuracy.draws} x {row.accuracy.seeds})"
    text += f" {row.conclusion.verdict}" if row.conclusion.verdict in ("better", "worse") else ""
    text += f", {row.status}" if row.failed else ""
    return text + notes.mark(*(mark for mark in _marks(row) if mark not in shared))


def _marks(row: Row) -> list[str]:
    """Return what a pivot says of a row; the detailed tables say more."""
    known = [layout.MARKS[row.accuracy.note]] if row.accuracy and row.accuracy.note in layout.MARKS else []
    known += [] if row.stands else [NOT_CHOSEN]
    known += [f"{layout.OTHER_CODE}."] if row.other_code else []
    known += [COPIES] if row.test_copies else []
    known += [NEAR] if row.near_copies else []
    return [*known, ON_THE_WAY] if row.learning and row.learning.text else known


def _width(grid: Grid) -> int:
    return max(sum(map(cell_len, line)) + 2 * len(line) for line in layout.aligned(grid))


def _size_axis(name: str, option: str, *, per_class: bool) -> Axis:
    def holds(row: Row) -> bool:
        return row.setting.n_real > 0 and (row.setting.shots is not None) == per_class

    def column(row: Row) -> tuple[Any, str]:
        size = row.setting.shots if per_class else row.setting.n_real
        return size, f"{size}" if per_class else f"{size:,}"

    return Axis(name, option, holds, column, _any_size, _any_size_title)


def _any_size(row: Row) -> tuple[Hashable, ...]:
    it = row.setting
    return it.data, it.subset, it.preset, *sorted(it.more.items()), it.test, it.aug


def _any_size_title(row: Row) -> str:
    it = row.setting
    chosen = "" if it.subset == "balanced" else f" in random {it.subset}"
    return f"{it.data}{chosen}, preset {it.preset}{layout.aug_and_test(row)}"


def _further(name: str) -> Axis:
    """Return an axis that only the table of options knows; ``"-"`` stands for its default."""

    def without(row: Row) -> Row:
        more = {other: value for other, value in row.setting.more.items() if other != name}
        return replace(row, setting=replace(row.setting, more=more))

    def column(row: Row) -> tuple[Any, str]:
        value = row.setting.more.get(name, "-")
        return natural(value), value

    def shared(row: Row) -> tuple[Hashable, ...]:
        it = without(row).setting
        return *it.place, it.learner, it.test, it.aug

    words = name.replace("_", " "), name.replace("_", "-")
    return Axis(*words, lambda row: True, column, shared, lambda row: layout.shared_text(without(row)))


AXES = (
    _size_axis("real images per class", "shots", per_class=True),
    _size_axis("real images", "n-real", per_class=False),
    Axis(
        "augmentation",
        "aug",
        lambda row: row.setting.aug != "-",
        lambda row: ((row.aug_links, natural(row.setting.aug)), row.setting.aug),
        lambda row: (*row.setting.place, row.setting.learner, row.setting.test, ""),
        lambda row: f"{layout.setting(row)}, learner {row.setting.learner}{layout.aug_and_test(row, aug=False)}",
    ),
    Axis(
        "architecture",
        "arch",
        lambda row: row.setting.arch != "-",
        lambda row: (natural(row.setting.arch), row.setting.arch),
        lambda row: (*row.setting.place, row.setting.learner, row.setting.test, row.setting.aug),
        layout.shared_text,
    ),
)
