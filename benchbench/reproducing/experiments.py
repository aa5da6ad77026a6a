"""From a recipe to a plan: the options of each cell of its grid, planned as ``bench run`` plans them, as one plan."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..errors import MissingError, UsageError, nearest
from ..planning.cells import PlannedCell
from ..planning.options import make_request
from ..planning.plan import Plan, make_plan
from ..planning.resolved import check_needs, resolve
from ..planning.setting import Setting
from ..planning.spec import Spec, parse_spec
from ..planning.steps import Step
from ..plugins.metric import Column
from .recipe import ACCURACY, Line, Part, Recipe, World

#: Measures of cost, lower is better: seconds of stage 1 for each real image, of sampling for each generated one, and of
#: both for each real image.
COSTS = ("learning_s", "sampling_s", "made_s")


@dataclass(frozen=True)
class Cell:
    """A cell of the grid with its place among the results.

    Attributes:
        part, row, column: its labels.
        measure: what it shows: ``accuracy``, a cost, or the key of a metric's column.
        spec_id: of its row in the results.
        setting: that row's.
        metric: the metric that has the measure, ``""`` for accuracy and costs.
        less: whether less of the measure is better.
        decimals: that it is written with.
        planned: its first training, which names the steps of its images.
    """

    part: str
    row: str
    column: str
    measure: str
    spec_id: str
    setting: Setting
    metric: str
    less: bool
    decimals: int
    planned: PlannedCell

    @property
    def place(self) -> tuple[str, str, str]:
        """Part, row and column."""
        return self.part, self.row, self.column


@dataclass(frozen=True)
class Experiment:
    """A recipe in one world, planned.

    Attributes:
        recipe: what it is.
        world: where.
        plan: of all cells; of their images alone for a gallery. ``None`` where something is missing.
        cells: those that could be planned, row by row.
        trainings: that the whole grid asks for.
        missing: a line for each thing that is not on this machine.
    """

    recipe: Recipe
    world: World
    plan: Plan | None
    cells: tuple[Cell, ...]
    trainings: int
    missing: tuple[str, ...]

    @property
    def by_place(self) -> dict[tuple[str, str, str], Cell]:
        """Each cell by its labels; that of a level row stands in every column of its part."""
        found = {cell.place: cell for cell in self.cells}
        for part in self.world.parts:
            for row in (row for row in part.rows if row.level):
                cell = found.get((part.label, row.label, part.columns[0].label))
                if cell is not None:
                    found |= {(part.label, row.label, column.label): cell for column in part.columns}
        return found


def choose_world(recipe: Recipe, data: Sequence[str]) -> tuple[World, tuple[Spec, ...]]:
    """Return the world that ``--data`` names, and the datasets to which it limits it (all if there is none).

    The name of a mapped world chooses that. Names of datasets that the paper used choose these among them, with their
    parameters, such as a path.

    Raises:
        UsageError: the recipe has no mapping for it.
    """
    specs = tuple(parse_spec(text) for text in data)
    if len(specs) == 1 and specs[0].name in recipe.mapped:
        if specs[0].values:
            raise UsageError(f"--data {specs[0]}: a mapped world takes no parameters; write {specs[0].name}")
        return recipe.mapped[specs[0].name], ()
    published = {spec.name for part in recipe.published.parts for spec in _datasets(recipe.published, part)}
    for spec in specs:
        if spec.name not in published:
            known = sorted({*published, *recipe.mapped})
            hint = nearest(spec.name, known) or f"; there are {', '.join(known)}"
            raise UsageError(f"--data {spec.name}: {recipe.name} has no mapping for it{hint}")
    return recipe.published, specs


def _datasets(world: World, part: Part) -> list[Spec]:
    every = [options_at(world, part, row, column).get("data") for row in part.rows for column in part.columns]
    return [parse_spec(str(text)) for text in every if text is not None]


def options_at(world: World, part: Part, row: Line, column: Line) -> dict[str, Any]:
    """Return the options of a cell: those of its column win over its row's, these over its part's; sweeps add up."""
    merged: dict[str, Any] = {}
    for options in (world.options, part.options, row.options, {} if row.level else column.options):
        sweep = [*_listed(merged.get("sweep", [])), *_listed(options.get("sweep", []))]
        merged |= options
        if sweep:
            merged["sweep"] = sweep
    return merged


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def plan_recipe(
    recipe: Recipe,
    world: World,
    given: Mapping[str, Any],
    data: Sequence[Spec] = (),
    *,
    download: bool = False,
) -> Experiment:
    """Plan every cell of a recipe in one of its worlds, as one plan that shares their steps.

    Args:
        recipe: the recipe.
        world: one of its worlds.
        given: options of ``bench run`` that replace the world's; not those that the grid varies.
        data: the datasets to keep, all if there is none.
        download: fetch pretrained models that are not on this machine.

    Raises:
        UsageError: an option that the grid varies, a cell that is no single row of results, a wrong value.
    """
    _check_free(recipe, world, given)
    world = replace(world, options={**world.options, **given})
    wanted = {spec.name: str(spec) for spec in data}
    plans: dict[str, Plan] = {}
    cells: list[Cell] = []
    missing: dict[str, None] = {}
    trainings: dict[str, int] = {}
    for part, row, column in grid(world):
        options = {"baseline": False, "controls": False, **options_at(world, part, row, column)}
        name = parse_spec(str(options.get("data", "-"))).name
        if wanted:
            if name not in wanted:
                continue
            options["data"] = wanted[name]
        where = ", ".join(filter(None, (recipe.name, part.label, row.label, column.label)))
        key = json.dumps(options, sort_keys=True, default=str)
        try:
            if key not in plans:
                request = make_request(options)
                trainings[key] = (request.seeds or 1) * (request.draws or 1)
                plans[key] = make_plan(request, download=download)
            cells.append(_cell(part, row, column, plans[key]))
        except MissingError as error:
            missing |= dict.fromkeys([str(error), *_also_missing(options)])
        except UsageError as error:
            raise UsageError(f"{where}: {error}") from None
    plan = None if missing else _joined(recipe, list(plans.values()), cells)
    experiment = Experiment(recipe, world, plan, tuple(cells), sum(trainings.values()), tuple(missing))
    _check_claims(experiment)
    return experiment


def _check_claims(experiment: Experiment) -> None:
    found = experiment.by_place
    for number, claim in enumerate(experiment.world.claims, 1):
        for ours, theirs in claim.pairs(experiment.world.parts):
            measures = {found[place].measure for place in (ours, theirs) if place in found}
            if len(measures) > 1:
                both = " with ".join(sorted(measures))
                raise UsageError(f"{experiment.recipe.name}: claim {number} compares {both}; it must be one measure")


def _also_missing(options: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for everything that a cell needs and that is not here, where a plan stops at the first."""
    request = make_request(options)
    preset, info = request.preset, None
    wanted = [("dataset", spec) for spec in request.data]
    wanted += [("generator", link) for chain in (*request.gen, *request.test_transform) for link in chain]
    wanted += [("learner", spec) for spec in request.learner]
    wanted += [("metric", spec) for spec in request.metric or ()]
    for kind, spec in wanted:
        try:
            resolved = resolve(kind, spec, preset, info)
            if kind == "dataset":
                info = resolved.plugin.info()
            check_needs(resolved, "cpu", download=False)
        except MissingError as error:
            yield str(error)
        except UsageError as error:
            yield f"{kind} {spec}: {error}"


