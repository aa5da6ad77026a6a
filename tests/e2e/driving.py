"""Runs the installed ``bench`` script as a user does, and says what came of it."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import forks

SCRIPT = Path(sys.executable).with_name("bench")
#: The main job with everything reduced that costs time: real models, 20 images, a few steps.
MAIN_JOB = (
    *("run", "--gen", "diffinv:checkpoints=4,num_inference_steps=2,shard_size=10,sample_batch=5"),
    *("--data", "digits", "--arch", "shufflenetv2", "--shots", "2", "--n-syn", "20"),
    *("--draws", "1", "--seeds", "1"),
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


def _hear_interrupts() -> None:
    """Take signals as a terminal's programs do, also when these tests run in a background that ignores Ctrl-C."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


@dataclass(frozen=True)
class Bench:
    """Runs ``bench`` in one folder."""

    folder: Path
    env: dict[str, str]

    def __call__(
        self, *arguments: str, code: int | None = 0, timeout: float = 600, fresh: bool = False, **env: str
    ) -> Done:
        """Run a command to its end and insist on its exit code.

        It is a fork of an interpreter with all libraries, unless a ``fresh`` one is asked for or the command has
        variables of others than benchbench, which many libraries read when they are imported. Forks after imports
        are sure on Linux alone.
        """
        began = time.monotonic()
        words = [str(word) for word in arguments]
        if not fresh and sys.platform == "linux" and all(name.startswith("BENCH_") for name in env):
            ended = forks.server(self.env).run(words, self.folder, timeout, env)
        else:
            ended = self._fresh(words, timeout, env)
        done = Done(*ended, time.monotonic() - began)
        if code is not None:
            said = f"bench {' '.join(map(str, arguments))}\n{done.out}\n{done.err}"
            # A message with a byte that is not UTF-8 would end all tests, not this one.
            assert done.code == code, said.encode("utf-8", "backslashreplace").decode()
        assert "Traceback" not in done.err, done.err
        return done

    def _fresh(self, words: list[str], timeout: float, env: dict[str, str]) -> tuple[int, str, str]:
        """Run the installed script in a new interpreter; return exit code, stdout and stderr."""
        ended = subprocess.run(
            [str(SCRIPT), *words],
            cwd=self.folder,
            env={**self.env, **env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        return ended.returncode, ended.stdout, ended.stderr

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
            preexec_fn=_hear_interrupts,
        )

    def at(self, folder: Path) -> Bench:
        """Return the same in another folder."""
        return Bench(folder, self.env)


@dataclass(frozen=True)
class MainJob:
    """The reduced main job, run once with the real embedded models."""

    bench: Bench
    done: Done
    results: Path
