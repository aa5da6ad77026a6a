from __future__ import annotations

import dataclasses
import json
import math
import os
import time

import numpy as np
import pytest
from handmade import fidelity, record
from hypothesis import given, settings
from hypothesis import strategies as st

from benchbench.errors import BenchError
from benchbench.files import safe_name
from benchbench.plugins import Column
from benchbench.results import record as record_module
from benchbench.results.folder import read_records, record_path, write_record
from benchbench.results.record import MIGRATIONS, SCHEMA, Record, RecordError, pack_hits, unpack_hits, upgrade

words = st.text(st.characters(codec="utf-8", exclude_characters="/\\~"), max_size=20)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=40, deadline=None)
@given(
    gen=words,
    arch=words,
    metrics=st.dictionaries(words, st.dictionaries(words, values, max_size=3), max_size=2),
    error=st.none() | words,
    seed=st.integers(0, 2**63 - 1),
)
def test_a_record_survives_its_json(gen, arch, metrics, error, seed):
    ours = record(gen, arch=arch, metrics=metrics, error=error, seed=seed)
    again = Record.from_json(json.loads(ours.text()))
    assert again == ours
    assert again.text() == ours.text()


@given(st.lists(st.booleans(), max_size=70))
def test_hits_survive_packing(hits):
    text = pack_hits(np.array(hits, dtype=bool))
    assert unpack_hits(text, len(hits)).tolist() == hits
    assert unpack_hits(text, len(hits)).dtype == bool


def test_hits_of_a_known_pattern_and_of_the_wrong_length():
    assert pack_hits(np.array([True, False, False, False, False, False, False, False, True])) == "AQE="
    with pytest.raises(RecordError, match=r"^hits: 2 bytes for 17 test images; expected 3$"):
        unpack_hits("AQE=", 17)
    with pytest.raises(RecordError, match=r"^hits: not base64$"):
        unpack_hits("A!E=", 9)


def test_the_file_is_readable_and_has_exactly_the_documented_fields():
    data = json.loads(record().text())
    assert set(data) == {
        *(
            "schema",
            "key",
            "spec_id",
            "status",
            "error",
            "cell",
            "result",
            "metrics",
            "cost",
            "code",
            "steps",
        ),
        "provenance",
        "facts",
        "metric_columns",
    }
    assert data["schema"] == SCHEMA
    assert data["cell"]["gen"] == "diffinv"
    assert record().text().startswith('{\n  "cell": {\n    "arch": "resnet18",\n')
    assert record().text().endswith("}\n")


def test_numbers_that_are_not_finite_become_null():
    ours = record(metrics={"m": {"fd": math.nan, "values": [math.inf, 1.0]}})
    assert json.loads(ours.text())["metrics"] == {"m": {"fd": None, "values": [None, 1.0]}}


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("folder:path=/home/me/cats,seed=1", "folder:path=cats,seed=1"),
        ("/home/me/mine.py:factor=5", "mine.py:factor=5"),
        ("folder:path=C:\\data\\cats", "folder:path=cats"),
        ("folder:path=~/cats/", "folder:path=cats"),
        ("cannot open '/tmp/x y/z.png': truncated", "cannot open 'x y/z.png': truncated"),
        ("diffinv:guidance_scale=2/3/4", "diffinv:guidance_scale=2/3/4"),
        ("diffinv:model=CompVis/stable-diffusion-v1-4", "diffinv:model=CompVis/stable-diffusion-v1-4"),
        ("see https://example.org/a/b", "see https://example.org/a/b"),
        ("./mine.py", "./mine.py"),
    ],
)
def test_absolute_paths_never_reach_a_record(text, kept):
    ours = record(text, error=text, metrics={"m": {"error": text}})
    data = ours.to_json()
    assert (data["cell"]["gen"], data["error"], data["metrics"]) == (kept, kept, {"m": {"error": kept}})


