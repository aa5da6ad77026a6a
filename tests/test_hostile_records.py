"""A record that somebody else wrote: whatever is in it, it is read, or left out by name, and stops nothing."""

from __future__ import annotations

import dataclasses
import json
import os
import warnings

import pytest
from handmade import fidelity, record
from hostile import HOSTILE, with_value, write_all
from hypothesis import given, settings
from hypothesis import strategies as st

import benchbench
from benchbench.cli import run_command
from benchbench.reporting.leaderboard import write_leaderboard
from benchbench.reporting.report import CSV, Markdown
from benchbench.results.folder import read_records, write_record
from benchbench.results.reading import DEEPEST, json_flaw
from benchbench.results.record import Record, RecordError
from benchbench.safetext import on_a_line

#: Values that no field may have.
NEVER_READ = {"nan", "infinite", "beyond", "5,000 digits", "surrogate", "bytes of a surrogate", "deep", "deeper"}


def full_record() -> dict:
    """Return the JSON of a record in which every field says something."""
    data = json.loads(record(metrics=fidelity(2.0), more={"axis": "one"}).text())
    data["facts"] = {"data": [{"step": "read", "test_in_train": 0, "list": [1]}]}
    data["result"]["details"] = {"test_copies": 1, "lr": 0.1}
    data["provenance"]["order"] = 5
    data["cost"] |= {"data_s": 1.0, "score_s": 1.0}
    return data


def older_record() -> dict:
    """Return one of schema 3, which is migrated before anything in it was looked at."""
    data = full_record() | {"schema": 3}
    del data["metric_columns"], data["cell"]["more"], data["provenance"]["order"]
    return data


@pytest.mark.parametrize(("base", "one_setting"), [(full_record, False), (older_record, True)])
def test_any_value_in_any_field_is_read_or_left_out_by_name(base, one_setting, tmp_path):
    """Each hostile value in each field, in a setting of its own or as one seed of a setting, beside a sound record."""
    written = write_all(tmp_path / "records", base(), one_setting=one_setting)
    sound = record("real")
    write_record(tmp_path, sound)
    records, problems, _ = read_records(tmp_path)
    names = {line.split(": ")[0].rpartition("/")[2] for line in problems}
    assert len(records) + len(problems) == len(written) + 1
    assert names <= written.keys()
    assert all(on_a_line(line) == line and len(line) < 400 for line in problems)
    for name, (path, value) in written.items():
        if value in NEVER_READ:
            assert name in names, f"{value} in {path}"
    for item in records:
        assert Record.from_json(json.loads(item.text().encode())) == item
    board = write_leaderboard(tmp_path, {"csv": CSV(), "markdown": Markdown()})
    assert board.problems == problems
    assert sound.spec_id in {row.spec_id for row in board.table.rows}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert len(benchbench.load_results(tmp_path)) == len(board.table.rows)
        assert len(benchbench.load_results(tmp_path, per_record=True)) == len(records)


