"""worth.md: what generated images are worth in real ones, and accuracy against cost, in words and as a plot."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ..files import safe_name
from ..pictures.canvas import png
from ..planning.estimates import duration
from ..planning.setting import Setting
from ..results.cost import Priced, points_per_hour, priced_places
from ..results.table import Row, Table
from ..safetext import in_markdown
from .drawing import BASELINE, COLOURS, LETTER, PANEL, STYLE, marker, panel_axes, titled
from .readable import resize, short
from .report import Report

HEAD = """# What generated images are worth, and what they cost

Cost is the time of fitting the generator, of generating (both in full, though rows share their images), and of one
training. A row is on the front if no cheaper row is as accurate in the mean. Gains are paired differences to the row on
real images alone, with 95 % intervals; verdicts are those of the tables; points per hour of
fitting and generating stand where a gain is shown.
"""
#: Seconds that an axis of time names.
TICKS = (0.1, 1, 10, 60, 600, 3600, 36_000, 360_000, 3_600_000)
#: What is said of a row that is less accurate in the mean than a cheaper one, by its verdict against that one.
BEHIND = {
    "worse": "worse",
    "better": "less accurate in the mean, but better on the draws and seeds that both have",
}
#: Rows of one place, which share all but generator, mixing and number of generated images.
Place = Sequence[Priced]


@dataclass(frozen=True)
class WorthReport(Report):
    """worth.md, figures/*/cost-*.png: what generated images are worth in real ones, and accuracy against cost."""

    def files(self) -> tuple[str, ...]:
        """Return its text and the folder of its plots."""
        return ("worth.md", "figures/")

    def write(self, table: Table, results: Path) -> list[Path]:
        """Write both; where no row is compared with a baseline, nothing."""
        places = priced_places(table)
        if not places:
            return []
        drawn = {f"figures/{_name(group)}": group for group in _figures(places)}
        paths = [self.put(results / name, png(partial(figure_of, group), STYLE)) for name, group in drawn.items()]
        lines = [HEAD, *(line for place in places for line in place_lines(place))]
        lines += [f"![accuracy against cost]({name})" for name in drawn]
        return [self.put(results / "worth.md", "\n".join(lines) + "\n"), *paths]


def place_lines(place: Place) -> list[str]:
    """Return the section of one place in Markdown: a table, the front in words, what its rows are worth."""
    base = next(it for it in place if it.row.setting.baseline)
    lines = [f"## {in_markdown(_title(base.row.setting, base.row.setting.arch))}", ""]
    lines += ["| | accuracy | cost | gain | verdict | points per hour | |", "|---|---|---|---|---|---|---|"]
    for it in place:
        device = it.row.generation.device or base.row.generation.device
        cost = "unknown" if it.seconds is None else duration(it.seconds) + (f" on {device}" if device else "")
        front = "front" if it.beaten_by is None and it.seconds is not None else ""
        numbers = [f"{it.accuracy:.2f}", cost, _gain(it.row), it.row.conclusion.verdict, _rate(it.row), front]
        lines.append(f"| {' | '.join(in_markdown(cell) for cell in [name_of(it.row, place), *numbers])} |")
    told = [*front_lines(place), *(_worth(it, place) for it in place if it.worth is not None)]
    return [*lines, "", *(f"- {in_markdown(line)}" for line in told), ""]


def front_lines(place: Place) -> list[str]:
    """Return the front in words, and a line for each row behind it."""
    front = [(it, it.seconds) for it in place if it.beaten_by is None and it.seconds is not None]
    steps = [f"{name_of(it.row, place)} ({it.accuracy:.1f} %, {duration(seconds)})" for it, seconds in front]
    lines = [f"The front, the cheapest first: {', '.join(steps)}."] if front else []
    for it in place:
        if it.beaten_by is not None:
            names = f"{name_of(it.row, place)} costs more than {name_of(it.beaten_by, place)}"
            lines.append(f"{names} and is {BEHIND.get(it.against_it, 'not shown to be better')}.")
    return lines


def name_of(row: Row, place: Place) -> str:
    """Return the generator of a row, with mix and number of images where its place has several."""
    it = row.setting
    if it.baseline:
        return it.gen
    others = [other.row.setting for other in place if not other.row.setting.baseline]
    mix = f" {it.mix}" if len({other.mix for other in others}) > 1 else ""
    return f"{it.gen}{mix}" + (f", {it.n_syn:,} images" if len({other.n_syn for other in others}) > 1 else "")


def _gain(row: Row) -> str:
    it = row.conclusion.difference
    if it is None:
        return ""
    interval = "" if it.low is None or it.high is None else f" ({it.low:+.2f} to {it.high:+.2f})"
    return f"{it.value:+.2f}{interval}" + (f", {it.note}" if it.note else "")


def _rate(row: Row) -> str:
    """Return the points gained per hour of fitting and generating, with an interval, where a gain is shown."""
    gain = row.conclusion.difference
    if row.conclusion.verdict != "better" or gain is None or points_per_hour(gain.value, row.generation) is None:
        return ""
    ends = [None if end is None else points_per_hour(end, row.generation) for end in (gain.low, gain.high)]
    low, high = ("" if end is None else f"{end:,.0f}" for end in ends)
    return f"{points_per_hour(gain.value, row.generation):,.0f} ({low} to {high})"


def _worth(it: Priced, place: Place) -> str:
    row = it.row.setting
    if row.mix.startswith("0:"):
        what = f"{row.n_syn:,} generated images, made from {row.n_real:,} real ones,"
    else:
        what = f"{row.n_real:,} real and {row.n_syn:,} generated images"
    return f"{name_of(it.row, place)}: {what} are worth {it.worth}."


def _title(it: Setting, arch: str = "-") -> str:
    """Return what the rows of a place, or of a figure, share."""
    words = [it.data, arch, it.learner, it.aug, f"{it.n_real:,} real images", it.preset]
    words += [f"test {it.test}"] * (it.test != "-") + [f"{name} {value}" for name, value in sorted(it.more.items())]
    return ", ".join(word for word in words if word != "-")


def _figures(places: Sequence[Place]) -> list[list[Place]]:
    """Return the places that share a figure: they differ in their architecture alone, and offer a choice of rows."""
    groups: dict[Hashable, list[Place]] = {}
    for place in places:
        it = place[0].row.setting
        if all(priced.seconds for priced in place):
            groups.setdefault((*it.place, it.learner, it.aug, it.test), []).append(place)
    return [group for group in groups.values() if max(map(len, group)) > 2]


def _name(group: Sequence[Place]) -> str:
    it = group[0][0].row.setting
    digest = hashlib.sha256(f"{_title(it)} {it.subset} {it.shots}".encode()).hexdigest()[:8]
    return f"{safe_name(it.data.replace(':', '-'))}/cost-{safe_name(it.preset)}-{digest}.png"


def figure_of(group: Sequence[Place]) -> Any:
    """Return accuracy against cost as a Matplotlib figure, a panel for each architecture: rows, the front as steps."""
    figure, axes, across, down = panel_axes(len(group), sharey=True)
    every = [name_of(it.row, place) for place in group for it in place if not it.row.setting.baseline]
    ranks = {name: rank for rank, name in enumerate(dict.fromkeys(every))}
    handles: dict[str, Any] = {}
    for count, (at, place) in enumerate(zip(axes, group, strict=False)):
        end = _time_axis(at, [it.seconds or 0.0 for other in group for it in other])
        front = [(it.seconds, it.accuracy) for it in place if it.beaten_by is None]
        at.step(*zip(*front, (end, front[-1][1]), strict=True), where="post", color="#999999", linewidth=1)
        for it in place:
            rank = ranks.get(name_of(it.row, place), 0)
            look = {"color": COLOURS[rank % len(COLOURS)], "marker": marker(rank)}
            if it.row.setting.baseline:
                look = {"color": BASELINE, "marker": "o", "markerfacecolor": "white"}
            handles[name_of(it.row, place)] = at.errorbar(
                [it.seconds], [it.accuracy], yerr=_bar(it.row), linestyle="none", capsize=2.5, elinewidth=1.0, **look
            )
        at.set_title(short(place[0].row.setting.arch), fontsize=9, loc="left")
        at.set_xlabel("time of fitting, generating and training" if count + across >= len(group) else "")
        at.set_ylabel("test accuracy, %" if count % across == 0 else "")
    shown = [short(name, handles).lstrip("_") or "-" for name in handles]
    resize(figure, across * PANEL[0] + 0.6 + LETTER * max(map(len, shown)), down * PANEL[1] + 0.8)
    figure.legend(list(handles.values()), shown, loc="outside right center", frameon=False)
    caption = "Bars: 95 % intervals of the accuracy. Grey: the front, the most that so much time gives in the mean."
    return titled(figure, f"Accuracy against cost: {_title(group[0][0].row.setting)}", caption)


def _time_axis(at: Any, seconds: Sequence[float]) -> float:
    """Give axes a logarithmic scale of time that all panels share; returns its end."""
    low, high = min(seconds) / 1.5, max(seconds) * 1.5
    at.set_xscale("log")
    at.set_xlim(low, high)
    ticks = [tick for tick in TICKS if low <= tick <= high] or [min(seconds)]
    at.set_xticks(ticks, [duration(tick) for tick in ticks])
    at.minorticks_off()
    return high


def _bar(row: Row) -> list[list[float]] | None:
    it = row.accuracy
    if it is None or it.low is None or it.high is None:
        return None
    return [[max(it.value - it.low, 0.0)], [max(it.high - it.value, 0.0)]]
