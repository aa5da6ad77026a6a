"""What ``run`` and ``plan`` do: print the plan, carry it out under a progress display, print the table."""

from __future__ import annotations

import contextlib
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..planning.estimates import Timings, by_stage, duration
from ..planning.options import make_request
from ..planning.plan import Plan, make_plan
from ..planning.splits import splits_told
from ..reporting.leaderboard import Leaderboard
from ..running.demand import demand
from ..running.executors import ChosenExecutor, choose_executor
from ..running.run import Status, carry_out, check_writable, inspect, write_tables
from ..store.store import Store
from .say import complain, say, say_json

#: Pictures that are listed after a run; more are counted.
MOST_FIGURES = 8


@dataclass(frozen=True)
class Choices:
    """Options of ``bench run`` that are not part of the request."""

    results: Path
    executor: str
    workers: int | None
    dry_run: bool
    as_json: bool


def run(options: Mapping[str, Any], chosen: Choices) -> int:
    """Plan and run; returns 0 when every cell is done, 1 when one failed."""
    began = time.monotonic()
    store = Store(chosen.results / "artifacts")
    request = make_request(options)
    plan = make_plan(request, download=not chosen.dry_run)
    if not chosen.dry_run:
        check_writable(chosen.results, store)
    status = inspect(plan, store)
    executor = choose_executor(chosen.executor, chosen.workers, len(status.todo), plan.device)
    # With --json, stdout holds the records and nothing else.
    why = print_plan(plan, store, status, executor, sys.stderr if chosen.as_json else sys.stdout)
    if chosen.dry_run:
        _warn(why)
        return 0
    from .progress import make_display

    with contextlib.closing(make_display(status.todo, Timings(store.root), executor.workers or 1)) as display:
        finished = carry_out(plan, chosen.results, store, display, executor, status)
    return _conclude(plan, finished.records, finished.errors, chosen, store, time.monotonic() - began)


def _conclude(
    plan: Plan, records: list[Any], errors: dict[str, str], chosen: Choices, store: Store, took: float
) -> int:
    from ..reporting.closing import closing_lines
    from ..reporting.text import print_table

    board = write_tables(plan, chosen.results, store)
    for line in (*(f"warning: {text}" for text in board.warnings), *board.problems):
        complain(line)
    failed = [record for record in records if record.status == "failed"]
    if chosen.as_json:
        say_json([record.to_json() for record in records])
    else:
        say("")
        shown = board.table.of(record.spec_id for record in records)  # verdicts are those among all of the folder
        print_table(shown)
        say("")
        for label, path in _left_behind(chosen.results, len(records), board):
            say(f"{label:<10} {path}")
        say(f"{'took':<10} {duration(took)}")
        for line in ("", *closing_lines(shown, sys.argv[1:])):
            say(line)
    for cause, count in Counter(record.error for record in failed).items():
        cells = "1 cell" if count == 1 else f"{count} cells"
        complain(f"{cells} failed: {cause}")
    asked = {name for cell in plan.cells for name in cell.score}  # a record also keeps what an earlier run asked for
    unscored = dict.fromkeys(
        (name, scores["error"], tuple(record.steps["score"]))
        for record in records
        if record.status == "done"
        for name, scores in record.metrics.items()
        if "error" in scores and name in asked
    )
    for (name, cause), count in Counter((name, cause) for name, cause, _ in unscored).items():
        complain(f"metric {name} failed ({count} of its steps): {cause}")
    return 1 if failed or errors else 0


def _left_behind(results: Path, count: int, board: Leaderboard) -> list[tuple[str, str]]:
    lines = [("table" if place == 0 else "", str(path)) for place, path in enumerate(board.texts)]
    shown = board.pictures[:MOST_FIGURES]
    lines += [("figure" if place == 0 else "", str(path)) for place, path in enumerate(shown)]
    if len(board.pictures) > len(shown):
        lines.append(("", f"and {len(board.pictures) - len(shown)} more in {results / 'figures'}"))
    return [*lines, ("records", f"{results / 'records'} ({count} of this run)")]


