"""How an outcome reads: tables of cells and claims, as lines and as Markdown, and everything as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..files import write_atomic
from ..reporting.grid import Grid
from ..reporting.text import markdown_grid
from ..results.record import plain
from ..safetext import in_markdown
from .compare import Comparison, Judged, Measured, Outcome
from .experiments import Experiment
from .recipe import ACCURACY

if TYPE_CHECKING:
    from ..statistics.trainings import Estimate

#: Where reports go, below the results folder.
FOLDER = "recipes"
UNITS = {ACCURACY: "accuracy, %", "learning_s": "s of learning a real image", "sampling_s": "s of sampling an image"}
UNITS["made_s"] = "s of learning and sampling a real image"


def report_path(results: Path, experiment: Experiment, ending: str) -> Path:
    """Return where the report of a recipe in a world lies: ``recipes/table4-digits.md``."""
    name, world = experiment.recipe.name, experiment.world.name
    return results / FOLDER / f"{name}{f'-{world}' if world else ''}.{ending}"


def title(experiment: Experiment) -> str:
    """Return name, world and title in one line."""
    world = f" on {experiment.world.name}" if experiment.world.name else ""
    return f"{experiment.recipe.name}{world}: {experiment.recipe.title}; {experiment.recipe.source}"


def grids(outcome: Outcome) -> Iterator[Grid]:
    """Yield a grid of all cells and one for each claim; a gallery has none."""
    if not outcome.cells or outcome.experiment.recipe.drawn == "gallery":
        return
    measures = list(dict.fromkeys(it.cell.measure for it in outcome.cells))
    several = len(measures) > 1
    parts = any(it.cell.part for it in outcome.cells)
    level = {row.label for part in outcome.experiment.world.parts for row in part.rows if row.level}
    headers = ("part",) * parts + ("row", "column") + ("measure",) * several
    rows = []
    for it in outcome.cells:
        column = "-" if it.cell.row in level else it.cell.column
        named = (it.cell.part,) * parts + (it.cell.row, column) + (it.cell.measure,) * several
        rows.append((*named, *_measured(it)))
    what = UNITS.get(measures[0], measures[0]) if not several else "values"
    notes = ["Intervals are 95 % each; draws x seeds, of trainings that are no copies of each other."]
    yield Grid(
        f"{report_path(Path(), outcome.experiment, 'md').stem}: {what}",
        (*headers, ">paper", ">measured", ">95 % interval", "draws x seeds"),
        tuple(rows),
        tuple(notes),
    )
    for number, judged in enumerate(outcome.claims, 1):
        yield _claim(number, judged)


def _measured(it: Measured) -> tuple[str, str, str, str]:
    printed = "" if it.printed is None else str(it.printed)
    failed = f" ({it.failed} failed)" if it.failed else ""
    if it.estimate is None:
        return printed, f"-{failed}", "", ""
    value = f"{it.estimate.value:.{it.cell.decimals}f}{failed}"
    return printed, value, _interval(it.estimate, it.cell.decimals), _count(it.estimate)


def _interval(estimate: Estimate, decimals: int, sign: str = "") -> str:
    if estimate.low is None or estimate.high is None:
        return ""
    return f"[{estimate.low:{sign}.{decimals}f}, {estimate.high:{sign}.{decimals}f}]"


def _count(estimate: Estimate) -> str:
    note = f" ({estimate.note})" if estimate.note else ""
    return f"{estimate.draws} x {estimate.seeds}{note}"


def _claim(number: int, judged: Judged) -> Grid:
    claim, notes = judged.claim, []
    if claim.within:
        notes.append(f"Level means that the whole interval lies within {claim.within:g} of 0, a limit of this recipe.")
    if judged.elsewhere:
        told = ", ".join(f"{value:+.4g}" + (f" ({label})" if label else "") for label, value in judged.elsewhere)
        notes.append(f"The paper's own differences: {told}.")
    if not judged.comparisons:
        notes.append("Nothing to compare: the grid that was run lacks its cells.")
    headers = ("at", "compared", ">paper", ">measured", ">95 % interval", "draws x seeds", ">p")
    return Grid(
        f"Claim {number}, {judged.says}: {claim.text}",
        headers,
        tuple(_compared(one) for one in judged.comparisons),
        tuple(notes),
    )


def _compared(one: Comparison) -> tuple[str, ...]:
    both = list(zip(*one.places, strict=True))
    at = ", ".join(ours for ours, theirs in both if ours == theirs and ours) or "-"
    ours, theirs = (", ".join(pair[side] for pair in both if pair[0] != pair[1]) for side in (0, 1))
    decimals = one.ours.decimals
    printed = "" if one.printed is None else f"{one.printed:+.4g}"
    named = (at, f"{ours} better than {theirs}", printed)
    if one.estimate is None:
        return (*named, "-", "", "", "")
    value, interval = f"{one.estimate.value:+.{decimals}f}", _interval(one.estimate, decimals, "+")
    p = "" if one.estimate.p is None else f"{one.estimate.p:.2g}"
    return (*named, value, interval, _count(one.estimate), p)


def closing(outcome: Outcome) -> list[str]:
    """Return what the claims' words rest on."""
    tested = sum(not it.claim.within for it in outcome.claims)
    if not tested:
        return []
    less = any(one.ours.less for it in outcome.claims for one in it.comparisons)
    turned = " A positive one speaks for the claim, also where less of a measure is better." * less
    many = f"Holm over the {tested} claims of this recipe" if tested > 1 else "the one claim of this recipe"
    return [
        f"Differences are paired by draw and seed; p is two-sided, of each alone.{turned} A claim holds where every "
        f"difference is above 0 and the least sure one is shown at 5 % ({many}); it does not hold here where one below "
        "0 is shown likewise, corrected for their number."
    ]


