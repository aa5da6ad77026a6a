"""The command line as a user has it: the installed ``bench`` script, an empty folder, a private cache, no hub."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import toy_plugins

SCRIPT = Path(sys.executable).with_name("bench")
#: What a user's shell may say and these tests must not hear.
UNSET = ("NO_COLOR", "FORCE_COLOR", "HF_HUB_OFFLINE", "HF_HUB_CACHE", "BENCH_DATA", "BENCH_DEBUG", "PYTHONPATH")
#: The main job with everything reduced that costs time: real models, 20 images, a few steps.
MAIN_JOB = (
    *("run", "--gen", "diffinv:checkpoints=4,num_inference_steps=2,shard_size=10,sample_batch=5"),
    *("--data", "digits", "--arch", "shufflenetv2", "--shots", "2", "--n-syn", "20"),
    *("--learner", "timm:steps=5,batch_size=8"),
)


@dataclass(frozen=True)
class Done:
    """A command that ended: exit code, what it printed, how long it took."""

    code: int
    out: str
    err: str
    seconds: float

    @property
    def errors(self) -> list[str]:
        """The lines on stderr that are no progress."""
        return [line for line in self.err.splitlines() if not line.startswith("[")]


@dataclass(frozen=True)
class Bench:
    """Runs ``bench`` in one folder."""

    folder: Path
    env: dict[str, str]

    def __call__(self, *arguments: str, code: int | None = 0, timeout: float = 300, **env: str) -> Done:
        """Run a command to its end and insist on its exit code."""
        began = time.monotonic()
        ended = subprocess.run(
            [str(SCRIPT), *map(str, arguments)],
            cwd=self.folder,
            env={**self.env, **env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        done = Done(ended.returncode, ended.stdout, ended.stderr, time.monotonic() - began)
        if code is not None:
            assert done.code == code, f"bench {' '.join(map(str, arguments))}\n{done.out}\n{done.err}"
        assert "Traceback" not in done.err, done.err
        return done

    def start(self, *arguments: str, **env: str) -> subprocess.Popen[str]:
        """Start a command in a process group of its own; stderr can be read line by line."""
        return subprocess.Popen(
            [str(SCRIPT), *map(str, arguments)],
            cwd=self.folder,
            env={**self.env, **env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def at(self, folder: Path) -> Bench:
        """Return the same in another folder."""
        return Bench(folder, self.env)


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of every command: no colours forced, no hub reachable, one private cache."""
    assert SCRIPT.exists(), f"{SCRIPT}: install the project first"
    private = tmp_path_factory.mktemp("private")
    kept = {name: value for name, value in os.environ.items() if name not in UNSET}
    return kept | {
        "BENCH_CACHE": str(private / "cache"),
        "HF_HOME": str(private / "hub"),
        "HF_ENDPOINT": "https://hub.invalid",  # a name that no resolver knows, by RFC 2606
        "OMP_NUM_THREADS": "1",
    }


@pytest.fixture
def bench(tmp_path: Path, environment: dict[str, str]) -> Bench:
    """``bench`` in an empty folder."""
    return Bench(tmp_path, environment)


@pytest.fixture
def toys(bench: Bench) -> Bench:
    """``bench`` in a folder with one small plugin of each kind, none of which needs torch."""
    toy_plugins.write(bench.folder)
    return bench


@dataclass(frozen=True)
class MainJob:
    """The reduced main job, run once with the real embedded models."""

    bench: Bench
    done: Done
    results: Path


@pytest.fixture(scope="session")
def main_job(tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str]) -> MainJob:
    """Run the reduced main job once; tests read what it left and may run it again, which changes nothing."""
    folder = tmp_path_factory.mktemp("main-job")
    bench = Bench(folder, environment)
    return MainJob(bench, bench(*MAIN_JOB, "--executor", "inline"), folder / "results")