def grid(world: World) -> list[tuple[Part, Line, Line]]:
    """Return the cells row by row; a level row has one, under its first column."""
    return [
        (part, row, column)
        for part in world.parts
        for row in part.rows
        for column in (part.columns[:1] if row.level else part.columns)
    ]


def _check_free(recipe: Recipe, world: World, given: Mapping[str, Any]) -> None:
    for part, row, column in grid(world):
        for name in given:
            if any(name in options for options in (part.options, row.options, column.options)):
                raise UsageError(f"--{name.replace('_', '-')}: {recipe.name} varies it from cell to cell; leave it out")


def _cell(part: Part, row: Line, column: Line, plan: Plan) -> Cell:
    ids = list(dict.fromkeys(cell.spec_id for cell in plan.cells))
    if len(ids) != 1:
        settings = {cell.spec_id: cell.setting for cell in plan.cells}.values()
        names = " and ".join(f"{it.gen} {it.mix} {it.arch} {it.aug}" for it in list(settings)[:2])
        raise UsageError(f"gives {len(ids)} rows of results; a cell must be one ({names}, ...)")
    if row.measure and column.measure:
        raise UsageError("both its row and its column say what is measured")
    measure, planned = row.measure or column.measure or ACCURACY, plan.cells[0]
    metric, less, decimals = "", measure in COSTS, 2
    if measure not in (ACCURACY, *COSTS):
        declared = {it.key: (name, it) for name, columns in planned.columns.items() for it in reversed(columns)}
        free = [name for name, columns in planned.columns.items() if not columns]
        if measure not in declared and free:  # a metric that declares no column may have any number
            declared[measure] = free[0], Column(measure, measure)
        if measure not in declared:
            known = [ACCURACY, *COSTS, *declared]
            hint = nearest(measure, known) or f"; there are {', '.join(known)}"
            raise UsageError(f"measure {measure}: no metric of this plan has it{hint}")
        metric, shown = declared[measure]
        less, decimals = shown.better == "less", shown.decimals
    where = (part.label, row.label, column.label)
    return Cell(*where, measure, ids[0], planned.setting.setting, metric, less, decimals, planned)


def _joined(recipe: Recipe, plans: Sequence[Plan], cells: Sequence[Cell]) -> Plan | None:
    """Return one plan of all; for a gallery, of what makes its images alone."""
    if not plans:
        return None
    steps: dict[str, Step] = {}
    for plan in plans:
        steps |= plan.steps
    planned = {(cell.train, cell.spec_id): cell for plan in plans for cell in plan.cells}
    if recipe.drawn == "gallery":
        wanted = {key for cell in cells for key in (cell.planned.data, *cell.planned.sample)}
        for key, step in reversed(steps.items()):  # what a step takes comes before it
            if key in wanted:
                wanted.update(step.inputs)
        steps, planned = {key: step for key, step in steps.items() if key in wanted}, {}
    warnings = tuple(dict.fromkeys(line for plan in plans for line in plan.warnings))
    return replace(plans[0], steps=steps, cells=tuple(planned.values()), warnings=warnings)
