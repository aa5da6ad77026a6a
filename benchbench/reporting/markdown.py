"""``leaderboard.md``: the tables that people read, lined up as text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..results.table import Generation, Row, Table
from ..statistics.labels import heading
from . import grid as layout
from .grid import Grid, Notes
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
        for grid in (*fidelity_grids(title, generations), *cost_grids(title, generations)):
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
        cells.append((row.arch, made.gen, row.mix, layout.images(made), *measured))
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


def fidelity_grids(title: str, generations: Sequence[Generation]) -> Iterator[Grid]:
    """Yield one grid for each feature extractor: distances of different extractors never share a column."""
    for extractor in sorted({made.extractor for made in generations if made.extractor}):
        chosen = [made for made in generations if made.extractor == extractor]
        if extractor == "mixed":
            names = ", ".join(dict.fromkeys(made.gen for made in chosen))
            note = f"Draws were scored with different feature extractors and are not averaged: {names}."
            yield Grid(f"Fidelity: {title}", (), (), (note,))
            continue
        cells = []
        beside = any(made.fd_real is not None for made in chosen)  # records of an earlier schema lack it
        for made in chosen:
            shares = (layout.number(value, 3) for value in (made.precision, made.recall, made.density, made.coverage))
            scored = f"{made.n_score or '?'} / {made.n_reference or '?'}"
            distances = (layout.distance(made.fd), *((layout.distance(made.fd_real),) if beside else ()))
            cells.append((made.gen, layout.images(made), str(made.draws), *distances, *shares, scored))
        columns = (
            "generator",
            ">generated",
            ">draws",
            f">{heading(extractor)}",
            *((">of real images",) if beside else ()),
        )
        shares_of = (">precision", ">recall", ">density", ">coverage", ">scored / reference")
        yield Grid(f"Fidelity: {title}", columns + shares_of, tuple(cells), tuple(_fidelity_notes(chosen)))


def _fidelity_notes(chosen: Sequence[Generation]) -> Iterator[str]:
    if baseline := next((made.gen for made in chosen if made.baseline), None):
        yield f"The row {baseline} scores real images against other real images: as good as it gets."
    # The baseline's reference lacks the real images that it scores.
    references = {made.n_reference for made in chosen if not made.baseline}
    if len({made.n_score for made in chosen}) > 1 or len(references) > 1:
        yield "Rows were scored on different numbers of images, which moves the values: do not rank them."
    if any(made.fd_real is not None for made in chosen):
        yield '"Of real images" is the distance of as many real images to the other real ones: the best there is.'


def cost_grids(title: str, generations: Sequence[Generation]) -> Iterator[Grid]:
    """Yield the times of the generators that took any."""
    cells = [
        (
            made.gen,
            layout.images(made),
            layout.duration(made.fit_s),
            layout.duration(made.sample_s),
            layout.number(made.fit_images_per_s),
            layout.number(made.sample_images_per_s),
        )
        for made in generations
        if not made.baseline and (made.fit_s is not None or made.sample_s is not None)
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
