"""Run the steps that are missing, inputs before what needs them, and tell a listener what happens."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from ..errors import BenchError
from ..planning.steps import STAGES, Step
from ..plugins.catalog import reason
from .executors import Event, Running

T = TypeVar("T")

#: Generation first: most other steps wait for it. Long trainings before short ones keep the last minute busy.
_URGENCY = {stage: place for place, stage in enumerate(STAGES)}


class Listener:
    """Hears what happens in a run, and ignores it; a subclass shows it on the terminal."""

    #: How many steps run at once; set when the executor has started.
    workers = 1

    def started(self, step: Step) -> None:
        """A step was handed to the executor."""

    def event(self, step: Step, event: Event) -> None:
        """Progress or a log line of a running step."""

    def finished(self, step: Step, outcome: Mapping[str, Any]) -> None:
        """A step's artifact is published."""

    def failed(self, step: Step, error: str) -> None:
        """A step ended with an error, or cannot run because one before it did."""


def run_steps(
    todo: Mapping[str, Step],
    executor: Running,
    listener: Listener,
    estimate: Callable[[Step], float | None] = lambda step: None,
) -> dict[str, str]:
    """Run every step of ``todo`` whose inputs can be had; returns the error of each that failed, by key.

    A step's inputs are either in ``todo`` or already published. A failure stops what depends on it and nothing else.

    Raises:
        BenchError: the executor failed, or gave something that is no event.
    """
    order = sorted(todo.values(), key=lambda step: (_URGENCY[step.stage], -(estimate(step) or 0.0)))
    waiting = {step.key: step for step in order}
    running: dict[str, Step] = {}
    errors: dict[str, str] = {}
    while waiting or running:
        _submit_ready(waiting, running, executor, listener)
        if not running:
            break
        for event in asked(executor.wait) or _lost(running):
            if not isinstance(event, dict) or not {"key", "what"} <= event.keys():
                raise BenchError(f"the executor gave {event!r}, which is no event; `bench check` names what is wrong")
            step = running.get(event["key"])
            if step is None:
                continue
            if event["what"] == "done":
                del running[step.key]
                # Without run_step's measurement nothing is learned from it, as from a step of another run.
                listener.finished(
                    step, {"status": "done", **event} if "seconds" in event else {**event, "status": "cached"}
                )
            elif event["what"] == "failed":
                del running[step.key]
                errors[step.key] = str(event.get("error") or "failed, and its executor does not say why")
                listener.failed(step, errors[step.key])
                _fail_dependents(step, waiting, errors, listener)
            else:
                listener.event(step, event)
    return errors


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


def _submit_ready(waiting: dict[str, Step], running: dict[str, Step], executor: Running, listener: Listener) -> None:
    for step in list(waiting.values()):
        if len(running) >= executor.capacity:
            return
        if any(key in waiting or key in running for key in step.inputs):
            continue
        del waiting[step.key]
        running[step.key] = step
        listener.started(step)
        asked(executor.submit, step.to_json())


def _fail_dependents(failed: Step, waiting: dict[str, Step], errors: dict[str, str], listener: Listener) -> None:
    """Fail what waits for a failed step, naming the first cause: the one thing that a user can act on."""
    cause = f"{failed.label}: {errors[failed.key]}"
    doomed = {failed.key}
    # Again until nothing is found: in a chain, a fit waits for a sample that comes after it.
    while found := [step for step in waiting.values() if doomed.intersection(step.inputs)]:
        for step in found:
            doomed.add(step.key)
            errors[step.key] = cause
            del waiting[step.key]
            listener.failed(step, cause)
