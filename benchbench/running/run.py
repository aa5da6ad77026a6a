"""Carry out a plan: find what is cached, run what is missing, write records, tables and pictures.

:func:`run` is the Python API: it takes the request of the command line and returns records.
"""

from __future__ import annotations

import itertools
import os
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import UsageError
from ..machine import quiet_threads
from ..planning.estimates import Timings
from ..planning.needs import Need, Needs
from ..planning.options import make_request
from ..planning.plan import Plan, make_plan
from ..planning.steps import Step
from ..plugins.catalog import catalog, reason
from ..reporting.leaderboard import Leaderboard, installed_reports, write_leaderboard
from ..results.folder import place_of, read_record, read_records, record_path, write_record
from ..results.record import Record, order_of_run
from ..results.table import shown_keys
from ..store.store import Store
from .demand import demand
from .executors import ChosenExecutor, Event, choose_executor
from .records import is_current, keep_known, make_record, of_this_run
from .schedule import Listener, asked, run_steps


@dataclass(frozen=True)
class Status:
    """A plan held against the store.

    Attributes:
        todo: steps to run, by key.
        cached: keys that are published and intact.
        corrupt: (key, label, problem) of artifacts that differ from their checksums; they are rebuilt.
        needs: what each step to run needs, by key.
    """

    todo: dict[str, Step]
    cached: frozenset[str]
    corrupt: tuple[tuple[str, str, str], ...]
    needs: dict[str, Need]


class Finished(NamedTuple):
    """What a run left: a record of each cell in the order of the plan, the error of each step that failed."""

    records: list[Record]
    errors: dict[str, str]


def check_writable(results: Path, store: Store) -> None:
    """Make sure that everything a run leaves can be written, before it is worked for.

    Raises:
        UsageError: a file is in the way, permission is missing, the disk is full or read-only.
    """
    store.writable()
    names = [name for report in installed_reports()[0].values() for name in report.files()]
    for name in dict.fromkeys(["records/", "environments/", "figures/", *names]):
        path = results / name
        if not name.endswith("/"):
            if path.is_dir():
                raise UsageError(f"results folder {results} cannot be written: {path} is a folder; move it away")
            continue
        if os.path.lexists(path) and not path.is_dir():
            raise UsageError(f"results folder {results} cannot be written: {path} is not a folder; move it away")
        if path.is_dir() and not os.access(path, os.W_OK | os.X_OK):
            raise UsageError(f"results folder {results} cannot be written: no permission for {path}")


def inspect(plan: Plan, store: Store) -> Status:
    """Find what has to run: every leaf that is missing, and what it needs and is missing too."""
    cached, corrupt = set(), []
    for key, step in plan.steps.items():
        if store.has(key):
            problem = store.check(key)
            if problem is None:
                cached.add(key)
            else:
                corrupt.append((key, step.label, problem))
    spoiled = {key for key, _, _ in corrupt}
    wanted: set[str] = set()
    taken = {key for step in plan.steps.values() for key in step.inputs}
    for key, step in reversed(plan.steps.items()):  # leaves come after their inputs
        if key not in cached and (key not in taken or key in wanted or key in spoiled):
            wanted.add(key)
            wanted.update(step.inputs)
    todo = {key: step for key, step in plan.steps.items() if key in wanted and key not in cached}
    needs = Needs(plan.steps, plan.device)
    return Status(todo, frozenset(cached), tuple(corrupt), {key: needs.of(step) for key, step in todo.items()})


def carry_out(
    plan: Plan,
    results: Path,
    store: Store,
    listener: Listener,
    executor: ChosenExecutor | None = None,
    status: Status | None = None,
) -> Finished:
    """Run what is missing and write one record for each cell, as soon as it is complete.

    Raises:
        UsageError: the results folder cannot be written, or this machine has less than the steps need.
        KeyboardInterrupt: passed on, after the workers were ended; what is finished is kept.
    """
    from ..machine import write_environment

    check_writable(results, store)
    status = status or inspect(plan, store)
    if why := demand(status, store).refusal():
        raise UsageError(why)
    for key, _, _ in status.corrupt:
        store.discard(key, only_damaged=True)  # another run may have rebuilt it by now
    store.sweep(status.cached)
    environment = write_environment(results)
    store.remember_plan(plan.steps)
    todo = {key: _in_environment(step, environment) for key, step in status.todo.items()}
    timings = Timings(store.root)
    keeper = _Keeper(plan, results, store, environment, listener, timings, set(todo))
    errors: dict[str, str] = {}
    if todo:
        chosen = executor or choose_executor("auto", None, len(todo), plan.device)
        running = chosen.start(str(store.root), lambda event: listener.event(todo[event["key"]], event))
        listener.workers = running.capacity
        try:
            errors = run_steps(todo, running, keeper, timings.estimate, lambda step: status.needs[step.key].memory)
        finally:
            asked(running.close)
            timings.save()
    if not errors:
        store.forget_plan(plan.steps)
    _refresh_reverted(results, keeper)
    return Finished([_as_kept(results, keeper.records[place]) for place in sorted(keeper.records)], errors)


