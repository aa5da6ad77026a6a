"""The table at the end of ``bench run``: the baseline beside each generator, for every architecture.

A terminal gets colours and rules (unless ``NO_COLOR`` says no), everything else plain lines.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TextIO

from ..results.table import Row, Table
from ..statistics.labels import heading
from . import grid as layout
from .grid import Grid, Notes
from .pivots import pivot_grid, shown_instead

#: Columns of text beyond which a pivot is turned on its side.
WIDEST = 100


def print_table(table: Table, stream: TextIO | None = None) -> None:
    """Print a table to ``stream``, standard output by default."""
    stream = sys.stdout if stream is None else stream
    for grid in short_grids(table):
        if stream.isatty() and os.environ.get("TERM") != "dumb":
            _print_rich(grid, stream)
        else:
            text = "\n".join(plain_lines(grid)) + "\n"
            stream.write(text if _can_encode(stream, text) else text.replace("±", "+-"))


def short_grids(table: Table) -> Iterator[Grid]:
    """Yield what a terminal shows: a pivot where settings are to be compared, a detailed grid for a single one."""
    chosen, covered = shown_instead(table)
    for pivot in chosen:
        grid = pivot_grid(pivot, means_only=True, widest=WIDEST)
        yield replace(grid, notes=(*grid.notes, "In detail: leaderboard.md."))
    rest = [row for row in table.rows if row.spec_id not in covered]
    yield from comparison_grids(replace(table, rows=tuple(rest)))


def comparison_grids(table: Table) -> Iterator[Grid]:
    """Yield one grid for each dataset, subset, preset, learner and augmentation."""
    for title, rows in layout.settings(table.rows):
        notes = Notes()
        cells: list[tuple[str, ...]] = []
        extractors = {row.generation.extractor or "" for row in rows} - {""}
        one = next(iter(extractors)) if len(extractors) == 1 else ""
        baselines = [row for row in rows if row.generation.baseline]
        for arch in dict.fromkeys(row.arch for row in rows):
            base = next((row for row in baselines if row.arch == arch), None)
            real = "" if base is None else _accuracy(base, notes)
            others = [row for row in rows if row.arch == arch and not row.generation.baseline]
            for row in others:
                cells.append((arch, real, *_compared(row, notes, fd=bool(one))))
            if not others:
                cells.append((arch, real, *[""] * (6 if one else 5)))
        name = ", ".join(dict.fromkeys(row.generation.gen for row in baselines)) or "baseline"
        headers = ("architecture", name, "generator", ">mix", ">generated", "accuracy, %", "difference")
        distances = (f">{heading(one)}",) if one else ()
        below = (*notes.lines(), *layout.setting_notes(rows), *_baseline_distance(baselines, one))
        yield _filled(Grid(title, headers + distances, tuple(cells), below))


def _filled(grid: Grid) -> Grid:
    """Return a grid without the columns that no row fills, as where there is only the baseline."""
    kept = [place for place in range(len(grid.headers)) if any(row[place] for row in grid.rows)]
    rows = tuple(tuple(row[place] for place in kept) for row in grid.rows)
    return replace(grid, headers=tuple(grid.headers[place] for place in kept), rows=rows)


def _compared(row: Row, notes: Notes, *, fd: bool) -> Iterator[str]:
    made = row.generation
    yield from (made.gen, row.mix, layout.images(made), _accuracy(row, notes), layout.difference(row))
    if fd:
        yield layout.distance(made.fd)


def _accuracy(row: Row, notes: Notes) -> str:
    return layout.accuracy(row) + notes.mark(*layout.row_notes(row))


def _baseline_distance(baselines: Sequence[Row], extractor: str) -> Iterator[str]:
    scored = next((row.generation for row in baselines if row.generation.fd is not None), None)
    if extractor and scored is not None:
        yield f"{heading(extractor)} of real images against other real images: {layout.distance(scored.fd)}."


def plain_lines(grid: Grid) -> Iterator[str]:
    """Yield a grid as lines of text without any escape code."""
    yield grid.title
    heading_line, *lines = ("  ".join(line).rstrip() for line in layout.aligned(grid))
    yield from (heading_line, "-" * max(map(layout.width, (heading_line, *lines))), *lines, *grid.notes, "")


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


def _can_encode(stream: TextIO, text: str) -> bool:
    try:
        text.encode(getattr(stream, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return False
    return True
