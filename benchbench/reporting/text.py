"""The tables as text for people.

``leaderboard.md``: the tables that people read, lined up as text.

The table at the end of ``bench run``: the baseline next to each generator, for every architecture.

A terminal gets colours and rules (unless ``NO_COLOR`` says no), everything else plain lines.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TextIO
from urllib.parse import quote

from rich.cells import cell_len

from ..results.rows import MEASURES
from ..results.table import Generation, Row, Table
from ..safetext import encodable, in_markdown, item_in_markdown
from . import grid as layout
from .closing import closing_lines
from .grid import Grid, Notes
from .metrics import metric_grids
from .pivots import pivot_grid, pivots, shown_instead

PROTOCOL = """\
Accuracy is that of the last training step on all test images, in percent, with its 95 % interval over draws, seeds
and test images. The difference is to the baseline, the same training on the real images alone, in percentage points,
paired over the draws and seeds that both rows have. The verdict is corrected for all rows that were compared; rows of
one tie group are not shown to differ from the best of it. n counts distinct trainings. "Best on test" is the best of
the periodic evaluations on the test images: it selects on them, and is not a result. Times are per training and per
generation."""


def markdown_text(table: Table, figures: Sequence[str] = ()) -> str:
    """Return the file; ``figures`` are paths relative to it, shown at the end."""
    parts = ["# Leaderboard", PROTOCOL]
    if not table.rows:
        parts.append("No records yet.")
    if lines := closing_lines(table, most=None):
        parts += ["## In words", "\n".join(map(item_in_markdown, lines))]
    for pivot in pivots(table):
        parts += _rendered(pivot_grid(pivot))
    for title, rows in layout.settings(table.rows):
        for grid in (*accuracy_grids(title, rows), *beside_grids(title, rows)):
            parts += _rendered(grid)
    for title, generations in layout.subsets(table.generations):
        for grid in (*metric_grids(title, generations), *cost_grids(title, generations)):
            parts += _rendered(grid)
    if figures:
        parts.append("## Figures")
        parts += [f"![{in_markdown(path.rpartition('/')[2])}]({quote(os.fsencode(path), '/=+')})" for path in figures]
    return "\n\n".join(parts) + "\n"


def accuracy_grids(title: str, rows: Sequence[Row], *, short: bool = False) -> Iterator[Grid]:
    """Yield the accuracies of rows that share everything but architecture, generator and mixing, and their controls.

    Args:
        title: what they share.
        rows: the rows.
        short: as a terminal shows it: without times, and with what all rows share below instead of in a column.
    """
    results = [row for row in rows if not row.setting.control]
    controls = [row for row in rows if row.setting.control]
    for heading, some in ((title, results), (f"Controls: {title}", controls)):
        if some:
            grid = _accuracies(heading, some)
            yield _shortened(grid, some) if short else grid


def _accuracies(title: str, rows: Sequence[Row]) -> Grid:
    notes = Notes()
    every = [layout.row_notes(row) for row in rows]
    known = [texts for row, texts in zip(rows, every, strict=True) if row.accuracy is not None]
    shared = [text for text in layout.MARKS.values() if known and all(text in texts for texts in known)]
    cells = []
    for row, texts in zip(rows, every, strict=True):
        found, made = row.conclusion, row.generation
        marks = notes.mark(*(text for text in texts if text not in shared))
        measured = (layout.accuracy(row) + marks, layout.trainings(row.accuracy), layout.difference(found.difference))
        said = (found.verdict, "" if row.tie_group is None else str(row.tie_group))
        best = "" if row.best_on_test is None else layout.points(row.best_on_test)
        named = (row.setting.arch, row.setting.gen, row.setting.mix, layout.images(made))
        cells.append((*named, *measured, *said, best, layout.duration(row.train_s)))
    first = ("architecture", "generator", ">mix", ">generated", "accuracy, %", "n", "difference", "verdict")
    below = [*notes.lines(), *shared, *_corrected(rows)]
    below += [
        f"{kind}: {text}." for kind, text in layout.CONTROLS.items() if any(row.setting.control == kind for row in rows)
    ]
    headers = (*first, ">tie group", ">best on test, %", ">training")
    return _filled(Grid(title, headers, tuple(cells), (*below, *layout.setting_notes(rows))))


def beside_grids(title: str, rows: Sequence[Row]) -> Iterator[Grid]:
    """Yield what the probabilities of rows say beside their accuracy, where records keep it."""
    cells = [
        (row.setting.arch, row.setting.gen, row.setting.mix, layout.images(row.generation), *_beside(row.measures))
        for row in rows
        if row.measures
    ]
    if cells:
        headers = ("architecture", "generator", ">mix", ">generated")
        numbers = (">balanced accuracy, %", ">AUC ↑", ">ECE, % ↓", ">NLL, nats ↓")
        note = "Means over the trainings, as orientation: without intervals, verdicts or a choice of rows."
        yield _filled(Grid(f"Beside accuracy: {title}", (*headers, *numbers), tuple(cells), (note,)))


def _beside(measures: Mapping[str, float]) -> tuple[str, ...]:
    balanced, auc, ece, nll = map(measures.get, MEASURES)
    percents = (None if share is None else 100 * share for share in (balanced, ece))
    balanced_text, ece_text = map(layout.number, percents)
    return balanced_text, layout.number(auc, 4), ece_text, layout.number(nll, 3)


def _corrected(rows: Sequence[Row]) -> Iterator[str]:
    """Yield why an interval may leave 0 out where a verdict shows no difference."""
    compared = max(row.conclusion.compared for row in rows)
    if compared > 1:
        yield f"Verdicts are stricter than the 95 % intervals, because {compared} rows were compared (Holm, at 5 %)."


def _shortened(grid: Grid, rows: Sequence[Row]) -> Grid:
    """Return a grid without its last columns, and with what all of its rows share in a line below.

    A baseline is mixed with nothing, so that the columns about generated images are those of the other rows.
    """
    made = [place for place, row in enumerate(rows) if not row.setting.baseline]
    shared, kept = [], []
    for place, (name, _) in enumerate(grid.columns):
        some = made if name in ("mix", "generated", "tie group") else range(len(rows))
        values = list(dict.fromkeys(grid.rows[at][place] for at in some))
        if not values:
            continue
        if name in ("mix", "generated", "n", "tie group") and len(values) == 1 and values[0]:
            shared.append({"n": values[0], "generated": f"{values[0]} generated"}.get(name, f"{name} {values[0]}"))
        elif name not in ("best on test, %", "training"):
            kept.append(place)
    lines = tuple(tuple(row[place] for place in kept) for row in grid.rows)
    below = (f"Each row: {', '.join(shared)}.",) if shared else ()
    return Grid(grid.title, tuple(grid.headers[place] for place in kept), lines, (*below, *grid.notes))


def _filled(grid: Grid) -> Grid:
    """Return a grid without the columns that no row fills, as where there is only the baseline."""
    kept = [place for place in range(len(grid.headers)) if any(row[place] for row in grid.rows)]
    rows = tuple(tuple(row[place] for place in kept) for row in grid.rows)
    return replace(grid, headers=tuple(grid.headers[place] for place in kept), rows=rows)


def cost_grids(title: str, generations: Sequence[Generation]) -> Iterator[Grid]:
    """Yield the times of the generators that took any."""
    cells = [
        (
            made.setting.gen,
            layout.images(made),
            layout.duration(made.fit_s),
            layout.duration(made.sample_s),
            layout.number(made.fit_images_per_s),
            layout.number(made.sample_images_per_s),
        )
        for made in generations
        if not made.setting.baseline and (made.fit_s is not None or made.sample_s is not None)
    ]
    if cells:
        headers = ("generator", ">generated", ">fit", ">sample", ">fit, images/s", ">sample, images/s")
        yield Grid(f"Cost of one generation: {title}", headers, tuple(cells))


def markdown_grid(grid: Grid) -> str:
    """Return a grid as paragraphs of Markdown: heading, table, notes."""
    return "\n\n".join(_rendered(grid))


def _rendered(grid: Grid) -> Iterator[str]:
    yield f"## {in_markdown(grid.title)}"
    if grid.headers:
        headers, *rows = (tuple(map(in_markdown, row)) for row in (grid.headers, *grid.rows))
        lines = layout.aligned(Grid(grid.title, headers, tuple(rows)))
        rule = [
            "-" * (len(cell) - 1) + (":" if right else "-")
            for cell, (_, right) in zip(lines[0], grid.columns, strict=True)
        ]
        yield "\n".join(f"| {' | '.join(line)} |" for line in (lines[0], rule, *lines[1:]))
    if grid.notes:
        yield "\n".join(f"- {in_markdown(note)}" for note in grid.notes)


#: Columns of text beyond which a pivot is turned on its side.
WIDEST = 100
#: What stands for signs that an output cannot encode.
_PLAIN = str.maketrans({"±": "+-", "↓": "v", "↑": "^"})


def print_table(table: Table, stream: TextIO | None = None) -> None:
    """Print a table to ``stream``, standard output by default."""
    stream = sys.stdout if stream is None else stream
    for grid in short_grids(table):
        text = "\n".join(plain_lines(grid)) + "\n"
        if encodable(text, stream) != text:
            stream.write(encodable(text.translate(_PLAIN), stream))
        elif stream.isatty() and os.environ.get("TERM") != "dumb":
            _print_rich(grid, stream)
        else:
            stream.write(text)


def short_grids(table: Table) -> Iterator[Grid]:
    """Yield what a terminal shows: a pivot where settings are to be compared, a detailed grid for a single one."""
    chosen, covered = shown_instead(table)
    for pivot in chosen:
        grid = pivot_grid(pivot, means_only=True, widest=WIDEST)
        yield replace(grid, notes=(*grid.notes, "In detail: leaderboard.md."))
    rest = [row for row in table.rows if row.spec_id not in covered]
    for title, rows in layout.settings(rest):
        yield from accuracy_grids(title, rows, short=True)
    for title, generations in layout.subsets(table.generations):
        yield from (grid for grid in metric_grids(title, generations, short=True) if grid.headers)


def plain_lines(grid: Grid) -> Iterator[str]:
    """Yield a grid as lines of text without any escape code."""
    yield grid.title
    heading_line, *lines = ("  ".join(line).rstrip() for line in layout.aligned(grid))
    yield from (heading_line, "-" * max(map(cell_len, (heading_line, *lines))), *lines, *grid.notes, "")


def _print_rich(grid: Grid, stream: TextIO) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    console = Console(file=stream, highlight=False)
    shown = RichTable(title=Text(grid.title), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for header, right in grid.columns:
        shown.add_column(Text(header), justify="right" if right else "left", overflow="fold")
    for row in grid.rows:
        shown.add_row(*(Text(cell, style="red" if "failed" in cell else "") for cell in row))
    console.print(shown)
    for note in grid.notes:
        console.print(Text(note, style="dim"))
