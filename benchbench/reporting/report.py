r"""The page for the author of a report: a file, or several, made of the table of all results.

A report is a frozen dataclass whose fields are its options. It is given the table
(:class:`benchbench.results.table.Table`) and the results folder, writes its files and returns their paths::

    @dataclass(frozen=True)
    class Best(Report):
        '''best.txt: the highest mean accuracy.'''

        def files(self) -> tuple[str, ...]:
            return ("best.txt",)

        def write(self, table: Table, results: Path) -> list[Path]:
            rows = csv.DictReader(io.StringIO(csv_text(table)))  # by column, as in leaderboard.csv
            best = max((float(row["acc_mean"]) for row in rows if row["acc_mean"]), default=0.0)
            return [self.put(results / "best.txt", f"{best} %\n")]

Every installed report is written after each ``bench run`` and by ``bench report``; ``bench report --format best``
writes this one alone. Publish it under the entry-point group ``benchbench.reports``.

The reports that come with the harness: ``csv``, ``markdown`` and ``png``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from ..files import put
from ..plugins.base import Plugin
from ..results.table import Table


@dataclass(frozen=True)
class Report(Plugin):
    """Writes the table of all results in some format. The same records give the same bytes."""

    kind: ClassVar[str] = "report"
    #: Whether it draws pictures (into ``figures/``): those come first, so that other reports can show them.
    pictures: ClassVar[bool] = False

    def files(self) -> tuple[str, ...]:
        """Return what it writes, by names relative to the results folder; a folder's name ends with ``/``.

        A run checks before its first step that nothing is in the way of them.
        """
        raise NotImplementedError

    def write(self, table: Table, results: Path) -> list[Path]:
        """Write the files and return their paths, in the order in which they are listed to the user.

        Args:
            table: rows (one per setting: names, counts, accuracies in percent, measured values) and generations.
            results: the results folder, which exists; nothing outside it is written.

        Raises:
            BenchError: a file cannot be written.
        """
        raise NotImplementedError

    def put(self, path: Path, content: str | bytes) -> Path:
        """Write a file atomically unless it has this content already; returns ``path``.

        Args:
            path: the file; its folder is made where it is missing.
            content: text (written as UTF-8, line ends as they are) or bytes.

        Raises:
            BenchError: it cannot be written.
        """
        return put(path, content.encode() if isinstance(content, str) else content)


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
        from .plots import plot_names
        from .text import markdown_text

        plots = (results / "figures" / name for name in plot_names(table))
        pictures = [*(path for path in plots if path.is_file()), *sorted(results.glob("figures/*.png"))]
        figures = [path.relative_to(results).as_posix() for path in pictures]
        return [self.put(results / "leaderboard.md", markdown_text(table, figures))]


@dataclass(frozen=True)
class PNG(Report):
    """figures/*/*.png: plots of accuracy against what varies, with intervals, and by steps, and of what metrics say."""

    pictures: ClassVar[bool] = True

    def files(self) -> tuple[str, ...]:
        """Return the folder of all pictures."""
        return ("figures/",)

    def write(self, table: Table, results: Path) -> list[Path]:
        """Draw every plot of the table."""
        from .plots import write_plots

        return write_plots(table, results)
