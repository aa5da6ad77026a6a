"""The executor ``inline``: one step at a time in this process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..plugins.executor import Event, Executor, Listen, Running
from .work import run_step


@dataclass(frozen=True)
class Inline(Executor):
    """One step after the other, in this process."""

    def workers(self, asked: int | None, device: str) -> int:
        """Return 1, whatever was asked for."""
        return 1

    def suits(self, steps: int, device: str) -> int:
        """It always works."""
        return 1

    def start(self, store: str, workers: int | None, device: str, listen: Listen) -> Running:
        """Start nothing: a step runs where it is submitted."""
        return _Inline(store, listen)


class _Inline(Running):
    capacity = 1

    def __init__(self, store: str, listen: Listen) -> None:
        self.store, self.listen = store, listen
        self.ended: list[Event] = []

    def submit(self, step: dict[str, Any]) -> None:
        run_step(step, self.store, self._emit)

    def _emit(self, event: Event) -> None:
        """Pass progress on as it happens, and keep the end of the step for ``wait``."""
        if event["what"] in ("done", "failed"):
            self.ended.append(event)
        else:
            self.listen(event)

    def wait(self) -> list[Event]:
        ended, self.ended = self.ended, []
        return ended

    def close(self) -> None:
        pass
