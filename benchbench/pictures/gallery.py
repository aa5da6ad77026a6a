"""A picture of an augmentation: real images and, beside each, what classifiers are shown in its place."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from .drawing import GAP, LABEL, LINE, MARGIN, NARROWEST, default_font, drawable, fitting, tile, tile_size, write_png

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.ImageDraw import ImageDraw

    from .drawing import Font

#: Height in px of a line below a tile, and how many classes are named there at most.
CAPTION, NAMED = 14, 3
#: Share of a soft label below which a class is not worth naming.
LEAST_SHARE = 0.005


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
    from PIL import Image, ImageDraw

    if not names:
        raise ValueError("a gallery needs at least one image")
    first = next(item for group in groups for row in group.rows for item in row if item is not None)
    width, height = size = tile_size(first.pixels.shape[1], first.pixels.shape[0])
    font = default_font()
    tiles = [item for group in groups for row in group.rows for item in row if item is not None]
    every = {*names, *(name for item in tiles for name, _ in item.parts)}
    below = _caption_lines(groups, width, font)
    step = height + GAP + CAPTION * below
    top = MARGIN + LINE * len(title) + LINE
    lefts, right = _places(groups, width)
    picture = Image.new("RGB", (max(right, NARROWEST), top + len(names) * step - GAP + MARGIN), "white")
    pen = ImageDraw.Draw(picture)
    for number, line in enumerate(title):
        text = fitting(line, picture.width - 2 * MARGIN, font)
        pen.text((MARGIN, MARGIN - 4 + LINE * number), text, "black", font)
    for group, left, until in zip(groups, lefts, [*lefts[1:], picture.width], strict=True):
        pen.text((left, top - LINE), fitting(group.heading, until - left - GAP, font), "black", font)
    for number, name in enumerate(names):
        at = top + number * step
        pen.text((MARGIN, at + height // 2 - LINE // 2), fitting(name, LABEL - GAP, font, every), "black", font)
        for group, left in zip(groups, lefts, strict=True):
            for column, item in enumerate(group.rows[number]):
                if item is not None:
                    x = left + column * (width + GAP)
                    picture.paste(tile(item.pixels, size), (x, at))
                    _write_caption(pen, caption(item.parts, width, font, every), x, at + height, font)
    return write_png(picture, path)


def caption(parts: Sequence[tuple[str, float]], width: int, font: Font, every: Collection[str] = ()) -> list[str]:
    """Return a soft label as lines that fit into ``width`` px: ``3 .62 / 8 .38``, or a line for each class.

    Classes with next to no share are left out, and so are those behind the third; a name is shortened, never its
    share, and differs from the other names in the picture, ``every``, where it can. A label of one class is its name
    alone.
    """
    named = [(name, share) for name, share in parts if share >= LEAST_SHARE][:NAMED]
    if len(named) == 1:
        return [fitting(named[0][0], width, font, every)]
    shares = [f" {share:.2f}".replace(" 0.", " .") for _, share in named]
    whole = drawable(" / ".join(name + text for (name, _), text in zip(named, shares, strict=True)), font)
    if font.getlength(whole) <= width:
        return [whole] if whole else []
    return [
        fitting(name, int(width - font.getlength(text)), font, every) + text
        for (name, _), text in zip(named, shares, strict=True)
    ]


def _caption_lines(groups: Sequence[Group], width: int, font: Font) -> int:
    tiles = (item for group in groups for row in group.rows for item in row if item is not None)
    return max((len(caption(item.parts, width, font)) for item in tiles), default=0)


def _places(groups: Sequence[Group], width: int) -> tuple[list[int], int]:
    """Return the left edge of each group and the right edge of the picture, in px."""
    lefts, at = [], LABEL + MARGIN
    for group in groups:
        lefts.append(at)
        at += max(len(row) for row in group.rows) * (width + GAP) - GAP + 3 * MARGIN
    return lefts, at - 2 * MARGIN


def _write_caption(pen: ImageDraw, lines: Sequence[str], x: int, y: int, font: Font) -> None:
    for number, line in enumerate(lines):
        pen.text((x, y + CAPTION * number), line, "black", font)
