"""Several runs on one results folder: each takes steps that no other one works on, and tells of those it waits for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from test_lock import HOLDER
from toys import World

from benchbench.running.executors import choose_executor
from benchbench.running.schedule import Listener, run_steps
from benchbench.running.work import run_step
from benchbench.store.store import Store

#: A training that goes on once three have begun.
MEETS = """
        begun, late = 0, time.monotonic() + 60
        while begun < 3:
            with open(os.environ["TOY_LOG"]) as log:
                begun = log.read().count("train ")
            if time.monotonic() > late:
                raise TimeoutError(f"{begun} at once")
            time.sleep(0.01)
        pause("train")
"""


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    made = World(tmp_path / "plugins", tmp_path / "results")
    monkeypatch.setenv("TOY_LOG", str(made.log))
    return made


@pytest.fixture
def data(world):
    """The first step of a plan."""
    return next(iter(world.plan(gen="real", metric="none").steps.values()))


@pytest.fixture
def store(world):
    return Store(world.results / "artifacts")


@pytest.fixture
def holder(store, data):
    """Another run at work on the data, in one long call; it shows that it lives twenty times a second."""
    often = f"from benchbench.store import lock\nlock._BEAT_S = 0.05\n{HOLDER}"
    command = [sys.executable, "-c", often, str(store.lock(data.key).path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_three_runs_with_a_worker_each_do_three_steps_at_once(world):
    world.edit("toylearner", '\n        pause("train")\n', MEETS)
    options = {"gen": "real", "metric": "none", "arch": ["a", "b", "c"]}
    runs = [world.process(**options) for _ in range(3)]
    said = [run.communicate(timeout=120)[1].decode() for run in runs]
    assert [run.returncode for run in runs] == [0, 0, 0], said
    assert world.executed() == ["train a", "train b", "train c"], "each once"
    assert [record.status for record in world.run(**options)] == ["done"] * 3
    assert world.executed() == []


def test_a_step_of_another_run_is_given_back_and_nothing_of_it_is_touched(data, store, holder):
    told: list[dict] = []
    for seconds in (0.0, 0.2):
        run_step({**data.to_json(), "wait": seconds}, str(store.root), told.append)
    owner = store.lock(data.key).owner()
    assert owner.pid == holder.pid
    for event in told:
        assert event.pop("owner").items() >= {"host": owner.host, "pid": owner.pid}.items()
        assert event == {"key": data.key, "what": "done", "status": "busy"}
    assert len(told) == 2
    assert not list(store.root.glob(".tmp-*"))


def test_a_caller_that_sets_no_limit_waits_and_is_told_for_whom(data, store, holder):
    told: list[dict] = []

    def hear(event: dict) -> None:
        told.append(event)
        holder.kill()

    run_step(data.to_json(), str(store.root), hear)
    assert told[0] == {"key": data.key, "what": "log", "text": f"waits for process {holder.pid}"}
    assert (told[-1]["what"], told[-1]["status"]) == ("done", "done")


@pytest.mark.parametrize("kind", ["inline", "processes"])
def test_a_stopped_holder_is_said_once_and_its_death_frees_the_step(data, store, holder, monkeypatch, kind):
    monkeypatch.setattr("benchbench.running.postponed._SILENT_S", 1.0)

    class Told(Listener):
        texts: list[str | None] = []
        later: list[str] = []

        def busy(self, step, text):
            self.texts.append(text)
            if len(self.texts) == 1:
                holder.send_signal(signal.SIGSTOP)
                os.waitid(os.P_PID, holder.pid, os.WSTOPPED | os.WNOWAIT)
            elif text:
                holder.kill()

        def event(self, step, event):
            if event["what"] == "log":
                self.later.append(event["text"])

        def finished(self, step, outcome):
            self.later.append(outcome["status"])

    told = Told()
    running = choose_executor(kind, 1, 1, "cpu").start(str(store.root), lambda event: told.event(data, event))
    try:
        assert run_steps({data.key: data}, running, told) == {}
    finally:
        running.close()
    busy, silent = (text for text in told.texts if text)
    assert busy == f"another run works on it (process {holder.pid})"
    assert silent.startswith("no sign of life since ")
    assert f" from process {holder.pid}, which works on it; " in silent
    assert told.later == ["the other run let go of it, this one works on it", "done"]


def test_what_another_run_publishes_counts_as_done_by_it(data, store, holder):
    """As soon as it is there, also while its lock is held: that run tidies up, or a third one looks at the artifact."""

    class Told(Listener):
        statuses: list[str] = []

        def busy(self, step, text):
            if text:
                folder = store.temporary(data.key)
                (folder / "anything").write_bytes(b"x")
                store.publish(data.key, folder, {"seconds": 1.0, "peak_memory_mib": 1.0})

        def finished(self, step, outcome):
            self.statuses.append(outcome["status"])

    told = Told()
    running = choose_executor("inline", 1, 1, "cpu").start(str(store.root), lambda event: None)
    assert run_steps({data.key: data}, running, told) == {}
    assert told.statuses == ["cached"]
    assert holder.poll() is None
