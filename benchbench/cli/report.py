"""``bench report``: tables again from the records of a folder, run or copied there."""

from __future__ import annotations

import sys
from pathlib import Path

import typer

from . import options as o


def report(results: o.Results = Path("results"), as_json: o.Json = False) -> None:
    """Write leaderboard.csv, leaderboard.md and the plots from the records, and print the table."""
    from ..errors import UsageError
    from ..reporting.leaderboard import write_leaderboard
    from ..reporting.terminal import print_table
    from ..results.folder import read_records

    if not (results / "records").is_dir():
        raise UsageError(f"--results {results}: no records there; `bench run --results {results}` makes some")
    table, problems, plots = write_leaderboard(results)
    for line in problems:
        print(f"bench: {line}", file=sys.stderr)
    if as_json:
        import json

        typer.echo(json.dumps([record.to_json() for record in read_records(results).records], indent=1, sort_keys=True))
    else:
        print_table(table)
        for path in plots:
            typer.echo(f"plot  {path}")
    raise typer.Exit(1 if problems else 0)
