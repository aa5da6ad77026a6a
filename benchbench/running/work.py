"""``run_step``: what every executor calls where a step has arrived, in this process or on another machine.

A worker: ``python -m benchbench.running.work STORE`` reads steps as JSON lines and answers with events.

A separate process, started fresh, so that neither a notebook nor a script without a main guard has to care. It ends
when its standard input closes or its parent dies, however the parent died.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import queue
import re
import signal
import sys
import tempfile
import threading
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from ..disk import free_space, full_disk, same_disk
from ..errors import BenchError
from ..files import cache_root
from ..machine import quiet_threads
from ..plugins.catalog import reason
from ..plugins.executor import Listen


def run_step(step: Mapping[str, Any], store: str, emit: Listen) -> None:
    """Run one step where it arrived; every event goes to ``emit``, the last one is ``done`` or ``failed``.

    It raises nothing but what stops the process. A step that another worker published meanwhile is ``done`` at once.

    Args:
        step: as it was submitted. With an item ``harness`` (:func:`harness_digest` where the run was planned), a worker
            that has other code fails the step. With an item ``wait``, seconds, a step that another run works on for
            longer is ``done`` with the status ``busy``, and nothing was done.
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
        tell({"what": "failed", "error": _without_room(error, step, Path(store)) or describe_error(error)})


def _without_room(error: BaseException, step: Mapping[str, Any], root: Path) -> str | None:
    """Return the line of a step that a full disk has stopped, ``None`` for any other error."""
    if full_disk(error, None) is None:
        return None
    from ..planning.needs import images_on_disk
    from ..store.store import Store

    needed = images_on_disk(step["stage"], step["body"], step["run"]["info"]) - Store(root).begun_size(step["key"])
    free = free_space(root) or 0
    # Nobody says which disk it was: that of the results if they do not fit there, else the fullest.
    others = [] if needed > free else [cache_root(), Path(tempfile.gettempdir())]
    places = [root, *(place for place in others if not same_disk(root, place))]
    place = min(places, key=lambda place: free_space(place) or 0)
    return f"{full_disk(error, place, needed if place == root else 0)}; finished work is kept"


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
        asked = re.search(r"allocate ([\d.]+ ?\w*(?:B|bytes))\b", str(error))
        return f"out of memory: {asked[1]} more were asked for" if asked else "out of memory"
    return " ".join(str(error).split()) if isinstance(error, BenchError) else reason(error)


def main() -> None:
    """Serve steps until standard input ends."""
    _die_with_parent()
    # Libraries print to stdout; the protocol gets another descriptor and their output goes to stderr.
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    store = sys.argv[1]
    steps: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_read, args=(steps,), daemon=True).start()

    from ..plugins.executor import Event

    def emit(event: Event) -> None:
        channel.write(json.dumps(event) + "\n")

    while True:
        run_step(json.loads(steps.get()), store, emit)


def _read(steps: queue.Queue[str]) -> None:
    for line in sys.stdin:
        steps.put(line)
    os._exit(0)  # the parent is gone or done; a step under way must not go on alone


def _die_with_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500")  # when memory ends, a step does and not the run
    if sys.platform == "linux":
        import ctypes

        pr_set_pdeathsig = 1
        ctypes.CDLL(None, use_errno=True).prctl(pr_set_pdeathsig, signal.SIGKILL, 0, 0, 0)


if __name__ == "__main__":
    main()
