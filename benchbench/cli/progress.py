"""Progress with an estimate: bars on a terminal, plain lines anywhere else; always on stderr."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from typing import Any, TextIO

from ..planning.estimates import Backlog, Timings, duration
from ..planning.steps import Step
from ..running.executors import Event
from ..running.schedule import Listener
from ..safetext import on_a_line
from .say import say

#: Seconds between two plain lines about the same running step.
_PLAIN_EVERY_S = 10.0


def make_display(todo: Mapping[str, Step], timings: Timings, workers: int) -> PlainDisplay:
    """Return the display that fits the terminal."""
    if todo and sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        return BarDisplay(todo, timings, workers)
    return PlainDisplay(todo, timings, workers)


class PlainDisplay(Listener):
    """One line when a step starts and ends, and now and then in between; also keeps the overall estimate."""

    def __init__(self, todo: Mapping[str, Step], timings: Timings, workers: int, out: TextIO | None = None) -> None:
        self.left = Backlog(todo.values(), timings)
        self.count, self.timings, self.workers = len(todo), timings, workers
        self.out = out or sys.stderr
        self.running: dict[str, Step] = {}
        self.share: dict[str, float] = {}
        self.since: dict[str, float] = {}
        self.said: dict[str, float] = {}

    def close(self) -> None:
        """Leave the terminal as it was."""

    # -- what the scheduler tells --------------------------------------------------------------------------------------

    def started(self, step: Step) -> None:
        """A step begins."""
        self.running[step.key] = step
        self.since[step.key] = self.said[step.key] = time.monotonic()
        self.line(f"{self._place()} {step.label}")

    def event(self, step: Step, event: Event) -> None:
        """Progress inside a step, or a line it wants to say."""
        if step.key not in self.running:  # another run had it
            self.started(step)
        if event["what"] == "log":
            self.line(f"{step.label}: {event['text']}")
            return
        self.share[step.key] = event["done"] / max(event["total"], 1)
        self.progress(step, event)

    def busy(self, step: Step, text: str | None) -> None:
        """Another run works on a step: it is not running here."""
        self._paused(step)
        if text:
            self.line(f"{step.label}: {text}")

    def finished(self, step: Step, outcome: Mapping[str, Any]) -> None:
        """A step is published."""
        self._ended(step)
        if outcome["status"] == "done":
            self.timings.learn(step, float(outcome["seconds"]))  # its like are estimated by it from now on
        how = (
            "done by another run" if outcome["status"] == "cached" else f"done in {duration(float(outcome['seconds']))}"
        )
        self.line(f"{self._place()} {step.label}: {how}; {self.remaining()}")

    def failed(self, step: Step, error: str) -> None:
        """A step failed."""
        self._ended(step)
        self.line(f"{self._place()} {step.label}: failed: {error}")

    def _ended(self, step: Step) -> None:
        self.left.remove(step)
        self._paused(step)

    def _paused(self, step: Step) -> None:
        self.running.pop(step.key, None)
        self.share.pop(step.key, None)

    # -- how it is shown -----------------------------------------------------------------------------------------------

    def progress(self, step: Step, event: Event) -> None:
        """Say how far a step is, not too often."""
        now = time.monotonic()
        # A line every ten seconds at first, ever fewer in a long step: a log of a day stays readable.
        if now - self.said.get(step.key, 0.0) < max(_PLAIN_EVERY_S, 0.1 * (now - self.since[step.key])):
            return
        self.said[step.key] = now
        done = self.share[step.key]
        spent = now - self.since[step.key]
        left = f", about {duration(spent / done - spent)} left" if done > 0.01 else ""
        what = f" {event['label']}" if event.get("label") else ""
        self.line(f"{self._place()} {step.label}:{what} {event['done']}/{event['total']} {event['unit']}{left}")

    def line(self, text: str) -> None:
        """Print one line."""
        say(text, file=self.out)

    def remaining(self) -> str:
        """Return the estimate for everything that is left."""
        if not len(self.left):
            return "all steps done"
        total = self.left.total(self.workers)
        if total.unknown == len(self.left):
            return f"{total.unknown} steps left, time unknown"
        # A step that is well under way tells its own speed, whatever was expected of it.
        correction = 0.0
        for key, done in self.share.items():
            if done > 0.05:
                spent = time.monotonic() - self.since[key]
                correction += spent / done - spent - (self.timings.estimate(self.running[key]) or 0.0)
        unknown = f" and {total.unknown} steps of unknown length" if total.unknown else ""
        return f"about {duration(max(total.seconds + correction / self.workers, 0))} left in all{unknown}"

    def _place(self) -> str:
        return f"[{self.count - len(self.left)}/{self.count}]"


class BarDisplay(PlainDisplay):
    """A bar for everything and one for each running step."""

    def __init__(self, todo: Mapping[str, Step], timings: Timings, workers: int) -> None:
        super().__init__(todo, timings, workers)
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        self.bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            console=Console(stderr=True),
            transient=True,
        )
        self.all = self.bars.add_task("all steps", total=self.count, note=self.remaining())
        self.tasks: dict[str, Any] = {}
        self.bars.start()

    def close(self) -> None:
        """Remove the bars."""
        self.bars.stop()

    def started(self, step: Step) -> None:
        """Add a bar."""
        self.running[step.key] = step
        self.since[step.key] = time.monotonic()
        self.tasks[step.key] = self.bars.add_task(on_a_line(step.label), total=None, note="")

    def progress(self, step: Step, event: Event) -> None:
        """Move the bar of a step."""
        done = self.share[step.key]
        spent = time.monotonic() - self.since[step.key]
        note = f"about {duration(spent / done - spent)} left" if done > 0.01 else ""
        self.bars.update(self.tasks[step.key], completed=event["done"], total=event["total"], note=note)
        self.bars.update(self.all, note=self.remaining())

    def busy(self, step: Step, text: str | None) -> None:
        """Remove the bar until this run works on the step."""
        super().busy(step, text)
        self._remove(step)

    def finished(self, step: Step, outcome: Mapping[str, Any]) -> None:
        """Replace the bar by a line."""
        super().finished(step, outcome)
        self._remove(step)

    def failed(self, step: Step, error: str) -> None:
        """Replace the bar by a line."""
        super().failed(step, error)
        self._remove(step)

    def _remove(self, step: Step) -> None:
        if step.key in self.tasks:  # one that failed with what it needs has none
            self.bars.remove_task(self.tasks.pop(step.key))
        self.bars.update(self.all, completed=self.count - len(self.left), note=self.remaining())

    def line(self, text: str) -> None:
        """Print one line above the bars."""
        self.bars.console.print(on_a_line(text), highlight=False, markup=False, emoji=False)
