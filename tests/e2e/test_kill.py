"""SIGKILL in every stage, then the same command again: it goes on, and ends as if nothing had happened."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest
from driving import MAIN_JOB, Bench
from looking import hashes, records, rows
from toys import OPTIONS, STAGES, write_toys

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")

TOYS = ("run", *OPTIONS, "--shots", "5", "--seeds", "2")
LINES = {"data": "] read ", "fit": "] fit ", "sample": "] sample ", "train": "] train ", "score": "] score "}


def kill_in(bench, stage: str, *arguments: str, ready=lambda: True, **env: str) -> None:
    """Start a command, wait until it begins a stage, kill its main process, and see every worker end."""
    process = bench.start(*arguments, **env)
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if LINES[stage] in line and ": done" not in line:
                break
        else:
            raise AssertionError(f"ended with {process.wait()} before stage {stage} began")
        deadline = time.monotonic() + 240  # a busy machine opens torch slowly
        while not ready() and process.poll() is None:
            assert time.monotonic() < deadline, f"{stage}: never got half-way"
            time.sleep(0.005)
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, f"{stage}: it ended before it was killed"
        deadline = time.monotonic() + 20
        while left := members(process.pid):
            assert time.monotonic() < deadline, f"{stage}: workers live on: {left}"
            time.sleep(0.02)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stderr.close()


def members(group: int) -> list[int]:
    """Return the living processes of a process group."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                state, _, leader = (entry / "stat").read_text().rpartition(")")[2].split()[:3]
                if leader == str(group) and state != "Z":
                    found.append(int(entry.name))
    return found


def kept(results: Path) -> dict[str, str]:
    """Return the hashes of everything that was finished."""
    return {name: value for name, value in hashes(results).items() if "/.partial/" not in name and "/.tmp-" not in name}


@pytest.fixture(scope="module")
def unharmed(tmp_path_factory, environment):
    """The toy run that nobody killed."""
    bench = Bench(tmp_path_factory.mktemp("unharmed"), environment)
    write_toys(bench.folder)
    bench(*TOYS, "--executor", "inline")
    return bench


@pytest.mark.parametrize("executor", ["inline", "processes"])
@pytest.mark.parametrize("stage", STAGES)
def test_killed_in_a_stage_and_run_again(unharmed, toys, stage, executor):
    how = ("--executor", executor, *(("--workers", "2") if executor == "processes" else ()))
    kill_in(toys, stage, *TOYS, *how, TOY_PAUSE=stage, ready=lambda: time.sleep(0.2) or True)
    results = toys.folder / "results"
    finished = kept(results)
    toys(*TOYS, *how)
    after = kept(results)
    assert {name: after.get(name) for name in finished} == finished
    assert rows(results, measured=False) == rows(unharmed.folder / "results", measured=False)
    assert {record["key"] for record in records(results)} == {
        record["key"] for record in records(unharmed.folder / "results")
    }
    assert list((results / "artifacts").glob(".tmp-*")) == []
    assert list((results / "artifacts" / ".partial").iterdir()) == []


@pytest.mark.parametrize("executor", ["inline", "processes"])
def test_ctrl_c_is_one_line_and_leaves_no_worker(toys, executor):
    process = toys.start(*TOYS, "--executor", executor, TOY_PAUSE="sample")
    assert process.stderr is not None
    while LINES["sample"] not in process.stderr.readline():
        assert process.poll() is None
    time.sleep(0.5)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to everyone in the foreground
    said = process.stderr.read()
    assert process.wait(timeout=30) == 130
    assert said == "bench: stopped; run the same command again to continue\n"
    deadline = time.monotonic() + 20
    while members(process.pid):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.stderr.close()


def test_two_runs_at_once_share_the_work(toys, unharmed):
    both = [toys.start(*TOYS, "--executor", "inline") for _ in range(2)]
    said = [process.communicate(timeout=120)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    lines = [line for text in said for line in text.splitlines() if ": another run works on it" not in line]
    steps = [line.split("] ")[1].rpartition(": done in ")[0] for line in lines]
    worked = [step for step in steps if step]
    assert len(worked) == len(set(worked)), "a step was worked on twice"
    assert rows(toys.folder / "results", measured=False) == rows(unharmed.folder / "results", measured=False)


def test_a_step_of_another_run_is_waited_for_last_and_taken_over_when_that_is_killed(toys, unharmed, request):
    """Ctrl-C ends a wait as it ends any work."""
    first = toys.start(*TOYS, "--executor", "inline", TOY_PAUSE="train")
    request.addfinalizer(first.kill)
    while LINES["train"] not in (line := first.stderr.readline()):
        assert first.poll() is None
    step = line.split("] ")[1].strip()
    busy = f"{step}: another run works on it (process {first.pid})\n"

    second = toys.start(*TOYS, "--executor", "inline")
    request.addfinalizer(second.kill)
    said = [second.stderr.readline()]
    total = int(said[0].partition("/")[2].partition("]")[0])
    while f"[{total - 1}/{total}]" not in said[-1]:
        said.append(second.stderr.readline())
        assert second.poll() is None, said
    assert said.count(busy) == 1
    os.killpg(second.pid, signal.SIGINT)
    assert second.communicate(timeout=30)[1] == "bench: stopped; run the same command again to continue\n"
    assert second.returncode == 130

    third = toys.start(*TOYS, "--executor", "inline")
    request.addfinalizer(third.kill)
    assert [third.stderr.readline() for _ in range(2)] == [f"[0/1] {step}\n", busy]
    first.kill()
    first.communicate()
    said = third.communicate(timeout=60)[1].splitlines()
    assert third.returncode == 0
    assert said[:2] == [f"[0/1] {step}", f"{step}: the other run let go of it, this one works on it"]
    assert said[2].startswith(f"[1/1] {step}: done in ")
    results = toys.folder / "results"
    assert rows(results, measured=False) == rows(unharmed.folder / "results", measured=False)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_main_job_killed_in_each_stage(main_job):
    """One folder, killed in the middle of data, fit, sample, train and score of the real models, one after another."""
    results = main_job.bench.folder / "killed"
    store = results / "artifacts"
    command = (*MAIN_JOB, "--executor", "processes", "--workers", "1", "--results", results.name)
    halfway = {
        # A checkpoint or a chunk; on a fast machine it may be over by then, which is a moment to be killed as well.
        "fit": lambda: any(store.glob(".partial/*/*")) or any(store.glob("??/*/*.safetensors")),
        "sample": lambda: any(store.glob(".partial/*/chunk-*")) or any(store.glob("??/*/images.npy")),
    }
    for stage in ("data", "fit", "sample", "train", "score"):
        before = kept(results) if results.exists() else {}
        kill_in(main_job.bench, stage, *command, ready=halfway.get(stage, lambda: True))
        assert {name for name in before if name.startswith("artifacts")} <= set(kept(results))
    main_job.bench(*command)
    assert rows(results, measured=False) == rows(main_job.results, measured=False)
    for pattern in ("*.npy", "*.safetensors", "outcome.json", "scores.json"):
        mine = {path.relative_to(results).as_posix() for path in store.rglob(pattern)}
        both = hashes(results), hashes(main_job.results)
        assert mine
        assert {name: both[0][name] for name in mine} == {name: both[1].get(name) for name in mine}
    shutil.rmtree(results)
