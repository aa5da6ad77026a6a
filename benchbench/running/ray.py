"""The executor ``ray``: each step a task of a Ray cluster, an existing one or one started here for the run.

The store is a folder that every node sees under the same path, and every node has the same benchbench, plugins and
packages installed: a worker whose code differs fails its steps.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import logging
import os
import queue
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from ..machine import WORKER, free_memory
from ..plugins import Requirements
from ..plugins.executor import Event, Executor, Listen, Running, fitting_workers
from ..plugins.parameters import param
from .work import harness_digest, run_step

if TYPE_CHECKING:
    from ray import ObjectRefGenerator

#: Bytes of the object store of a local cluster: events alone go through it.
_OBJECT_STORE = 128 * 2**20
#: Seconds in which a cluster has to accept a connection.
_PATIENCE_S = 5.0


@dataclass(frozen=True)
class Ray(Executor):
    """Each step a task of a Ray cluster: an existing one, or one on this machine for the run."""

    address: str | None = param(
        None,
        help="HOST:PORT of a cluster; none for that of RAY_ADDRESS, else for one started here and stopped after it.",
    )

    def needs(self) -> Requirements:
        """Ray is an extra."""
        return Requirements(packages=("ray",), extras={"ray": "ray"})

    def workers(self, asked: int | None, device: str) -> int | None:
        """Return what this machine allows; how many cores or accelerators a cluster has is known once it answers."""
        return asked or (fitting_workers() if device == "cpu" and not self._place() else None)

    def start(self, store: str, workers: int | None, device: str, listen: Listen) -> Running:
        """Connect to the cluster, or start one.

        Raises:
            UsageError: no cluster answers at the address.
        """
        return _Ray(self._place(), os.path.abspath(store), workers, device)

    def _place(self) -> str | None:
        return self.address or os.environ.get("RAY_ADDRESS") or None


class _Ray(Running):
    """Keeps one generator of events for each task under way."""

    def __init__(self, address: str | None, store: str, workers: int | None, device: str) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        import ray

        self.store, self.accelerator = store, device == "cuda"
        self.memory = None if address else max(free_memory(), (workers or 1) * WORKER)
        self.tasks: dict[ObjectRefGenerator, str] = {}
        self.ours = not ray.is_initialized()
        self.silence = contextlib.ExitStack()
        if self.ours:
            # What Ray says of a lost worker goes to stdout, where --json prints records; the step's error tells it.
            self.silence.enter_context(_changed("ray._private.worker", "print_to_stdstream", lambda *_, **__: None))
            _connect(address, workers, self.accelerator)
        # Retried steps would be reported twice; the next run tries again what a lost node left.
        options = {"num_cpus": 1, "num_gpus": int(self.accelerator), "max_retries": 0, "num_returns": "streaming"}
        self.remote = ray.remote(**options)(_events)
        self.capacity = workers or max(1, int(ray.cluster_resources().get("GPU" if self.accelerator else "CPU", 1)))

    def submit(self, step: dict[str, Any]) -> None:
        sent = json.dumps({**step, "harness": harness_digest()})
        self.tasks[self.remote.remote(sent, self.store, _environment())] = step["key"]

    def wait(self) -> list[Event]:
        import ray

        events: list[Event] = []
        while self.tasks and not events:
            ready, _ = ray.wait(list(self.tasks), num_returns=1)
            events = [event for task in ready if (event := self._next(task)) is not None]
        return events

    def _next(self, task: ObjectRefGenerator) -> Event | None:
        """Return the next event of a task; one that ended without its last event failed."""
        import ray

        try:
            event: Event = json.loads(ray.get(next(task)))
        except StopIteration:
            key = self.tasks.pop(task, None)
            return None if key is None else {"key": key, "what": "failed", "error": "its task ended without a result"}
        except ray.exceptions.RayError as error:
            return {"key": self.tasks.pop(task), "what": "failed", "error": _why(error)}
        if event["what"] in ("done", "failed"):
            del self.tasks[task]
        return event

    def close(self) -> None:
        import ray

        if ray.is_initialized():
            for task in self.tasks:
                with contextlib.suppress(Exception):  # it may have ended
                    ray.cancel(task, force=True)
            if self.ours:
                ray.shutdown()
        self.silence.close()
        self.tasks = {}


def _connect(address: str | None, workers: int | None, accelerator: bool) -> None:
    """Connect to a cluster, or start one that listens on this machine alone."""
    import ray

    quiet = {"log_to_driver": False, "logging_level": logging.ERROR, "include_dashboard": None if address else False}
    if address is None:
        local: dict[str, Any] = {"address": "local", "_node_ip_address": "127.0.0.1"}
        local |= {"num_cpus": workers or fitting_workers(), "object_store_memory": _OBJECT_STORE}
        local |= {} if accelerator else {"num_gpus": 0}
        with _changed("ray._private.ray_constants", "ENABLE_RAY_CLUSTER", False):  # else 127.0.0.1 becomes public
            ray.init(**quiet, **local)
        return
    host, _, port = address.rpartition(":")
    try:
        if port.isdigit() and "/" not in host:  # Ray itself would wait for a minute
            socket.create_connection((host, int(port)), timeout=_PATIENCE_S).close()
        ray.init(address=address, **quiet)
    except (OSError, RuntimeError, ValueError) as error:
        why = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UsageError(f"--executor ray:address={address}: no Ray cluster answers there ({why})") from None


@contextlib.contextmanager
def _changed(module: str, name: str, value: Any) -> Iterator[None]:
    """Change what Ray has no option for; a version of Ray without it is left as it is."""
    changed = importlib.import_module(module)
    before = getattr(changed, name, None)
    setattr(changed, name, value)
    try:
        yield
    finally:
        setattr(changed, name, before)


def _environment() -> dict[str, str]:
    """Return the variables of this process that decide where a step finds its files."""
    return {name: value for name, value in os.environ.items() if name.startswith(("BENCH_", "HF_"))}


def _why(error: Exception) -> str:
    text = " ".join(str(error).split())
    if "OutOfMemory" in type(error).__name__ or "OOM" in text:
        return "out of memory"
    return f"its worker was lost ({type(error).__name__}); the logs of Ray say why"


def _events(step: str, store: str, environment: dict[str, str]) -> Iterator[str]:
    """Run a step in a worker and yield its events as JSON; the task."""
    os.environ.update(environment)
    events: queue.SimpleQueue[Event] = queue.SimpleQueue()
    threading.Thread(target=run_step, args=(json.loads(step), store, events.put), daemon=True).start()
    while True:
        event = events.get()
        yield json.dumps(event)
        if event["what"] in ("done", "failed"):
            return
