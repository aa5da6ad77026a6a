"""The tables as text for people.

``leaderboard.md``: the tables that people read, lined up as text.

The table at the end of ``bench run``: the baseline next to each generator, for every architecture.

A terminal gets colours and rules (unless ``NO_COLOR`` says no), everything else plain lines.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TextIO
from urllib.parse import quote

from rich.cells import cell_len

from ..results.table import Generation, Row, Table
from ..safetext import encodable, in_markdown
from . import grid as layout
from .grid import Grid, Notes
from .metrics import metric_grids
from .pivots import pivot_grid, pivots, shown_instead

PROTOCOL = """\
Accuracy is that of the last training step on all test images, in percent: mean ± sample standard deviation
over n trainings (seeds x draws); a single training has none. The difference is to the baseline, the same
training on the real images alone, ± the standard deviation of the differences paired by draw and seed.
"Best on test" is the best of the periodic evaluations on the test images: it selects on them, and is not a
result. Times are per training and per generation."""


def markdown_text(table: Table, figures: Sequence[str] = ()) -> str:
    """Return the file; ``figures`` are paths relative to it, shown at the end."""
    parts = ["# Leaderboard", PROTOCOL]
    if not table.rows:
        parts.append("No records yet.")
    for pivot in pivots(table):
        parts += _rendered(pivot_grid(pivot))
    for title, rows in layout.settings(table.rows):
        parts += _rendered(accuracy_grid(title, rows))
    for title, generations in layout.subsets(table.generations):
        for grid in (*metric_grids(title, generations), *cost_grids(title, generations)):
            parts += _rendered(grid)
    if figures:
        parts.append("## Figures")
        parts += [f"![{in_markdown(path.rpartition('/')[2])}]({quote(os.fsencode(path), '/=+')})" for path in figures]
    return "\n\n".join(parts) + "\n"


def accuracy_grid(title: str, rows: Sequence[Row]) -> Grid:
    """Return the accuracies of rows that share everything but architecture, generator and mixing."""
    notes = Notes()
    cells = []
    for row in rows:
        made = row.generation
        marked = layout.accuracy(row) + notes.mark(*layout.row_notes(row))
        measured = (marked, layout.difference(row), layout.number(row.best_on_test), layout.duration(row.train_s))
        cells.append((row.setting.arch, row.setting.gen, row.setting.mix, layout.images(made), *measured))
    headers = ("architecture", "generator", ">mix", ">generated", "accuracy, %", "difference", ">best on test, %")
    return Grid(title, (*headers, ">training"), tuple(cells), (*notes.lines(), *layout.setting_notes(rows)))


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
    yield from comparison_grids(replace(table, rows=tuple(rest)))
    for title, generations in layout.subsets(table.generations):
        yield from (grid for grid in metric_grids(title, generations, short=True) if grid.headers)


def comparison_grids(table: Table) -> Iterator[Grid]:
    """Yield one grid for each dataset, subset, preset, learner and augmentation."""
    for title, rows in layout.settings(table.rows):
        notes = Notes()
        cells: list[tuple[str, ...]] = []
        baselines = [row for row in rows if row.setting.baseline]
        for arch in dict.fromkeys(row.setting.arch for row in rows):
            base = next((row for row in baselines if row.setting.arch == arch), None)
            real = "" if base is None else _accuracy(base, notes)
            others = [row for row in rows if row.setting.arch == arch and not row.setting.baseline]
            cells += [(arch, real, *_compared(row, notes)) for row in others]
            if not others:
                cells.append((arch, real, *[""] * 5))
        name = ", ".join(dict.fromkeys(row.setting.gen for row in baselines)) or "baseline"
        headers = ("architecture", name, "generator", ">mix", ">generated", "accuracy, %", "difference")
        yield _filled(Grid(title, headers, tuple(cells), (*notes.lines(), *layout.setting_notes(rows))))


def _filled(grid: Grid) -> Grid:
    """Return a grid without the columns that no row fills, as where there is only the baseline."""
    kept = [place for place in range(len(grid.headers)) if any(row[place] for row in grid.rows)]
    rows = tuple(tuple(row[place] for place in kept) for row in grid.rows)
    return replace(grid, headers=tuple(grid.headers[place] for place in kept), rows=rows)


def _compared(row: Row, notes: Notes) -> tuple[str, ...]:
    images = layout.images(row.generation)
    return row.setting.gen, row.setting.mix, images, _accuracy(row, notes), layout.difference(row)


def _accuracy(row: Row, notes: Notes) -> str:
    return layout.accuracy(row) + notes.mark(*layout.row_notes(row))


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
