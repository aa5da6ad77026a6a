"""Places that may not be read: the user is told which, and nothing calls it an internal error."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from benchbench.cli import run_command
from benchbench.errors import UsageError
from benchbench.planning.resolved import ResolvedPlugin, check_needs
from benchbench.plugins import Generator, RequiredFile, Requirements
from benchbench.plugins.catalog import Entry


def denied(path: Path, *_: object, **__: object) -> bool:
    raise PermissionError(13, "Permission denied", str(path))


def test_a_folder_that_may_not_be_looked_into_is_the_users_to_mend(monkeypatch, tmp_path):
    @dataclass(frozen=True)
    class Reads(Generator):
        def needs(self):
            return Requirements(files=(RequiredFile(tmp_path / "closed" / "file", "the file", "somewhere"),))

    bound = ResolvedPlugin(Entry("generator", "reads", "Reads"), Reads(), "quick", {}, ())
    monkeypatch.setattr(Path, "exists", denied)
    with pytest.raises(UsageError, match=r"^reads: cannot read .*closed/file: permission denied$"):
        check_needs(bound, "cpu")


def test_a_table_that_may_not_be_replaced_is_no_internal_error(monkeypatch, capsys):
    monkeypatch.setattr("benchbench.cli.app.app", lambda *_, **__: denied(Path("results/leaderboard.csv")))
    assert run_command(["report"]) == 1
    assert capsys.readouterr().err == (
        "bench: results/leaderboard.csv: permission denied; let this user read and write it\n"
    )
