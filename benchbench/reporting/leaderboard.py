"""Write reports (``leaderboard.csv``, ``leaderboard.md``, plots and others) from the records of a results folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ..errors import BenchError, UsageError
from ..planning.resolved import check_needs, resolve
from ..planning.spec import Spec, parse_spec
from ..plugins.catalog import catalog, reason
from ..results.folder import read_records
from ..results.table import Table, build_table
from .report import Report


class Leaderboard(NamedTuple):
    """The table, one line for each problem, and what was written: texts and pictures, in the order to list them.

    A warning is a line on the records that costs nothing.
    """

    table: Table
    problems: list[str]
    texts: list[Path]
    pictures: list[Path]
    warnings: list[str]


def installed_reports() -> tuple[dict[str, Report], list[str]]:
    """Return every installed report by name, and a line for each that cannot be used here."""
    reports: dict[str, Report] = {}
    problems = []
    for name in catalog().names("report"):
        try:
            reports[name] = _report(Spec(name))
        except Exception as error:
            problems.append(
                f"report left out: {error if isinstance(error, UsageError) else f'{name}: {reason(error)}'}"
            )
    return reports, problems


def chosen_reports(formats: Sequence[str]) -> dict[str, Report]:
    """Return the reports that ``--format`` names (``NAME[:key=value,...]`` or a file).

    Raises:
        UsageError: an unknown or broken report, or an option that it does not have.
        MissingError: a package that it needs is not installed.
    """
    try:
        return {text: _report(parse_spec(text)) for text in formats}
    except UsageError as error:
        raise type(error)(f"--format {error}") from None


def _report(spec: Spec) -> Report:
    bound = resolve("report", spec, "quick")
    check_needs(bound, "cpu")
    report: Report = bound.plugin
    try:
        names = report.files()
    except Exception as error:
        raise UsageError(f"{spec}: files failed: {reason(error)}") from error
    fits = isinstance(names, (tuple, list)) and all(isinstance(name, str) and name for name in names)
    if not fits or any(Path(name).is_absolute() or ".." in Path(name).parts for name in names):
        raise UsageError(f"{spec}: files must return a tuple of names inside the results folder; got {names!r}")
    return report


def write_leaderboard(results: Path, reports: Mapping[str, Report] | None = None) -> Leaderboard:
    """Write reports, by default every installed one, into ``results``; the same records give the same bytes.

    A record that cannot be read and a report that fails are problems, and do not cost the other reports.

    Raises:
        BenchError: a text cannot be written; the other reports are.
    """
    records, problems, warnings = read_records(results)
    table = build_table(records)
    if reports is None:
        reports, broken = installed_reports()
        problems = [*problems, *broken]
    board = Leaderboard(table, problems, [], [], warnings)
    blocked: BenchError | None = None
    for name, report in sorted(reports.items(), key=lambda item: not item[1].pictures):
        try:
            paths = report.write(table, results)
            if not isinstance(paths, (list, tuple)) or not all(isinstance(path, Path) for path in paths):
                raise TypeError(f"write must return a list of Path; got {paths!r}")
            (board.pictures if report.pictures else board.texts).extend(paths)
        except (Exception, SystemExit) as error:  # a report that exits must not cost the others
            if isinstance(error, BenchError) and not report.pictures:
                blocked = blocked or error
            else:
                why = str(error) if isinstance(error, BenchError) else reason(error)
                problems.append(f"{name}: not written: {why}")
    if blocked is not None:
        raise blocked
    return board
