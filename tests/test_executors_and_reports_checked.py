"""Executors and reports: those that ship keep their promises, and a broken promise is found and named."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from benchbench import Executor, Report, Running, run_step
from benchbench.planning.chains import own_entries
from benchbench.plugins.catalog import load
from benchbench.testing import conformance, run_checks


@pytest.mark.parametrize(
    "entry",
    [
        pytest.param(entry, id=entry.name, marks=pytest.mark.slow if entry.name == "ray" else ())
        for kind in ("executor", "report")
        for entry in own_entries(kind)
    ],
)
def test_what_ships_keeps_its_promises(entry, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_memory_monitor_refresh_ms", "0")
    if entry.name != "ray":
        conformance(load(entry), name=entry.name, strict=True)
        return
    ray = pytest.importorskip("ray", reason="the extra `ray` is not installed")
    # One cluster for all checks: starting one takes seconds, and tests/test_executors.py sees that it starts and stops.
    options = {"num_cpus": 2, "num_gpus": 0, "include_dashboard": False, "log_to_driver": False}
    ray.init(address="local", _node_ip_address="127.0.0.1", object_store_memory=2**27, **options)
    try:
        conformance(load(entry), name=entry.name, strict=True)
        assert ray.is_initialized(), "a cluster that somebody else started was stopped"
    finally:
        ray.shutdown()


@dataclass(frozen=True)
class Keen(Executor):
    """Claims no worker at all."""

    def workers(self, asked, device):
        return 0

    def start(self, store, workers, device, listen):
        return Careless(store, ())


class Careless(Running):
    """Runs steps at once and loses the events of some kinds."""

    capacity = 1

    def __init__(self, store, lost):
        self.store, self.lost, self.events = store, lost, []

    def submit(self, step):
        run_step(step, self.store, self.events.append)

    def wait(self):
        found, self.events = self.events, []
        return [event for event in found if event["what"] not in self.lost]

    def close(self):
        pass


@dataclass(frozen=True)
class Mute(Executor):
    """Loses progress."""

    def start(self, store, workers, device, listen):
        return Careless(store, ("progress",))


@dataclass(frozen=True)
class Deaf(Executor):
    """Loses failures."""

    def start(self, store, workers, device, listen):
        return Careless(store, ("failed",))


@dataclass(frozen=True)
class Curt(Executor):
    """Makes ends of its own."""

    def start(self, store, workers, device, listen):
        return Short(store, ())


class Short(Careless):
    def wait(self):
        return [{name: event[name] for name in event if name in ("key", "what", "error")} for event in super().wait()]


@dataclass(frozen=True)
class Lying(Executor):
    """Says done and does nothing."""

    def start(self, store, workers, device, listen):
        return Idle(store, ())


class Idle(Careless):
    def submit(self, step):
        self.events.append({"what": "done", "key": step["key"]})


@dataclass(frozen=True)
class Stray(Report):
    """Writes another file than it names."""

    def files(self):
        return ("named.txt",)

    def write(self, table, results):
        return [self.put(results / "other.txt", "x"), self.put(results / "named.txt", "x")]


@dataclass(frozen=True)
class Outside(Stray):
    """Names a file elsewhere."""

    def files(self):
        return ("../named.txt",)


@dataclass(frozen=True)
class Telling(Stray):
    """Writes where it is."""

    def write(self, table, results):
        return [self.put(results / "named.txt", f"{results}")]


@dataclass(frozen=True)
class Picky(Stray):
    """Needs a row."""

    def write(self, table, results):
        return [self.put(results / "named.txt", table.rows[0].arch)]


@pytest.mark.parametrize(
    ("cls", "check", "words"),
    [
        (Keen, "says how many steps it runs at once", "must return a number from 1"),
        (Lying, "runs steps and reports them done", "step 1 is done and its artifact is not in the store"),
        (Mute, "passes progress on", "the step's progress was lost"),
        (Curt, "hands the end of a step on whole", "what run_step said of a step that another run works on was lost"),
        (Deaf, "reports a failing step and runs the next", "wait() returned no event while a step was under way"),
        (Outside, "names files inside the results folder", "relative to the results folder"),
        (Stray, "writes what it names", "it wrote ['other.txt'], which files() does not name"),
        (Telling, "writes the same bytes again", "the same records gave other bytes"),
        (Picky, "takes a table without rows", "IndexError"),
    ],
)
def test_a_broken_promise_is_found_and_named(cls, check, words):
    found = {item.name: item for item in run_checks(cls)}[check]
    assert not found.ok
    assert words in found.message
    assert "\n" not in found.message


def test_a_report_that_exits_breaks_a_promise_and_does_not_end_the_checks():
    @dataclass(frozen=True)
    class Exits(Report):
        """Ends the process."""

        def files(self):
            return ("odd.txt",)

        def write(self, table, results):
            raise SystemExit(7)

    found = {result.name: result.message for result in run_checks(Exits)}
    assert found["writes what it names"].startswith("SystemExit: 7")
