"""Plots of test accuracy by steps: whether rows are compared where networks have learned, or on their way there."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from ..files import safe_name
from ..results.table import Row, Table
from .drawing import BASELINE, COLOURS, LETTER, STYLES, fit_range, panel_axes, titled
from .readable import chosen_lines, left_out, resize, short

#: Panels of one picture at most.
MOST_PANELS = 12


@dataclass(frozen=True)
class CurvePlot:
    """Accuracy by steps of one dataset and preset: a panel for each network and what else rows must share.

    Attributes:
        rows: those with at least two points each, controls apart.
    """

    rows: tuple[Row, ...]

    @property
    def name(self) -> str:
        """Its path below ``figures/``."""
        it = self.rows[0].setting
        digest = hashlib.sha256(f"{it.data} {it.preset}".encode()).hexdigest()[:8]
        return f"{safe_name(it.data.replace(':', '-'))}/steps-{safe_name(it.preset)}-{digest}.png"

    def figure(self) -> Any:
        """Draw it."""
        groups: dict[Any, list[Row]] = {}
        for row in self.rows:
            groups.setdefault(row.setting.comparable, []).append(row)
        shown = list(groups.values())[:MOST_PANELS]
        lines = list(dict.fromkeys(_line(row) for rows in shown for row in rows))
        kept = self._best(lines, shown)
        looks = _looks(kept)
        figure, axes, across, down = panel_axes(len(shown), sharey=True)
        legend: dict[str, Any] = {}
        for place, (at, rows) in enumerate(zip(axes, shown, strict=False)):
            for row in rows:
                if _line(row) in looks:
                    (drawn,) = at.plot(*zip(*row.curve, strict=True), **looks[_line(row)])
                    legend.setdefault(_label(_line(row), kept), drawn)
            at.set_title(short(self._title(rows[0])), fontsize=9, loc="left")
            at.set_xlabel("steps" if place + across >= len(shown) else "")
            at.set_ylabel("test accuracy, %" if place % across == 0 else "")
        fit_range(axes[0])
        names = [short(name, legend) for name in legend]
        resize(figure, across * 3.2 + 0.6 + LETTER * max(map(len, names)), max(down * 2.6, 0.2 * len(names)) + 0.9)
        figure.legend(list(legend.values()), names, loc="outside right center", frameon=False)
        caption = "Means over draws and seeds. A line that still rises at its end compares networks on their way."
        if len(shown) < len(groups):
            caption += f" Drawn: the first {len(shown)} of {len(groups)} panels."
        it = self.rows[0].setting
        title = f"Accuracy by steps: {it.data}, preset {it.preset}"
        return titled(figure, title, caption + left_out(len(kept), len(lines)))

    def _best(self, lines: list[tuple[bool, str, str]], shown: list[list[Row]]) -> list[tuple[bool, str, str]]:
        ends = [{_line(row): row.curve[-1][1] for row in rows} for rows in shown]
        places = chosen_lines([[end.get(line) for end in ends] for line in lines], [line[0] for line in lines])
        return [lines[place] for place in places]

    def _title(self, row: Row) -> str:
        """Return the architecture, or the learner without one, and what else tells the panel from others."""
        every = [_facts(other) for other in self.rows]
        own = [fact for fact in _facts(row) if not all(fact in facts for facts in every)]
        it = row.setting
        return ", ".join((it.arch if it.arch != "-" else it.learner, *(fact for fact in own if fact != it.learner)))


def curve_plots(table: Table) -> list[CurvePlot]:
    """Return a plot for each dataset and preset of which rows were scored on the way."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in table.rows:
        if len(row.curve) > 1 and not row.setting.control:
            groups.setdefault((row.setting.data, row.setting.preset), []).append(row)
    return [CurvePlot(tuple(rows)) for rows in groups.values()]


def _line(row: Row) -> tuple[bool, str, str]:
    """Return what a line is of: whether it is a baseline, generator, mixing."""
    return row.setting.baseline, row.setting.gen, row.setting.mix


def _label(line: tuple[bool, str, str], lines: list[tuple[bool, str, str]]) -> str:
    _, gen, mix = line
    several = len({other for _, name, other in lines if name == gen}) > 1
    return (f"{gen}, mix {mix}" if several else gen).lstrip("_")


def _looks(lines: list[tuple[bool, str, str]]) -> dict[tuple[bool, str, str], dict[str, str]]:
    """Return colour and style by line: the baseline black and dashed, as in the other plots."""
    made = [line for line in lines if not line[0]]
    looks = {line: {"color": BASELINE, "linestyle": "--"} for line in lines if line[0]}
    for rank, line in enumerate(made):
        style = STYLES[rank // len(COLOURS) % len(STYLES)]
        looks[line] = {"color": COLOURS[rank % len(COLOURS)], "linestyle": style}
    return looks


def _facts(row: Row) -> list[str]:
    it = row.setting
    real = f"{it.n_real:,} real images" if it.shots is None else f"{it.shots} per class"
    named = {"augmentation": it.aug, "test images through": it.test, **it.more}
    return [it.learner, real, it.subset, *(f"{name} {value}" for name, value in named.items() if value != "-")]
