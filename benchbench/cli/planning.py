"""``bench plan``: the same options as ``run``; shows what would run and runs nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import options as o


def plan(
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
    device: o.Device = None,
    precision: o.Precision = None,
    results: o.Results = Path("results"),
    cells: Annotated[bool, typer.Option("--cells", help="List every cell and step.")] = False,
    as_json: o.Json = False,
) -> None:
    """Show cells, stages, what is cached and how long the rest will take; runs nothing, imports no torch."""
    given = {name: value for name, value in locals().items() if name not in ("suite", "results", "cells", "as_json")}
    from . import session

    session.show_plan(o.gather(suite, given), results, cells=cells, as_json=as_json)
