"""A worker: ``python -m benchbench.running.worker STORE`` reads steps as JSON lines and answers with events.

A process of its own, started fresh, so that neither a notebook nor a script without a main guard has to care. It ends
when its standard input closes or its parent dies, however the parent died.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading


def main() -> None:
    """Serve steps until standard input ends."""
    _die_with_parent()
    # Libraries print to stdout; the protocol gets a descriptor of its own and their output goes to stderr.
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    store = sys.argv[1]
    steps: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_read, args=(steps,), daemon=True).start()

    from ..plugins.executor import Event
    from .work import run_step

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
    if sys.platform == "linux":
        import ctypes

        pr_set_pdeathsig = 1
        ctypes.CDLL(None, use_errno=True).prctl(pr_set_pdeathsig, signal.SIGKILL, 0, 0, 0)


if __name__ == "__main__":
    main()
