"""``run_step``: what every executor calls where a step has arrived, in this process or on another machine."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from ..errors import BenchError
from ..machine import quiet_threads
from ..plugins.catalog import reason
from ..plugins.executor import Listen


def run_step(step: Mapping[str, Any], store: str, emit: Listen) -> None:
    """Run one step where it arrived; every event goes to ``emit``, the last one is ``done`` or ``failed``.

    It raises nothing but what stops the process. A step that another worker published meanwhile is ``done`` at once.

    Args:
        step: as it was submitted. With an item ``harness`` (:func:`harness_digest` where the run was planned), a worker
            that has other code fails the step.
        store: the store's folder.
        emit: takes each event (JSON) with the step's key.
    """
    quiet_threads()

    def tell(event: Mapping[str, Any]) -> None:
        emit({"key": step["key"], **event})

    try:
        from .execute import execute

        if step.get("harness") not in (None, harness_digest()):
            raise BenchError("this worker has other code of benchbench than the run; install the same on every node")
        tell({"what": "done", **execute(step, store, tell)})
    except (Exception, SystemExit) as error:  # a plugin that exits fails its step, not the run
        if os.environ.get("BENCH_DEBUG"):
            import traceback

            traceback.print_exc()
        tell({"what": "failed", "error": describe_error(error)})


@cache
def harness_digest() -> str:
    """Return the sha256 of all code of this package: workers of another machine compare it with the run's."""
    root = Path(__file__).parent.parent
    files = {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("*.py"))}
    parts = (f"{name}\0{hashlib.sha256(content).hexdigest()}" for name, content in files.items())
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def describe_error(error: BaseException) -> str:
    """Return an error as the one line that a record and the terminal show."""
    full = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    if full or re.search(r"can(no|')t allocate memory|out of memory", str(error), re.IGNORECASE):
        return "out of memory"
    return str(error) if isinstance(error, BenchError) else reason(error)