@pytest.mark.parametrize("path", [(), ("cell", "gen"), ("metrics", "fidelity", "fd"), ("provenance", "created")])
def test_commands_go_on_beside_hostile_records(path, tmp_path, capsys):
    sound = record("real")
    records = write_record(tmp_path, sound).parent
    for number, text in enumerate(HOSTILE.values()):
        changed = full_record() | {"key": f"{number:064x}"}
        (records / f"{number}.json").write_bytes(with_value(changed, path, text).encode("utf-8", "surrogatepass"))
    (tmp_path / "artifacts").mkdir()
    problems = read_records(tmp_path).problems
    assert len(problems) >= 10
    for command in (["report"], ["report", "--json"], ["why", sound.key], ["cache", "gc"]):
        code = run_command([*command, "--results", str(tmp_path)])
        out, err = capsys.readouterr()
        assert code == (1 if command[0] == "report" else 0), err
        if command[0] != "why":
            assert all(f"bench: {line}" in err for line in problems)
        if "--json" in command:
            assert sound.to_json() in json.loads(out)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**320), 10**320)
    | st.floats()
    | st.text(st.characters(), max_size=5)
    | st.sampled_from(["done", "failed", "0" * 64, "2026-01-02T03:04:05Z"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(), max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_record_of_any_json_is_read_or_refused(data):
    base = full_record()
    for _ in range(data.draw(st.integers(1, 3))):
        inner = base
        while True:
            name = data.draw(st.sampled_from(sorted(inner)))
            if not isinstance(inner[name], dict) or not inner[name] or data.draw(st.booleans()):
                break
            inner = inner[name]
        inner[name] = data.draw(json_values)
    try:
        made = Record.from_json(base)
    except RecordError:
        return
    assert Record.from_json(json.loads(made.text().encode())) == made


@given(json_values)
def test_free_json_that_passes_can_be_written_and_counted(value):
    if json_flaw(value) is None:
        assert json.loads(json.dumps(value, ensure_ascii=False, allow_nan=False).encode()) == value
    nested = value
    for _ in range(DEEPEST + 1):
        nested = [nested]
    assert json_flaw(nested) is not None


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"hits": "!"}, "hits: not base64"),
        ({"hits": "////"}, "hits: 3 bytes for 200 test images; expected 25"),
        ({"accuracy": 0.5}, "hits: 150 of 200 test images, but result.accuracy is 0.5"),
        ({"n_test": 0, "hits": ""}, "hits: 0 of 0 test images, but result.accuracy is 0.75"),
        ({"n_test": -200}, "hits: 25 bytes for -200 test images; expected -25"),
    ],
)
def test_wrong_hits(change, why):
    data = full_record()
    data["result"] |= change
    with pytest.raises(RecordError) as caught:
        Record.from_json(data)
    assert str(caught.value) == why


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="POSIX alone has pipes and names of bytes")
def test_what_is_no_file_or_cannot_be_read_is_named(tmp_path):
    sound = record()
    records = write_record(tmp_path, sound).parent
    (records / "folder.json").mkdir()
    (records / "gone.json").symlink_to("nowhere")
    (records / "loop.json").symlink_to("loop.json")
    (records / "null.json").symlink_to("/dev/zero")
    os.mkfifo(records / "pipe.json")
    (records / "empty.json").touch()
    with (records / "huge.json").open("wb") as file:
        file.truncate(2**40)
    (records / os.fsdecode(b"\xff\n.json")).write_text("{}")
    loaded = read_records(tmp_path)
    assert loaded.records == [sound]
    said = {line.split(": ")[0].rpartition("/")[2]: line.split(": ", 1)[1] for line in loaded.problems}
    repair = "; repair it or move it away"
    assert said == {
        "gone.json": f"cannot be read (No such file or directory){repair}",
        "loop.json": f"cannot be read (Too many levels of symbolic links){repair}",
        "null.json": f"cannot be read (is no file){repair}",
        "pipe.json": f"cannot be read (is no file){repair}",
        "empty.json": "not valid JSON (Expecting value: line 1 column 1 (char 0)); run its cell again to replace it",
        "huge.json": "not valid JSON (larger than 67,108,864 bytes); run its cell again to replace it",
        "\\udcff\\n.json": "not a record: it has no schema version; run its cell again to replace it",
    }


def test_records_of_a_clock_that_was_ahead_are_named_and_counted(tmp_path, capsys):
    write_record(tmp_path, record("real"))
    ahead = [record(arch=arch, created="2999-01-02T03:04:05Z") for arch in ("a", "b")]
    path = write_record(tmp_path, ahead[0])
    write_record(tmp_path, ahead[1])
    line = (
        f"2 records say that they were made in the future ({path.relative_to(tmp_path)} at 2999-01-02T03:04:05Z): a"
        " clock was ahead; nothing is left out, and what runs from now on counts as newer"
    )
    assert read_records(tmp_path).warnings == [line]
    assert run_command(["report", "--results", str(tmp_path), "--format", "csv"]) == 0
    assert capsys.readouterr().err == f"bench: warning: {line}\n"
    with pytest.warns(UserWarning, match="2 records say that they were made in the future"):
        assert len(benchbench.load_results(tmp_path)) == 3


def test_a_name_that_is_no_text_does_not_keep_a_record_from_being_written(tmp_path):
    """Names of files that are no UTF-8 come with the errors that name them."""
    failed = record(error=os.fsdecode(b"cannot open cat\xff.png"))
    write_record(tmp_path, failed)
    (kept,) = read_records(tmp_path).records
    assert kept.error == "cannot open cat\\udcff.png"


def test_numbers_whose_sum_is_none_are_left_out_of_means(tmp_path):
    """Each is a finite float; a mean of two is not."""
    for draw in range(2):
        made = record(draw=draw)
        result = dataclasses.replace(made.result, curve=((1, 0.5, 1.5e308), (2, 0.5, 0.5)))
        cost = dataclasses.replace(made.cost, fit_s=1.7e308, sample_s=3.0)
        write_record(tmp_path, dataclasses.replace(made, result=result, cost=cost))
    board = write_leaderboard(tmp_path, {"csv": CSV(), "markdown": Markdown()})
    (row,) = board.table.rows
    assert (row.generation.fit_s, row.generation.sample_s, row.curve) == (None, 3.0, ((2, 50.0),))