def test_write_and_read(tmp_path):
    ours = [record(replicate=n) for n in range(3)] + [record(error="no", arch="-")]
    paths = [write_record(tmp_path, item) for item in ours]
    assert paths[0] == tmp_path / "records" / "digits" / "diffinv" / "resnet18" / f"{ours[0].key}.json"
    assert paths[3].parent == tmp_path / "records" / "digits" / "diffinv" / "-"
    loaded = read_records(tmp_path)
    assert sorted(loaded.records, key=lambda item: item.key) == sorted(ours, key=lambda item: item.key)
    assert loaded.problems == []
    assert not list(tmp_path.rglob(".tmp-*"))
    assert read_records(tmp_path / "absent") == ([], [], [])


def test_an_equal_record_is_not_written_again_unless_refreshed(tmp_path):
    path = write_record(tmp_path, record())
    before = path.read_bytes()
    later = record(created="2027-01-01T00:00:00+00:00")
    write_record(tmp_path, later)
    assert path.read_bytes() == before
    write_record(tmp_path, later, refresh=True)
    assert path.read_text("utf-8") == later.text()
    write_record(tmp_path, dataclasses.replace(later, metrics={"m": {"x": 1}}))
    assert read_records(tmp_path).records[0].metrics == {"m": {"x": 1}}


def test_a_failure_does_not_replace_a_finished_record_but_gives_way_to_one(tmp_path):
    done = record()
    failed = dataclasses.replace(done, status="failed", error="no", result=None)
    path = write_record(tmp_path, failed)
    write_record(tmp_path, done)
    write_record(tmp_path, failed)
    assert path.read_text("utf-8") == done.text()


def test_a_broken_file_is_told_left_there_and_replaced_by_its_cell(tmp_path):
    ours = record()
    path = write_record(tmp_path, ours)
    write_record(tmp_path, record(replicate=1))
    path.write_text('{"schema": 1,', "utf-8")
    loaded = read_records(tmp_path)
    assert [item.cell.replicate for item in loaded.records] == [1]
    (problem,) = loaded.problems
    assert problem.startswith(f"records/digits/diffinv/resnet18/{ours.key}.json: not valid JSON (")
    assert str(tmp_path) not in problem
    assert path.exists()
    write_record(tmp_path, ours)
    assert read_records(tmp_path).problems == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 99}, "schema 99 is newer than this bench reads (6); upgrade benchbench"),
        ({"schema": None}, "not a record: it has no schema version"),
        ({"schema": 0}, "schema 0: nothing migrates it to 6"),
        ({"key": "abc"}, "key 'abc': must be 64 hexadecimal digits"),
        ({"colour": 1}, "record.colour: unknown field"),
        ({"cell": 3}, "record.cell: 3 has the wrong type"),
        ({"error": 3}, "record.error: 3 has the wrong type"),
        (
            {"status": "failed"},
            "status 'failed': a done record has a result, a failed one an error, neither both",
        ),
    ],
)
def test_what_a_reader_is_told(change, message):
    data = json.loads(record().text()) | change
    with pytest.raises(RecordError) as caught:
        Record.from_json(data)
    assert str(caught.value) == message


def test_messages_name_inner_fields():
    data = json.loads(record().text())
    del data["cell"]["preset"]
    with pytest.raises(RecordError, match=r"^record\.cell\.preset: missing$"):
        Record.from_json(data)
    data = json.loads(record().text())
    data["result"]["accuracy"] = "0.5"
    with pytest.raises(RecordError, match=r"^record\.result\.accuracy: '0.5' has the wrong type$"):
        Record.from_json(data)
    data = json.loads(record().text())
    data["provenance"]["created"] = "yesterday"
    with pytest.raises(RecordError, match=r"^provenance\.created 'yesterday': not an ISO 8601 time$"):
        Record.from_json(data)


def test_an_older_schema_is_migrated_one_version_at_a_time(monkeypatch, tmp_path):
    def name_the_generator(data):
        cell = dict(data["cell"])
        return {**data, "cell": {**cell, "gen": cell.pop("generator")} | {"generator": None}}

    def drop_the_old_name(data):
        return {**data, "cell": {name: value for name, value in data["cell"].items() if name != "generator"}}

    migrations = ((-1, name_the_generator), (0, drop_the_old_name), *MIGRATIONS)
    old = json.loads(record().text())
    old["schema"] = -1
    old["cell"]["generator"] = old["cell"].pop("gen")
    assert upgrade(old, migrations)["schema"] == SCHEMA
    monkeypatch.setattr(record_module, "upgrade", lambda data: upgrade(data, migrations))
    path = write_record(tmp_path, record())
    path.write_text(json.dumps(old), "utf-8")
    assert read_records(tmp_path) == ([record()], [], [])
    assert old["schema"] == -1  # a migration works on a copy


