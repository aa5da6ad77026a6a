"""``bench plan --detect``: how many draws and seeds show a difference, from recorded variances, and what they cost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from ..planning.estimates import Timings, duration
from ..planning.options import MOST_TRAININGS, Request, make_request
from ..planning.plan import Plan, make_plan
from ..planning.setting import Setting
from ..results.designs import Recorded
from ..results.folder import read_records
from ..running.executors import choose_executor
from ..running.run import inspect
from ..store.store import Store
from .say import complain, say, say_json

if TYPE_CHECKING:
    from ..statistics.designs import Spread

#: Seeds on each draw that are weighed against further draws.
SEEDS = (1, 2, 3, 5)
#: Trainings of one row beyond which the time is not planned step by step.
MOST_PLANNED = 200


@dataclass(frozen=True)
class Needed:
    """What one architecture, or the mean of several, needs.

    Attributes:
        name: the architecture, or ``"mean of N"``.
        rows: that are compared at once.
        trainings: recorded ones that the variances are from.
        draws, seeds: fewest that show the difference, the cheaper way; ``None`` where no number does.
        seconds: that they take, less what is done already; ``None`` where nobody can tell.
        shows: the smallest difference that this design shows, in points.
        least: the smallest that any number of trainings shows on these test images.
        problem: why there is no answer.
    """

    name: str
    rows: int
    trainings: int
    draws: int | None = None
    seeds: int | None = None
    seconds: float | None = None
    shows: float | None = None
    least: float | None = None
    problem: str = ""


def points_of(text: str) -> float:
    """Return what ``--detect`` was given, in percentage points.

    Raises:
        UsageError: no number above 0, or one above 100.
    """
    try:
        points = float(text)
    except ValueError:
        points = math.nan
    if not 0 < points <= 100:
        raise UsageError(f"--detect {text}: must be a number of percentage points above 0 and at most 100, such as 2")
    return points


def show_detect(options: Mapping[str, Any], results: Path, points: float, *, as_json: bool) -> None:
    """Print what each architecture of a request, and their mean, needs to show a difference.

    Raises:
        UsageError: nothing is compared, or no recorded variance fits.
    """
    request = make_request(options)
    compared = [cell.setting for cell in make_plan(_sized(request, 1, 1)).cells]
    settings = list(dict.fromkeys(it.setting for it in compared if not it.baseline and not it.control))
    if not settings:
        raise UsageError(f"--detect {points:g}: nothing is compared; name a generator with --gen")
    records, problems, _ = read_records(results)
    for line in problems:
        complain(line)
    found = _needed(request, settings, Recorded(records), points, results)
    if all(item.problem for item in found):
        raise UsageError(f"--detect {points:g}: {found[0].name}: {found[0].problem}")
    if as_json:
        say_json([asdict(item) for item in found])
    else:
        say(*_lines(found, points, results))


def _sized(request: Request, draws: int, seeds: int) -> Request:
    return replace(request, draws=draws, seeds=seeds)


def _needed(
    request: Request, settings: Sequence[Setting], recorded: Recorded, points: float, results: Path
) -> list[Needed]:
    """Return a line for each architecture, then for the mean of all where there are several."""
    archs = list(dict.fromkeys(setting.arch for setting in settings))
    first = {arch: [setting for setting in settings if setting.arch == arch] for arch in archs}
    found = []
    for arch, own in first.items():
        part = request if len(archs) == 1 else replace(request, arch=(arch,))
        found.append(_one(arch, own[:1], len(settings), part, recorded, points, results))
    if len(archs) > 1:
        mean = [own[0] for own in first.values()]
        name, rows = f"mean of {len(archs)}", len(settings) // len(archs)
        found.append(_one(name, mean, rows, request, recorded, points, results))
    return found


def _one(
    name: str,
    settings: Sequence[Setting],
    rows: int,
    request: Request,
    recorded: Recorded,
    points: float,
    results: Path,
) -> Needed:
    from ..statistics.designs import least

    spread, count = recorded.spread(settings)
    told = Needed(name, rows, count)
    if spread is None:
        more = "--seeds 5" if settings[0].whole else "--draws 3"
        return replace(told, problem=f"no variance is recorded in {results}; run it first with {more}")
    if spread.between is None:
        return replace(told, problem="one draw is recorded, and draws vary; run it first with --draws 3")
    told = replace(told, least=least(spread, rows))
    return _cheapest(told, spread, request, points, results)


def _cheapest(told: Needed, spread: Spread, request: Request, points: float, results: Path) -> Needed:
    """Return the design of fewest seconds among those that show the difference."""
    from ..statistics.designs import needed, shows

    store = Store(results / "artifacts")
    one, two = (_seconds(make_plan(_sized(request, 1, seeds)), store, done=True) for seeds in (1, 2))
    designs = []
    for seeds in SEEDS if spread.within is not None else SEEDS[:1]:
        units = needed(spread, points, told.rows, seeds)
        draws, each = (1, units) if spread.whole else (units, seeds)
        if draws is not None and each is not None and draws * each <= MOST_TRAININGS:
            cost = draws * (one + (each - 1) * (two - one))
            designs.append((cost, draws * each, draws, each))
    if not designs:
        return told
    cost, trainings, draws, seeds = min(designs)
    if trainings <= MOST_PLANNED:
        cost = _seconds(make_plan(_sized(request, draws, seeds)), store)
    seconds = cost if one else None
    return replace(told, draws=draws, seeds=seeds, seconds=seconds, shows=shows(spread, draws, seeds, told.rows))


def _seconds(plan: Plan, store: Store, *, done: bool = False) -> float:
    """Return the expected wall seconds of a plan: of what is left, or of all of it."""
    status = inspect(plan, store)
    steps = plan.steps if done else status.todo
    workers = choose_executor("auto", None, len(steps), plan.device).workers
    return Timings(store.root).total(steps.values(), workers or 1).seconds


def _lines(found: Sequence[Needed], points: float, results: Path) -> list[str]:
    rows: list[tuple[str, ...]] = [("", "draws x seeds", "time", "which shows", "from trainings")]
    for item in found:
        if item.draws is None:
            floor = "" if item.least is None else f"; no number shows less than {item.least:.1f} on these test images"
            rows.append((item.name, item.problem or f"none that can be run{floor}"))
            continue
        time = "unknown" if item.seconds is None else f"about {duration(item.seconds)}"
        design = f"{item.draws} x {item.seeds}"
        rows.append((item.name, design, time, f"{item.shows:.1f} points", str(item.trainings)))
    widths = [max(len(row[place]) for row in rows if len(row) > 2) for place in range(5)]
    widths[0] = max(len(row[0]) for row in rows)
    many = max(item.rows for item in found)
    family = f"{many} row" if many == 1 else f"{many} rows"
    return [
        f"To show a difference of {points:g} points in 4 of 5 cases, with verdicts at 5 % over {family}:",
        "",
        *("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=False)).rstrip() for row in rows),
        "",
        f"The variances are those recorded in {results}; of few draws, they are rough.",
    ]
