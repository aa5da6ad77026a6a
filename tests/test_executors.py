"""One path of execution: in this process and in others, the same bytes; a death is a failure and no more."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from limits import memory_group
from toys import World

from benchbench.cli.running import _at_address
from benchbench.errors import BenchError, UsageError
from benchbench.results.folder import read_records
from benchbench.running.executors import Inline, Running, _Processes, choose_executor
from benchbench.running.work import describe_error, harness_digest, run_step
from benchbench.store.store import Store

NO_CORE = "resource.setrlimit(resource.RLIMIT_CORE, (0, 0))"


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


def start(world, kind: str, workers: int = 1, listen=lambda event: None) -> Running:
    return choose_executor(kind, workers, 1, "cpu").start(str(world.results / "artifacts"), listen)


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
    why = "out of memory, most likely: its process was killed; use fewer --workers, fewer images or more memory"
    assert (killed.status, killed.error) == ("failed", why)
    assert (fine.status, fine.cell.arch) == ("done", "a")


@pytest.mark.parametrize(
    ("end", "why"),
    [
        ("os.kill(os.getpid(), signal.SIGBUS)", "its process was ended by SIGBUS: a file that it read was cut short, "),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "its process was ended by SIGSEGV"),
        ("os.kill(os.getpid(), signal.SIGRTMIN + 1)", "its process was ended by signal "),
        ("os._exit(3)", "its process ended with code 3"),
    ],
)
def test_a_worker_that_ends_otherwise_says_how(world, end, why):
    world.edit("toylearner", "os.kill(os.getpid(), signal.SIGKILL)", f"import resource, signal; {NO_CORE}; {end}")
    killed, fine = world.run(executor="processes", workers=1, arch=["killed", "a"], gen="real", metric="none")
    assert killed.error.startswith(why)
    assert fine.status == "done"


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("steps", [1, 9])
def test_steps_run_in_a_process_of_their_own_unless_one_asks_otherwise(device, steps):
    """Also on an accelerator, and where there is room for one worker alone: else the run would end with the step."""
    chosen = choose_executor("auto", None, steps, device)
    assert chosen.text == "processes"
    assert device == "cpu" or chosen.workers == 1
    assert choose_executor("inline", None, steps, device).text == "inline"


def test_a_step_that_eats_all_memory_fails_and_the_rest_of_the_plan_goes_on(world):
    """In a control group of its own: the system kills the worker, not the run."""
    world.edit("toylearner", "raise MemoryError", "kept = [b'x' * 2**24 for _ in range(200)]")
    call = {"results": str(world.results)} | world.options(arch=["memory", "a"], gen="real", metric="none")
    code = "import json, sys; from benchbench.running.run import run; run(**json.loads(sys.argv[1]))"
    with memory_group(900 * 2**20) as inside:
        for _ in range(2):  # a rerun tries it again, and does not stop there either
            command = [*inside, sys.executable, "-c", code, json.dumps(call)]
            done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
            assert done.returncode == 0, done.stderr
    errors = {record.cell.arch: record.error for record in read_records(world.results).records}
    assert errors.pop("a") is None
    assert errors["memory"].startswith("out of memory, most likely: its process was killed; ")


@pytest.mark.skipif(not Path("/proc/self/oom_score_adj").exists(), reason="reads /proc")
def test_a_worker_offers_itself_to_a_system_without_memory_before_the_run(world):
    data, _ = world.plan(gen="real", metric="none").steps.values()
    executor = start(world, "processes")
    try:
        executor.submit(data.to_json())
        drain(executor, 1)
        own = int(Path("/proc/self/oom_score_adj").read_text())
        assert int(Path(f"/proc/{executor.idle[0].process.pid}/oom_score_adj").read_text()) == 500 > own
    finally:
        executor.close()


@pytest.mark.parametrize(("libraries", "beside"), [(2 * 2**30, 0), (2**30, 1)])
def test_large_steps_wait_for_each_other(world, monkeypatch, libraries, beside):
    """Two workers and 3.2 GiB: trainings of 2 GiB run one after the other, those of 1.6 GiB side by side."""
    submit, busy = _Processes.submit, []
    monkeypatch.setattr(_Processes, "submit", lambda self, step: (busy.append(len(self.busy)), submit(self, step)))
    monkeypatch.setattr("benchbench.running.executors.free_memory", lambda: 3 * 2**30)
    monkeypatch.setattr("benchbench.planning.needs.LIBRARIES", libraries)
    records = world.run(executor="processes", workers=2, arch=["a", "b", "c"], gen="real", metric="none")
    assert [record.status for record in records] == ["done"] * 3
    assert (len(busy), max(busy)) == (4, beside)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (MemoryError(), "out of memory"),
        (
            MemoryError("Unable to allocate 9.00 GiB for an array with shape (9,)"),
            "out of memory: 9.00 GiB more were asked for",
        ),
        (
            RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has"),
            "out of memory: 2.00 GiB more were asked for",
        ),
        (
            RuntimeError(
                "DefaultCPUAllocator: can't allocate memory: you tried to allocate 40000 bytes. Error code 12"
            ),
            "out of memory: 40000 bytes more were asked for",
        ),
        (OSError(12, "Cannot allocate memory"), "out of memory"),
    ],
)
def test_memory_that_is_not_there_is_said_with_how_much_was_wanted(error, text):
    assert describe_error(error) == text


@pytest.mark.parametrize("kind", ["inline", "processes"])
def test_a_plugin_that_exits_or_eats_all_memory_fails_its_step(world, kind):
    records = world.run(executor=kind, workers=1, arch=["leave", "memory", "boom", "a"], gen="real")
    errors = {record.cell.arch: record.error for record in records}
    assert errors["a"] is None
    assert errors["memory"] == "out of memory"
    assert re.fullmatch(r"SystemExit: 7 \(toylearner.py:\d+\)", errors["leave"])
    assert re.fullmatch(r"ValueError: boom as asked \(toylearner.py:\d+\)", errors["boom"])


def test_a_worker_imports_no_module_of_the_present_folder(world, tmp_path, monkeypatch):
    here = tmp_path / "here"
    (here / "benchbench").mkdir(parents=True)
    for name in ("numpy.py", "queue.py", "benchbench/__init__.py"):
        (here / name).write_text(f"open({str(tmp_path / 'taken')!r}, 'w').close()\nraise SystemExit('taken')\n")
    monkeypatch.chdir(here)
    (record,) = world.run(executor="processes", workers=1, gen="real", arch="a", metric="none")
    assert (record.status, record.error) == ("done", None)
    assert not (tmp_path / "taken").exists()


def test_a_worker_with_other_code_of_the_harness_fails_its_steps(world, monkeypatch):
    monkeypatch.setattr("benchbench.running.executors.harness_digest", lambda: "0" * 64)
    (record,) = world.run(executor="processes", workers=1, gen="real", arch="a", metric="none")
    assert "this worker has other code of benchbench than the run" in record.error


def test_a_worker_that_died_at_rest_is_replaced(world):
    """Else the next step would be failed by the death of a process that never had it."""
    plan = world.plan(gen="real", metric="none", arch=["a", "b"])
    data, *trains = plan.steps.values()
    executor = start(world, "processes")
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
    executor = start(world, "inline")
    for step in (data, train):
        executor.submit(step.to_json())
    ended = drain(executor, 1)
    assert ended[data.key]["what"] == "done"
    assert ended[train.key]["error"].endswith("the code of toylearner.py changed since the plan; run again")
    assert not Store(world.results / "artifacts").has(train.key)


def test_an_input_that_was_cleaned_away_meanwhile(world):
    plan = world.plan(gen="real", metric="none")
    data, train = plan.steps.values()
    executor = start(world, "inline")
    executor.submit(train.to_json())
    (event,) = executor.wait()
    assert event["what"] == "failed"
    assert event["error"] == f"its input {data.key[:12]} is no longer in the store; run again"


def test_close_ends_every_worker(world):
    plan = world.plan(gen="real", metric="none", arch=["sleep", "a"])
    data, sleep, _ = plan.steps.values()
    executor = start(world, "processes", 2)
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
    code = "import json, sys; from benchbench.running.run import run; run(**json.loads(sys.argv[1]))"
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


# Ray: the same steps on a cluster that the test starts and stops


@pytest.fixture
def ray_world(world, monkeypatch):
    pytest.importorskip("ray", reason="the extra `ray` is not installed")
    monkeypatch.setenv("RAY_memory_monitor_refresh_ms", "0")  # other tests may fill the memory of this machine
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    return world


def descendants(pid: int) -> set[int]:
    found, waiting = set(), [pid]
    while waiting:
        below = children(waiting.pop())
        found |= set(below)
        waiting += below
    return found


@pytest.mark.slow
def test_ray_makes_the_tables_of_a_local_run_and_leaves_nothing_behind(ray_world, tmp_path, capfd):
    options = {"gen": ["toygen:parts=3", "real"], "arch": ["a", "boom", "killed"], "metric": "toymetric"}
    local = ray_world.run(executor="processes", workers=2, **options)
    first = artifacts(tmp_path / "results" / "artifacts")
    ray_world.results = tmp_path / "again"
    before = descendants(os.getpid())
    capfd.readouterr()
    spread = ray_world.run(executor="ray", workers=2, **options)
    assert capfd.readouterr().out == ""
    assert artifacts(tmp_path / "again" / "artifacts") == first
    for _ in range(100):
        if not {pid for pid in descendants(os.getpid()) - before if alive(pid)}:
            break
        time.sleep(0.1)
    assert not {pid for pid in descendants(os.getpid()) - before if alive(pid)}
    errors = {record.cell.arch: record.error for record in spread}
    assert errors["a"] is None
    assert errors["boom"].startswith("ValueError: boom as asked (toylearner.py:")
    assert errors["killed"].startswith("its worker was lost (")
    assert [record.result for record in spread] == [record.result for record in local]


@pytest.mark.slow
def test_ray_joins_a_cluster_that_is_there_and_leaves_it(ray_world):
    """Under ``--ray-address``: the run ends, the cluster goes on."""
    code = "import ray, sys; made = ray.init(address='local', num_cpus=2, num_gpus=0, include_dashboard=False, "
    code += "object_store_memory=2**27, log_to_driver=False); print(made.address_info['address'], flush=True); "
    code += "sys.stdin.read()"
    command = [sys.executable, "-c", code]
    cluster = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        address = cluster.stdout.readline().strip()
        assert ":" in address
        (record,) = ray_world.run(executor=f"ray:address={address}", gen="real", metric="none")
        assert record.status == "done"
        assert cluster.poll() is None
        assert len([pid for pid in descendants(cluster.pid) if alive(pid)]) > 2
    finally:
        cluster.communicate()


def test_a_cluster_that_does_not_answer_is_said_at_once(world):
    pytest.importorskip("ray", reason="the extra `ray` is not installed")
    with pytest.raises(UsageError, match=r"^--executor ray:address=127.0.0.1:1: no Ray cluster answers there \("):
        world.run(executor="ray:address=127.0.0.1:1", gen="real", metric="none")


def test_a_missing_extra_is_one_line(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError) as error:
        choose_executor("ray", None, 1, "cpu")
    assert str(error.value) == "ray: needs the package ray, which is not installed; pip install 'benchbench[ray]'"


@pytest.mark.parametrize(
    ("count", "words"),
    [("two", "workers must return a whole number from 1 on, or None; got 'two'"), (0, "got 0"), (1 / 3, "got 0.33")],
)
def test_an_executor_with_a_wrong_number_of_workers_is_one_line(monkeypatch, count, words):
    monkeypatch.setattr(Inline, "workers", lambda self, asked, device: count)
    with pytest.raises(UsageError, match=f"^--executor inline: .*{words}"):
        choose_executor("inline", None, 1, "cpu")


def test_an_executor_without_a_name_is_told_with_its_option():
    with pytest.raises(UsageError, match=r"^--executor '': a plugin's name is missing"):
        choose_executor("", None, 1, "cpu")


def test_an_executor_whose_workers_fail_is_one_line(monkeypatch):
    monkeypatch.setattr(Inline, "workers", lambda self, asked, device: 1 // 0)
    with pytest.raises(UsageError, match=r"^--executor inline: workers failed: ZeroDivisionError: "):
        choose_executor("inline", None, 1, "cpu")


def test_an_executor_that_starts_nothing_is_one_line(monkeypatch):
    monkeypatch.setattr(Inline, "start", lambda self, *given: None)
    with pytest.raises(BenchError, match=r"^--executor inline: start must return a Running; got NoneType$"):
        choose_executor("inline", None, 1, "cpu").start("store", lambda event: None)


@pytest.mark.parametrize("capacity", [0, "3", None])
def test_a_run_with_room_for_no_step_does_not_end_as_if_it_were_done(monkeypatch, capacity):
    monkeypatch.setattr("benchbench.running.executors._Inline.capacity", capacity)
    with pytest.raises(BenchError, match=r"^--executor inline: capacity must be a whole number from 1 on; got "):
        choose_executor("inline", None, 1, "cpu").start("store", lambda event: None)


def test_memory_that_is_no_number_of_bytes_is_one_line(monkeypatch):
    monkeypatch.setattr("benchbench.running.executors._Inline.memory", "much", raising=False)
    with pytest.raises(BenchError, match=r"^--executor inline: memory must be bytes or None; got 'much'$"):
        choose_executor("inline", None, 1, "cpu").start("store", lambda event: None)


def test_a_worker_with_another_harness_refuses(world, monkeypatch):
    data, _ = world.plan(gen="real", metric="none").steps.values()
    told: list[dict] = []
    run_step({**data.to_json(), "harness": "0" * 64}, str(world.results / "artifacts"), told.append)
    why = "this worker has other code of benchbench than the run; install the same on every node"
    assert told == [{"key": data.key, "what": "failed", "error": why}]
    run_step({**data.to_json(), "harness": harness_digest()}, str(world.results / "artifacts"), told.append)
    assert told[-1]["what"] == "done"


def test_the_option_for_an_address_is_short_for_a_parameter():
    assert _at_address("auto", "10.0.0.1:6379") == "ray:address=10.0.0.1:6379"
    assert _at_address("ray", "auto") == "ray:address=auto"
    for executor in ("inline", "ray:address=b:1"):
        with pytest.raises(UsageError) as error:
            _at_address(executor, "a:1")
        assert str(error.value) == f"--ray-address a:1: goes with --executor ray, not with --executor {executor}"


@pytest.mark.slow
def test_ctrl_c_leaves_no_process_of_ray(ray_world):
    run = ray_world.process(executor="ray", arch="sleep", gen="real", metric="none")
    try:
        for _ in range(600):
            if "train sleep" in (ray_world.log.read_text() if ray_world.log.exists() else ""):
                break
            assert run.poll() is None
            time.sleep(0.1)
        below = descendants(run.pid)
        assert len(below) > 3
        for _ in range(3):  # an interrupt that comes while Ray's compiled code calls back into Python may be lost
            run.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                run.communicate(timeout=30)
                break
        assert run.returncode is not None
    finally:
        run.kill()
    for _ in range(100):
        if not any(map(alive, below)):
            break
        time.sleep(0.1)
    assert not [pid for pid in below if alive(pid)]
