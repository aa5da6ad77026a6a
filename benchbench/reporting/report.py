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
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from ..files import write_atomic
from ..plugins.base import Plugin

if TYPE_CHECKING:
    from ..results.table import Table

__all__ = ["Report"]


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
        data = content.encode() if isinstance(content, str) else content
        if not path.is_file() or path.read_bytes() != data:
            write_atomic(path, data)
        return path
