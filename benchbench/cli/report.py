"""``bench report``: tables again from the records of a folder, run or copied there."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import UsageError
from . import options as o
from .say import complain, say, say_json


def report(
    results: o.Results = Path("results"),
    formats: Annotated[
        list[str] | None,
        typer.Option(
            "--format", metavar="NAME[:...]", help="Write this report alone; repeat for several. [default: all]"
        ),
    ] = None,
    as_json: o.Json = False,
) -> None:
    """Write the reports (tables and plots) from the records, and print the table; `bench list report` names them."""
    from ..reporting.closing import closing_lines
    from ..reporting.leaderboard import chosen_reports, write_leaderboard
    from ..reporting.text import print_table
    from ..results.folder import read_records

    if not (results / "records").is_dir():
        raise UsageError(f"--results {results}: no records there; `bench run --results {results}` makes some")
    board = write_leaderboard(results, chosen_reports(formats) if formats else None)
    for line in (*(f"warning: {text}" for text in board.warnings), *board.problems):
        complain(line)
    if as_json:
        say_json([record.to_json() for record in read_records(results).records])
    else:
        print_table(board.table)
        for path in board.pictures:
            say(f"plot  {path}")
        for path in board.texts if formats else ():
            say(f"file  {path}")
        for line in ("", *closing_lines(board.table)):
            say(line)
    raise typer.Exit(1 if board.problems else 0)
