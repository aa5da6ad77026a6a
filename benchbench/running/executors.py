"""Executors: submit a step, wait for events. They know no plugin; ``benchbench.running.execute`` does the work."""

from __future__ import annotations

from typing import Any, Protocol

#: ``{"key", "what": "progress" | "log" | "done" | "failed", ...}``
Event = dict[str, Any]


class Executor(Protocol):
    """Runs steps that have nothing left to wait for."""

    #: How many steps may be under way at once.
    capacity: int

    def submit(self, step: dict[str, Any]) -> None:
        """Start a step (JSON)."""

    def wait(self) -> list[Event]:
        """Return the events since the last call, at least one while a step is under way."""

    def close(self) -> None:
        """Stop whatever still runs."""


def make_executor(kind: str, store: str, workers: int) -> Executor:
    """Return the executor of a kind: ``inline`` or ``processes``."""
    if kind == "inline":
        from .inline import InlineExecutor

        return InlineExecutor(store)
    from .processes import ProcessExecutor

    return ProcessExecutor(store, workers)
