"""The Python API: the same request as the command line's, records back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..machine import quiet_threads
from ..planning.options import make_request
from ..planning.plan import make_plan
from ..planning.steps import Step
from ..results.folder import Record
from ..store.store import Store
from .executors import Event, choose_executor
from .run import carry_out, inspect, write_tables


class Silent:
    """A listener that prints nothing."""

    workers = 1

    def started(self, step: Step) -> None:
        """Ignore."""

    def event(self, step: Step, event: Event) -> None:
        """Ignore."""

    def finished(self, step: Step, outcome: Any) -> None:
        """Ignore."""

    def failed(self, step: Step, error: str) -> None:
        """Ignore; the record says it."""


def run(
    *,
    results: str | Path = "results",
    executor: str = "auto",
    workers: int | None = None,
    **options: Any,
) -> list[Record]:
    """Run experiments and return one record for each cell, finished or failed, in the order of the plan.

    Args:
        results: folder for records, tables, figures and, below ``artifacts/``, the cache.
        executor: ``"auto"``, or an executor as ``bench run --executor`` spells it: ``"processes"``.
        workers: steps at once; ``None`` for what the executor finds right.
        **options: the options of ``bench run`` with underscores: ``gen="diffinv:guidance_scale=3"``,
            ``data="digits"``, ``arch=["resnet18", "vgg16"]``, ``seeds=3``, ``baseline=False``, ...

    Raises:
        UsageError: the request cannot be carried out as written.
        MissingError: data, weights or a package that is neither here nor reachable.
    """
    quiet_threads()
    folder = Path(results)
    store = Store(folder / "artifacts")
    plan = make_plan(make_request(options), download=True)
    status = inspect(plan, store)
    chosen = choose_executor(executor, workers, len(status.todo), plan.device)
    finished = carry_out(plan, folder, store, Silent(), chosen, status)
    write_tables(plan, folder, store)
    return finished.records
