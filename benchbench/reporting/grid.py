"""How a table reads: numbers as people write them, rows gathered into grids, grids that line up as text.

Markdown and terminal render the same grids.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING

from rich.cells import cell_len

from ..results.table import Generation, Row
from ..safetext import on_a_line
from ..statistics.overlap import NEARLY, shared_notes

if TYPE_CHECKING:
    from ..statistics.trainings import Estimate

#: Notes about a dataset that a table shows; the records have all of them.
MOST_NOTES = 3


@dataclass(frozen=True)
class Grid:
    """Cells of text with headings.

    Attributes:
        title: one line.
        headers: a heading for each column; one that starts with ``">"`` is of a column set to the right.
        rows: the cells, one for each heading.
        notes: sentences below it.

    Every text is put on one line, without what a terminal obeys: names and errors are those of records.
    """

    title: str
    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "title", _line(self.title))
        object.__setattr__(self, "rows", tuple(tuple(map(_line, row)) for row in self.rows))
        for name in ("headers", "notes"):
            object.__setattr__(self, name, tuple(map(_line, getattr(self, name))))

    @property
    def columns(self) -> list[tuple[str, bool]]:
        """Heading of each column and whether it is set to the right."""
        return [(header.removeprefix(">"), header.startswith(">")) for header in self.headers]


def _line(text: str) -> str:
    return on_a_line(" ".join(text.split()))


@dataclass
class Notes:
    """Footnotes in the order of their first use; the same sentence keeps its number."""

    texts: list[str] = field(default_factory=list)

    def mark(self, *texts: str) -> str:
        """Return the marks of some sentences: ``" [1] [3]"``."""
        for text in texts:
            if text not in self.texts:
                self.texts.append(text)
        return "".join(f" [{self.texts.index(text) + 1}]" for text in texts)

    def lines(self) -> list[str]:
        """Return the sentences with their numbers."""
        return [f"[{number}] {text}" for number, text in enumerate(self.texts, 1)]


def number(value: float | None, decimals: int = 2) -> str:
    """Return a number with fixed decimals, nothing for ``None``."""
    return "" if value is None else f"{value:.{decimals}f}"


def duration(seconds: float | None) -> str:
    """Return a time in the unit that suits it: ``"8.2 s"``, ``"3.4 min"``, ``"2.1 h"``."""
    if seconds is None:
        return ""
    for limit, unit, size in ((120, "s", 1), (7200, "min", 60)):
        if seconds < limit:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds / 3600:.1f} h"


def accuracy(row: Row) -> str:
    """Return ``"85.8 [83.1, 88.5]"``, with what failed; never a hole."""
    if row.accuracy is None:
        return row.status
    failed = f", {row.status}" if row.failed else ""
    return f"{points(row.accuracy.value)}{interval(row.accuracy)}{failed}"


def difference(found: Estimate | None) -> str:
    """Return ``"+2.1 [-0.3, 4.5]"``: a difference in percentage points, nothing for ``None``."""
    return "" if found is None else f"{signed(found.value)}{interval(found)}"


def interval(found: Estimate) -> str:
    """Return ``" [83.1, 88.5]"``, nothing where there is none."""
    return "" if found.low is None or found.high is None else f" [{points(found.low)}, {points(found.high)}]"


def trainings(found: Estimate | None) -> str:
    """Return ``"3 draws x 2 seeds"``: the distinct trainings that a number is over, nothing for ``None``."""
    return "" if found is None else f"{count(found.draws, 'draw')} x {count(found.seeds, 'seed')}"


def count(number: int, noun: str) -> str:
    """Return ``"1 draw"``, ``"2,000 draws"``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def points(value: float) -> str:
    """Return percent or points with one decimal, ``"0.0"`` for what rounds to nothing."""
    return f"{round(value, 1) + 0.0:.1f}"


def signed(value: float) -> str:
    """Return points with their sign and one decimal, ``"+0.0"`` for what rounds to nothing."""
    return f"{round(value, 1) + 0.0:+.1f}"


def images(made: Generation) -> str:
    """Return the number of generated images, ``"431 of 500"`` if fewer than planned, ``"-"`` for the baseline."""
    n_syn = made.setting.n_syn
    if made.setting.baseline and not n_syn:
        return "-"
    return f"{made.n_made:,} of {n_syn:,}" if made.n_made is not None and made.n_made < n_syn else f"{n_syn:,}"


def setting(part: Generation | Row) -> str:
    """Return what all rows of a grid share: ``"digits, 50 real images (5 per class), preset quick"``."""
    it = part.setting
    more = "".join(f", {name.replace('_', ' ')} {value}" for name, value in sorted(it.more.items()))
    if not it.n_real:
        return f"{it.data}, no real images, preset {it.preset}{more}"
    shots = f" ({it.shots} per class)" if it.shots is not None else ""
    chosen = "" if it.subset == "balanced" else f" in random {it.subset}"
    return f"{it.data}, {it.n_real:,} real images{shots}{chosen}, preset {it.preset}{more}"


