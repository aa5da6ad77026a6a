"""``leaderboard.csv``, ``leaderboard.md`` and the plots, from every record in a results folder."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from ..files import write_atomic
from ..plugins.catalog import reason
from ..results.csv import csv_text
from ..results.folder import read_records
from ..results.table import Table, build_table
from .markdown import markdown_text
from .plots import write_plots


class Leaderboard(NamedTuple):
    """The table that was written, one line for each problem, and the plots of its pivots."""

    table: Table
    problems: list[str]
    plots: list[Path]


def write_leaderboard(results: Path) -> Leaderboard:
    """Draw the plots and write both files into ``results``; the same records give the same bytes.

    A record that cannot be read and a plot that cannot be drawn are problems, and do not cost the tables.

    Raises:
        BenchError: the folder cannot be written.

    """
    records, problems = read_records(results)
    table = build_table(records)
    plots: list[Path] = []
    try:
        plots = write_plots(table, results)
    except Exception as error:
        problems = [*problems, f"plots: not drawn: {reason(error)}"]
    pictures = [*plots, *sorted(results.glob("figures/*.png"))]
    figures = [path.relative_to(results).as_posix() for path in pictures]
    for name, text in (("csv", csv_text(table)), ("md", markdown_text(table, figures))):
        path = results / f"leaderboard.{name}"
        if not path.exists() or path.read_bytes() != text.encode():
            write_atomic(path, text)
    return Leaderboard(table, problems, plots)
