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
    """The table, one line for each problem, and what was written: texts and pictures, in the order to list them."""

    table: Table
    problems: list[str]
    texts: list[Path]
    pictures: list[Path]


def installed_reports() -> tuple[dict[str, Report], list[str]]:
    """Return every installed report by name, and a line for each that cannot be used here."""
    found: dict[str, Report] = {}
    problems = []
    for name in catalog().names("report"):
        try:
            report = _report(Spec(name))
            report.files()
        except Exception as error:
            problems.append(
                f"report left out: {error if isinstance(error, UsageError) else f'{name}: {reason(error)}'}"
            )
        else:
            found[name] = report
    return found, problems


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
    return report


def write_leaderboard(results: Path, reports: Mapping[str, Report] | None = None) -> Leaderboard:
    """Write reports, by default every installed one, into ``results``; the same records give the same bytes.

    A record that cannot be read and a report that fails are problems, and do not cost the other reports.

    Raises:
        BenchError: a text cannot be written; the other reports are.
    """
    records, problems = read_records(results)
    table = build_table(records)
    if reports is None:
        reports, broken = installed_reports()
        problems = [*problems, *broken]
    board = Leaderboard(table, problems, [], [])
    blocked: BenchError | None = None
    for name, report in sorted(reports.items(), key=lambda item: not item[1].pictures):
        try:
            (board.pictures if report.pictures else board.texts).extend(report.write(table, results))
        except Exception as error:
            if isinstance(error, BenchError) and not report.pictures:
                blocked = blocked or error
            else:
                problems.append(f"{name}: not written: {reason(error)}")
    if blocked is not None:
        raise blocked
    return board
