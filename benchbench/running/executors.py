"""Executors: the registry. What runs a step is :func:`benchbench.run_step`, wherever it arrives."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import BenchError, UsageError
from ..planning.preflight import check_needs
from ..planning.resolved import resolve
from ..planning.spec import Spec, parse_spec
from ..plugins.catalog import catalog, load, reason
from ..plugins.executor import Event, Executor, Listen, Running

__all__ = ["ChosenExecutor", "Event", "Executor", "Listen", "Running", "choose_executor"]


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
        except Exception:  # told by `bench list` and `bench doctor`
            continue
    rank, name = max(ranked, key=lambda item: item[0], default=(0, ""))
    if rank < 1:
        raise UsageError("--executor auto: no installed executor suits; name one, see `bench list executor`")
    return name