def write_report(results: Path, outcome: Outcome, figure: Path | None) -> list[Path]:
    """Write ``recipes/NAME.md`` and ``.json`` and return their paths.

    Raises:
        BenchError: they cannot be written.
    """
    experiment = outcome.experiment
    parts = [f"# {in_markdown(title(experiment))}"]
    parts += [in_markdown(text) for text in (experiment.world.why,) if text]
    parts += map(markdown_grid, grids(outcome))
    parts += [in_markdown(text) for text in closing(outcome)]
    if figure is not None:
        parts.append(f"![{in_markdown(experiment.recipe.title)}]({figure.name})")
    if experiment.recipe.notes:
        parts.append("## Of the paper")
        parts.append("\n".join(f"- {in_markdown(note)}" for note in experiment.recipe.notes))
    text, data = (report_path(results, experiment, ending) for ending in ("md", "json"))
    write_atomic(text, "\n\n".join(parts) + "\n")
    write_atomic(data, json_text(outcome))
    return [text, data]


def json_text(outcome: Outcome) -> str:
    """Return an outcome as JSON: cells and claims with their estimates, as ``recipes/NAME.json`` has it."""
    return json.dumps(to_json(outcome), indent=1, sort_keys=True) + "\n"


def to_json(outcome: Outcome) -> dict[str, Any]:
    """Return an outcome as plain JSON values."""
    experiment = outcome.experiment
    cells = [
        {
            **{name: getattr(it.cell, name) for name in ("part", "row", "column", "measure")},
            "spec_id": it.cell.spec_id,
            "paper": plain(it.printed),
            "measured": plain(it.estimate),
            "failed": it.failed,
        }
        for it in outcome.cells
    ]
    claims = [
        {
            "text": judged.claim.text,
            "says": judged.says,
            "within": judged.claim.within,
            "comparisons": [
                {
                    "ours": one.places[0],
                    "theirs": one.places[1],
                    "measure": one.ours.measure,
                    "paper": one.printed,
                    "measured": plain(one.estimate),
                }
                for one in judged.comparisons
            ],
            "elsewhere": [{"at": label, "paper": value} for label, value in judged.elsewhere],
        }
        for judged in outcome.claims
    ]
    recipe = experiment.recipe
    named = {"name": recipe.name, "title": recipe.title, "source": recipe.source, "world": experiment.world.name}
    return {**named, "cells": cells, "claims": claims}
