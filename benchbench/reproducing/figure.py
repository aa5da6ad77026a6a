"""The figure of a recipe in the paper's axes: values with their intervals, or the generated images themselves."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import BenchError
from ..files import put
from ..pictures.canvas import png
from ..pictures.gallery import Group, Tile, draw_gallery, variants
from ..planning import subsets
from ..plugins.images import ImageSet
from ..reporting.drawing import BASELINE, COLOURS, DOTS_PER_INCH, LETTER, MARKERS, PANEL, STYLE
from ..store.store import Store
from .compare import Measured, Outcome
from .experiments import Experiment
from .recipe import Part, Recipe
from .report import report_path, title

#: Real images that a gallery shows.
GALLERY_ROWS = 10


def draw(results: Path, outcome: Outcome, store: Store) -> Path | None:
    """Draw the figure of a recipe to ``recipes/NAME.png`` and return it; ``None`` for a table, or for nothing measured.

    Args:
        results: the results folder.
        outcome: what was measured.
        store: has the images of a gallery.

    Raises:
        BenchError: the file cannot be written, or the images of a gallery are not in the store.
    """
    experiment = outcome.experiment
    path = report_path(results, experiment, "png")
    if experiment.recipe.drawn == "gallery":
        return _gallery(experiment, store, path)
    if experiment.recipe.drawn != "lines" or not any(it.estimate for it in outcome.cells):
        return None
    return put(path, png(lambda: _figure(outcome), STYLE))


def _figure(outcome: Outcome) -> Any:
    from matplotlib.figure import Figure

    recipe, parts = outcome.experiment.recipe, outcome.experiment.world.parts
    cells = {it.cell.place: it for it in outcome.cells}
    width, height = PANEL
    longest = max(len(row.label) for part in parts for row in part.rows)
    size = (width * len(parts) + 0.6 + LETTER * longest, height + 0.6)
    figure = Figure(figsize=size, dpi=DOTS_PER_INCH, layout="constrained")
    panels = figure.subplots(1, len(parts), squeeze=False)[0]
    handles: dict[str, Any] = {}
    for at, part in zip(panels, parts, strict=True):
        handles |= _panel(at, recipe, part, cells, published=not outcome.experiment.world.name)
        at.set_title(part.label, fontsize=9, loc="left")
        at.set_xlabel(recipe.axes["x"])
    panels[0].set_ylabel(recipe.axes["y"])
    figure.legend(list(handles.values()), list(handles), loc="outside right center", frameon=False)
    figure.suptitle(title(outcome.experiment), fontsize=9, x=0.01, ha="left", wrap=True)
    figure.supxlabel("Mean and 95 % interval of what was measured here.", fontsize=8, x=0.01, ha="left")
    return figure


def _panel(
    at: Any, recipe: Recipe, part: Part, cells: Mapping[tuple[str, str, str], Measured], *, published: bool
) -> dict[str, Any]:
    """Draw a part and return what its legend shows; a row without columns is a line across it."""
    names = [column.label for column in part.columns]
    places = numbers(names)
    scale = places is not None
    xs = [float(place) for place in range(len(names))] if places is None else places
    if scale and recipe.log:
        at.set_xscale("log")
    at.set_xticks(xs, names, rotation=0 if scale or max(map(len, names)) < 8 else 30)
    at.minorticks_off()
    handles: dict[str, Any] = {}
    for rank, row in enumerate(part.rows):
        found = [cells.get((part.label, row.label, name)) for name in names]
        known = [(x, it.estimate) for x, it in zip(xs, found, strict=True) if it and it.estimate]
        colour = BASELINE if row.level else COLOURS[rank % len(COLOURS)]
        if not known:
            continue
        if row.level:
            (_, one), *_ = known
            handles[row.label] = at.axhline(one.value, color=colour, linestyle="--")
            if one.low is not None:
                at.axhspan(one.low, one.high, color=colour, alpha=0.08, linewidth=0)
            continue
        shown = [dodged(x, rank - (len(part.rows) - 1) / 2, xs, log=scale and recipe.log) for x, _ in known]
        bars = [[0.0 if it.low is None else it.value - it.low for _, it in known]]
        bars.append([0.0 if it.high is None else it.high - it.value for _, it in known])
        handles[row.label] = at.errorbar(
            shown,
            [it.value for _, it in known],
            yerr=bars if any(map(any, bars)) else None,
            color=colour,
            marker=MARKERS[rank % len(MARKERS)],
            linestyle="-" if scale else "none",
            capsize=2.5,
            elinewidth=1.0,
        )
        told = [(x, it.printed.value) for x, it in zip(xs, found, strict=True) if it and it.printed and published]
        if told:
            handles["as printed"] = at.plot(*zip(*told, strict=True), "x", color=colour)[0]
    return handles


def dodged(x: float, rank: float, xs: Sequence[float], *, log: bool) -> float:
    """Return a place next to ``x``, so that the intervals of several rows do not hide each other."""
    if log:
        return float(x * 1.03**rank)
    gaps = [abs(b - a) for a, b in itertools.pairwise(sorted(xs))]
    return x + 0.04 * rank * min(gaps, default=1.0)


def numbers(names: Sequence[str]) -> list[float] | None:
    """Return labels as numbers (``"1,000"``, ``"4K"``, ``"0.05"``), ``None`` unless all are, all different."""
    values = []
    for name in names:
        text = name.replace(",", "")
        factor = 1000.0 if text.endswith("K") else 1.0
        try:
            values.append(float(text.removesuffix("K")) * factor)
        except ValueError:
            return None
    return values if len(set(values)) == len(values) else None


def _gallery(experiment: Experiment, store: Store, path: Path) -> Path:
    """Draw real images, each with what every column's setting made of it."""
    planned = experiment.cells[0].planned
    keys = [cell.planned.sample[-1] for cell in experiment.cells if cell.planned.sample]
    if experiment.plan is None or not keys or not all(map(store.has, (planned.data, *keys))):
        raise BenchError(f"{experiment.recipe.name}: the images of its gallery are not in the cache {store.root}")
    train = ImageSet.load(store.path(planned.data) / "train")
    step = experiment.plan.steps[keys[0]]
    wanted, dataset = step.body["subset"], step.run["info"]["name"]
    chosen = subsets.select(train.labels, train.classes, dataset=dataset, **wanted) if wanted else range(len(train))
    made = [ImageSet.load(store.path(key)) for key in keys]
    rows = [{row.real: row.synthetic for row in variants(train.labels[chosen], images)[0]} for images in made]
    shown = [real for real in rows[0] if real is not None and all(other.get(real) for other in rows)][:GALLERY_ROWS]
    groups = [Group("real", [[Tile(train.images[chosen[real]])] for real in shown])]
    for cell, images, row in zip(experiment.cells, made, rows, strict=True):
        groups.append(Group(cell.column, [[Tile(images.images[row[real][0]])] for real in shown]))
    names = [train.classes[train.labels[chosen[real]]] for real in shown]
    return draw_gallery(names, groups, [title(experiment)], path)
