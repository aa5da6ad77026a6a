"""How long a step will take: from earlier steps of its kind on this machine, else from measured priors.

A distribution of plugins brings its priors as ``estimates.json`` in its top-level package. It maps ``"KIND/NAME"`` to
rows; the first row counts whose ``with`` fits the plugin's values (a list names several that do). A stage of a row maps
products to the CPU seconds of one unit on one core: ``{"1": 8.0, "images*num_inference_steps": 0.0036}``. A factor is
``images`` (of the step), ``test`` (images), ``classes``, or a parameter, of a tuple its last item.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from ..errors import BenchError
from ..files import read_json, write_atomic
from ..plugins import DatasetInfo
from ..plugins.parameters import parameters
from .resolved import ResolvedPlugin
from .steps import STAGES, Step


@dataclass(frozen=True)
class Total:
    """Seconds of several steps, and how many of them nobody can estimate."""

    seconds: float
    unknown: int


#: Seconds of one unit of work beyond which a remembered rate is none: thirty years.
LONGEST = 1e9


class Timings:
    """Seconds per unit of work by timing class, remembered in the store between runs."""

    def __init__(self, store: Path) -> None:
        self.path = store / "timings.json"
        self.known: dict[str, float] = {}
        try:
            rates = read_json(self.path).items()
            numbers = {name: rate for name, rate in rates if type(rate) in (int, float)}
            self.known = {name: float(rate) for name, rate in numbers.items() if 0 <= rate <= LONGEST}
        except (OSError, ValueError, AttributeError):
            pass  # nothing measured yet, or a file that a killed run left; estimates only

    def estimate(self, step: Step) -> float | None:
        """Return the expected seconds of a step, or ``None``."""
        if step.timing in self.known:
            return self.known[step.timing] * max(step.units, 1.0)
        return step.guess

    def learn(self, step: Step, seconds: float) -> None:
        """Take a measured step into account: the newest counts half."""
        rate = seconds / max(step.units, 1.0)
        old = self.known.get(step.timing)
        self.known[step.timing] = rate if old is None else 0.5 * (old + rate)

    def save(self) -> None:
        """Write what was learned; a disk that is full costs the next estimate and no result."""
        with contextlib.suppress(BenchError):
            write_atomic(self.path, json.dumps(self.known, sort_keys=True, indent=0) + "\n")

    def total(self, steps: Iterable[Step], workers: int = 1) -> Total:
        """Return the expected wall seconds of steps that ``workers`` share; their order bounds it from below."""
        seconds, unknown = 0.0, 0
        finish: dict[str, float] = {}
        for step in steps:
            expected = self.estimate(step)
            unknown += expected is None
            seconds += expected or 0.0
            finish[step.key] = (expected or 0.0) + max((finish.get(key, 0.0) for key in step.inputs), default=0.0)
        return Total(max(seconds / max(workers, 1), max(finish.values(), default=0.0)), unknown)


class Backlog:
    """What is left to do, summed by timing class: its estimate costs the same for a hundred steps and for 20,000."""

    def __init__(self, steps: Iterable[Step], timings: Timings) -> None:
        self.timings = timings
        #: By timing class: steps, their units, the sum of their guesses, and how many have none.
        self._sums: dict[str, tuple[int, float, float, int]] = {}
        for step in steps:
            self._count(step, 1)

    def __len__(self) -> int:
        return sum(count for count, *_ in self._sums.values())

    def remove(self, step: Step) -> None:
        """Leave a step out."""
        self._count(step, -1)

    def _count(self, step: Step, sign: int) -> None:
        count, units, guesses, unknown = self._sums.get(step.timing, (0, 0.0, 0.0, 0))
        guess = (0.0, 1) if step.guess is None else (step.guess, 0)
        counted = (
            count + sign,
            units + sign * max(step.units, 1.0),
            guesses + sign * guess[0],
            unknown + sign * guess[1],
        )
        if counted[0]:
            self._sums[step.timing] = counted
        else:
            del self._sums[step.timing]

    def total(self, workers: int = 1) -> Total:
        """Return the expected wall seconds of all that is left, which ``workers`` share: one step's at least."""
        seconds, longest, unknown = 0.0, 0.0, 0
        for timing, (count, units, guesses, without) in self._sums.items():
            rate = self.timings.known.get(timing)
            expected = guesses if rate is None else rate * units
            unknown += without if rate is None else 0
            seconds += expected
            longest = max(longest, expected / count)
        return Total(max(seconds / max(workers, 1), longest), unknown)


