"""Run the steps that are missing, inputs before what needs them, and tell a listener what happens."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from ..errors import BenchError
from ..planning.steps import STAGES, Step
from ..plugins.catalog import reason
from ..store.lock import Owner
from .executors import Event, Running
from .postponed import Postponed

T = TypeVar("T")

#: Generation first: most other steps wait for it. Long trainings before short ones keep the last minute busy.
_URGENCY = {stage: place for place, stage in enumerate(STAGES)}


class Listener:
    """Hears what happens in a run, and ignores it; a subclass shows it on the terminal."""

    #: How many steps run at once; set when the executor has started.
    workers = 1

    def started(self, step: Step) -> None:
        """A step was handed to the executor, for the first time."""

    def event(self, step: Step, event: Event) -> None:
        """Progress or a log line of a running step; also of one that was busy, which begins with it."""

    def busy(self, step: Step, text: str | None) -> None:
        """Another run works on a step, which is tried again later; ``text`` is what was not said about it yet."""

    def finished(self, step: Step, outcome: Mapping[str, Any]) -> None:
        """A step's artifact is published."""

    def failed(self, step: Step, error: str) -> None:
        """A step ended with an error, or cannot run because one before it did."""


def run_steps(
    todo: Mapping[str, Step],
    executor: Running,
    listener: Listener,
    estimate: Callable[[Step], float | None] = lambda step: None,
    memory: Callable[[Step], int] = lambda step: 0,
) -> dict[str, str]:
    """Run every step of ``todo`` whose inputs can be had; returns the error of each that failed, by key.

    A step's inputs are either in ``todo`` or already published. A failure stops what depends on it and nothing else.
    A step that another run works on is put off: the others go first, and without others a worker waits for it.

    Args:
        todo: the steps by key.
        executor: runs them; no step is begun that would have those under way exceed its memory, except alone.
        listener: is told what happens.
        estimate: seconds of a step.
        memory: bytes that a step needs.

    Raises:
        BenchError: the executor failed, or gave something that is no event.
    """
    postponed = Postponed()
    order = sorted(todo.values(), key=lambda step: (_URGENCY[step.stage], -(estimate(step) or 0.0)))
    waiting, room = _Waiting(order, memory), getattr(executor, "memory", None)
    running: dict[str, Step] = {}
    errors: dict[str, str] = {}
    whole = True  # whether the executor hands on all of what run_step says
    returns: dict[str, bool] = {}  # of each step that was submitted: whether it ends as busy instead of waiting on
    while True:
        while len(running) < executor.capacity:
            left = None if room is None or not running else room - sum(map(memory, running.values()))
            found = _next(waiting, postponed, left)
            if found is None:
                break
            ready, wait = found
            running[ready.key] = ready
            if ready.key not in returns:
                listener.started(ready)
            returns[ready.key] = whole
            limits = {"wait": wait, "again": ready.key in postponed} if whole else {}
            asked(executor.submit, {**ready.to_json(), **limits})
        if not running:
            return errors
        for event in asked(executor.wait) or _lost(running):
            if not isinstance(event, dict) or not {"key", "what"} <= event.keys():
                raise BenchError(f"the executor gave {event!r}, which is no event; `bench check` names what is wrong")
            step = running.get(event["key"])
            if step is None:
                continue
            if event["what"] not in ("done", "failed"):
                listener.event(step, event)
                continue
            del running[step.key]
            if event["what"] == "done" and event.get("status") == "busy":
                listener.busy(step, postponed.add(step.key, Owner.of(event.get("owner"))))
            elif event["what"] == "done" and returns[step.key] and not {"status", "seconds"} & event.keys():
                whole = False  # it makes ends of its own, so this one may have been busy: once more, and it waits
                waiting.again(step.key)
            elif event["what"] == "done":
                waiting.done(step.key)
                # Without run_step's measurement nothing is learned from it, as from a step of another run.
                listener.finished(
                    step, {"status": "done", **event} if "seconds" in event else {**event, "status": "cached"}
                )
            else:
                errors[step.key] = str(event.get("error") or "failed, and its executor does not say why")
                listener.failed(step, errors[step.key])
                cause = f"{step.label}: {errors[step.key]}"  # the first one: what a user can act on
                for doomed in waiting.drop(step.key):
                    errors[doomed.key] = cause
                    listener.failed(doomed, cause)


def _next(waiting: _Waiting, postponed: Postponed, room: int | None) -> tuple[Step, float] | None:
    """Return the step to submit now, and how many seconds its worker waits for another run that has it."""
    for key in postponed.due():
        waiting.again(key)
    if (step := waiting.pop(room)) is not None:
        return step, 0.0
    if (first := postponed.first()) is None:
        return None
    key, wait = first
    waiting.again(key)  # nothing else fits, so that this one is taken before its time, unless it does not fit either
    return None if (step := waiting.pop(room)) is None else (step, wait)


def asked(method: Callable[..., T], *given: Any) -> T:
    """Return what a method of the executor returns; what it raises is said to be its mistake, not that of the run."""
    try:
        return method(*given)
    except BenchError:
        raise
    except Exception as error:
        raise BenchError(f"the executor failed: {reason(error)}") from error


def _lost(running: Mapping[str, Step]) -> list[Event]:
    """Fail every step under way: an executor that has no event for any of them waits for none, and never would."""
    return [{"key": key, "what": "failed", "error": "its executor lost it"} for key in running]


class _Waiting:
    """Steps that have not begun, most urgent first; an event costs the same among a hundred and among 20,000."""

    def __init__(self, steps: Sequence[Step], memory: Callable[[Step], int]) -> None:
        self._place = {step.key: place for place, step in enumerate(steps)}
        self._steps = steps
        #: How many inputs of a waiting step are still to come, and which steps wait for a key.
        self._missing = {step.key: len(self._place.keys() & set(step.inputs)) for step in steps}
        self._waiters: dict[str, list[str]] = defaultdict(list)
        for step in steps:
            for key in self._place.keys() & set(step.inputs):
                self._waiters[key].append(step.key)
        #: The places of those that wait for nothing, by the memory that they need: few sizes, many steps.
        self._ready: dict[int, list[int]] = defaultdict(list)
        self._memory = [memory(step) for step in steps]
        for place, step in enumerate(steps):
            if not self._missing[step.key]:
                self._ready[self._memory[place]].append(place)

    def pop(self, room: int | None = None) -> Step | None:
        """Take out the most urgent step whose inputs are all there and which needs no more memory than ``room``."""
        fitting = [ready for memory, ready in self._ready.items() if ready and (room is None or memory <= room)]
        if not fitting:
            return None
        step = self._steps[heapq.heappop(min(fitting))]
        self._missing.pop(step.key, None)
        return step

    def again(self, key: str) -> None:
        """Put back a step that was taken out."""
        place = self._place[key]
        heapq.heappush(self._ready[self._memory[place]], place)

    def done(self, key: str) -> None:
        """Count an input as there."""
        for waiter in self._waiters.pop(key, ()):
            if waiter in self._missing:
                self._missing[waiter] -= 1
                if not self._missing[waiter]:
                    place = self._place[waiter]
                    heapq.heappush(self._ready[self._memory[place]], place)

    def drop(self, key: str) -> list[Step]:
        """Take out all that waits for a step that failed, also by way of others; returns them, most urgent first."""
        doomed, failed = set(), [key]
        while failed:
            for waiter in self._waiters.pop(failed.pop(), ()):
                if self._missing.pop(waiter, None) is not None:
                    doomed.add(self._place[waiter])
                    failed.append(waiter)
        return [self._steps[place] for place in sorted(doomed)]
