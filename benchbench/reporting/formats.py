"""The reports that come with the harness: ``csv``, ``markdown`` and ``png``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from ..results.table import Table
from .report import Report


@dataclass(frozen=True)
class CSV(Report):
    """leaderboard.csv: one row per setting, for programs."""

    def files(self) -> tuple[str, ...]:
        """Return its one file."""
        return ("leaderboard.csv",)

    def write(self, table: Table, results: Path) -> list[Path]:
        """Write it."""
        from ..results.rows import csv_text

        return [self.put(results / "leaderboard.csv", csv_text(table))]


@dataclass(frozen=True)
class Markdown(Report):
    """leaderboard.md: the tables that people read, with the pictures of this folder."""

    def files(self) -> tuple[str, ...]:
        """Return its one file."""
        return ("leaderboard.md",)

    def write(self, table: Table, results: Path) -> list[Path]:
        """Write it; it shows the plots of this table that there are, then every picture in ``figures/`` itself."""
        from .pivots import pivots
        from .plots import plot_name
        from .text import markdown_text

        plots = (results / "figures" / plot_name(pivot) for pivot in pivots(table))
        pictures = [*(path for path in plots if path.is_file()), *sorted(results.glob("figures/*.png"))]
        figures = [path.relative_to(results).as_posix() for path in pictures]
        return [self.put(results / "leaderboard.md", markdown_text(table, figures))]


@dataclass(frozen=True)
class PNG(Report):
    """figures/*/*.png: plots of accuracy against what varies, with error bars."""

    pictures: ClassVar[bool] = True

    def files(self) -> tuple[str, ...]:
        """Return the folder of all pictures."""
        return ("figures/",)

    def write(self, table: Table, results: Path) -> list[Path]:
        """Draw every pivot of the table."""
        from .plots import write_plots

        return write_plots(table, results)
