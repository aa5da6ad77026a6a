"""The store: what is published is whole, what is damaged is named, what is finished is never lost."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from benchbench.errors import BenchError, CorruptError, UsageError
from benchbench.store import artifact as artifacts
from benchbench.store.store import Store

KEY, OTHER = "ab" * 32, "cd" * 32


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "artifacts")


def put(store, key=KEY, files=None, meta=None):
    folder = store.temporary(key)
    for name, content in (files or {"images.npy": b"0123456789", "deep/table.jsonl": b"{}\n"}).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return store.publish(key, folder, meta or {"seconds": 1.5})


def test_published_artifact_is_found_and_nothing_else_is_left(store):
    assert not store.has(KEY)
    path = put(store, meta={"seconds": 1.5, "sizes": (1, 2), "names": {3: "c"}})
    assert path == store.path(KEY) == store.root / "ab" / KEY
    assert store.has(KEY)
    assert store.check(KEY) is None
    assert (path / "images.npy").read_bytes() == b"0123456789"
    meta = store.meta(KEY)
    assert (meta["seconds"], meta["sizes"], meta["names"]) == (1.5, [1, 2], {"3": "c"})
    assert sorted(meta["store"]["files"]) == ["deep/table.jsonl", "images.npy"]
    assert list(store.keys()) == [KEY]
    assert store.size(KEY) == sum(item.stat().st_size for item in path.rglob("*") if item.is_file())
    assert [item.name for item in store.root.iterdir() if item.name.startswith(".tmp")] == []


def test_checksums_show_how_far_they_are_and_are_made_once(store, monkeypatch):
    folder, seen = store.temporary(KEY), []
    (folder / "images.npy").write_bytes(b"0123456789" * 300)
    monkeypatch.setattr("benchbench.store.artifact._BLOCK", 1000)
    files = store.flushed(KEY, folder, lambda done, total: seen.append((done, total)))
    assert seen == [(1000, 3000), (2000, 3000), (3000, 3000)]
    monkeypatch.setattr("benchbench.store.store.checksums", None)
    store.publish(KEY, folder, {}, files)
    assert store.verify(KEY) is None


def test_scratch_survives_until_its_key_is_published(store):
    (store.scratch(KEY) / "checkpoint").write_bytes(b"x")
    assert (Store(store.root).scratch(KEY) / "checkpoint").read_bytes() == b"x"
    put(store, OTHER)
    assert (store.scratch(KEY) / "checkpoint").exists()
    put(store)
    assert not (store.root / ".partial" / KEY).exists()


def test_publishing_an_intact_key_again_changes_nothing(store):
    path = put(store)
    before = (path / "images.npy").stat().st_mtime_ns
    again = store.temporary(KEY)
    (again / "images.npy").write_bytes(b"different")
    assert store.publish(KEY, again, {}) == path
    assert not again.exists()
    assert (path / "images.npy").stat().st_mtime_ns == before


def test_a_publisher_that_comes_second_leaves_the_first_artifact_in_place(store, monkeypatch):
    before = (put(store) / "images.npy").stat()
    monkeypatch.setattr(Store, "has", lambda self, key: False)  # as when the first one came in after the question
    assert put(store) == store.path(KEY)
    assert (store.path(KEY) / "images.npy").stat().st_ino == before.st_ino
    assert not list(store.root.glob(".tmp-*"))


@pytest.mark.parametrize("key", ["", "ab", "../" + "a" * 61, "AB" * 32, "ab" * 32 + "\n", "ab" * 31 + "/x"])
def test_a_key_that_is_no_key_never_becomes_a_path(store, key):
    for method in (
        store.path,
        store.has,
        store.check,
        store.temporary,
        store.scratch,
        store.lock,
        store.discard,
    ):
        with pytest.raises(ValueError, match="is no key"):
            method(key)
    assert not store.root.exists()


def damage(store):
    """Return key and problem of every damaged artifact, nothing remembered."""
    return [(key, problem) for key in store.folders() if (problem := store.verify(key))]


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    later = path.stat().st_mtime_ns + 1_000_000  # as if the clock of the file system were fine enough
    path.write_bytes(content)
    os.utime(path, ns=(later, later))


DAMAGE = {
    "images.npy: checksum ": lambda path: flip(path / "images.npy"),
    "images.npy: 4 bytes, 10 expected": lambda path: (path / "images.npy").write_bytes(b"0123"),
    "deep/table.jsonl: missing": lambda path: (path / "deep" / "table.jsonl").unlink(),
    "done.json: missing": lambda path: (path / "done.json").unlink(),
    "done.json: unreadable: ": lambda path: (path / "done.json").write_bytes(b"\x00"),
    "done.json: its own checksum differs": lambda path: (path / "done.json").write_text(
        (path / "done.json").read_text().replace("1.5", "1.6")
    ),
}


@pytest.mark.parametrize("problem", DAMAGE)
def test_each_kind_of_damage_is_named(store, monkeypatch, problem):
    monkeypatch.setattr(artifacts, "is_settled", lambda mark, read_ns: True)
    path, whole = put(store), put(store, OTHER)
    assert store.check(KEY) is None
    DAMAGE[problem](path)
    for found in (store.check(KEY), *(text for _, text in damage(store))):
        assert found is not None
        assert found.startswith(problem)
        assert "\n" not in found
    assert [key for key, _ in damage(store)] == [KEY]
    put(store)  # a damaged artifact is replaced
    assert store.check(KEY) is None
    assert store.check(OTHER) is None
    assert whole.exists()


@pytest.mark.parametrize("name", [".DS_Store", "deep/._table.jsonl", ".nfs000000ab", "Thumbs.db"])
def test_strangers_do_not_make_an_artifact_corrupt(store, name):
    path = put(store, files={"images.npy": b"0123456789", "deep/table.jsonl": b"{}\n", name: b"left by the system"})
    assert name not in store.meta(KEY)["store"]["files"]
    assert store.check(KEY) is None
    (path / name).unlink()
    (path / "deep" / ".nfs01").write_text("left by the system")
    assert store.check(KEY) is None
    assert damage(store) == []


def test_an_artifact_of_another_key_is_not_taken_for_this_one(store):
    shutil.copytree(put(store), store.path(OTHER))
    assert store.check(OTHER) == f"done.json: belongs to artifact {KEY[:12]}"
    with pytest.raises(CorruptError, match=r"^artifact cdcdcdcdcdcd: done.json: belongs to artifact abababababab$"):
        store.meta(OTHER)


def test_a_verified_artifact_is_not_read_again_until_it_is_touched(store, monkeypatch):
    path = put(store)
    read = []
    whole = artifacts.hash_file
    monkeypatch.setattr(artifacts, "hash_file", lambda file: read.append(file.name) or whole(file))
    assert store.check(KEY) is None
    assert store.check(KEY) is None
    assert read == ["table.jsonl", "images.npy"] * 2  # too young to be trusted by its times
    monkeypatch.setattr(artifacts, "is_settled", lambda mark, read_ns: True)
    store.check(KEY)
    read.clear()
    assert store.check(KEY) is None
    assert read == []
    assert damage(store) == []
    assert read == ["table.jsonl", "images.npy"]
    flip(path / "images.npy")
    assert str(store.check(KEY)).startswith("images.npy: checksum")


def test_a_remembered_check_does_not_cover_another_done_json(store, monkeypatch):
    monkeypatch.setattr(artifacts, "is_settled", lambda mark, read_ns: True)
    path = put(store)
    assert store.check(KEY) is None
    (path / ".verified.json").write_text("not json")
    assert store.check(KEY) is None
    done = json.loads((path / "done.json").read_text())
    done["store"]["files"]["images.npy"]["sha256"] = "0" * 64
    done["store"]["checksum"] = artifacts._checksum(done)
    (path / "done.json").write_text(json.dumps(done))
    assert str(store.check(KEY)).startswith("images.npy: checksum")


@pytest.mark.parametrize("moment", ["seal", "rename", "fsync"])
def test_a_full_disk_leaves_the_old_state(store, monkeypatch, moment):
    kept = put(store, OTHER)

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        if moment == "seal":
            patch.setattr(artifacts, "atomic_file", full)
        else:
            patch.setattr(os, moment, full)
        with pytest.raises(BenchError, match=r"No space left on device; finished work is kept$"):
            put(store)
    assert not store.has(KEY)
    assert not store.path(KEY).exists()
    assert store.check(OTHER) is None
    assert kept.exists()
    assert not list(store.root.glob(".tmp-*")), "the space is given back"
    put(store)
    assert store.check(KEY) is None


def test_what_cannot_be_published_is_refused(store):
    folder = store.temporary(KEY)
    (folder / "link").symlink_to("/dev/null")
    with pytest.raises(ValueError, match="neither a file nor a folder"):
        store.publish(KEY, folder, {})
    with pytest.raises(ValueError, match="reserved name"):
        put(store, files={"done.json": b"{}"})
    with pytest.raises(ValueError, match="not JSON compliant"):
        put(store, meta={"loss": float("nan")})
    with pytest.raises(ValueError, match="store"):
        put(store, meta={"store": 1})
    assert not store.has(KEY)


def test_discard_removes_whole_and_damaged_artifacts(store):
    path = put(store)
    store.discard(KEY)
    assert not path.exists()
    assert not list(store.root.glob(".tmp-*"))
    store.discard(KEY)
    path = put(store)
    (path / "done.json").unlink()
    store.discard(KEY)
    assert not path.exists()


def test_writable_says_what_is_in_the_way(tmp_path, monkeypatch):
    Store(tmp_path / "new" / "artifacts").writable()
    assert list((tmp_path / "new" / "artifacts").iterdir()) == []
    file = tmp_path / "file"
    file.write_text("")
    for root in (file, file / "below" / "artifacts"):
        with pytest.raises(UsageError) as caught:
            Store(root).writable()
        expected = f"results folder {root} cannot be written: {file} is not a folder; choose another with --results"
        assert str(caught.value) == expected
    if sys.platform == "linux":
        with pytest.raises(UsageError, match=r"^results folder /proc/x cannot be written: [^\n]+; choose another"):
            Store(Path("/proc/x")).writable()

    def read_only(*args, **kwargs):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "mkdir", read_only)
    with pytest.raises(UsageError, match="cannot be written: Read-only file system; choose another"):
        Store(tmp_path / "new").writable()


def test_gc_removes_what_nobody_needs(store):
    third = "ef" * 32
    for key in (KEY, OTHER, third):
        put(store, key)
    (store.scratch("01" * 32) / "x").write_bytes(b"12345")
    (store.scratch("02" * 32) / "x").write_bytes(b"unfinished")
    mine = store.temporary("03" * 32)
    stale = store.temporary("04" * 32)
    (store.root / ".locks").mkdir()
    (store.root / ".locks" / ("05" * 32)).write_text("")
    keep = {KEY, "02" * 32}
    size = store.size(OTHER)
    with store.lock(third).hold(), store.lock("03" * 32).hold():
        planned = store.gc(keep, dry_run=True)
        assert planned == [(OTHER, size), ("01" * 32, 5), ("04" * 32, 0)]
        assert list(store.keys()) == [KEY, OTHER, third]
        assert store.gc(keep, dry_run=False) == planned
        assert list(store.keys()) == [KEY, third]
        held = sorted(item.name for item in (store.root / ".locks").iterdir())
        assert held == ["03" * 32, f"{'03' * 32}.owner", third, f"{third}.owner"]
    assert (store.root / ".partial" / ("02" * 32) / "x").exists()
    assert mine.exists()
    assert not stale.exists()
    assert store.gc(keep, dry_run=False) == [(third, size), ("03" * 32, 0)]
    assert store.check(KEY) is None


def test_what_killed_runs_left_of_a_key_goes_with_the_next_try(store):
    left, other = store.temporary(KEY), store.temporary(OTHER)
    (left / "half").write_text("")
    earlier = store.root / f".tmp-{KEY}-1234-01234567-89abcdef"  # as version 0.1 named them
    earlier.mkdir()
    assert list(store.temporary(KEY).iterdir()) == []
    assert other.exists()
    assert not earlier.exists()


def test_a_discard_leaves_alone_what_another_process_works_on(store):
    put(store)
    with store.lock(KEY).hold():
        store.discard(KEY)
        assert store.check(KEY) is None
    store.discard(KEY, only_damaged=True)
    assert store.check(KEY) is None
    store.discard(KEY)
    assert not store.has(KEY)


def test_an_empty_store_reads_as_empty(store):
    assert list(store.keys()) == []
    assert damage(store) == []
    assert store.gc(set(), dry_run=False) == []
    assert store.size(KEY) == 0
    assert store.check(KEY) == "done.json: missing"
    assert not store.root.exists()


def test_a_disk_that_cannot_flush_folders_is_done_without(store, monkeypatch):
    real = os.fsync

    def refuses(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", refuses)
    put(store)
    assert store.check(KEY) is None


def test_a_full_disk_that_shows_in_flushing_is_no_success(store, monkeypatch):
    def full(descriptor):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(BenchError, match="Input/output error"):
        put(store)
    assert not store.has(KEY)


def test_a_disk_without_locks_is_found_before_the_work(store, monkeypatch):
    def none(self, *given, **more):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("filelock.FileLock.acquire", none)
    with pytest.raises(UsageError, match=r"cannot be locked: No locks available; put --results on a local disk$"):
        store.writable()


@pytest.mark.parametrize("name", [".locks", ".partial", ".plans"])
def test_a_file_in_the_place_of_an_inner_folder_is_found_before_the_work(store, name):
    store.root.mkdir()
    (store.root / name).write_text("in the way")
    with pytest.raises(UsageError, match=rf"{re.escape(name)} is not a folder; move it away$"):
        store.writable()


def publish_in_a_race(root, barrier, content):
    store = Store(root)
    barrier.wait()
    with store.lock(KEY).hold():
        folder = store.temporary(KEY)
        (folder / "images.npy").write_bytes(content)
        store.publish(KEY, folder, {"who": content.decode()})


@pytest.mark.parametrize("damaged_before", [False, True])
def test_concurrent_publishers_of_one_key_leave_one_whole_artifact(store, damaged_before):
    if damaged_before:
        flip(put(store) / "images.npy")
    spawn = multiprocessing.get_context("fork")
    barrier = spawn.Barrier(4)
    racers = [
        spawn.Process(target=publish_in_a_race, args=(store.root, barrier, bytes([65 + i]) * 1000)) for i in range(4)
    ]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join(20)
        assert racer.exitcode == 0
    assert damage(store) == []
    assert store.meta(KEY)["who"].encode() == (store.path(KEY) / "images.npy").read_bytes()
    assert not list(store.root.glob(".tmp-*"))


def test_a_kill_while_publishing_leaves_all_or_nothing(store):
    code = f"""
