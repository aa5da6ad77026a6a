"""What metrics say of generated images: a line for each generation, the columns that a metric declares."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..plugins.metric import Column
from ..results.table import Generation, Scores
from . import grid as layout
from .grid import Grid

_ARROWS = {"less": " ↓", "more": " ↑", None: ""}


@dataclass(frozen=True)
class Scored:
    """What one metric says with one extractor: numbers on different features are never compared.

    Attributes:
        metric: its spelling.
        extractor: the id of its features, ``"mixed"`` where the draws of a generation differ in it.
        lines: each generation with its scores.
        columns: those that the metric declares and that have a number.
    """

    metric: str
    extractor: str
    lines: tuple[tuple[Generation, Scores], ...]
    columns: tuple[Column, ...]

    @property
    def baseline(self) -> str | None:
        """The generator whose real images are scored against other real images, if it is among them."""
        return next((made.setting.gen for made, _ in self.lines if made.setting.baseline), None)

    @property
    def comparable(self) -> bool:
        """Whether all were scored on as many images; the baseline's reference lacks the real images that it scores."""
        references = {scores.values.get("n_reference") for made, scores in self.lines if not made.setting.baseline}
        return len({scores.values.get("n_score") for _, scores in self.lines}) < 2 and len(references) < 2


def scored(generations: Sequence[Generation]) -> Iterator[Scored]:
    """Yield what each metric says of generations, by metric and extractor."""
    groups: dict[tuple[str, str], list[tuple[Generation, Scores]]] = {}
    for made in generations:
        for scores in made.scores:
            groups.setdefault((scores.metric, scores.values.get("extractor", "")), []).append((made, scores))
    for (metric, extractor), lines in sorted(groups.items(), key=lambda group: group[0]):
        declared = {column.key: column for _, scores in lines for column in scores.columns}
        shown = [column for key, column in declared.items() if any(key in scores.values for _, scores in lines)]
        yield Scored(metric, extractor, tuple(lines), tuple(shown))


def metric_grids(title: str, generations: Sequence[Generation], *, short: bool = False) -> Iterator[Grid]:
    """Yield one grid for each metric and feature extractor: numbers on different features never share a column.

    Args:
        title: what the generations share.
        generations: what was scored.
        short: leave out from how many images and draws the numbers come.
    """
    for found in scored(generations):
        heading = f"Metric {found.metric}: {title}"
        if found.extractor == "mixed":
            names = ", ".join(dict.fromkeys(made.setting.gen for made, _ in found.lines))
            note = f"Draws were scored with different feature extractors and are not averaged: {names}."
            yield Grid(heading, (), (), (note,))
        elif found.columns:
            first, last = ("generator", ">generated"), (">draws", ">scored / reference")
            headers = (*first, *(f">{heading_of(column)}" for column in found.columns), *(() if short else last))
            rows = tuple(_line(made, scores, found.columns)[: len(headers)] for made, scores in found.lines)
            yield Grid(heading, headers, rows, tuple(_notes(found)))


def _line(made: Generation, scores: Scores, shown: Sequence[Column]) -> tuple[str, ...]:
    numbers = (layout.number(scores.values.get(column.key), column.decimals) for column in shown)
    scored = f"{scores.values.get('n_score', '?')} / {scores.values.get('n_reference', '?')}"
    return made.setting.gen, layout.images(made), *numbers, str(made.draws), scored


def heading_of(column: Column) -> str:
    """Return a column's title with an arrow in the direction that is better, if one is."""
    return f"{column.title}{_ARROWS[column.better]}"


def _notes(found: Scored) -> Iterator[str]:
    if found.baseline:
        yield f"The row {found.baseline} scores real images against other ones; copies of those would score better."
    if not found.comparable:
        yield "Rows were scored on different numbers of images, which moves the values: do not rank them."
