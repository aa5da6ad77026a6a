"""``leaderboard.csv`` and ``leaderboard.md`` from every record in a results folder."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from ..records import read_records, write_atomic
from ..tables import Table, build_table
from .csv_table import csv_text
from .markdown import markdown_text


class Leaderboard(NamedTuple):
    """The table that was written, and one line for each record that could not be read."""

    table: Table
    problems: list[str]


def write_leaderboard(results: Path) -> Leaderboard:
    """Write both files into ``results``; the same records give the same bytes.

    Raises:
        BenchError: the folder cannot be written.

    """
    records, problems = read_records(results)
    table = build_table(records)
    figures = sorted(path.relative_to(results).as_posix() for path in results.glob("figures/*.png"))
    for name, text in (("csv", csv_text(table)), ("md", markdown_text(table, figures))):
        path = results / f"leaderboard.{name}"
        if not path.exists() or path.read_bytes() != text.encode():
            write_atomic(path, text)
    return Leaderboard(table, problems)
