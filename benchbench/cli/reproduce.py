"""``bench reproduce``: the tables and figures of a paper, run again and held against what it prints."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import BenchError, MissingError, UsageError
from ..machine import quiet_threads
from ..planning.spec import integer
from . import options as o
from .say import complain, say

if TYPE_CHECKING:
    from ..planning.steps import Step
    from ..reproducing.experiments import Experiment
    from ..reproducing.recipe import Recipe

#: Options of ``bench run`` that may replace a recipe's.
GIVEN = ("preset", "seeds", "draws", "learner", "arch", "metric", "device", "precision")


def reproduce(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME...", help="Recipes, `all`, or TOML files of your own.")
    ] = None,
    listed: Annotated[bool, typer.Option("--list", help="List the recipes and stop.")] = False,
    data: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME[:...]", help="A world that it is mapped onto, or some of the paper's datasets."),
    ] = None,
    preset: Annotated[str | None, o.option("preset")] = None,
    seeds: Annotated[str | None, o.option("seeds")] = None,
    draws: Annotated[str | None, o.option("draws")] = None,
    learner: Annotated[list[str] | None, o.option("learner")] = None,
    arch: Annotated[list[str] | None, o.option("arch")] = None,
    metric: Annotated[list[str] | None, o.option("metric")] = None,
    device: Annotated[str | None, o.option("device")] = None,
    precision: Annotated[str | None, o.option("precision")] = None,
    executor: Annotated[str, typer.Option(metavar="auto|NAME[:...]", help="Where steps run.")] = "auto",
    workers: Annotated[str | None, typer.Option(metavar="N", help="Steps at once.")] = None,
    results: o.Results = Path("results/reproduce"),
    plan_only: Annotated[bool, typer.Option("--plan", help="Say what it would run and cost, and stop.")] = False,
    report_only: Annotated[bool, typer.Option("--report", help="Report on what was run before; run nothing.")] = False,
    as_json: o.Json = False,
) -> None:
    """Run a paper's table or figure and print each cell next to the published value, and which claims hold.

    Without --data it is the paper's own experiment, on its datasets, at its cost. What is done already comes from the
    cache; a stopped run goes on where it was. All recipes share one results folder.
    """
    from ..reproducing.recipe import read_recipe, recipe_names

    if listed or not names:
        if not listed:
            raise UsageError("NAME: missing; `bench reproduce --list` shows the recipes")
        _list()
        return
    quiet_threads()
    values = (preset, seeds, draws, learner, arch, metric, device, precision)
    given = {name: value for name, value in zip(GIVEN, values, strict=True) if value not in (None, [])}
    chosen = recipe_names() if names == ["all"] else list(dict.fromkeys(names))
    recipes = [read_recipe(name) for name in chosen]  # a mistake in the last one is said before the first one runs
    count = None if workers is None else integer(workers, "--workers", 1)
    ordered = _Ordered(results, executor, count, plan_only, report_only, as_json)
    raise typer.Exit(ordered.all(recipes, tuple(data or ()), given))


def _list() -> None:
    from ..reproducing.recipe import read_recipe, recipe_names

    rows = []
    for name in recipe_names():
        try:
            recipe = read_recipe(name)
        except UsageError as error:
            rows.append((name, f"BROKEN: {error}"))
            continue
        worlds = ", ".join(recipe.mapped)
        rows.append((name, f"{recipe.title}; {recipe.source}" + (f"  [--data {worlds}]" if worlds else "")))
    width = max((len(name) for name, _ in rows), default=0)
    say(*(f"{name:<{width}}  {text}" for name, text in rows))


class _Ordered:
    """What the command was given besides recipes."""

    def __init__(
        self, results: Path, executor: str, workers: int | None, plan_only: bool, report_only: bool, as_json: bool
    ) -> None:
        from ..store.store import Store

        self.results, self.executor, self.workers = results, executor, workers
        self.plan_only, self.report_only, self.as_json = plan_only, report_only, as_json
        self.store = Store(results / "artifacts")
        #: Steps to run of all recipes, which share them.
        self.todo: dict[str, Step] = {}
        self.out = sys.stderr if as_json else sys.stdout

    def all(self, recipes: list[Recipe], data: tuple[str, ...], given: Mapping[str, Any]) -> int:
        """Plan every recipe, so that a mistake costs nothing, then run one after the other; return the exit code."""
        from ..reproducing.experiments import choose_world, plan_recipe

        download = not (self.plan_only or self.report_only)
        worlds = [choose_world(recipe, data) for recipe in recipes]
        planned = [
            plan_recipe(recipe, world, given, kept, download=download)
            for recipe, (world, kept) in zip(recipes, worlds, strict=True)
        ]
        code = 0
        for experiment in planned:
            try:
                code = max(code, self.one(experiment))
            except BenchError as error:
                if experiment is planned[-1]:
                    raise
                complain(str(error))
                code = max(code, error.exit_code)
        if self.plan_only and len(recipes) > 1 and self.todo:
            self._say_total()
        return code

    def one(self, experiment: Experiment) -> int:
        """Plan, run and report one recipe; return 1 if a training failed."""
        from ..reproducing.report import title

        say(title(experiment), *filter(None, [experiment.world.why]), file=self.out)
        if experiment.plan is None:
            return self._lacks(experiment)
        failed = False if self.report_only else self._run(experiment)
        if not self.plan_only:
            self._report(experiment)
        return int(failed)

    def _lacks(self, experiment: Experiment) -> int:
        recipe, missing = experiment.recipe, experiment.missing
        grid = "" if recipe.drawn == "gallery" else f"{experiment.trainings:,} trainings; "
        say(f"cost       {grid}{recipe.cost}", file=self.out)
        say(*(f"missing    {line}" for line in missing), file=self.out)
        say("", file=self.out)
        many = "1 thing that it needs is" if len(missing) == 1 else f"{len(missing)} things that it needs are"
        raise MissingError(f"{recipe.name}: {many} not here, as listed; nothing was started")

    def _run(self, experiment: Experiment) -> bool:
        """Print the plan and carry it out; return whether anything failed."""
        from ..planning.estimates import Timings
        from ..running.executors import choose_executor
        from ..running.run import carry_out, check_writable, inspect, write_tables
        from .progress import make_display
        from .session import print_plan

        plan = experiment.plan
        assert plan is not None
        if not self.plan_only:
            check_writable(self.results, self.store)
        status = inspect(plan, self.store)
        self.todo |= status.todo
        executor = choose_executor(self.executor, self.workers, len(status.todo), plan.device)
        why = print_plan(plan, self.store, status, executor, self.out)
        if self.plan_only:
            if why:
                complain(f"warning: {why}")
            return False
        with contextlib.closing(make_display(status.todo, Timings(self.store.root), executor.workers or 1)) as display:
            finished = carry_out(plan, self.results, self.store, display, executor, status)
        board = write_tables(plan, self.results, self.store)
        for line in (*(f"warning: {text}" for text in board.warnings), *board.problems):
            complain(line)
        for error in dict.fromkeys(finished.errors.values()):
            complain(f"{experiment.recipe.name}: {error}")
        return bool(finished.errors)

    def _report(self, experiment: Experiment) -> None:
        from ..reporting.text import plain_lines
        from ..reproducing.compare import hold_against
        from ..reproducing.figure import draw
        from ..reproducing.report import closing, grids, to_json, write_report
        from ..results.folder import read_records
        from .say import say_json

        outcome = hold_against(experiment, read_records(self.results).records)
        figure = draw(self.results, outcome, self.store)
        files = write_report(self.results, outcome, figure)
        if self.as_json:
            say_json(to_json(outcome))
            return
        say("")
        for grid in grids(outcome):
            say(*plain_lines(grid))
        say(*closing(outcome))
        for path in (*files, *([figure] if figure else [])):
            say(f"wrote      {path}")
        say("")

    def _say_total(self) -> None:
        from ..planning.estimates import Timings, duration
        from ..running.executors import choose_executor

        workers = choose_executor(self.executor, self.workers, len(self.todo), "cpu").workers or 1
        total = Timings(self.store.root).total(self.todo.values(), workers)
        unknown = f", not counting {total.unknown} steps of unknown length" if total.unknown else ""
        say(f"all        {duration(total.seconds)} for the steps of all of them, each once{unknown}", file=self.out)
