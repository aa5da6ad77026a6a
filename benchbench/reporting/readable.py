"""What keeps a figure readable where there is much to draw: the best lines, short names, a size that can be drawn."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from typing import Any

from ..pictures.canvas import LETTER, fitting

#: Lines in one panel beyond which the baseline and the best are drawn.
MOST_DRAWN = 20
#: Letters of a name in a legend, of one on an axis and of a title, beyond which they are shortened.
NAMED, TICKED, TITLED = 100, 60, 600
#: Inches of the longest side.
MOST_INCHES = 160


def chosen_lines(values: Sequence[Sequence[float | None]], baseline: Sequence[bool]) -> list[int]:
    """Return the places of the lines to draw, in order: all, or the baselines and the best.

    The best are those that come first in any column, then those that come earliest in the mean over the columns.

    Args:
        values: of each line, one for each column, larger is better; ``None`` where it has none.
        baseline: whether a line is one.
    """
    count = len(values)
    if count <= MOST_DRAWN:
        return list(range(count))
    ranks: list[list[int]] = [[] for _ in values]
    for column in zip(*values, strict=True):
        ordered = sorted((value for value in column if value is not None), reverse=True)
        for place, value in enumerate(column):
            if value is not None and ordered[0] > ordered[-1]:  # where all are equal, none is better
                ranks[place].append(ordered.index(value))

    def order(place: int) -> tuple[Any, ...]:
        own = ranks[place] or [count]
        return not baseline[place], min(own) > 0, statistics.fmean(own), place

    return sorted(sorted(range(count), key=order)[:MOST_DRAWN])


def resize(figure: Any, width: float, height: float) -> None:
    """Set the size in inches, within what can be drawn at all."""
    figure.set_size_inches(min(width, MOST_INCHES), min(height, MOST_INCHES))


def short(text: str, others: Iterable[str] = (), letters: int = NAMED) -> str:
    """Return a text as a figure shows it: on one line, of so many letters at most, unlike ``others``."""
    return fitting(text, letters * LETTER, frozenset(others))


def left_out(drawn: int, count: int) -> str:
    """Return what a caption says where not all lines are drawn."""
    return "" if drawn == count else f" Drawn: the baseline and the best, {drawn} of {count}; the tables have all."
