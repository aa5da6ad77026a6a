"""The Python API: the same request as the command line's, records back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..machine import quiet_threads
from ..planning.plan import make_plan
from ..planning.request import make_request
from ..planning.steps import Step
from ..results.folder import Record
from ..store.store import Store
from .executors import Event
from .run import carry_out, inspect, write_tables


class Silent:
    """A listener that prints nothing."""

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
        executor: ``"auto"``, ``"inline"`` or ``"processes"``.
        workers: number of processes; ``None`` for as many as cores and memory allow.
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
    report = carry_out(plan, folder, store, Silent(), executor, workers, inspect(plan, store))
    write_tables(plan, folder, store)
    return report.records
