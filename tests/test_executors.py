"""One path of execution: in this process and in others, the same bytes; a death is a failure and no more."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from toys import World

from benchbench.running.executors import make_executor
from benchbench.store.store import Store


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    made = World(tmp_path / "plugins", tmp_path / "results")
    monkeypatch.setenv("TOY_LOG", str(made.log))
    return made


def artifacts(root: Path) -> dict[str, bytes]:
    """Return every byte of every artifact but times and memory."""
    found = {}
    for key in Store(root).keys():
        for path in Store(root).path(key).rglob("*"):
            if path.is_file() and path.name not in ("done.json", ".verified.json"):
                found[f"{key}/{path.relative_to(Store(root).path(key))}"] = path.read_bytes()
    return found


def drain(executor, wanted: int) -> dict[str, dict]:
    ended: dict[str, dict] = {}
    while len(ended) < wanted:
        ended |= {event["key"]: event for event in executor.wait() if event["what"] in ("done", "failed")}
    return ended


def test_two_executors_make_the_same_bytes(world, tmp_path):
    """Also with several shards, links and workers."""
    options = {"gen": ["toygen:parts=3", "toygen+toyfilter"], "arch": "all", "mix": "0:1,1:1"}
    inline = world.run(**options)
    first = artifacts(tmp_path / "results" / "artifacts")
    assert len(first) > 20
    world.results = tmp_path / "again"
    spread = world.run(executor="processes", workers=2, **options)
    assert artifacts(tmp_path / "again" / "artifacts") == first
    assert [record.result for record in inline] == [record.result for record in spread]


def test_a_worker_that_is_killed_fails_its_step_alone(world):
    records = world.run(executor="processes", workers=1, arch=["killed", "a"], baseline=False)
    killed, fine = records
    assert (killed.status, killed.error) == ("failed", "its process was killed, most likely out of memory")
    assert (fine.status, fine.cell.arch) == ("done", "a")


@pytest.mark.parametrize("kind", ["inline", "processes"])
def test_a_plugin_that_exits_or_eats_all_memory_fails_its_step(world, kind):
    records = world.run(executor=kind, workers=1, arch=["leave", "memory", "boom", "a"], gen="real")
    errors = {record.cell.arch: record.error for record in records}
    assert errors["a"] is None
    assert errors["memory"] == "out of memory"
    assert re.fullmatch(r"SystemExit: 7 \(toylearner.py:\d+\)", errors["leave"])
    assert re.fullmatch(r"ValueError: boom as it was told \(toylearner.py:\d+\)", errors["boom"])


def test_a_worker_that_died_at_rest_is_replaced(world):
    """Else the next step would be failed by the death of a process that never had it."""
    plan = world.plan(gen="real", metric="none", arch=["a", "b"])
    data, *trains = plan.steps.values()
    executor = make_executor("processes", str(world.results / "artifacts"), 1)
    try:
        executor.submit(data.to_json())
        assert drain(executor, 1)[data.key]["what"] == "done"
        idle = executor.idle[0].process
        os.kill(idle.pid, signal.SIGKILL)
        idle.wait()
        executor.submit(trains[0].to_json())
        assert drain(executor, 1)[trains[0].key]["what"] == "done"
    finally:
        executor.close()


def test_a_worker_refuses_code_that_is_not_the_planned_one(world):
    plan = world.plan(gen="real", metric="none")
    data, train = plan.steps.values()
    world.edit("toylearner", "0, 25", "0, 26")
    executor = make_executor("inline", str(world.results / "artifacts"), 1)
    for step in (data, train):
        executor.submit(step.to_json())
    ended = drain(executor, 1)
    assert ended[data.key]["what"] == "done"
    assert ended[train.key]["error"].endswith("the code of toylearner.py changed since the plan; run again")
    assert not Store(world.results / "artifacts").has(train.key)


def test_an_input_that_was_cleaned_away_meanwhile(world):
    plan = world.plan(gen="real", metric="none")
    data, train = plan.steps.values()
    executor = make_executor("inline", str(world.results / "artifacts"), 1)
    executor.submit(train.to_json())
    (event,) = executor.wait()
    assert event["what"] == "failed"
    assert event["error"] == f"its input {data.key[:12]} is no longer in the store; run again"


def test_close_ends_every_worker(world):
    plan = world.plan(gen="real", metric="none", arch=["sleep", "a"])
    data, sleep, _ = plan.steps.values()
    executor = make_executor("processes", str(world.results / "artifacts"), 2)
    executor.submit(data.to_json())
    drain(executor, 1)
    executor.submit(sleep.to_json())
    process = executor.busy[0].process
    executor.close()
    assert process.poll() == -signal.SIGKILL


def children(pid: int) -> list[int]:
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return [int(item) for item in found.stdout.split()]


def alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
def test_workers_die_with_their_parent(world):
    """However it died: an orphan would hold the lock and the memory for hours."""
    call = {"results": str(world.results), "executor": "processes", "workers": 1}
    call |= world.options(arch="sleep", gen="real", metric="none")
    code = "import json, sys; from benchbench.running import api; api.run(**json.loads(sys.argv[1]))"
    parent = subprocess.Popen([sys.executable, "-c", code, json.dumps(call)])
    try:
        for _ in range(600):
            if "train sleep" in (world.log.read_text() if world.log.exists() else ""):
                break
            time.sleep(0.1)
        workers = children(parent.pid)
        assert len(workers) == 1
    finally:
        parent.kill()
        parent.wait()
    for _ in range(100):
        if not alive(workers[0]):
            break
        time.sleep(0.1)
    assert not alive(workers[0])
    store = Store(world.results / "artifacts")
    plan = world.plan(arch="sleep", gen="real", metric="none")
    with store.lock(plan.cells[0].train).try_hold() as held:
        assert held, "the kernel gave the lock back"
