"""What a table says in sentences: a line for each generator, then what the design could have shown at all.

A line speaks of the mean over the architectures that were tested, within each draw. A control completes ``no difference
shown`` and never changes ``better`` or ``worse``.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ..planning.estimates import duration
from ..planning.setting import Setting
from ..results.cost import points_per_hour
from ..results.table import Generation, Row, Table
from ..results.verdicts import Mean, control_of
from .grid import CONTROLS, count, points, signed, trainings

if TYPE_CHECKING:
    from ..statistics.trainings import Estimate

#: Points: a design that could not have shown this much says little where it shows nothing.
WORTH = 3.0
#: Lines at the end of a command; ``leaderboard.md`` has all.
MOST_LINES = 12
#: What stays of a difference that could be shown, with more trainings: beyond this share, test images are too few.
FLOOR = 0.75
#: A share of a gain is told if its interval is at most this wide, twice all of it: a wider one says nothing.
WIDEST = 2.0
#: Draws that give a verdict where one draw of many gives none.
FEWEST_DRAWS = 3
#: Options that say how many trainings there are, each with a value.
_COUNTS = ("--draws", "--seeds")


def closing_lines(table: Table, command: Sequence[str] = (), most: int | None = MOST_LINES) -> list[str]:
    """Return the sentences.

    Args:
        table: what was measured.
        command: the words that the user typed, for the command that would show half as much; none where the records
            alone are known.
        most: lines about generators at most, ``None`` for all.
    """
    results = [mean for mean in table.means if not mean.setting.control] or table.means
    about = [_about(mean, results, table) for mean in results]
    about += _not_compared(table, {spec_id for mean in results for spec_id in mean.rows})
    if most is not None and len(about) > most:
        about = [*about[:most], f"and {len(about) - most} more: leaderboard.md"]
    return [*about, *_on_the_way(table.rows), *_design(table, results, command)]


def _about(mean: Mean, others: Sequence[Mean], table: Table) -> str:
    """Return the line of one generator."""
    found = mean.conclusion
    estimate = _known(mean)
    rows = [row for row in table.rows if row.spec_id in mean.rows]
    controls = {} if mean.setting.control else {kind: control_of(mean, table.means, kind) for kind in CONTROLS}
    positive, copies = controls.get("more-real") or controls.get("half-real"), controls.get("copies")
    parts = [f"{_name(mean, others)}: {_said(mean)}"]
    if any(row.other_code for row in rows):
        parts.append("but not of the same version of the code as the baseline: run both again")
    if found.verdict == "no difference shown" and not mean.setting.control:
        parts.append(_completed(mean, positive))
    if len(mean.archs) > 1 and found.verdict in ("better", "worse", "no difference shown"):
        parts.append(_by_itself(mean))
    if found.verdict == "better" and copies is not None and copies.conclusion.verdict == "better":
        parts.append(f"but copies of the real images are called better too ({_points(_known(copies))})")
    if positive is not None and found.verdict != "worse" and mean.share and mean.share[2] - mean.share[1] < WIDEST:
        part, low, high = (round(100 * share) for share in mean.share)
        parts.append(f"{part} % [{low}, {high}] of what {positive.setting.n_syn:,} further real images give")
    return "; ".join([*parts, *_cost(rows, estimate if found.verdict == "better" else None)])


def _by_itself(mean: Mean) -> str:
    """Return how many architectures have a verdict by themselves: ``"1 of 5 better by itself"``."""
    counts = {"better": mean.better, "worse": mean.worse}
    told = [
        f"{number} of {len(mean.archs)} {word} by {'itself' if number == 1 else 'themselves'}"
        for word, number in counts.items()
        if number
    ]
    return ", ".join(told) or f"none of {len(mean.archs)} better or worse by itself"


def _said(mean: Mean) -> str:
    """Return verdict, difference, and what it is over."""
    estimate, verdict = _known(mean), mean.conclusion.verdict
    over = f"on average over these {len(mean.archs)} architectures" if len(mean.archs) > 1 else f"with {mean.archs[0]}"
    over = f" {over}" * (mean.archs != ("-",)) + f" ({trainings(estimate)})"
    said = f"{_points(estimate)}{over}"
    if estimate.note == "identical":
        return f"the same test images right as the baseline in every training{over}"
    if estimate.note == "this draw only":
        return f"{said} on this draw of the real images alone: no verdict"
    if verdict in ("", "not enough trainings"):
        return f"not enough trainings for a verdict, {said}"
    rough = {"rough": ", rough: two draws", "for these training images": ", for these training images"}
    return f"{verdict}, {said}{rough.get(estimate.note, '')}"


def _points(estimate: Estimate) -> str:
    known = estimate.low is not None and estimate.high is not None
    return f"{signed(estimate.value)} points" + (f" [{_ends(estimate)}]" if known else "")


def _ends(estimate: Estimate) -> str:
    return ", ".join(points(end) for end in (estimate.low, estimate.high) if end is not None)


def _name(mean: Mean, others: Sequence[Mean]) -> str:
    """Return the generator's spelling, with what tells the mean from others of that generator."""

    def facts(it: Setting) -> list[str]:
        real = f"{it.n_real:,} real images" if it.n_real else "no real images"
        named = {"mix": it.mix, "learner": it.learner, "augmentation": it.aug, "test images through": it.test}
        named |= {name.replace("_", " "): value for name, value in sorted(it.more.items())} | {"preset": it.preset}
        known = [f"on {it.data}", real if it.shots is None else f"{it.shots} per class"]
        known += [f"random {it.subset}"] * (it.subset != "balanced") + [f"{it.n_syn:,} generated"]
        return [*known, *(f"{name} {value}" for name, value in named.items() if value != "-")]

    every = [facts(other.setting) for other in others if other.setting.gen == mean.setting.gen]
    own = [fact for fact in facts(mean.setting) if not all(fact in known for known in every)]
    return mean.setting.gen + (f" ({', '.join(own)})" if own else "")


