"""Cleaning spares what an unfinished run still wants, and plugin files of one name stay apart."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from benchbench.errors import UsageError
from benchbench.planning.options import make_request
from benchbench.planning.plan import make_plan
from benchbench.planning.spec import parse_chain
from benchbench.store.store import Store

BENCH = Path(sys.executable).with_name("bench")

GENERATOR = """
from __future__ import annotations
from dataclasses import dataclass
from benchbench import Generator, param

@dataclass(frozen=True)
class Again(Generator):
    '''The real images again.'''
    share: float = param({share}, help="Nothing.")

    def sample(self, train, context):
        for chunk in context.chunks(context.n_syn, 10):
            yield train.subset([number % len(train) for number in chunk])
"""


def publish(store: Store, key: str) -> None:
    folder = store.temporary(key)
    (folder / "value.txt").write_text("made\n")
    store.publish(key, folder, {"label": f"made {key[:4]}"})


def test_gc_spares_what_an_unfinished_run_wants(tmp_path):
    store = Store(tmp_path / "artifacts")
    wanted, loose = "a" * 64, "b" * 64
    publish(store, wanted)
    publish(store, loose)
    (store.scratch("c" * 64) / "checkpoint").write_text("half\n")
    store.remember_plan([wanted, "c" * 64])
    told = subprocess.run(
        [BENCH, "cache", "gc", "--results", tmp_path], capture_output=True, text=True, check=True
    ).stdout
    assert "made bbbb" in told
    assert "removed 1," in told
    assert store.has(wanted)
    assert not store.has(loose)
    assert store.begun("c" * 64)
    store.forget_plan(["c" * 64, wanted])  # the order does not matter
    assert store.planned() == set()
    subprocess.run([BENCH, "cache", "gc", "--results", tmp_path], capture_output=True, check=True)
    assert not store.has(wanted)
    assert not store.begun("c" * 64)


def test_gc_all_forgets_unfinished_runs(tmp_path):
    store = Store(tmp_path / "artifacts")
    publish(store, "a" * 64)
    store.remember_plan(["a" * 64])
    command = [BENCH, "cache", "gc", "--all", "--results", tmp_path]
    subprocess.run([*command, "--dry-run"], capture_output=True, check=True)
    assert store.has("a" * 64)
    assert store.planned() == {"a" * 64}
    subprocess.run(command, capture_output=True, check=True)
    assert not store.has("a" * 64)
    assert store.planned() == set()


def test_files_of_one_name_stay_apart(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder, share in (("one", 0.3), ("two", 0.9)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "ok.py").write_text(GENERATOR.format(share=share))
    options = {"data": "digits", "arch": "shufflenetv2", "baseline": False, "metric": "none"}
    plan = make_plan(make_request({**options, "gen": ["./one/ok.py", "./two/ok.py"]}))
    assert [cell.setting.gen for cell in plan.cells] == ["one/ok.py", "two/ok.py"]
    assert len({cell.spec_id for cell in plan.cells}) == 2
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    paths = [str(tmp_path / "one/ok.py"), str(tmp_path / "two/ok.py")]
    with pytest.raises(UsageError, match=r"another generator file is called ok\.py too; rename one of them$"):
        make_plan(make_request({**options, "gen": paths}))


def test_a_chain_with_nothing_behind_its_plus():
    with pytest.raises(UsageError, match=r"^diffinv\+: a plugin's name is missing behind the \+; write diffinv\+NAME$"):
        parse_chain("diffinv+")


@pytest.mark.parametrize("command", [[], ["cache"]])
def test_without_a_command_there_is_help(command):
    done = subprocess.run([BENCH, *command], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Commands:" in done.stderr


@pytest.mark.parametrize("executor", ["inline", "processes"])
def test_terminated_it_says_how_to_continue(tmp_path, executor):
    slow = GENERATOR.format(share=0.1).replace(
        "        for chunk", "        import time; time.sleep(60)\n        for chunk"
    )
    (tmp_path / "slow.py").write_text(slow)
    command = [BENCH, "run", "--gen", "./slow.py", "--data", "digits", "--arch", "shufflenetv2", "--no-baseline"]
    process = subprocess.Popen(
        [*command, "--executor", executor, "--metric", "none"], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    while "sample slow.py" not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    rest = process.stderr.read()
    assert process.wait() == 143
    assert rest.splitlines()[-1] == "bench: terminated; run the same command again to continue"
    assert Store(tmp_path / "results" / "artifacts").planned()  # what it made is spared until it is finished
