"""``bench run``: plan, run what is missing, tabulate.

``bench plan``: the same options as ``run``; shows what would run and runs nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import UsageError
from ..machine import quiet_threads
from ..planning.spec import integer, parse_spec
from . import options as o


@o.takes_experiment()
def run(
    experiment: dict[str, Any],
    executor: Annotated[
        str, typer.Option(metavar="auto|NAME[:...]", help="Where steps run; `bench list executor` names them.")
    ] = "auto",
    ray_address: Annotated[
        str | None,
        typer.Option("--ray-address", metavar="HOST:PORT", help="Short for --executor ray:address=HOST:PORT."),
    ] = None,
    workers: Annotated[
        str | None, typer.Option(metavar="N", help="Steps at once. [default: what the executor finds right]")
    ] = None,
    results: o.Results = Path("results"),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and stop.")] = False,
    as_json: o.Json = False,
) -> None:
    """Run experiments: train each architecture on each generator's images and score it on real test images.

    What is done already comes from the cache; a killed run continues where it was. Without --gen and --data, the
    embedded default runs: diffinv next to real on digits.
    """
    quiet_threads()
    from . import session

    if ray_address is not None:
        executor = _at_address(executor, ray_address)
    count = None if workers is None else integer(workers, "--workers", 1)
    chosen = session.Choices(results, executor, count, dry_run, as_json)
    raise typer.Exit(session.run(experiment, chosen))


def _at_address(executor: str, address: str) -> str:
    """Return the executor of ``--ray-address``: Ray's, with that address."""
    spec = parse_spec("ray" if executor == "auto" else executor)
    if spec.name != "ray" or "address" in spec.values:
        raise UsageError(f"--ray-address {address}: goes with --executor ray, not with --executor {executor}")
    return str(spec.with_value("address", address))


@o.takes_experiment()
def plan(
    experiment: dict[str, Any],
    results: o.Results = Path("results"),
    cells: Annotated[bool, typer.Option("--cells", help="List every cell and step.")] = False,
    detect: Annotated[
        str | None,
        typer.Option(metavar="POINTS", help="Instead, how many draws and seeds show a difference of so many points."),
    ] = None,
    as_json: o.Json = False,
) -> None:
    """Show cells, stages, what is cached and how long the rest will take; runs nothing, imports no torch."""
    if detect is not None:
        from .detect import points_of, show_detect

        show_detect(experiment, results, points_of(detect), as_json=as_json)
        return
    from . import session

    session.show_plan(experiment, results, cells=cells, as_json=as_json)
