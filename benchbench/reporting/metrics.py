"""What metrics say of generated images, as grids: a line for each generation, the columns that a metric declares."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..plugins.metric import Column
from ..results.table import Generation, Scores
from . import grid as layout
from .grid import Grid

_ARROWS = {"less": " ↓", "more": " ↑", None: ""}


def metric_grids(title: str, generations: Sequence[Generation], *, short: bool = False) -> Iterator[Grid]:
    """Yield one grid for each metric and feature extractor: numbers on different features never share a column.

    Args:
        title: what the generations share.
        generations: what was scored.
        short: leave out how many images and draws are behind the numbers.
    """
    groups: dict[tuple[str, str], list[tuple[Generation, Scores]]] = {}
    for made in generations:
        for scores in made.scores:
            groups.setdefault((scores.metric, scores.values.get("extractor", "")), []).append((made, scores))
    for (metric, extractor), chosen in sorted(groups.items(), key=lambda group: group[0]):
        heading = f"Metric {metric}: {title}"
        declared = {column.key: column for _, scores in chosen for column in scores.columns}
        shown = [column for key, column in declared.items() if any(key in scores.values for _, scores in chosen)]
        if extractor == "mixed":
            names = ", ".join(dict.fromkeys(made.setting.gen for made, _ in chosen))
            note = f"Draws were scored with different feature extractors and are not averaged: {names}."
            yield Grid(heading, (), (), (note,))
        elif shown:
            first, last = ("generator", ">generated"), (">draws", ">scored / reference")
            headers = (*first, *map(_heading, shown), *(() if short else last))
            rows = tuple(_line(made, scores, shown)[: len(headers)] for made, scores in chosen)
            yield Grid(heading, headers, rows, tuple(_notes(chosen)))


def _line(made: Generation, scores: Scores, shown: Sequence[Column]) -> tuple[str, ...]:
    numbers = (layout.number(scores.values.get(column.key), column.decimals) for column in shown)
    scored = f"{scores.values.get('n_score', '?')} / {scores.values.get('n_reference', '?')}"
    return made.setting.gen, layout.images(made), *numbers, str(made.draws), scored


def _heading(column: Column) -> str:
    return f">{column.title}{_ARROWS[column.better]}"


def _notes(chosen: Sequence[tuple[Generation, Scores]]) -> Iterator[str]:
    if baseline := next((made.setting.gen for made, _ in chosen if made.setting.baseline), None):
        yield f"The row {baseline} scores real images against other real images: as good as it gets."
    # The baseline's reference lacks the real images that it scores.
    references = {scores.values.get("n_reference") for made, scores in chosen if not made.setting.baseline}
    if len({scores.values.get("n_score") for _, scores in chosen}) > 1 or len(references) > 1:
        yield "Rows were scored on different numbers of images, which moves the values: do not rank them."