import os, signal, sys
from pathlib import Path
from benchbench.store.store import Store
store = Store(Path({str(store.root)!r}))
moment = sys.argv[1]
real = getattr(os, moment)
def killed(*args, **kwargs):
    if sys.argv[2] == "after":
        real(*args, **kwargs)
    os.kill(os.getpid(), signal.SIGKILL)
folder = store.temporary({KEY!r})
(folder / "images.npy").write_bytes(b"0123456789")
setattr(os, moment, killed)
store.publish({KEY!r}, folder, {{}})
"""
    for moment, when, there in [
        ("fsync", "before", False),
        ("rename", "before", False),
        ("rename", "after", True),
    ]:
        assert subprocess.run([sys.executable, "-c", code, moment, when]).returncode == -9
        assert store.has(KEY) is there
        assert damage(store) == []
        store.gc({KEY}, dry_run=False)
        assert not list(store.root.glob(".tmp-*"))


NAMES = st.sampled_from(["images.npy", "labels.npy", "a/b.json", "a/c"])
KEYS = st.sampled_from([KEY, OTHER, "0123456789abcdef" * 4])


class StoreMachine(RuleBasedStateMachine):
    """Any order of publishing, damaging, discarding and collecting agrees with a dictionary."""

    @initialize()
    def begin(self):
        self.folder = tempfile.mkdtemp()
        self.store = Store(Path(self.folder) / "artifacts")
        self.model: dict[str, dict[str, bytes]] = {}
        self.damaged: set[str] = set()

    def teardown(self):
        if hasattr(self, "folder"):
            shutil.rmtree(self.folder)

    @rule(key=KEYS, files=st.dictionaries(NAMES, st.binary(min_size=1, max_size=40), max_size=3))
    def publish(self, key, files):
        put(self.store, key, files or {"images.npy": b"1"}, {"n": len(files)})
        if key not in self.model or key in self.damaged:
            self.model[key] = files or {"images.npy": b"1"}
            self.damaged.discard(key)

    @rule(key=KEYS, which=st.integers(0, 2))
    def damage(self, key, which):
        if key in self.model and key not in self.damaged:
            names = sorted(self.model[key])
            flip(self.store.path(key) / names[which % len(names)])
            self.damaged.add(key)

    @rule(key=KEYS)
    def discard(self, key):
        self.store.discard(key)
        self.model.pop(key, None)
        self.damaged.discard(key)

    @rule(keep=st.sets(KEYS))
    def collect(self, keep):
        gone = {key for key, _ in self.store.gc(keep, dry_run=False)}
        assert gone == self.model.keys() - keep
        for key in gone:
            del self.model[key]
        self.damaged -= gone

    @invariant()
    def agrees(self):
        if not hasattr(self, "store"):
            return
        assert list(self.store.keys()) == sorted(self.model)
        assert {key for key, _ in damage(self.store)} == self.damaged
        for key, files in self.model.items():
            assert (self.store.check(key) is None) == (key not in self.damaged)
            if key not in self.damaged:
                assert all((self.store.path(key) / name).read_bytes() == data for name, data in files.items())


TestStoreMachine = StoreMachine.TestCase
TestStoreMachine.settings = settings(
    max_examples=25, stateful_step_count=12, deadline=None, suppress_health_check=list(HealthCheck)
)
