"""``bench why``: which input made a cell's key differ from the last time."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import options as o
from .say import say, say_json


def why(
    cell: Annotated[
        str, typer.Argument(metavar="CELL", help="The first digits of a cell's key (see `bench plan --cells`).")
    ],
    results: o.Results = Path("results"),
    as_json: o.Json = False,
) -> None:
    """Explain a cell: its steps, and which input differs from the newest other run of the same sentence."""
    from ..results.why import explain_cell

    explained = explain_cell(results, cell)
    if as_json:
        say_json(explained)
        return
    say(*explained["lines"])