# --- controls


def _shown(control: Mean) -> bool:
    """Whether a positive control was found: half of the images are worse, further ones better."""
    return control.conclusion.verdict == ("worse" if control.setting.control == "half-real" else "better")


def _completed(mean: Mean, control: Mean | None) -> str:
    """Return what a positive control adds to ``no difference shown``."""
    if control is None:
        in_use = "no positive control: all real images are in use"
        return in_use if mean.setting.whole else "no control was trained that says whether this design shows anything"
    estimate = gain = _known(control)
    what = f"{control.setting.n_syn:,} further real images"
    what += f" mixed {control.setting.mix}" * (control.setting.mix != mean.setting.mix)
    against = "further real images make it worse here"
    if control.setting.control == "half-real":
        what, against = "all real images instead of half of them", "half of the real images do better than all here"
        ends = [None if end is None else -end for end in (estimate.high, estimate.low)]
        gain = replace(estimate, value=-estimate.value, low=ends[0], high=ends[1])
    said = f"{what} give {_points(gain)}" + ("" if control.archs == mean.archs else f" with {', '.join(control.archs)}")
    if _shown(control):
        return f"while {said}"
    if control.conclusion.verdict in ("better", "worse"):
        return f"{against} ({said})"
    if control.conclusion.verdict in ("", "not enough trainings") and estimate.note != "identical":
        return f"{said}, of too few trainings to say whether this design shows anything"
    least, own = control.conclusion.detectable, mean.conclusion.detectable
    if least is None or (least > WORTH and (own is None or own > WORTH)):  # one may vary less than the other
        option, number = _more(estimate)
        advice = f"more steps, draws, test images; try {option} {number}"
        return f"this design could not have shown it: {advice} ({said}: no difference shown either)"
    if gain.high is not None and gain.high < WORTH:
        return f"further real images do not help here either ({said})"
    return f"whether further real images help here is open ({said})"


def _known(mean: Mean) -> Estimate:
    assert mean.conclusion.difference is not None, "a mean is over rows with a difference"
    return mean.conclusion.difference


# --- cost, and what else to know


def _cost(rows: Sequence[Row], gain: Estimate | None) -> Iterator[str]:
    """Yield the time of one generation and, of a gain, the points per hour of it."""
    made = rows[0].generation if rows else None
    if made is None or made.seconds is None:
        return
    text = f"{duration(made.seconds) if made.seconds >= 1 else 'under 1 s'} per generation"
    if gain is not None and (rate := points_per_hour(gain.value, made)) is not None:
        device = made.device or "?"
        hour = "GPU-hour" if device.startswith("cuda") else f"hour on {device}"
        text += f", {signed(rate)} points per {hour}"
    yield text


