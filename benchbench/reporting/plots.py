"""Plots: accuracy of the pivots, with intervals, accuracy by steps, and what metrics say of the generated images.

The same records give the same bytes with one version of Matplotlib.
"""

from __future__ import annotations

import hashlib
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..files import put, safe_name
from ..pictures.canvas import png
from ..plugins.metric import Column
from ..results.table import Generation, Scores, Table, natural
from .curves import CurvePlot, curve_plots
from .drawing import BASELINE, COLOURS, LETTER, PANEL, STYLE, STYLES, fit_range, marker, panel_axes, titled
from .metrics import Scored, heading_of, scored
from .pivots import SIZES, Line, Pivot, Value, pivots
from .readable import TICKED, chosen_lines, left_out, resize, short

#: Lines in one panel beyond which each architecture gets its own.
MOST_LINES = 12
#: Letters of a generator's spelling beyond which a legend names it and not the axis.
MOST_LETTERS = 16
#: A title and what is drawn below it.
Panel = tuple[str, list[Line]]


@dataclass(frozen=True)
class Look:
    """How a line is drawn."""

    colour: str
    marker: str
    style: str
    hollow: bool


def write_plots(table: Table, results: Path) -> list[Path]:
    """Draw every plot of a table and return the files; those that say the same already are not touched.

    Args:
        table: what to draw.
        results: the results folder; plots go to ``figures/<dataset>/`` in it.

    Raises:
        BenchError: a file cannot be written.
    """
    drawn = [
        (plot_name(pivot), draw(pivot))
        for pivot in pivots(table)
        if any(_known(value) for line in pivot.lines for value in line.values)
    ]
    drawn += [(plot.name, png(plot.figure, STYLE)) for plot in _further_plots(table)]
    return [put(results / "figures" / name, content) for name, content in drawn]


def plot_names(table: Table) -> list[str]:
    """Return the paths of a table's plots below ``figures/``, in the order in which they are shown."""
    return [*map(plot_name, pivots(table)), *(plot.name for plot in _further_plots(table))]


def _further_plots(table: Table) -> list[CurvePlot | MetricPlot]:
    return [*curve_plots(table), *metric_plots(table)]


def plot_name(pivot: Pivot) -> str:
    """Return the path of a plot below ``figures/``; another setting has another name."""
    it = pivot.rows[0].setting
    digest = hashlib.sha256(pivot.title.encode()).hexdigest()[:8]
    return f"{safe_name(it.data.replace(':', '-'))}/{safe_name(f'{pivot.axis.option}-{it.preset}')}-{digest}.png"


def draw(pivot: Pivot) -> bytes:
    """Return the PNG of a pivot."""
    return png(lambda: figure_of(pivot), STYLE)


def figure_of(pivot: Pivot) -> Any:
    """Return a pivot as a Matplotlib figure: one panel, or one for each architecture where one could not be read."""
    panels, more = _readable(_panels(pivot))
    many = len(panels) > 1
    drawn = {id(line) for _, lines in panels for line in lines}
    shown = replace(pivot, lines=tuple(line for line in pivot.lines if id(line) in drawn))
    figure, axes, across, down = panel_axes(len(panels), sharey=True)
    looks = _looks(shown, panelled=many)
    legend: dict[str, Any] = {}
    for place, (at, (title, lines)) in enumerate(zip(axes, panels, strict=False)):
        legend |= _draw_panel(at, pivot, lines, looks, panelled=many)
        at.set_title(short(title), fontsize=9, loc="left")
        at.set_xlabel(short(pivot.axis.name) if place + across >= len(panels) else "")
        at.set_ylabel("test accuracy, %" if place % across == 0 else "")
    fit_range(axes[0])
    wide = max(PANEL[0] - 1.0 * many, 0.0 if _is_scale(pivot) else 0.45 * len(pivot.columns))
    names = [short(name, legend) for name in legend]
    right = 0.6 + LETTER * max(map(len, names))
    resize(figure, across * wide + right, max(down * PANEL[1], 0.2 * len(names)) + 0.8)
    figure.legend(list(legend.values()), names, loc="outside right center", frameon=False)
    return titled(figure, pivot.heading.replace(", %:", ":"), _caption(shown) + more)


def _panels(pivot: Pivot) -> list[Panel]:
    """Return what is drawn together: everything, or the lines of each architecture."""
    methods = {(line.learner, line.arch) for line in pivot.lines}
    archs = {(line.arch, line.averaged) for line in pivot.lines if not line.level}
    few = len(methods) <= len(COLOURS) and len(pivot.lines) <= MOST_LINES
    if len(archs) < 2 or (pivot.axis.option != "aug" and few):
        return [("", list(pivot.lines))]
    groups: dict[tuple[str, bool], list[Line]] = {}
    for line in pivot.lines:
        if not line.level:
            groups.setdefault((line.arch, line.averaged), []).append(line)
    levels = [line for line in pivot.lines if line.level]
    return [(_panel_title(*key), [*lines, *levels]) for key, lines in groups.items()]


