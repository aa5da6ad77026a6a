"""``leaderboard.md``: the tables that people read, lined up as text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..results.table import Generation, Row, Table
from . import grid as layout
from .grid import Grid, Notes
from .metrics import metric_grids
from .pivots import pivot_grid, pivots

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
        parts += [f"![{path.rpartition('/')[2]}]({path.replace(' ', '%20')})" for path in figures]
    return "\n\n".join(parts) + "\n"


def accuracy_grid(title: str, rows: Sequence[Row]) -> Grid:
    """Return the accuracies of rows that share everything but architecture, generator and mixing."""
    notes = Notes()
    cells = []
    for row in rows:
        made = row.generation
        marked = layout.accuracy(row) + notes.mark(*layout.row_notes(row))
        measured = (
            marked,
            layout.difference(row),
            layout.number(row.best_on_test),
            layout.duration(row.train_s),
        )
        cells.append((row.setting.arch, row.setting.gen, row.setting.mix, layout.images(made), *measured))
    headers = (
        "architecture",
        "generator",
        ">mix",
        ">generated",
        "accuracy, %",
        "difference",
        ">best on test, %",
    )
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


def _rendered(grid: Grid) -> Iterator[str]:
    yield f"## {_safe(grid.title)}"
    if grid.headers:
        rows = tuple(tuple(map(_safe, row)) for row in grid.rows)
        lines = layout.aligned(Grid(grid.title, grid.headers, rows))
        rule = [
            "-" * (len(cell) - 1) + (":" if right else "-")
            for cell, (_, right) in zip(lines[0], grid.columns, strict=True)
        ]
        yield "\n".join(f"| {' | '.join(line)} |" for line in (lines[0], rule, *lines[1:]))
    if grid.notes:
        yield "\n".join(f"- {_safe(note)}" for note in grid.notes)


def _safe(text: str) -> str:
    """Return a text that stays inside its table cell."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