def _not_compared(table: Table, compared: set[str]) -> Iterator[str]:
    """Yield a line for each generator without a mean; ``compared`` are the ``spec_id`` of rows that are in one."""
    rows = [row for row in table.rows if not row.setting.baseline and not row.setting.control and row.stands]
    known = {row.setting.gen for row in rows if row.spec_id in compared}
    for gen in dict.fromkeys(row.setting.gen for row in rows if row.setting.gen not in known):
        some = [row for row in rows if row.setting.gen == gen]
        if all(row.accuracy is None for row in some):
            yield f"{gen}: {some[0].status}"
        elif any(row.conclusion.difference for row in some):
            yield f"{gen}: no mean over its architectures: they have no draw in common"
        else:
            yield f"{gen}: not compared: no training of the baseline has its draw and seed"


def _on_the_way(rows: Sequence[Row]) -> Iterator[str]:
    known = [row for row in rows if row.learning is not None]
    late = sum(bool(row.learning and row.learning.text) for row in known)
    if late:
        yield f"{late} of {count(len(known), 'row')} not at the end of their learning (marked above): more steps first"


def _design(table: Table, results: Sequence[Mean], command: Sequence[str]) -> Iterator[str]:
    """Yield the smallest difference that could have been shown, and what about half of it takes."""
    estimates = [_known(mean) for mean in results if _known(mean).note != "identical"]
    if not estimates:
        return
    known = [mean for mean in results if mean.conclusion.detectable is not None]
    widest = max(estimates, key=lambda estimate: estimate.draws)
    option, number = _more(widest)
    factor, what = number / getattr(widest, option.removeprefix("--")), "for a verdict"
    copies = option == "--seeds" and widest.seeds == 1 and widest.se is not None
    if known:
        now = [mean.conclusion.detectable for mean in known]
        then = [_least(mean, factor) for mean in known]
        yield f"smallest difference that this design could have shown: {_range(now)} points (four times in five)"
        if copies:  # one training has an error only where further ones were found to repeat it
            yield "seeds change nothing here: a smaller one takes more test images"
            return
        what = f"with {factor:.0f} times the {option.removeprefix('--')} about {_range(then)} points"
        if any(one and other and one > FLOOR * other for one, other in zip(then, now, strict=True)):
            what += " (the rest takes more test images)"
    work = _work(table.generations, table.rows) * (factor - 1)
    again = _again(command, option, number, widest, controls=any(mean.setting.control for mean in table.means))
    yield f"{what}: {again}" + (f" (about {duration(work)} of work more)" if work else "")


def _least(mean: Mean, factor: float) -> float | None:
    """Return the smallest difference that a mean would show with so many times the draws, or seeds of one draw."""
    from ..statistics.designs import shows

    if mean.spread is None:
        return None
    estimate, more = _known(mean), round(factor)
    draws, seeds = (1, more * estimate.seeds) if mean.spread.whole else (more * estimate.draws, estimate.seeds)
    return shows(mean.spread, draws, seeds, mean.conclusion.compared)


def _range(values: Sequence[float | None]) -> str:
    known = sorted(value for value in values if value is not None)
    return " to ".join(dict.fromkeys(points(value) for value in (known[:1] + known[-1:]))) or "?"


def _more(estimate: Estimate) -> tuple[str, int]:
    """Return the option that shows half as much, and its value; for one draw of many, what gives a verdict."""
    if estimate.note == "for these training images":
        return "--seeds", 4 * estimate.seeds
    return "--draws", FEWEST_DRAWS if estimate.draws < 2 else 4 * estimate.draws


def _work(generations: Sequence[Generation], rows: Sequence[Row]) -> float:
    """Return the seconds that all of it took, as the records say."""
    made = sum((item.seconds or 0.0) * item.draws for item in generations)
    return made + sum((row.train_s or 0.0) * row.seeds for row in rows)


def _again(command: Sequence[str], option: str, number: int, now: Estimate, *, controls: bool) -> str:
    """Return the command with another number of draws or seeds, both spelt out, as one alone changes the other."""
    counts = {"--draws": now.draws, "--seeds": now.seeds} | {option: number}
    words: list[str] = []
    skip = False
    for word in command:
        if not skip and word.split("=", 1)[0] not in _COUNTS:
            words.append(word)
        skip = not skip and word in _COUNTS
    more = [text for name, value in counts.items() for text in (name, str(value))]
    more += ["--controls"] if controls and "--controls" not in words else []
    return shlex.join(["bench", *words, *more]) if command else f"the same command with {' '.join(more)}"