def _panel_title(arch: str, averaged: bool) -> str:
    return "mean over architectures" if averaged else "without an architecture" if arch == "-" else arch


def _readable(panels: Sequence[Panel]) -> tuple[list[Panel], str]:
    """Return the panels with the lines that are drawn, the same ones in each, and what the caption says of that."""
    many = len(panels) > 1
    means: dict[tuple[Any, ...], dict[tuple[int, int], float]] = {}
    for at, (_, lines) in enumerate(panels):
        for line in lines:
            known = means.setdefault(_entry(line, many), {})
            known |= {
                (at, place): cell.mean for place, cell in enumerate(line.values) if cell and cell.mean is not None
            }
    places = sorted({place for known in means.values() for place in known})
    entries = list(means)
    values = [[means[entry].get(place) for place in places] for entry in entries]
    kept = chosen_lines(values, [baseline for *_, baseline in entries])
    names = {entries[place] for place in kept}
    drawn = [(title, [line for line in lines if _entry(line, many) in names]) for title, lines in panels]
    return [panel for panel in drawn if panel[1]], left_out(len(kept), len(entries))


def _looks(pivot: Pivot, *, panelled: bool) -> dict[tuple[Any, ...], Look]:
    """Return the look of each line: colours tell methods apart if there are several, else generators.

    The baseline is hollow and dashed, and black where colours are generators; a level is dotted.
    """
    levels = [line for line in pivot.lines if line.level]
    methods = list(dict.fromkeys(_method(line, panelled) for line in pivot.lines if not line.level))
    sources = list(dict.fromkeys(_source(line) for line in pivot.lines if not line.baseline))
    looks: dict[tuple[Any, ...], Look] = {}
    for rank, line in enumerate(levels):
        looks[_key(line)] = Look(COLOURS[-1 - rank % len(COLOURS)], "", ":", hollow=False)
    for line in (line for line in pivot.lines if not line.level):
        rank = sources.index(_source(line)) if not line.baseline else 0
        place = methods.index(_method(line, panelled)) if len(methods) > 1 else rank
        colour = COLOURS[place % len(COLOURS)]
        if line.baseline:
            looks[_key(line)] = Look(colour if len(methods) > 1 else BASELINE, "o", "--", hollow=True)
        else:
            style = STYLES[(place // len(COLOURS)) % len(STYLES)]
            looks[_key(line)] = Look(colour, marker(rank), style, hollow=False)
    return looks


def _draw_panel(
    at: Any, pivot: Pivot, lines: Sequence[Line], looks: dict[tuple[Any, ...], Look], *, panelled: bool
) -> dict[str, Any]:
    """Draw lines into axes and return their legend."""
    handles: dict[str, Any] = {}
    scale = _is_scale(pivot)
    if scale:
        at.set_xscale("log", base=2)
        places = [float(text.replace(",", "")) for text in pivot.columns]
    else:
        places = [float(place) for place in range(len(pivot.columns))]
        at.set_xlim(-0.6, len(places) - 0.4)
    names = [short(text, pivot.columns, TICKED) for text in pivot.columns]
    at.set_xticks(places, names, rotation=0 if scale or max(map(len, names)) < 7 else 40)
    if not scale:
        for label in at.get_xticklabels():
            label.set_horizontalalignment("right" if label.get_rotation() else "center")
            label.set_rotation_mode("anchor")
    at.minorticks_off()
    dodged = [line for line in lines if not line.level and any(map(_known, line.values))]
    step = min(0.05, 0.3 / max(len(dodged), 1)) if scale else min(0.12, 0.7 / max(len(dodged), 1))
    rank = 0
    for line in lines:
        look = looks[_key(line)]
        cells = zip(places, line.values, strict=True)
        known = [(place, cell.mean, cell) for place, cell in cells if cell and cell.mean is not None]
        if not known:
            continue
        if line.level:
            handle = at.axhline(known[0][1], color=look.colour, linestyle=look.style)
            handles[_label(pivot, line, panelled)] = handle
            continue
        shift = (rank - (len(dodged) - 1) / 2) * step
        rank += 1
        handle = at.errorbar(
            [place * 2**shift if scale else place + shift for place, _, _ in known],
            [mean for _, mean, _ in known],
            yerr=_bars(cell for _, _, cell in known),
            color=look.colour,
            marker=look.marker,
            linestyle=look.style if scale else "none",
            markerfacecolor="white" if look.hollow else look.colour,
            capsize=2.5,
            elinewidth=1.0,
        )
        handles[_label(pivot, line, panelled)] = handle
    return handles


def _label(pivot: Pivot, line: Line, panelled: bool) -> str:
    fields = dict(zip(pivot.varying(), pivot.label(line), strict=True))
    hidden = {"arch"} if panelled else set()
    if line.baseline:
        hidden |= {"mix", "n_syn"}
    names = {"mix": "mix {}", "n_syn": "{} generated"}
    shown = [names.get(name, "{}").format(text) for name, text in fields.items() if name not in hidden and text != "-"]
    return (", ".join(shown) or line.gen).strip().lstrip("_")


def _bars(cells: Iterable[Value]) -> list[list[float]] | None:
    """Return the lengths of intervals below and above their means, ``None`` where there is no interval at all."""
    ends = [(cell.mean or 0.0, cell.low, cell.high) for cell in cells]
    if all(low is None or high is None for _, low, high in ends):
        return None
    return [
        [0.0 if low is None else mean - low for mean, low, _ in ends],
        [0.0 if high is None else high - mean for mean, _, high in ends],
    ]


def _caption(pivot: Pivot) -> str:
    values = [value for line in pivot.lines if not line.averaged for value in line.values if value is not None]
    counts = list(dict.fromkeys(value.n for value in values if value.n))
    failed = sum(value.mean is None for value in values)
    text = f"Mean and 95 % interval over {counts[0] if len(counts) == 1 else 'the draws and seeds of each point'}."
    if all(value.low is None for value in values):
        text = f"Means without an interval: {counts[0]}." if len(counts) == 1 else "Means without an interval."
    text += " Means over architectures weigh them equally and have no bars." * any(
        line.averaged for line in pivot.lines
    )
    return text + (f" Failed and not drawn: {failed}." if failed else "")


def _is_scale(pivot: Pivot) -> bool:
    return pivot.axis.option in SIZES


def _known(value: Value | None) -> bool:
    return value is not None and value.mean is not None


def _method(line: Line, panelled: bool) -> tuple[str, str]:
    return line.learner, "" if panelled else line.arch


def _source(line: Line) -> tuple[str, str, int | None]:
    return line.gen, line.mix, line.n_syn


def _entry(line: Line, panelled: bool) -> tuple[Any, ...]:
    return *_method(line, panelled), *_source(line), line.level, line.baseline


def _key(line: Line) -> tuple[Any, ...]:
    return line.learner, line.arch, *_source(line), line.baseline, line.averaged


#: A line with its label: each generation with its scores.
MetricLine = tuple[str, list[tuple[Generation, Scores]]]


@dataclass(frozen=True)
class MetricPlot:
    """What one metric says of the generations of a dataset: a panel for each column that has a better direction.

    Attributes:
        title: what the generations share, in words.
        scored: the metric with every generation that it scored.
        columns: the panels.
    """

    title: str
    scored: Scored
    columns: tuple[Column, ...]

    @property
    def name(self) -> str:
        """Its path below ``figures/``; another setting, metric or extractor has another name."""
        it = self.scored.lines[0][0].setting
        digest = hashlib.sha256(f"{self.title} {self.scored.metric} {self.scored.extractor}".encode()).hexdigest()[:8]
        metric = safe_name(self.scored.metric.replace(":", "-"), 40)
        return f"{safe_name(it.data.replace(':', '-'))}/metric-{metric}-{safe_name(it.preset)}-{digest}.png"

    def figure(self) -> Any:
        """Draw it: values against the number of real images where that varies, else by generator."""
        every = self._lines()
        ordered = [every[place] for place in chosen_lines(*self._compared(every))]
        sizes = sorted({made.setting.n_real for made, _ in self.scored.lines})
        legend = len(sizes) > 1 or max(len(gen) for gen, _ in ordered) > MOST_LETTERS
        figure, axes, across, down = panel_axes(len(self.columns), sharey=False)
        for at, column in zip(axes, self.columns, strict=False):
            _draw_column(at, column, ordered, sizes, named=not legend)
        handles, names = axes[0].get_legend_handles_labels()
        wide = 3.1 if len(sizes) > 1 else max(2.4, 0.3 * len(ordered) + 0.9)
        right = 0.5 + LETTER * max(map(len, names)) if legend else 0.2
        resize(figure, max(across * wide + right, 5.5), down * 2.6 + 0.9)
        if legend:
            figure.legend(handles, names, loc="outside right center", frameon=False)
        draws = sorted({made.draws for made, _ in self.scored.lines})
        many = "-".join(map(str, dict.fromkeys((draws[0], draws[-1]))))
        means = "A single draw each" if draws == [1] else f"Means over {many} draws"
        caption = f"{means}, without error bars."
        if self.scored.baseline:
            caption += f" {self.scored.baseline} compares real images with other real images."
        if not self.scored.comparable:
            caption += " Scored on different numbers of images, which moves the values: do not rank them."
        caption += left_out(len(ordered), len(every))
        title = f"Metric {self.scored.metric}: {self.title}; arrows point to what is better"
        return titled(figure, title, caption)

    def _compared(self, lines: Sequence[MetricLine]) -> tuple[list[list[float | None]], list[bool]]:
        """Return what :func:`chosen_lines` takes: of each line the mean in each column, and whether it is baseline."""
        values: list[list[float | None]] = []
        for _, points in lines:
            known = [[scores.values.get(column.key) for _, scores in points] for column in self.columns]
            numbers = [[number for number in column if number is not None] for column in known]
            signs = [-1.0 if column.better == "less" else 1.0 for column in self.columns]
            values.append([s * statistics.fmean(n) if n else None for s, n in zip(signs, numbers, strict=True)])
        return values, [points[0][0].setting.baseline for _, points in lines]

    def _lines(self) -> list[MetricLine]:
        """Return each line with its label, the baseline first.

        The number of generated images follows that of the real ones; it divides lines only where it was varied.
        """
        places = Counter((made.setting.gen, made.setting.n_real) for made, _ in self.scored.lines)
        every = dict.fromkeys(gen for gen, _ in places)
        names = {gen: short(gen, every) for gen in every}
        varied = {gen for (gen, _), count in places.items() if count > 1}
        lines: dict[tuple[bool, Any, int, str], list[tuple[Generation, Scores]]] = {}
        for made, scores in self.scored.lines:
            it = made.setting
            name = names[it.gen]
            label = f"{name}, {it.n_syn:,} generated" if it.gen in varied else name
            key = (not it.baseline, natural(it.gen), it.n_syn if it.gen in varied else 0, label)
            lines.setdefault(key, []).append((made, scores))
        return [(key[-1], lines[key]) for key in sorted(lines)]


def metric_plots(table: Table) -> list[MetricPlot]:
    """Return a plot for each dataset, preset, metric and extractor with at least two numbers to compare in a column."""
    groups: dict[tuple[Any, ...], list[Generation]] = {}
    for made in table.generations:
        it = made.setting
        chosen = it.shots is not None  # few-shot draws and random subsets of one size are other images
        groups.setdefault((it.data, it.preset, it.subset, chosen, *sorted(it.more.items())), []).append(made)
    plots = []
    for generations in groups.values():
        it, sizes = generations[0].setting, {made.setting.n_real for made in generations}
        facts = [f"{it.n_real:,} real images"] * (len(sizes) == 1) + ["few-shot"] * (it.shots is not None)
        facts += [f"random {it.subset}"] * (it.subset != "balanced") + [f"preset {it.preset}"]
        title = ", ".join((it.data, *facts, *(f"{name} {value}" for name, value in it.more.items())))
        for one in scored(generations):
            columns = tuple(column for column in one.columns if column.better and len(_numbers(one, column)) > 1)
            if columns and one.extractor != "mixed":
                plots.append(MetricPlot(title, one, columns))
    return plots


def _numbers(one: Scored, column: Column) -> list[float]:
    values = (scores.values.get(column.key) for _, scores in one.lines)
    return [value for value in values if value is not None]


def _draw_column(
    at: Any,
    column: Column,
    lines: Sequence[MetricLine],
    sizes: Sequence[int],
    *,
    named: bool,
) -> None:
    """Draw one panel: the baseline hollow and black, each generator in its colour; ``named``: below its point."""
    several = len(sizes) > 1
    for place, (gen, scores) in enumerate(lines):
        baseline = scores[0][0].setting.baseline
        rank = place - sum(points[0][0].setting.baseline for _, points in lines)
        colour = BASELINE if baseline else COLOURS[rank % len(COLOURS)]
        known = [(made.setting.n_real, one.values.get(column.key)) for made, one in scores]
        points = [(size if several else place, value) for size, value in sorted(known) if value is not None]
        if not points:
            continue
        at.plot(
            *zip(*points, strict=True),
            color=colour,
            marker="o" if baseline else marker(rank),
            markerfacecolor="white" if baseline else colour,
            linestyle=("--" if baseline else STYLES[rank // len(COLOURS) % len(STYLES)]) if several else "none",
            label=gen.lstrip("_"),
        )
        if baseline and not several:
            at.axhline(points[0][1], color=BASELINE, linestyle=":", linewidth=0.8)
    if several:
        at.set_xscale("log", base=2)
        at.set_xticks(sizes, [f"{size:,}" for size in sizes])
        at.set_xlabel("real images")
    else:
        at.set_xlim(-0.6, len(lines) - 0.4)
        names = [gen if named else "" for gen, _ in lines]
        at.set_xticks(range(len(lines)), names, rotation=40, ha="right", rotation_mode="anchor")
    at.minorticks_off()
    at.set_title(short(heading_of(column)), fontsize=9, loc="left")
