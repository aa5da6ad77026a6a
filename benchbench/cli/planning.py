"""``bench plan``: the same options as ``run``; shows what would run and runs nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from . import options as o


@o.takes_experiment()
def plan(
    experiment: dict[str, Any],
    results: o.Results = Path("results"),
    cells: Annotated[bool, typer.Option("--cells", help="List every cell and step.")] = False,
    as_json: o.Json = False,
) -> None:
    """Show cells, stages, what is cached and how long the rest will take; runs nothing, imports no torch."""
    from . import session

    session.show_plan(experiment, results, cells=cells, as_json=as_json)
