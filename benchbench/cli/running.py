"""``bench run``: plan, run what is missing, tabulate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import options as o


def run(
    suite: o.Suite = None,
    gen: o.Gen = None,
    data: o.Data = None,
    arch: o.Arch = None,
    aug: o.Aug = None,
    seeds: o.Seeds = None,
    draws: o.Draws = None,
    shots: o.Shots = None,
    n_real: o.NReal = None,
    subset: o.Subset = None,
    n_syn: o.NSyn = None,
    mix: o.Mix = None,
    test_transform: o.TestTransform = None,
    preset: o.Preset = None,
    learner: o.Learner = None,
    metric: o.Metric = None,
    sweep: o.Sweep = None,
    no_baseline: o.NoBaseline = False,
    executor: Annotated[
        str, typer.Option(metavar="auto|inline|processes", help="How steps run; auto shares out the cores.")
    ] = "auto",
    workers: Annotated[
        str | None, typer.Option(metavar="N", help="Processes at once. [default: what cores and memory allow]")
    ] = None,
    device: o.Device = None,
    precision: o.Precision = None,
    results: o.Results = Path("results"),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and stop.")] = False,
    as_json: o.Json = False,
) -> None:
    """Run experiments: train each architecture on each generator's images and score it on real test images.

    What is done already comes from the cache; a killed run continues where it was. Without --gen and --data, the
    embedded default runs: diffinv beside real on digits.
    """
    given = {name: value for name, value in locals().items() if name not in _OWN}
    from ..machine import quiet_threads

    quiet_threads()
    from ..planning.spec import integer
    from . import session

    count = None if workers is None else integer(workers, "--workers", 1)
    chosen = session.Choices(results, executor, count, dry_run, as_json)
    raise typer.Exit(session.run(o.gather(suite, given), chosen))


_OWN = ("suite", "executor", "workers", "results", "dry_run", "as_json")
