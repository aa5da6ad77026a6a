"""The report ``brightest``."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

from benchbench import Report, Table, csv_text, param


@dataclass(frozen=True)
class Brightest(Report):
    """brightest.txt: the generators, the highest accuracy first."""

    most: int = param(10, low=1, help="Lines at most.")

    def files(self) -> tuple[str, ...]:
        """Return the one file."""
        return ("brightest.txt",)

    def write(self, table: Table, results: Path) -> list[Path]:
        """Sort the rows of leaderboard.csv."""
        rows = [row for row in csv.DictReader(io.StringIO(csv_text(table))) if row["acc_mean"]]
        rows.sort(key=lambda row: -float(row["acc_mean"]))
        lines = [f"{row['gen']} {row['acc_mean']}\n" for row in rows[: self.most]]
        return [self.put(results / "brightest.txt", "".join(lines))]
