"""What an executor promises: it runs steps, says how each ended, survives a failing one, and closes."""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import BenchError
from ..planning.steps import info_to_json
from ..plugins import Dataset, DatasetInfo
from ..plugins.context import Context
from ..plugins.executor import Event, Running
from ..plugins.images import ImageSet
from ..plugins.parameters import param
from ..store.store import Store
from .subject import Subject, require

#: Seconds that an executor may take for its first tiny steps: a cluster has to start.
_PATIENCE_S = 120.0


@dataclass(frozen=True)
class Specks(Dataset):
    """Six images of two classes: what the steps of these checks read."""

    fails: bool = param(False, help="Raise an error instead.")

    def info(self) -> DatasetInfo:
        """Return the facts of six images in each part."""
        counts = {"train": 6, "validation": 6, "test": 6}
        grey, spread = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
        return DatasetInfo("specks", ("a", "b"), counts, (3, 3), 4, 4, 4, grey, spread, True, "none")

    def load(self, split: str, context: Context) -> ImageSet:
        """Return grey images, with progress."""
        if self.fails:
            raise BenchError("this step fails, as it was asked to")
        for _ in context.progress(range(2), label=split):
            images = np.full((6, 4, 4, 3), 128, dtype=np.uint8)
        return ImageSet(images, np.arange(6, dtype=np.int64) % 2, ("a", "b"))


def says_how_many_steps_it_runs_at_once(subject: Subject) -> None:
    """``workers`` gives a number from 1, or ``None`` for later; what was asked for never becomes less than 1."""
    for asked in (None, 1, 2):
        for device in ("cpu", "cuda"):
            count = subject.plugin.workers(asked, device)
            valid = count is None or (type(count) is int and count >= 1)
            require(valid, f"workers({asked}, {device!r}) must return a number from 1 or None; got {count!r}")
    rank = subject.plugin.suits(2, "cpu")
    require(type(rank) is int and rank >= 0, f"suits(2, 'cpu') must return a whole number from 0; got {rank!r}")


def runs_steps_and_reports_them_done(subject: Subject) -> None:
    """Two steps end with the event ``done``, their artifacts in the store."""
    store, ended, _ = _carried_out(subject, (_step(1), _step(2)))
    for number, event in enumerate(ended, 1):
        require(event["what"] == "done", f"step {number} ended as {event}")
        require(Store(store).has(event["key"]), f"step {number} is done and its artifact is not in the store")


def passes_progress_on(subject: Subject) -> None:
    """What a step says on its way reaches ``wait`` or ``listen``, with the step's key: one display shows it."""
    step = _step(1)
    _, (ended,), events = _carried_out(subject, (step,))
    require(ended["what"] == "done", f"a step that should succeed failed: {ended.get('error')}")
    heard = [event for event in events if event["what"] == "progress" and event.get("key") == step["key"]]
    require(bool(heard), f"the step's progress was lost; got {events}")


def reports_a_failing_step_and_runs_the_next(subject: Subject) -> None:
    """A step that raises ends with the event ``failed`` and its error, and costs no other step."""
    _, (failed, done), _ = _carried_out(subject, (_step(1, fails=True), _step(2)))
    require(failed["what"] == "failed", f"a step that raises an error ended as {failed}")
    require("this step fails" in str(failed.get("error")), f"its error was lost: {failed}")
    require(done["what"] == "done", f"the other step ended as {done}")


def hands_the_end_of_a_step_on_whole(subject: Subject) -> None:
    """A step that another run works on ends with the status ``busy`` and who that is: the scheduler takes another."""
    _, (busy,), _ = _carried_out(subject, ({**_step(1), "wait": 0.0},), elsewhere=True)
    whole = busy["what"] == "done" and busy.get("status") == "busy" and "owner" in busy
    require(whole, f"what run_step said of a step that another run works on was lost; it ended as {busy}")


def _step(number: int, fails: bool = False) -> dict[str, Any]:
    """Return a step that reads ``Specks``, as the scheduler submits it."""
    place: dict[str, Any] = {"kind": "dataset", "name": "specks", "file": None, "values": {"fails": fails}}
    run: dict[str, Any] = {"dataset": {**place, "target": f"{__name__}:Specks"}, "info": info_to_json(Specks().info())}
    run |= {"device": "cpu", "preset": "quick", "environment": ""}
    body: dict[str, Any] = {"kind": "data", "name": "specks", "seed": number, "code": {}}
    body |= {"values": {"fails": True} if fails else {}, "external": [], "foundations": {}}
    return {"stage": "data", "key": f"{number:064x}", "label": f"check {number}", "body": body, "run": run}


def _carried_out(
    subject: Subject, steps: tuple[dict[str, Any], ...], elsewhere: bool = False
) -> tuple[Path, list[Event], list[Event]]:
    """Run steps as the scheduler does; returns the store's folder, the last event of each step, and all events.

    With ``elsewhere``, another run works on the first of them meanwhile.
    """
    store = subject.new_folder("store")
    heard: list[Event] = []
    workers = subject.plugin.workers(2, "cpu")
    running: Running = subject.plugin.start(str(store), workers, "cpu", heard.append)
    ended: dict[str, Event] = {}
    waiting, deadline = list(steps), time.monotonic() + _PATIENCE_S
    others = contextlib.ExitStack()
    try:
        if elsewhere:
            others.enter_context(Store(store).lock(steps[0]["key"]).hold())
            release = threading.Timer(_PATIENCE_S / 2, others.close)  # for an executor whose step waits
            release.start()
            others.callback(release.cancel)
        require(running.capacity >= 1, f"capacity must be at least 1; it is {running.capacity}")
        while len(ended) < len(steps):
            while waiting and len(steps) - len(waiting) - len(ended) < running.capacity:
                running.submit(waiting.pop(0))
            events = running.wait()
            require(bool(events), "wait() returned no event while a step was under way")
            require(time.monotonic() < deadline, f"two tiny steps took more than {_PATIENCE_S:.0f} s")
            heard += events
            ended |= {event["key"]: event for event in events if event["what"] in ("done", "failed")}
    finally:
        others.close()
        running.close()
        running.close()
    known = {step["key"] for step in steps}
    require({event.get("key") for event in heard} <= known, f"every event has the key of its step; got {heard}")
    return store, [ended[step["key"]] for step in steps], heard