def _as_kept(results: Path, record: Record) -> Record:
    """Return a record as it lies in the folder: one that says the same as before kept its time."""
    kept = read_record(record_path(results, record))
    return record if kept is None or kept.status != record.status else kept


def _in_environment(step: Step, environment: str) -> Step:
    return replace(step, run={**step.run, "environment": environment})


class _Keeper(Listener):
    """Passes events on, and writes the record of each cell once nothing of it is still to be run."""

    def __init__(
        self,
        plan: Plan,
        results: Path,
        store: Store,
        environment: str,
        listener: Listener,
        timings: Timings,
        pending: set[str],
    ) -> None:
        self.plan, self.results, self.store, self.environment = plan, results, store, environment
        self.listener, self.timings = listener, timings
        self.records: dict[int, Record] = {}
        self.errors: dict[str, str] = {}
        self.plugins = _distributions(plan)
        self.meta = lru_cache(maxsize=1000)(store.meta)
        self.order = order_of_run(read_records(results).records)  # each file is parsed once, here or later
        #: The cells that wait for each step, and how many steps each cell waits for: a step touches its cells alone.
        self.waiting: dict[str, list[int]] = defaultdict(list)
        self.missing: dict[int, int] = {}
        for place, cell in enumerate(plan.cells):
            keys = pending.intersection(itertools.chain.from_iterable(cell.steps.values()))
            self.missing[place] = len(keys)
            for key in keys:
                self.waiting[key].append(place)
            if not keys:
                earlier = read_record(place_of(results, cell.setting, cell.train))
                if earlier is not None and is_current(earlier, cell, self.plugins):
                    self.records[place] = earlier
                else:
                    self._keep(place)

    def _keep(self, place: int) -> None:
        cell = self.plan.cells[place]
        record = make_record(cell, self.store, self.errors, self.environment, self.plugins, self.meta, self.order)
        record = keep_known(record, read_record(record_path(self.results, record)))
        write_record(self.results, record)
        self.records[place] = record

    def _ended(self, key: str) -> None:
        """Write the records of the cells that waited for this step alone."""
        for place in self.waiting.pop(key, ()):
            self.missing[place] -= 1
            if not self.missing[place]:
                self._keep(place)

    def started(self, step: Step) -> None:
        self.listener.started(step)

    def event(self, step: Step, event: Event) -> None:
        self.listener.event(step, event)

    def busy(self, step: Step, text: str | None) -> None:
        self.listener.busy(step, text)

    def finished(self, step: Step, outcome: Mapping[str, Any]) -> None:
        if outcome["status"] == "done":
            self.timings.learn(step, float(outcome["seconds"]))
        self.listener.finished(step, outcome)
        self._ended(step.key)

    def failed(self, step: Step, error: str) -> None:
        self.errors[step.key] = error
        self.listener.failed(step, error)
        self._ended(step.key)


def _distributions(plan: Plan) -> dict[str, str]:
    distributions = {}
    for step in plan.steps.values():
        for location in (step.run.get("plugin", step.run["dataset"]), *step.run.get("augs", ())):
            if location["file"] is None:
                entry = catalog().get(location["kind"], location["name"])
                distributions[entry.name] = f"{entry.distribution}=={entry.version}"
    return dict(sorted(distributions.items()))


def _refresh_reverted(results: Path, keeper: _Keeper) -> None:
    """Make cells of this plan the newest of their sentence again, after an edit of the code was taken back."""
    shown = shown_keys(read_records(results).records)
    for record in keeper.records.values():
        if record.status == "done" and record.key not in shown:
            write_record(results, of_this_run(record, keeper.order), refresh=True)


def write_tables(plan: Plan, results: Path, store: Store) -> Leaderboard:
    """Draw the figures, then write every report, some of which list them; figures come last in ``pictures``.

    In this order, so that a second run finds nothing to change; a figure that fails does not cost the tables.
    """
    from ..pictures.gallery import draw_figures

    figures: list[Path] = []
    problems: list[str] = []
    try:
        figures = draw_figures(plan.cells, plan.steps, store, results)
    except Exception as error:
        problems.append(f"figures: not drawn: {reason(error)}")
    board = write_leaderboard(results)
    return board._replace(pictures=[*board.pictures, *figures], problems=[*problems, *board.problems])


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
    finished = carry_out(plan, folder, store, Listener(), chosen, status)
    write_tables(plan, folder, store)
    return finished.records
