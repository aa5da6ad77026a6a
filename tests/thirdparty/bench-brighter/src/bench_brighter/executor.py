"""The executor ``aside``."""

from __future__ import annotations

import queue
import threading
from dataclasses import dataclass
from typing import Any

from benchbench import Executor, Running, param, run_step
from benchbench.plugins.executor import Event, Listen


@dataclass(frozen=True)
class Aside(Executor):
    """One step at a time in a thread of this process."""

    patience: float = param(600.0, above=0.0, help="Seconds without an event after which a step is given up.")

    def workers(self, asked: int | None, device: str) -> int:
        """Return 1: two steps in one process would share its random state."""
        return 1

    def start(self, store: str, workers: int | None, device: str, listen: Listen) -> Running:
        """Start nothing yet."""
        return Thread(store, self.patience)


class Thread(Running):
    """Runs a step in a thread and hands its events over."""

    capacity = 1

    def __init__(self, store: str, patience: float) -> None:
        self.store, self.patience = store, patience
        self.events: queue.Queue[Event] = queue.Queue()
        self.key = ""

    def submit(self, step: dict[str, Any]) -> None:
        """Start the thread."""
        self.key = step["key"]
        threading.Thread(target=run_step, args=(step, self.store, self.events.put), daemon=True).start()

    def wait(self) -> list[Event]:
        """Return the next event."""
        try:
            return [self.events.get(timeout=self.patience)]
        except queue.Empty:
            return [{"key": self.key, "what": "failed", "error": f"silent for {self.patience:g} s"}]

    def close(self) -> None:
        """A thread ends with its process."""
