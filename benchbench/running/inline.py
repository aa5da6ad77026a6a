"""The inline executor: one step at a time in this process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..machine import quiet_threads
from .executors import Event


class InlineExecutor:
    """Runs each step where it is submitted; progress goes out as it happens through ``listen``."""

    capacity = 1

    def __init__(self, store: str) -> None:
        self.store = store
        self.events: list[Event] = []
        self.listen: Callable[[Event], None] | None = None
        quiet_threads()

    def submit(self, step: dict[str, Any]) -> None:
        """Run a step to its end."""
        from .execute import describe_error, execute

        def emit(event: dict[str, Any]) -> None:
            if self.listen is not None:
                self.listen({"key": step["key"], **event})

        try:
            outcome = execute(step, self.store, emit)
            self.events.append({"what": "done", **outcome})
        except (Exception, SystemExit) as error:  # a plugin that exits fails its step, not the run
            self.events.append({"what": "failed", "key": step["key"], "error": describe_error(error)})

    def wait(self) -> list[Event]:
        """Return what happened since the last call."""
        events, self.events = self.events, []
        return events

    def close(self) -> None:
        """Nothing is left running."""