def show_plan(options: Mapping[str, Any], results: Path, *, cells: bool, as_json: bool) -> None:
    """Print the plan."""
    store = Store(results / "artifacts")
    plan = make_plan(make_request(options))
    status = inspect(plan, store)
    executor = choose_executor("auto", None, len(status.todo), plan.device)
    if as_json:
        say_json(_plan_json(plan, store, status, executor.workers or 1))
        return
    _warn(print_plan(plan, store, status, executor, sys.stdout))
    if cells:
        say("")
        for key, step in plan.steps.items():
            state = "to run" if key in status.todo else "cached" if key in status.cached else "not needed"
            say(f"{key[:12]}  {state:<10}  {step.label}")
        say("")
        for cell in plan.cells:
            it = cell.setting
            state = "done" if cell.train in status.cached else "to do"
            parts = (it.data, it.gen, it.mix, it.arch, it.aug, *it.more.values())
            place = f"draw {it.draw + 1} seed {it.replicate + 1}"
            say(f"{cell.train[:12]}  {state:<6}  {' · '.join(parts)} · n_real {it.n_real} · {place}")


def _plan_json(plan: Plan, store: Store, status: Status, workers: int) -> dict[str, Any]:
    timings = Timings(store.root)
    total = timings.total(status.todo.values(), workers)
    steps = [
        {
            "key": key,
            "stage": step.stage,
            "label": step.label,
            "inputs": list(step.inputs),
            "cached": key in status.cached,
            "to_run": key in status.todo,
            "estimate_s": timings.estimate(step),
        }
        for key, step in plan.steps.items()
    ]
    cells = [
        {**cell.setting.to_json(), "spec_id": cell.spec_id, "key": cell.train, "steps": cell.steps}
        for cell in plan.cells
    ]
    sums = {"estimate_s": total.seconds, "unknown": total.unknown, "workers": workers, "design": plan.design}
    return {"steps": steps, "cells": cells, **sums, "needs": demand(status, store).to_json()}


def print_plan(plan: Plan, store: Store, status: Status, executor: ChosenExecutor, out: Any) -> str:
    """Print the plan and return why it cannot be carried out on this machine, empty if it can."""
    needed = demand(status, store)
    timings = Timings(store.root)
    for key, label, problem in status.corrupt:
        complain(f"corrupt artifact {key[:12]} ({label}): {problem}; it is made again")
    _warn(*plan.warnings, needed.warning)
    workers = executor.workers
    total = timings.total(status.todo.values(), workers or 1)
    done = sum(1 for cell in plan.cells if cell.train in status.cached)
    say(f"plan       {_count(len(plan.cells), 'cell')}, {done} done; {_count(len(plan.steps), 'step')}", file=out)
    for line in splits_told(plan.cells):
        say(f"draws      {line}", file=out)
    for stage, steps in by_stage(plan.steps.values()).items():
        todo = [step for step in steps if step.key in status.todo]
        cached = sum(1 for step in steps if step.key in status.cached)
        about = f", {_work(timings, todo)}" if todo else ""
        idle = len(steps) - len(todo) - cached
        rest = f", {idle} not needed" if idle else ""
        begun = sum(1 for step in todo if store.begun(step.key))
        rest += f", {begun} of them begun" if begun else ""
        counted = f"{_count(len(steps), 'step'):>9}: {cached} cached, {len(todo)} to run"
        say(f"  {stage:<9} {counted}{rest}{about}", file=out)
    if status.todo:
        unknown = f", not counting {_count(total.unknown, 'step')} of unknown length" if total.unknown else ""
        how = "1 process" if workers in (None, 1) else f"{workers} processes"
        how += "" if workers else f" ({executor.text} may have more)"
        about = duration(total.seconds) if total.unknown < len(status.todo) else "unknown"
        say(f"estimate   {about} with {how} on {plan.device}{unknown}", file=out)
        say(f"needs      {needed}", file=out)
    else:
        say("estimate   nothing to run: everything is cached", file=out)
    for line in plan.design:
        say(line, file=out)
    out.flush()
    return needed.refusal()


def _warn(*lines: str) -> None:
    for line in filter(None, lines):
        complain(f"warning: {line}")


def _work(timings: Timings, steps: list[Any]) -> str:
    """Say how much work steps are; what nobody can estimate is said to be unknown and not counted as nothing."""
    known = [seconds for step in steps if (seconds := timings.estimate(step)) is not None]
    if not known:
        return "time unknown"
    unknown = len(steps) - len(known)
    return f"about {duration(sum(known))} of work" + (f" and {unknown} unknown" if unknown else "")


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