def settings(rows: Iterable[Row]) -> Iterator[tuple[str, list[Row]]]:
    """Yield a title and the rows that share dataset, subset, preset, learner, augmentation and test images."""
    gathered: dict[str, list[Row]] = {}
    for row in rows:
        gathered.setdefault(shared_text(row), []).append(row)
    yield from gathered.items()


def shared_text(row: Row) -> str:
    """Return what a row shares with the others of its detailed table."""
    return f"{setting(row)}, learner {row.setting.learner}{aug_and_test(row)}"


def aug_and_test(row: Row, *, aug: bool = True) -> str:
    """Return the augmentation and what the test images passed through, as the end of a title."""
    it = row.setting
    text = f", augmentation {it.aug}" if aug and it.aug != "-" else ""
    return text + ("" if it.test == "-" else f", test images through {it.test}")


def subsets(generations: Iterable[Generation]) -> Iterator[tuple[str, list[Generation]]]:
    """Yield a title and the generations that share dataset, subset and preset."""
    for title, group in groupby(generations, key=setting):
        yield title, list(group)


#: What is marked of an estimate, by its note.
MARKS = {
    "rough": "Rough: two draws only, so that the interval hangs on their difference.",
    "for these training images": (
        "For these training images: all there are. Intervals cover seeds and test images, no other choice of images."
    ),
    "this draw only": (
        "This draw only: one of many. Intervals cover seeds and test images alone; another draw may say the opposite, "
        "so there is no verdict."
    ),
    "identical": "Identical: every training has the same test images right as the baseline's.",
}


#: What is marked of a row that was not trained as its baseline was.
OTHER_CODE = "Not of the same version of the code as its baseline"
#: What a control is there for.
CONTROLS = {
    "more-real": "further real images in place of generated ones, what a perfect generator would make",
    "half-real": "half of the real images; what the baseline gains over it is what twice the images bring",
    "copies": "the real images again; where they are called better, anything may be",
}


def row_notes(row: Row) -> list[str]:
    """Return what a reader of a row must know about it."""
    estimates = (row.accuracy, row.conclusion.difference)
    notes = list(dict.fromkeys(MARKS[item.note] for item in estimates if item is not None and item.note in MARKS))
    difference = row.conclusion.difference
    if difference and row.accuracy and difference.trainings < row.accuracy.trainings:
        notes.append(f"The difference is over {trainings(difference)}, which the baseline has too.")
    if row.other_code and difference:
        notes.append(f"{OTHER_CODE} ({', '.join(row.other_code)}): run both again, or the difference is of code too.")
    if row.learning is not None and row.learning.text:
        notes.append(row.learning.text)
    if row.learning is not None and row.learning.share:
        notes.append(row.learning.share)
    if row.choice is not None:
        reached = f"{points(row.choice.validation)} % on the validation part"
        among = f"of {count(row.choice.among, 'setting')}"
        notes.append(
            f"Chosen {among}: {reached}." if row.choice.chosen else f"Not chosen {among}, no verdict: {reached}."
        )
    if row.superseded:
        records = "1 record" if row.superseded == 1 else f"{row.superseded} records"
        notes.append(f"Newest code only; {records} of older code, or of the same training done before, not shown.")
    if row.test_copies:
        notes.append(f"Up to {row.test_copies} of its training images equal a test image in every pixel.")
    if row.near_copies:
        notes.append(f"Up to {row.near_copies} of its training images {NEARLY.format('a test image')}.")
    if len(row.environments) > 1:
        notes.append(f"Mixes {len(row.environments)} environments: {', '.join(row.environments)}.")
    return notes


def setting_notes(rows: Sequence[Row]) -> list[str]:
    """Return what a reader who compares these rows must know."""
    counted = ("test_in_train", "test_in_validation", "near_in_train", "near_in_validation")
    notes = shared_notes({name: max(getattr(row, name) for row in rows) for name in counted})
    environments = sorted({name for row in rows for name in row.environments})
    if len(environments) >= 2 and not any(len(row.environments) == len(environments) for row in rows):
        notes.append(f"These rows come from {len(environments)} environments: {', '.join(environments)}.")
    return [*notes, *data_notes(rows)]


def data_notes(rows: Sequence[Row]) -> list[str]:
    """Return what the records tell of the dataset that these rows share, each note once, the first few."""
    distinct = list(dict.fromkeys(note for row in rows for note in row.data_notes))
    more = len(distinct) - MOST_NOTES
    notes = [f"Dataset: {note}." for note in distinct[:MOST_NOTES]]
    return [*notes, f"Dataset: and {more} more, see the records."] if more > 0 else notes


def aligned(grid: Grid) -> list[list[str]]:
    """Return the heading and the rows of a grid, padded to the width of their columns."""
    lines = [[header for header, _ in grid.columns], *map(list, grid.rows)]
    widths = [max(map(cell_len, column)) for column in zip(*lines, strict=True)]
    right = [side for _, side in grid.columns]
    return [[_pad(*cell) for cell in zip(line, widths, right, strict=True)] for line in lines]


def _pad(text: str, to: int, right: bool) -> str:
    space = " " * (to - cell_len(text))
    return space + text if right else text + space
