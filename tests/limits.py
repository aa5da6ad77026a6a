"""Small limits of the system for a test: a control group with little memory, a file system with little room."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchbench.cgroups import _groups


@contextlib.contextmanager
def memory_group(limit: int) -> Iterator[tuple[str, ...]]:
    """Make a control group below this process's with a limit in bytes; yields a command that runs another one in it."""
    for own in _groups("memory", Path("/")):
        group = own / f"bench-test-{os.getpid()}"
        limits = [group / name for name in ("memory.limit_in_bytes", "memory.max")]
        with contextlib.suppress(OSError):
            group.mkdir()
            if file := next((file for file in limits if file.exists()), None):
                file.write_text(str(limit))
                break
            group.rmdir()
    else:
        pytest.skip("no control group with a limit of memory can be made here")
    try:
        yield ("sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh")
    finally:
        for _ in range(100):
            with contextlib.suppress(OSError):  # the last process is on its way out
                group.rmdir()
                break
            time.sleep(0.05)


@contextlib.contextmanager
def small_disk(folder: Path, size: int, *options: str) -> Iterator[Path]:
    """Mount a file system of ``size`` bytes on a new folder; yields the folder."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", ",".join([f"size={size}", *options]), "tmpfs", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount here")
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
