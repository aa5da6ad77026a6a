from __future__ import annotations

import math
import re
import subprocess
import sys
from dataclasses import replace

import pytest
from handmade import record, small_study

from benchbench.errors import UsageError
from benchbench.reporting.leaderboard import chosen_reports, write_leaderboard
from benchbench.results.folder import write_record
from benchbench.results.rows import LEADING, csv_text, load_results, table_columns
from benchbench.results.table import build_table


@pytest.fixture
def results(tmp_path):
    for item in small_study():
        write_record(tmp_path, item)
    return tmp_path


def test_both_files_are_written_and_not_touched_without_need(results):
    (results / "figures").mkdir()
    (results / "figures" / "grid.png").write_bytes(b"")
    board = write_leaderboard(results)
    assert board.problems == []
    table, text = results / "leaderboard.csv", results / "leaderboard.md"
    assert table.read_text("utf-8") == csv_text(build_table(small_study()))
    assert b"\r" not in table.read_bytes() + text.read_bytes()
    assert "![grid.png](figures/grid.png)" in text.read_text("utf-8")
    assert str(results) not in table.read_text("utf-8") + text.read_text("utf-8")
    before = [path.stat().st_ino for path in (table, text)]
    assert write_leaderboard(results) == board
    assert [path.stat().st_ino for path in (table, text)] == before


def test_an_unreadable_record_is_told_and_the_others_are_shown(results):
    bad = write_record(results, record("other"))
    bad.write_text("{", "utf-8")
    board = write_leaderboard(results)
    assert len(board.problems) == 1
    assert len(board.table.rows) == 5
    with pytest.warns(UserWarning, match="not valid JSON"):
        load_results(results)


def _format(tmp_path, files='("odd.txt",)', write='[self.put(results / "odd.txt", "odd")]'):
    """Return the spelling of a report in a file."""
    file = tmp_path / "odd.py"
    file.write_text(
        "from dataclasses import dataclass\nfrom benchbench import Report\n\n"
        "@dataclass(frozen=True)\nclass Odd(Report):\n"
        f"    def files(self):\n        return {files}\n\n"
        f"    def write(self, table, results):\n        return {write}\n",
        "utf-8",
    )
    return str(file)


def test_pictures_that_cannot_be_written_are_one_line_without_code(results):
    (results / "figures").write_text("")
    (problem,) = write_leaderboard(results).problems
    wanted = r"png: not written: \S+\.png: cannot be written \([\w ]+\); free or choose another --results"
    assert re.fullmatch(wanted, problem)


@pytest.mark.parametrize(
    ("write", "words"),
    [
        ("exit(7)", "SystemExit: 7"),
        ("None", "write must return a list of Path; got None"),
        ("'odd.txt'", "write must return a list of Path; got 'odd.txt'"),
        ("[3]", r"write must return a list of Path; got \[3\]"),
    ],
)
def test_a_report_that_exits_or_returns_no_paths_is_a_problem_alone(results, tmp_path, write, words):
    chosen = chosen_reports([_format(tmp_path, write=write), "csv"])
    board = write_leaderboard(results, chosen)
    (problem,) = board.problems
    assert re.search(rf"odd.py: not written: .*{words}", problem)
    assert board.texts == [results / "leaderboard.csv"]


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ("'odd.txt'", "files must return a tuple of names inside the results folder; got 'odd.txt'"),
        ("('../odd.txt',)", "inside the results folder"),
        ("('/odd.txt',)", "inside the results folder"),
        ("1 // 0", "files failed: ZeroDivisionError"),
    ],
)
def test_a_report_that_names_no_files_of_the_folder_is_refused(tmp_path, files, words):
    with pytest.raises(UsageError, match=rf"^--format .*odd.py: .*{words}"):
        chosen_reports([_format(tmp_path, files=files)])


def test_the_frame_has_the_columns_of_the_file_in_numbers(results):
    frame = load_results(results)
    assert list(frame.columns) == [column.name for column in table_columns(build_table(small_study()))]
    failed = frame[frame["status"] != "done"].iloc[0]
    assert failed["status"] == "failed (out of memory)"
    assert math.isnan(failed["acc_mean"])
    ours = frame[(frame["gen"] == "diffinv") & (frame["arch"] == "resnet18")].iloc[0]
    assert (ours["acc_mean"], ours["delta"], ours["n_syn"], ours["shots"]) == (77.0, 6.0, 500, 5)
    assert str(frame["n_real"].dtype) == "Int64"
    assert str(frame["delta_std"].dtype) == "float64"


def test_columns_of_what_a_row_concludes(tmp_path):
    learned = {"learning": {"train_accuracy": 0.5, "rising": False}}
    measures = {"balanced_accuracy": 0.55, "auc": 0.75, "ece": 0.125, "nll": 1.5}
    for draw in range(3):
        write_record(tmp_path, record("real", correct=100, draw=draw))
        made = record(correct=110, draw=draw)
        write_record(tmp_path, replace(made, result=replace(made.result, details=learned, measures=measures)))
    write_record(tmp_path, record("copies", correct=100, control="copies"))
    frame = load_results(tmp_path)
    names = list(frame.columns)
    assert names[22:29] == ["delta_low", "delta_high", "verdict", "tie_group", "detectable", "draws", "delta"]
    ours = frame[frame["gen"] == "diffinv"].iloc[0]
    assert (ours["verdict"], ours["tie_group"], ours["train_accuracy"]) == ("better", 1, 50.0)
    assert {name: ours[name] for name in measures} == measures
    assert ours["delta"] == pytest.approx(5.0)
    assert 0 < ours["delta_low"] < 5.0 < ours["delta_high"]
    assert ours["acc_low"] < 55.0 < ours["acc_high"]
    assert ours["detectable"] > 0
    assert str(frame["tie_group"].dtype) == "Int64"
    assert list(frame["control"]) == ["", "copies", ""]


def test_the_frame_of_single_trainings_says_which_are_shown(results):
    frame = load_results(str(results), per_record=True)
    assert len(frame) == len(small_study())
    assert frame["shown"].sum() == len(small_study()) - 1
    assert set(frame[frame["gen"] == "real"]["fd"]) == {3.125}
    assert set(frame["colour"]) == {0.5}
    assert sorted(frame[frame["gen"] == "real"]["accuracy"]) == [60.0, 70.0, 71.0, 72.0]
    assert str(frame["created"].dt.tz) == "UTC"


def test_an_absent_folder_is_an_empty_frame(tmp_path):
    assert load_results(tmp_path / "absent").shape == (0, len(LEADING))
    assert load_results(tmp_path / "absent", per_record=True).empty


def test_reports_import_no_heavy_library():
    program = (
        "import sys; from benchbench.reporting import text, leaderboard; from benchbench.results import rows;"
        "from benchbench.pictures import gallery;"
        "sys.exit(any(name in sys.modules for name in ('numpy', 'pandas', 'torch', 'PIL', 'rich.console')))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
