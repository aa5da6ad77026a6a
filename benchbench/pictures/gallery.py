"""A picture of images in rows and columns: real images and, beside each, what was made of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from .canvas import LETTER, STYLE, drawable, fitting, png, tile, tile_size, write_png

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: Pixels between tiles, for the names of rows at most, around the picture, and of a line above and below tiles.
GAP, LABEL, MARGIN, LINE, CAPTION = 4, 150, 12, 18, 14
#: Pixels from the top of a line of text to its baseline.
ASCENT = 11
#: Width in px below which a title would rarely fit, and to which a longer one widens the picture.
NARROWEST, WIDENED = 480, 800
#: How many classes of a soft label are named at most, and the share below which one is not worth naming.
NAMED, LEAST_SHARE = 3, 0.005


class Tile(NamedTuple):
    """One image of a picture.

    Attributes:
        pixels: uint8 ``(H, W, 3)``.
        parts: classes of a soft label with their shares, largest first; empty where the label is the row's.
    """

    pixels: NDArray[np.uint8]
    parts: tuple[tuple[str, float], ...] = ()


class Group(NamedTuple):
    """Columns under one heading: ``rows[i]`` are the tiles beside real image ``i``, ``None`` for an empty place."""

    heading: str
    rows: Sequence[Sequence[Tile | None]]


def draw_gallery(names: Sequence[str], groups: Sequence[Group], title: Sequence[str], path: Path) -> Path:
    """Draw a row for each name, with the tiles of every group in it, and write a PNG.

    Args:
        names: the class of each row.
        groups: the first one is the real images; all tiles are of one size, and each group has a row for each name.
        title: lines above.
        path: the file to write; an existing one is replaced.

    Raises:
        ValueError: there is no row.
        BenchError: the file cannot be written.
    """
    if not names:
        raise ValueError("a gallery needs at least one image")
    return write_png(png(lambda: _figure(names, groups, title), STYLE), path)


def _figure(names: Sequence[str], groups: Sequence[Group], title: Sequence[str]) -> Any:
    from matplotlib.figure import Figure

    tiles = [item for group in groups for row in group.rows for item in row if item is not None]
    width, height = size = tile_size(tiles[0].pixels.shape[1], tiles[0].pixels.shape[0])
    every = frozenset([*names, *(name for item in tiles for name, _ in _named(item.parts))])
    captions = [caption(item.parts, width, every) for item in tiles]
    step = height + GAP + CAPTION * max(map(len, captions))
    top = MARGIN + LINE * len(title) + LINE
    label = min(LABEL, LETTER * max(len(drawable(name)) for name in names))
    lefts = [label + 2 * MARGIN]
    for group in groups:
        lefts.append(lefts[-1] + max(map(len, group.rows)) * (width + GAP) - GAP + 3 * MARGIN)
    longest = LETTER * max(map(len, title), default=0) + 2 * MARGIN
    right = max(lefts.pop() - 2 * MARGIN, NARROWEST, min(longest, WIDENED))
    bottom = top + len(names) * step - GAP + MARGIN
    figure = Figure(figsize=((right + 0.5) / 72, (bottom + 0.5) / 72), dpi=72)  # Agg cuts a part of a pixel off

    def write(text: str, x: int, y: int) -> None:
        figure.text(x, bottom - y - ASCENT, text, transform=None, va="baseline")

    for number, line in enumerate(title):
        write(fitting(line, right - 2 * MARGIN), MARGIN, MARGIN - 4 + LINE * number)
    for number, name in enumerate(names):
        write(fitting(name, label, every), MARGIN, top + number * step + (height - LINE) // 2)
    below = iter(captions)
    for group, left, until in zip(groups, lefts, [*lefts[1:], right], strict=True):
        write(fitting(group.heading, until - left - GAP), left, top - LINE)
        for number, row in enumerate(group.rows):
            for column, item in enumerate(row):
                if item is not None:
                    x, y = left + column * (width + GAP), top + number * step
                    figure.figimage(tile(item.pixels, size), x, bottom - y - height, origin="upper")
                    for place, line in enumerate(next(below)):
                        write(line, x, y + height + CAPTION * place)
    return figure


def caption(parts: Sequence[tuple[str, float]], width: int, every: frozenset[str] = frozenset()) -> list[str]:
    """Return a soft label as lines that fit into ``width`` px: ``3 .62 / 8 .38``, or a line for each class.

    Classes with next to no share are left out, and so are those behind the third; a name is shortened, never its
    share, and differs from the other names in the picture, ``every``. A label of one class is its name alone.
    """
    named = _named(parts)
    if len(named) == 1:
        return [fitting(named[0][0], width, every)]
    lines = [(drawable(name), f" {share:.2f}".replace(" 0.", " .")) for name, share in named]
    whole = " / ".join(name + share for name, share in lines)
    if len(whole) * LETTER <= width:
        return [whole] if whole else []
    return [fitting(name, width - len(share) * LETTER, every) + share for name, share in lines]


def _named(parts: Sequence[tuple[str, float]]) -> list[tuple[str, float]]:
    return [(name, share) for name, share in parts if share >= LEAST_SHARE][:NAMED]
