"""Locks between threads and processes, with holders that die."""

from __future__ import annotations

import errno
import multiprocessing
import os
import platform
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from benchbench.errors import BenchError
from benchbench.store.lock import Lock, Owner
from benchbench.store.store import Store

KEY = "ab" * 32
HOLDER = """
import sys, time
from pathlib import Path
from benchbench.store.lock import Lock
with Lock(Path(sys.argv[1])).hold():
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / ".locks" / "name"


@pytest.fixture
def holder(path):
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_lease_is_exclusive_and_leaves_no_file(path):
    with Lock(path).hold() as held:
        assert held is True
        with Lock(path).try_hold() as second:
            assert second is False
        assert path.exists()
    assert not path.exists()
    with Lock(path).try_hold() as held:
        assert held is True


def test_an_error_inside_the_block_frees_the_lock(path):
    with pytest.raises(KeyError), Lock(path).hold():
        raise KeyError
    with Lock(path).try_hold() as held:
        assert held


def test_a_killed_holder_frees_the_lock(path, holder):
    with Lock(path).try_hold() as held:
        assert not held
    waited = []

    def wait():
        with Lock(path).hold() as held:
            waited.append(held)

    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.1)
    assert waited == []
    holder.send_signal(signal.SIGKILL)
    thread.join(10)
    assert waited == [True]
    assert not path.exists()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_does_not_keep_its_parents_lock(path):
    code = f"""
import os, time
from pathlib import Path
from benchbench.store.lock import Lock
with Lock(Path({str(path)!r})).hold():
    if os.fork() == 0:
        os.close(1)
        time.sleep(30)
        os._exit(0)
    print("forked", flush=True)
    os.kill(os.getpid(), 9)
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout is not None
    assert process.stdout.read() == "forked\n"
    process.wait()
    process.stdout.close()
    deadline = time.monotonic() + 10
    held = False
    while not held and time.monotonic() < deadline:
        with Lock(path).try_hold() as held:
            pass
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    assert held


def count_up(path, counter, turns):
    for _ in range(turns):
        with Lock(path).hold():
            value = int(counter.read_text())
            time.sleep(0.0005)
            counter.write_text(str(value + 1))


def test_no_update_is_lost_while_lock_files_come_and_go(tmp_path, path):
    counter = tmp_path / "counter"
    counter.write_text("0")
    fork = multiprocessing.get_context("fork")
    workers = [fork.Process(target=count_up, args=(path, counter, 60)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
    assert counter.read_text() == "240"
    assert list(path.parent.iterdir()) == []


def work_once(root, log, barrier):
    store = Store(root)
    barrier.wait()
    with store.lock(KEY).hold() as held:
        assert held
        if not store.has(KEY):
            with log.open("a") as stream:
                stream.write("worked\n")
            folder = store.temporary(KEY)
            (folder / "result").write_bytes(b"1")
            time.sleep(0.1)
            store.publish(KEY, folder, {})


def test_two_processes_do_the_work_once(tmp_path):
    fork = multiprocessing.get_context("fork")
    barrier = fork.Barrier(3)
    log = tmp_path / "log"
    args = (tmp_path / "artifacts", log, barrier)
    workers = [fork.Process(target=work_once, args=args) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(20)
        assert worker.exitcode == 0
    assert log.read_text() == "worked\n"
    store = Store(tmp_path / "artifacts")
    assert [key for key in store.folders() if store.verify(key)] == []


def test_a_file_system_without_locks_is_one_clear_line(path, monkeypatch):
    fcntl = pytest.importorskip("fcntl")

    def refuse(*args):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(BenchError) as caught, Lock(path).hold():
        pass
    assert str(caught.value) == f"{path}: cannot be locked: {os.strerror(errno.ENOLCK)}"


def test_a_store_that_cannot_hold_locks_is_one_clear_line(tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    with (
        pytest.raises(BenchError, match=r"cannot be locked: Not a directory$"),
        Lock(Path(file) / "x" / "name").hold(),
    ):
        pass


def test_the_holder_can_be_named_and_shows_that_it_lives(path, holder, monkeypatch):
    lock = Lock(path)
    owner = lock.owner()
    assert owner is not None
    assert (owner.host, owner.pid) == (platform.node(), holder.pid)
    assert str(owner) == f"process {holder.pid}"
    assert str(Owner("elsewhere", 7, 0.0)) == "process 7 on elsewhere"
    heard = []
    thread = threading.Thread(target=lambda: [None for _ in [lock.hold(heard.append).__enter__()]])
    thread.start()
    time.sleep(0.5)
    assert [item.pid for item in heard] == [holder.pid], "a waiter is told once whom it waits for"
    holder.kill()
    thread.join(10)
    assert not thread.is_alive()


def shows_life(path: Path, seconds: float) -> bool:
    """Return whether the holder shows a sign of life within some seconds."""
    os.utime(path.with_name(f"{path.name}.owner"), (0, 0))
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if Lock(path).owner().seen > 0:
            return True
        time.sleep(0.02)
    return False


def test_a_holder_that_says_nothing_shows_that_it_lives_unless_it_is_stopped(path):
    """Its main thread is in one long call, as a fit may be."""
    often = f"from benchbench.store import lock\nlock._BEAT_S = 0.05\n{HOLDER}"
    process = subprocess.Popen([sys.executable, "-c", often, str(path)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "held\n"
        assert shows_life(path, 20)
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
        assert not shows_life(path, 0.5)
        process.send_signal(signal.SIGCONT)
        assert shows_life(path, 20)
    finally:
        process.kill()
        process.communicate()


def test_signs_of_life_end_with_the_lock(path, monkeypatch):
    monkeypatch.setattr("benchbench.store.lock._BEAT_S", 0.01)
    before = threading.active_count()
    with Lock(path).try_hold():
        assert threading.active_count() == before, "no thread for a moment"
    with Lock(path).hold():
        assert shows_life(path, 20)
    assert Lock(path).owner() is None
    deadline = time.monotonic() + 20
    while threading.active_count() > before:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_wait_with_a_timeout_ends_without_the_lock(path, holder):
    heard, began = [], time.monotonic()
    with Lock(path).hold(heard.append, 0.3) as held:
        assert held is False
    assert 0.3 <= time.monotonic() - began < 20
    assert len(heard) == 1
    assert Lock(path).owner().pid == holder.pid, "whose lock it is was not touched"


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "[]",
        "7",
        "{",
        '{"host": "h", "pid": "x"}',
        '{"host": "h", "pid": 1e999}',
        '{"pid": 7}',
        "[" * 100_000,
        "\xff",
    ],
)
def test_a_damaged_owner_file_names_nobody(path, text):
    lock = Lock(path)
    with lock.hold():
        path.with_name(f"{path.name}.owner").write_text(text, "latin-1")
        assert lock.owner() is None


def test_an_owner_that_no_calendar_shows_is_nobody_and_its_name_never_acts():
    for seen in (float("nan"), float("inf"), 1e30, -1, "x", None):
        assert Owner.of({"host": "h", "pid": 7, "seen": seen}) is None
    assert str(Owner.of({"host": "a\x1b[2Jb\n", "pid": 7, "seen": 1})) == "process 7 on a[2Jb"