def prior(
    resolved: ResolvedPlugin, stage: str, images: int, info: DatasetInfo, arch: str | None = None
) -> float | None:
    """Return the CPU seconds of a step on one core before any was measured here, ``None`` when unknown.

    A guess that fails, is negative or no number is unknown: ``estimates.json`` may name a factor that is not there.

    Args:
        resolved: the plugin.
        stage: ``"data"``, ``"fit"``, ``"sample"``, ``"transform"``, ``"train"``, ``"reference"`` or
            ``"score"``.
        images: that the step works on.
        info: the dataset.
        arch: the architecture that is trained.
    """
    try:
        seconds = _guess(resolved, stage, images, info, arch)
        return seconds if seconds is None or (math.isfinite(seconds) and seconds >= 0) else None
    except BenchError:
        raise
    except Exception:  # a mistake in an estimate must not keep anybody from a run; `bench check` calls it by itself
        return None


def _guess(resolved: ResolvedPlugin, stage: str, images: int, info: DatasetInfo, arch: str | None) -> float | None:
    plugin = resolved.plugin
    own = plugin.training_seconds(arch, info) if stage == "train" else plugin.seconds(stage, images, info)
    if own is not None:
        return float(own)
    rows = _priors(type(plugin).__module__.partition(".")[0]).get(f"{type(plugin).kind}/{resolved.name}", ())
    values = {item.name: getattr(plugin, item.name) for item in parameters(type(plugin))}
    row = next((row for row in rows if _fits(row.get("with", {}), values)), {})
    if stage not in row:
        return None
    values |= {"1": 1, "images": images, "test": info.counts["test"], "classes": len(info.classes)}
    seconds = 0.0
    for product, unit in row[stage].items():
        factors = [values[name] for name in product.split("*")]
        factors = [factor[-1] if isinstance(factor, tuple) else factor for factor in factors]
        if None in factors:
            return None
        seconds += unit * math.prod(factors)
    return seconds


@cache
def _priors(package: str) -> dict[str, list[dict[str, Any]]]:
    """Return what a package says in ``estimates.json``; without one, or with one that is no JSON, nothing."""
    try:
        priors = json.loads((files(package) / "estimates.json").read_text("utf-8"))
    except (ImportError, OSError, TypeError, ValueError):
        return {}
    return priors if isinstance(priors, dict) else {}


def _fits(wanted: Mapping[str, Any], values: Mapping[str, Any]) -> bool:
    return all(values[name] in (value if isinstance(value, list) else [value]) for name, value in wanted.items())


def duration(seconds: float) -> str:
    """Write seconds for people: ``40 s``, ``3 min 20 s``, ``2 h 5 min``, ``3.1 days``."""
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    if seconds < 3570:
        minutes, rest = divmod(round(seconds), 60)
        return f"{minutes} min {rest} s" if minutes < 10 and rest else f"{round(seconds / 60)} min"
    if seconds < 48 * 3600:
        hours, minutes = divmod(round(seconds / 60), 60)
        return f"{hours} h {minutes} min"
    return f"{seconds / 86400:.1f} days"


def by_stage(steps: Iterable[Step]) -> Mapping[str, list[Step]]:
    """Group steps by stage, in the order of the work."""
    grouped: dict[str, list[Step]] = {stage: [] for stage in STAGES}
    for step in steps:
        grouped[step.stage].append(step)
    return {stage: found for stage, found in grouped.items() if found}
