from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import platform
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchbench import machine


def test_a_snapshot_is_json_the_same_twice_and_names_no_one():
    first = machine.snapshot()
    text = json.dumps(first, sort_keys=True)
    assert json.loads(text) == first == machine.snapshot()
    assert first["python"]["version"] == platform.python_version()
    assert first["distributions"]["numpy"] == __import__("numpy").__version__
    assert first["cpu"]["cores"] >= 1
    assert platform.node() not in text or len(platform.node()) < 4
    assert set(first) == {
        *("python", "distributions", "torch", "gpus", "cpu", "memory_gib", "system", "checkout"),
    }


def test_it_does_not_import_torch():
    program = (
        "import sys; from benchbench import machine; machine.snapshot();"
        "sys.exit(any(name in sys.modules for name in ('torch', 'numpy', 'pandas')))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_the_torch_version_is_the_installed_one():
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        pytest.skip("needs torch")
    stated = runpy.run_path(str(Path(spec.origin).with_name("version.py")))
    assert machine.snapshot()["torch"] == {
        "version": importlib.metadata.version("torch"),
        "cuda": stated["cuda"],
    }


def test_it_is_stored_once(tmp_path):
    name = machine.write_environment(tmp_path, {"python": "3.11", "cpu": "ä"})
    path = tmp_path / "environments" / f"{name}.json"
    before = path.stat().st_ino
    assert machine.write_environment(tmp_path, {"cpu": "ä", "python": "3.11"}) == name
    assert path.stat().st_ino == before
    assert json.loads(path.read_text("utf-8")) == {"python": "3.11", "cpu": "ä"}
    assert machine.write_environment(tmp_path, {"python": "3.12"}) != name
    assert len(list(path.parent.iterdir())) == 2


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_commit_and_dirtiness_of_the_checkout_that_tracks_a_file(tmp_path):
    def git(*arguments):
        identity = ("-c", "user.name=n", "-c", "user.email=e@example.org")
        done = subprocess.run(["git", "-C", str(tmp_path), *identity, *arguments], check=True, capture_output=True)
        return done.stdout.decode().strip()

    code = tmp_path / "code.py"
    code.write_text("x = 1\n", "utf-8")
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "table.csv").write_text("a\n", "utf-8")
    assert machine.checkout(code) is None
    git("init", "--quiet")
    assert machine.checkout(code) is None  # inside a repository, yet not part of it
    git("add", ".")
    git("commit", "--quiet", "--message", "first")
    clean = {"commit": git("rev-parse", "HEAD"), "dirty": False}
    assert machine.checkout(code) == clean
    (tmp_path / "results" / "table.csv").write_text("b\n", "utf-8")
    assert machine.checkout(code) == clean
    code.write_text("x = 2\n", "utf-8")
    assert machine.checkout(code) == clean | {"dirty": True}
    code.write_text("x = 1\n", "utf-8")
    os.utime(code, (0, 0))  # another time: git would like to note in its index that the content is the same
    before = (tmp_path / ".git" / "index").stat().st_mtime_ns
    assert machine.checkout(code) == clean
    assert (tmp_path / ".git" / "index").stat().st_mtime_ns == before


def test_gpus_are_listed_by_their_tool_when_it_is_there(monkeypatch):
    printed = "NVIDIA H200, 570.10, 143771 MiB\nbroken line"
    monkeypatch.setattr(machine, "_output", lambda program, *_: printed if program == "nvidia-smi" else None)
    assert machine._gpus() == [{"name": "NVIDIA H200", "driver": "570.10", "memory": "143771 MiB"}]
    monkeypatch.setattr(machine, "_output", lambda *_: None)
    assert machine._gpus() == []
