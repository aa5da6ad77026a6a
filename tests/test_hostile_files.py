"""The small JSON files that the harness keeps for itself: whatever somebody made of one, it is done without."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hostile import HOSTILE, places, with_value
from toys import World

from benchbench.cli import run_command
from benchbench.errors import BenchError
from benchbench.files import is_whole, one_step_folder, read_json
from benchbench.keys import content
from benchbench.keys.content import content_hash
from benchbench.machine import write_environment
from benchbench.planning.estimates import Timings, duration
from benchbench.planning.steps import Step
from benchbench.results.folder import read_records
from benchbench.running.records import make_record
from benchbench.safetext import on_a_line
from benchbench.store.artifact import DONE, VERIFIED, _checksum
from benchbench.store.lock import OWNER
from benchbench.store.store import Store
from benchbench_plugins.datasets._cache import recalled
from benchbench_plugins.datasets._images import ImageFacts
from benchbench_plugins.datasets._scan import VERSION, _remembered, are_moments

KEY = "ab" * 32
STEP = Step("train", "t", {}, {}, (), "kind", 2.0, 7.0)


def hostile_texts(value, *, also=()):
    """Yield JSON with each hostile value in each place."""
    for path in places(value):
        for name, text in (*HOSTILE.items(), *also):
            yield f"{name} in {path}", with_value(value, path, text).encode("utf-8", "surrogatepass")


def no_file(path: Path):
    """Put what can never be read, each in turn, in the place of a file."""
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    yield "a pipe"
    path.unlink()
    path.symlink_to("/dev/zero")
    yield "a device"
    path.unlink()
    path.mkdir()
    yield "a folder"
    path.rmdir()


def test_json_of_a_file(tmp_path):
    file = tmp_path / "x.json"
    file.write_bytes(b'\xef\xbb\xbf{"a": 1}')
    assert read_json(file) == {"a": 1}
    with pytest.raises(ValueError, match="larger than 3 bytes"):
        read_json(file, 3)
    for why in no_file(file):
        with pytest.raises(OSError, match="is no file"):
            read_json(file)
        assert why


def test_remembered_times(tmp_path, monkeypatch):
    file = tmp_path / "timings.json"
    for what, text in hostile_texts({"kind": 1.0, "other": 2.0}, also=[("1e308", "1e308")]):
        file.write_bytes(text)
        timings = Timings(tmp_path)
        assert timings.estimate(STEP) in (0.0, 1.0, 2.0, 7.0), what
        assert duration(timings.total([STEP] * 3).seconds), what
        timings.learn(STEP, 4.0)
        timings.save()
        assert json.loads(file.read_text("utf-8"))["kind"] >= 1.0, what
    for what in no_file(file):
        timings = Timings(tmp_path)
        assert timings.estimate(STEP) == 7.0, what
    file.mkdir()
    timings.save()
    assert file.is_dir(), "a run does not fail for it"


def publish(store: Store, key: str = KEY) -> dict:
    """Publish a step of two files; returns its document."""
    folder = store.temporary(key)
    (folder / "scores.json").write_text("{}")
    (folder / "part").mkdir()
    (folder / "part" / "images.npy").write_bytes(b"12")
    meta = {
        "stage": "score",
        "label": "of toys",
        "seconds": 1.5,
        "images": 3,
        "peak_memory_mib": 2.0,
        "facts": {"a": 1},
    }
    store.publish(key, folder, {**meta, "device": "cpu", "environment": "e", "body": {"n": 1}})
    return json.loads((store.path(key) / DONE).read_text("utf-8"))


def with_right_checksum(text: bytes) -> bytes:
    """Return a document as one who wants it to be believed writes it, as it is where it cannot be."""
    try:
        done = json.loads(text)
        done["store"]["checksum"] = _checksum(done)
        return json.dumps(done).encode()
    except (ValueError, RecursionError, TypeError, KeyError, AttributeError):
        return text


def test_the_document_of_an_artifact(tmp_path, capsys):
    store = Store(tmp_path / "artifacts")
    done = publish(store)
    document = store.path(KEY) / DONE
    flawed = 0
    for what, text in hostile_texts(done):
        document.write_bytes(with_right_checksum(text))
        (document.parent / VERIFIED).unlink(missing_ok=True)
        problem = store.check(KEY)
        assert problem is None or (on_a_line(problem) == problem and store.verify(KEY) is not None), what
        flawed += problem is not None
        try:
            meta = store.meta(KEY)
        except BenchError:
            assert problem is not None, what
            continue
        assert isinstance(meta.get("seconds", 1.0), (int, float)), what
        assert isinstance(meta.get("label", ""), str), what
    assert flawed > 200
    for what in no_file(document):
        assert "unreadable" in (store.check(KEY) or ""), what
        assert run_command(["cache", "ls", "--results", str(tmp_path)]) == 0
        assert run_command(["cache", "verify", "--results", str(tmp_path)]) == 1
        assert run_command(["cache", "gc", "--dry-run", "--results", str(tmp_path)]) == 0
        assert "internal error" not in capsys.readouterr().err


def test_a_file_of_an_artifact_that_is_none(tmp_path):
    store = Store(tmp_path / "artifacts")
    publish(store)
    for what in no_file(store.path(KEY) / "scores.json"):
        assert store.check(KEY) == "scores.json: is no file", what


def test_what_is_remembered_of_a_check(tmp_path):
    store = Store(tmp_path / "artifacts")
    publish(store)
    marks = {"checksum": "c", "files": {"scores.json": [1, 2, 3, 4]}}
    for what, text in hostile_texts(marks):
        (store.path(KEY) / VERIFIED).write_bytes(text)
        assert store.check(KEY) is None, what
    for what in no_file(store.path(KEY) / VERIFIED):
        assert store.check(KEY) is None, what


def test_notes_of_unfinished_plans_and_owners_of_locks(tmp_path):
    store = Store(tmp_path / "artifacts")
    store.remember_plan([KEY])
    (store.root / ".plans" / "torn").write_bytes(b"\xff\xfe\n" + b"cd" * 32 + b"\n" + b"e" * 5000)
    for what in no_file(store.root / ".plans" / "other"):
        assert store.planned() == {KEY, "cd" * 32}, what
    (store.root / ".plans" / "folder").mkdir()
    store.forget_plans()
    assert store.planned() == set()
    owner = store.root / ".locks" / f"{KEY}{OWNER}"
    owner.parent.mkdir()
    for what, text in hostile_texts({"host": "h", "pid": 1}):
        owner.write_bytes(text)
        assert store.lock(KEY).owner() is None or store.lock(KEY).owner().pid is not None, what
    for what in no_file(owner):
        assert store.lock(KEY).owner() is None, what


def test_an_environment_that_is_no_file_or_another_one(tmp_path):
    name = write_environment(tmp_path, {"python": "3"})
    file = tmp_path / "environments" / f"{name}.json"
    sound = file.read_bytes()
    for text in HOSTILE.values():
        file.write_bytes(text.encode("utf-8", "surrogatepass"))
        assert write_environment(tmp_path, {"python": "3"}) == name
        assert file.read_bytes() == sound
    for what in no_file(file):
        if what == "a folder":
            with pytest.raises(BenchError, match="cannot be written"):
                write_environment(tmp_path, {"python": "3"})
            continue
        write_environment(tmp_path, {"python": "3"})
        assert not file.is_symlink()
        assert file.read_bytes() == sound


def test_the_memory_of_content(tmp_path, monkeypatch):
    monkeypatch.setattr(content, "is_settled", lambda mark, read_ns: True)
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.txt").write_text("a")
    memory, expected = tmp_path / "memory.json", content_hash(tmp_path / "images")
    content_hash(tmp_path / "images", memory)
    known = json.loads(memory.read_text("utf-8"))
    known["known"] |= {"/elsewhere": ["0" * 64, "1" * 64]}
    for what, text in hostile_texts(known):
        if "[1]" not in what:
            memory.write_bytes(text)
            assert content_hash(tmp_path / "images", memory) == expected, what
    for what in no_file(memory):
        assert content_hash(tmp_path / "images", memory) == expected, what
        if memory.is_file():
            memory.unlink()
            memory.touch()


def test_answers_and_scans_below_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path))
    moments = [0.5, 0.5, 0.5, 0.25, 0.25, 0.25]

    def ask():
        return recalled("topic", ["question"], lambda: moments, are_moments)

    ask()
    (file,) = tmp_path.rglob("*.json")
    known = read_json(file)
    for what, text in hostile_texts(known):
        file.write_bytes(text)
        assert [type(value) for value in ask()] == [float] * 6, what
    for what in no_file(file):
        assert ask() == moments, what
        if file.is_file():
            file.unlink()
            file.touch()
    rows = {"version": VERSION, "files": {"a.png": [1, 2, 3, 4, 8, 8, "0" * 32], "b.png": [1, 2, 3, 4, 8, 8, "1" * 32]}}
    for what, text in hostile_texts(rows):
        file.write_bytes(text)
        for stamp, facts in _remembered(file).values():
            assert [type(value) for value in stamp] == [int] * 4, what
            assert [type(value) for value in (facts.width, facts.height, facts.digest)] == [int, int, str], what
    for what in no_file(file):
        assert _remembered(file) == {}, what
    assert ImageFacts(8, 8, "0" * 32)


def test_sums_of_a_folder_beside_it(tmp_path):
    folder = tmp_path / "chunk"
    with one_step_folder(folder) as draft:
        (draft / "a").write_bytes(b"1")
    seal = tmp_path / ".chunk.sums"
    sums = read_json(seal)
    for what, text in hostile_texts(sums):
        seal.write_bytes(text)
        assert is_whole(folder) in (True, False), what
    for what in no_file(seal):
        assert not is_whole(folder), what


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TOY_LOG", str(tmp_path / "log.txt"))
    return World(tmp_path / "plugins", tmp_path / "results")


def test_results_in_the_store_that_no_step_wrote(world):
    """Their checksums are right: the cell fails, or its metric does, with the reason in one line."""
    world.run()
    cell = world.plan().cells[-1]
    store = Store(world.results / "artifacts")
    (score,) = cell.score.values()
    for key, name, metric in ((cell.train, "outcome.json", False), (score, "scores.json", True)):
        file = store.path(key) / name
        sound = file.read_bytes()
        for what, text in list(hostile_texts(json.loads(sound)))[::4]:  # each place and each value often enough
            file.write_bytes(text)
            record = make_record(cell, store, {}, "e", {}, store.meta)
            said = [record.error, *(scores.get("error") for scores in record.metrics.values())][metric]
            assert said is None or said.startswith("its result in the store cannot be read: "), what
            assert record.from_json(json.loads(record.text().encode())) == record, what
        file.write_bytes(sound)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("10**400", "100000000000000000...0000000000000000000 is too large"),
        ("__import__('functools').reduce(lambda inner, _: [inner], range(100), 1)", "nested more than 64 deep"),
        ("__import__('functools').reduce(lambda inner, _: [inner], range(5000), 1)", "nested too deep"),
    ],
)
def test_a_plugin_cannot_leave_what_no_record_may_hold(world, body, why):
    world.edit("toymetric", '"fd":', f'"odd": {body}, "fd":')
    record = world.run()[-1]
    assert (record.status, list(record.metrics)) == ("done", ["toymetric.py"])
    assert f"toymetric.py: a value that it gave cannot be kept: {why}" in record.metrics["toymetric.py"]["error"]


def test_a_byte_that_is_not_utf_8_is_kept_spelled_out(world):
    """A name of a file in a report must not cost the images that were made."""
    world.edit("toymetric", '"fd":', "'name': 'cat\\udcff.png', \"fd\":")
    record = world.run()[-1]
    assert record.metrics["toymetric.py"]["name"] == "cat\\udcff.png"
    assert read_records(world.results).problems == []