def test_a_record_of_schema_3_keeps_its_columns():
    """Its metrics had a place in tables for one set of names; any other's numbers are shown as they are."""
    old = json.loads(record(metrics=fidelity(7.5, "inception"), arch="-").text())
    old["schema"], old["cell"]["arch"] = 3, None
    del old["metric_columns"], old["cell"]["more"]
    made = Record.from_json(old)
    assert made.cell.arch == "-"
    assert made.metric_columns["another"] == (Column("colour", "colour"),)
    titles = {column.key: (column.title, column.decimals, column.better) for column in made.metric_columns["fidelity"]}
    assert titles["fd"] == ("FID (torch-fidelity)", 4, "less")
    assert titles["kd"] == ("KID (torch-fidelity)", 6, "less")
    assert list(titles) == ["fd", "kd", "precision", "recall", "density", "coverage"]


@pytest.mark.parametrize(
    ("column", "why"),
    [
        ({"key": "x"}, ".title: missing"),
        ({"key": 5, "title": "x"}, ".key: 5 has the wrong type"),
        ({"key": "x", "title": "x", "better": "up"}, ": column x: better 'up' must be 'more', 'less' or None"),
        ({"key": "x", "title": "x", "decimals": -1}, ": column x: decimals -1 must be a whole number from 0 to 12"),
        ({"key": "", "title": "x"}, ": a column needs a key and a title, two texts"),
    ],
)
def test_a_column_that_cannot_be_read(column, why):
    data = json.loads(record().text()) | {"metric_columns": {"mine": [column]}}
    with pytest.raises(RecordError) as caught:
        Record.from_json(data)
    assert str(caught.value) == f"record.metric_columns.mine{why}"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="POSIX alone has pipes")
def test_a_pipe_in_the_place_of_a_record_stops_nothing(tmp_path):
    write_record(tmp_path, record())
    os.mkfifo(tmp_path / "records" / "pipe.json")
    loaded = read_records(tmp_path)
    assert loaded.records == [record()]
    assert loaded.problems == ["records/pipe.json: cannot be read (is no file); repair it or move it away"]


@given(st.text(max_size=300))
def test_names_are_safe_and_short(text):
    name = safe_name(text)
    assert 1 <= len(name) <= 60
    assert all(letter.isascii() and (letter.isalnum() or letter in "._=+-") for letter in name)
    assert name[0] != "."


def test_names_of_folders(tmp_path):
    assert safe_name("..") == "-"
    assert safe_name("con") == "_con"
    assert safe_name("a" * 100) != safe_name("a" * 101)
    gen = "diffinv:guidance_scale=2/3+clip-filter:keep=0.5"
    path = record_path(tmp_path, record(gen, data="folder:path=/a/b", arch="x/../y"))
    assert path.relative_to(tmp_path).parts[1:4] == ("folder", "diffinv+clip-filter", "x_.._y")


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_folder_that_cannot_be_written(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(BenchError, match=r"cannot be written \(Permission denied\); free or choose another"):
        write_record(tmp_path, record())


def test_a_file_in_the_place_of_the_folder(tmp_path):
    (tmp_path / "records").write_text("", "utf-8")
    with pytest.raises(BenchError, match=r"cannot be written \(Not a directory\); free or choose another --results"):
        write_record(tmp_path, record())


def test_reading_two_thousand_records_takes_less_than_two_seconds(tmp_path):
    text = record().text()
    folder = record_path(tmp_path, record()).parent
    folder.mkdir(parents=True)
    for number in range(2000):
        key = f"{number:064x}"
        (folder / f"{key}.json").write_text(text.replace(record().key, key), "utf-8")
    started = time.process_time()
    loaded = read_records(tmp_path)
    assert time.process_time() - started < 2.0
    assert len(loaded.records) == 2000
