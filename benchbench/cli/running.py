"""``bench run``: plan, run what is missing, tabulate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from . import options as o


@o.takes_experiment()
def run(
    experiment: dict[str, Any],
    executor: Annotated[
        str, typer.Option(metavar="auto|inline|processes", help="How steps run; auto shares out the cores.")
    ] = "auto",
    workers: Annotated[
        str | None, typer.Option(metavar="N", help="Processes at once. [default: what cores and memory allow]")
    ] = None,
    results: o.Results = Path("results"),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and stop.")] = False,
    as_json: o.Json = False,
) -> None:
    """Run experiments: train each architecture on each generator's images and score it on real test images.

    What is done already comes from the cache; a killed run continues where it was. Without --gen and --data, the
    embedded default runs: diffinv beside real on digits.
    """
    from ..machine import quiet_threads

    quiet_threads()
    from ..planning.spec import integer
    from . import session

    count = None if workers is None else integer(workers, "--workers", 1)
    raise typer.Exit(session.run(experiment, session.Choices(results, executor, count, dry_run, as_json)))
