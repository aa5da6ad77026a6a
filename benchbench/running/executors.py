"""Choosing an executor, and the two of this machine. Every executor calls :func:`benchbench.run_step` for a step.

``inline`` runs one step at a time in this process; ``processes`` has workers, each a fresh interpreter that runs one
step at a time.
"""

from __future__ import annotations

import contextlib
import json
import queue
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from typing import Any

from ..errors import BenchError, UsageError
from ..machine import WORKER, free_memory
from ..planning.resolved import check_needs, resolve
from ..planning.spec import Spec, parse_spec
from ..plugins.catalog import catalog, load, reason
from ..plugins.executor import Event, Executor, Listen, Running, fitting_workers
from .work import harness_digest, run_step


@dataclass(frozen=True)
class ChosenExecutor:
    """An executor with what it is started with.

    Attributes:
        text: its spelling, as in messages.
        plugin: the executor.
        workers: steps at once; ``None`` when known only once it has started.
        device: ``"cpu"`` or ``"cuda"``.
    """

    text: str
    plugin: Executor
    workers: int | None
    device: str

    def start(self, store: str, listen: Listen) -> Running:
        """Start it.

        Raises:
            BenchError: it cannot start, in one line that begins with its name.
        """
        try:
            running = self.plugin.start(store, self.workers, self.device, listen)
        except BenchError:
            raise
        except Exception as error:
            raise BenchError(f"--executor {self.text}: cannot start: {reason(error)}") from error
        if not isinstance(running, Running):
            raise BenchError(f"--executor {self.text}: start must return a Running; got {type(running).__name__}")
        capacity = getattr(running, "capacity", None)
        if type(capacity) is not int or capacity < 1:  # with 0 a run would end at once, with nothing done
            running.close()
            raise BenchError(f"--executor {self.text}: capacity must be a whole number from 1 on; got {capacity!r}")
        if running.memory is not None and type(running.memory) is not int:
            running.close()
            raise BenchError(f"--executor {self.text}: memory must be bytes or None; got {running.memory!r}")
        return running


def choose_executor(wanted: str, workers: int | None, steps: int, device: str) -> ChosenExecutor:
    """Return the executor that ``--executor`` names, checked and ready to start.

    Args:
        wanted: ``NAME[:key=value,...]``, a file, or ``auto`` for the installed one that suits best.
        workers: ``--workers``, if given.
        steps: how many steps there are to run.
        device: ``"cpu"`` or ``"cuda"``.

    Raises:
        UsageError: an unknown or broken executor or option, or fewer than one worker.
        MissingError: a package that it needs is not installed.
    """
    if workers is not None and workers < 1:
        raise UsageError(f"--workers {workers}: must be at least 1")
    try:
        spec = Spec(_best(steps, device)) if wanted == "auto" else parse_spec(wanted)
        chosen = resolve("executor", spec, "quick")
    except UsageError as error:
        raise UsageError(str(error) if wanted == "auto" else f"--executor {error}") from None
    check_needs(chosen, device)
    try:
        count = chosen.plugin.workers(workers, device)
    except BenchError:
        raise
    except Exception as error:
        raise UsageError(f"--executor {spec}: workers failed: {reason(error)}") from error
    if count is not None and (type(count) is not int or count < 1):
        raise UsageError(f"--executor {spec}: workers must return a whole number from 1 on, or None; got {count!r}")
    return ChosenExecutor(str(spec), chosen.plugin, count, device)


def _best(steps: int, device: str) -> str:
    """Return the name of the executor for ``auto``; a broken one is left out."""
    ranked = []
    for entry in catalog().entries("executor"):
        try:
            ranked.append((load(entry)().suits(steps, device), entry.name))
        except Exception:  # shown by `bench list` and `bench doctor`
            continue
    rank, name = max(ranked, key=lambda item: item[0], default=(0, ""))
    if rank < 1:
        raise UsageError("--executor auto: no installed executor suits; name one, see `bench list executor`")
    return name


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


@dataclass(frozen=True)
class Processes(Executor):
    """Several steps at once, each in a process of this machine."""

    def workers(self, asked: int | None, device: str) -> int:
        """Return what cores and memory allow: a step takes one core, or the accelerator, which is not shared."""
        return asked or (fitting_workers() if device == "cpu" else 1)

    def suits(self, steps: int, device: str) -> int:
        """A step that needs more memory than there is ends its worker, and the run goes on."""
        return 2

    def start(self, store: str, workers: int | None, device: str, listen: Listen) -> Running:
        """Start no process yet: the first step does."""
        return _Processes(store, workers or 1)


class _Worker:
    """One worker process and the thread that reads its events."""

    def __init__(self, store: str, events: queue.Queue[Event]) -> None:
        self.key: str | None = None
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "benchbench.running.work", store],  # no module of the present folder
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        threading.Thread(target=self._read, args=(events,), daemon=True).start()

    def _read(self, events: queue.Queue[Event]) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with contextlib.suppress(ValueError):
                events.put(json.loads(line) | {"worker": self})
        events.put({"what": "gone", "worker": self})

    def send(self, step: dict[str, Any]) -> None:
        self.key = step["key"]
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(step) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # the reader thread reports that it is gone

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


def _end(code: int) -> str:
    """Return why a worker is gone, from its exit code: below 0 the number of the signal that ended it."""
    name = {item.value: item.name for item in signal.Signals}.get(-code, f"signal {-code}")
    if name == "SIGKILL":
        return "out of memory, most likely: its process was killed; use fewer --workers, fewer images or more memory"
    if name == "SIGBUS":
        return "its process was ended by SIGBUS: a file that it read was cut short, or shared memory is full"
    return f"its process was ended by {name}" if code < 0 else f"its process ended with code {code}"


class _Processes(Running):
    """Keeps up to ``workers`` processes busy; a worker that dies fails its step and is replaced."""

    def __init__(self, store: str, workers: int) -> None:
        self.store, self.capacity = store, workers
        # How many workers there are is the user's to say; how large steps run side by side is not.
        self.memory = max(free_memory(), workers * WORKER)
        self.events: queue.Queue[Event] = queue.Queue()
        self.idle: list[_Worker] = []
        self.busy: list[_Worker] = []

    def submit(self, step: dict[str, Any]) -> None:
        self.idle = [worker for worker in self.idle if worker.process.poll() is None]  # one may have died at rest
        worker = self.idle.pop() if self.idle else _Worker(self.store, self.events)
        self.busy.append(worker)
        worker.send({**step, "harness": harness_digest()})

    def wait(self) -> list[Event]:
        events: list[Event] = []
        while not events and self.busy:
            batch = [self.events.get()]
            with contextlib.suppress(queue.Empty):
                while True:
                    batch.append(self.events.get_nowait())
            events = [event for event in map(self._receive, batch) if event is not None]
        return events

    def _receive(self, event: Event) -> Event | None:
        worker: _Worker = event.pop("worker")
        if event["what"] == "gone":
            return self._lost(worker)
        if event["what"] in ("done", "failed"):
            self.busy.remove(worker)
            self.idle.append(worker)
            worker.key = None
        return event

    def _lost(self, worker: _Worker) -> Event | None:
        code = worker.process.wait()
        if worker in self.idle:
            self.idle.remove(worker)
        if worker not in self.busy:
            return None
        self.busy.remove(worker)
        return {"what": "failed", "key": worker.key, "error": _end(code)}

    def close(self) -> None:
        for worker in (*self.idle, *self.busy):
            worker.stop()
        self.idle, self.busy = [], []
