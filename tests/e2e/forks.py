"""A warm interpreter that forks once for each command: the libraries, which take seconds to import, are there already.

A command is still a process: its exit code, its streams and its end are real. What it shares with the others is what
an import leaves: so a command with an environment of another's choice gets a fresh interpreter (see ``driving``).
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Mapping
from pathlib import Path

#: What commands import: every one of them takes a tenth of a second to two seconds of CPU.
LIBRARIES = (
    *("benchbench.cli.app", "numpy", "pandas", "PIL.Image", "matplotlib.figure", "torch", "torchvision", "timm"),
    *(
        "scipy.special",
        "sklearn.cluster",
        "transformers.models.clip.modeling_clip",
        "diffusers.models.unets.unet_2d_condition",
    ),
    *("diffusers.models.autoencoders.autoencoder_kl", "diffusers.schedulers.scheduling_ddim"),
)


class ForkServer:
    """The client's side: one process, one command at a time."""

    def __init__(self, env: Mapping[str, str], libraries: tuple[str, ...] = LIBRARIES) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__, *libraries],
            env=dict(env),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        atexit.register(self.close)

    def close(self) -> None:
        """End the server, and with it a command that still runs."""
        atexit.unregister(self.close)
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()

    def run(self, arguments: list[str], folder: Path, timeout: float, env: Mapping[str, str]) -> tuple[int, str, str]:
        """Run ``bench`` in a fork; return its exit code (minus the signal that killed it), stdout and stderr."""
        with tempfile.TemporaryDirectory(prefix="bench-streams-") as streams:
            out, err = Path(streams, "out"), Path(streams, "err")
            request = {"arguments": arguments, "folder": str(folder), "env": dict(env), "streams": streams}
            assert self.process.stdin is not None
            assert self.process.stdout is not None
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
            if not select.select([self.process.stdout], [], [], timeout)[0]:
                self.close()
                raise subprocess.TimeoutExpired(arguments, timeout)
            code = int(self.process.stdout.readline())
            return code, out.read_text("utf-8"), err.read_text("utf-8")


@functools.cache
def _server(env: tuple[tuple[str, str], ...]) -> ForkServer:
    return ForkServer(dict(env))


def server(env: Mapping[str, str]) -> ForkServer:
    """Return the server with this environment, started at the first call; a dead one is replaced."""
    key = tuple(sorted(env.items()))
    if _server(key).process.poll() is not None:
        _server.cache_clear()
    return _server(key)


def _serve() -> None:
    """Answer requests until the client is gone; return in a child, which then is the command."""
    import gc
    import importlib

    for name in sys.argv[1:]:
        importlib.import_module(name)
    gc.freeze()  # so that a child's collections do not copy every page
    while line := sys.stdin.readline():
        child = os.fork()
        if child == 0:
            _become(json.loads(line))
            return
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        os.write(1, f"{code}\n".encode())
    sys.exit(0)


def _become(request: dict) -> None:
    """Take the folder, arguments, variables and streams of a command."""
    os.chdir(request["folder"])
    os.environ.update(request["env"])
    sys.argv = [str(Path(sys.executable).with_name("bench")), *request["arguments"]]
    files = [os.devnull, Path(request["streams"], "out"), Path(request["streams"], "err")]
    for number, (path, flags) in enumerate(zip(files, (os.O_RDONLY, *[os.O_WRONLY | os.O_CREAT] * 2), strict=True)):
        opened = os.open(path, flags)
        os.dup2(opened, number)
        os.close(opened)


def _command() -> int:
    """Run the command as its script does; return the exit code."""
    from benchbench.cli import main

    try:
        main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    except BaseException:
        traceback.print_exc()
    return 1


def _end(code: int) -> None:
    """Do what an interpreter does at its end, but take no library apart: that takes half a second."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    sys.path[0] = str(Path(sys.executable).parent)  # as for the script of that folder
    _serve()
    _end(_command())
