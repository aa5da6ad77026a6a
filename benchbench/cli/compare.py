"""``bench compare``: two rows, generators or results folders, by the statistics of the tables."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import options as o
from .say import complain, say, say_json

if TYPE_CHECKING:
    from ..results.compare import Compared, Comparison

#: What tells the pairs of a comparison apart, in the order in which it is shown.
TELLING = {
    **dict.fromkeys(("data", "arch", "gen", "mix", "aug", "learner"), "{}"),
    **{"shots": "{} per class", "n_real": "{} real", "n_syn": "{} generated", "test": "test {}"},
    **dict.fromkeys(("subset", "preset"), "{}"),
}
ROW = "the first digits of a spec_id, or values of columns in one argument, such as 'diffinv resnet18'"


def compare(
    ours: Annotated[str, typer.Argument(metavar="A", help=f"A results folder, or a row: {ROW}.")],
    theirs: Annotated[str, typer.Argument(metavar="B", help="Likewise; both are folders, or none is.")],
    results: o.Results = Path("results"),
    as_json: o.Json = False,
) -> None:
    """Compare A with B over the draws and seeds that they share: A minus B, its 95 % interval, a verdict.

    Rows are paired where they agree in all that A and B do not name. The end lists what differs between them:
    parameters, code, environment.
    """
    from ..results.compare import compare as compared_with

    found = compared_with(ours, theirs, results)
    for line in found.problems:
        complain(line)
    if as_json:
        say_json(_json(found))
    else:
        say(*_lines(ours, theirs, found))


def _lines(ours: str, theirs: str, found: Comparison) -> list[str]:
    from ..results.compare import accuracies

    rows = [["", "A", "B", "A - B", "95 % interval", "draws x seeds", "", ""]]
    for pair in found.pairs:
        numbers = ["" if value is None else f"{value:.2f}" for value in accuracies(pair)]
        rows.append([_name(pair, found.pairs) or pair.ours.setting.arch, *numbers, *_cells(pair)])
    for mean in found.means:
        rows.append([f"mean of {mean.pairs} architectures {_name(mean, found.means)}".strip(), "", "", *_cells(mean)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    told = [f"A  {ours}", f"B  {theirs}", "", *lines, ""]
    if len(found.pairs) > 1:
        told.append(f"Verdicts are stricter than intervals: {len(found.pairs)} rows were compared.")
    return [*told, *(f"differs  {line}" for line in found.differences or ["nothing that is recorded"])]


def _cells(pair: Compared) -> list[str]:
    it = pair.difference
    if it is None:
        return ["", "", "", "", "no draw and seed in common on the same number of test images"]
    interval = "none" if it.low is None or it.high is None else f"{it.low:+.2f} .. {it.high:+.2f}"
    return [f"{it.value:+.2f}", interval, f"{it.draws} x {it.seeds}", pair.verdict, it.note]


def _name(pair: Compared, pairs: Sequence[Compared]) -> str:
    """Return what tells a pair from the others, by as few fields as do."""
    settings, chosen, apart = [item.ours.setting for item in pairs], list[str](), 1
    for name in TELLING:
        now = len({tuple(str(getattr(setting, item)) for item in (*chosen, name)) for setting in settings})
        if now > apart:
            chosen.append(name)
            apart = now
    return " ".join(TELLING[name].format(getattr(pair.ours.setting, name)) for name in chosen)


def _json(found: Comparison) -> dict[str, Any]:
    def one(pair: Compared) -> dict[str, Any]:
        sides = {"a": pair.ours, "b": pair.theirs}
        return {
            **{name: {"spec_id": side.spec_id, **dataclasses.asdict(side.setting)} for name, side in sides.items()},
            "difference": None if pair.difference is None else dataclasses.asdict(pair.difference),
            "verdict": pair.verdict,
            "pairs": pair.pairs,
        }

    return {
        "pairs": [one(pair) for pair in found.pairs],
        "means": [one(mean) for mean in found.means],
        "differences": list(found.differences),
    }
