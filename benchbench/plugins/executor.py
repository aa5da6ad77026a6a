"""The page for the author of an executor: where and how the steps of a run are carried out.

An executor is two classes. The :class:`Executor` is a plugin like any other, a frozen dataclass whose fields are its
options (``--executor ray:address=...``); it says how many steps it runs at once and whether ``--executor auto`` may
choose it. What it starts is a :class:`Running`, which takes steps (JSON) and gives events back::

    @dataclass(frozen=True)
    class Here(Executor):
        \"\"\"One step after the other, in this process.\"\"\"

        def start(self, store: str, workers: int | None, device: str, listen: Listen) -> Running:
            return _Here(store, listen)

Wherever a step arrives, ``benchbench.run_step(step, store, emit)`` does its work. An executor knows no plugin and no
stage; the order of the steps is the scheduler's. Publish it under the entry-point group ``benchbench.executors``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from ..machine import fitting_workers
from .base import Plugin

__all__ = ["Event", "Executor", "Listen", "Running", "fitting_workers"]

#: ``{"key": of the step, "what": "progress" | "log" | "done" | "failed", ...}``; JSON, since it crosses processes.
Event = dict[str, Any]
#: Takes an event at once.
Listen = Callable[[Event], None]


class Running(ABC):
    """Runs steps that have nothing left to wait for. The scheduler calls it from one thread."""

    #: How many steps may be under way at once, at least 1.
    capacity: int
    #: Bytes of memory that all steps under way share, ``None`` where nobody knows: steps that would need more wait.
    memory: int | None = None

    @abstractmethod
    def submit(self, step: dict[str, Any]) -> None:
        """Start a step (JSON). Never called while ``capacity`` steps are under way.

        A step comes again, later, when its last event said that another run works on it.
        """

    @abstractmethod
    def wait(self) -> list[Event]:
        """Return the events since the last call, at least one while a step is under way.

        The last event of each step is ``done`` or ``failed``, as ``run_step`` gave it: there is more in it for the
        scheduler, as that another run works on the step (``"status": "busy"``). A worker that dies fails its step:
        ``{"key": ..., "what": "failed", "error": "its process was killed"}``.
        """

    @abstractmethod
    def close(self) -> None:
        """Stop whatever still runs, and leave no process. May be called twice."""


@dataclass(frozen=True)
class Executor(Plugin):
    """A way to run steps: a frozen dataclass with options, which starts a :class:`Running`."""

    kind: ClassVar[str] = "executor"

    def workers(self, asked: int | None, device: str) -> int | None:
        """Return how many steps run at once.

        Args:
            asked: ``--workers``, if given.
            device: ``"cpu"`` or ``"cuda"``. A step takes one core, or the whole accelerator.

        Returns:
            The number, or ``None`` when it is known only once the executor has started.
        """
        return asked or 1

    def suits(self, steps: int, device: str) -> int:
        """Return how well ``--executor auto`` would do with it: the highest is chosen, 0 (the default) never."""
        return 0

    def start(self, store: str, workers: int | None, device: str, listen: Listen) -> Running:
        """Get ready for steps.

        Args:
            store: the store's folder; every worker must see it under this path.
            workers: what :meth:`workers` returned.
            device: ``"cpu"`` or ``"cuda"``.
            listen: may be given progress and log events at once, from the thread that called ``submit``; an executor
                that returns all events from ``wait`` does not need it.

        Raises:
            UsageError: it cannot start as asked (a cluster that does not answer).
        """
        raise NotImplementedError
