"""Pictures as PNG files: drawn by Matplotlib in its own style, the same bytes each time, written atomically.

What pictures of images are drawn with: tiles enlarged by whole pixels, and texts that fit into their place.
"""

from __future__ import annotations

import io
import logging
import sys
import warnings
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def png(build: Callable[[], Any], style: Mapping[str, Any]) -> bytes:
    """Return the PNG of a figure, drawn with Agg and the default style whatever the user's configuration says.

    Matplotlib's remarks on font caches and on glyphs that a font lacks are not shown.

    Args:
        build: makes the ``matplotlib.figure.Figure``; it is called with the style in force.
        style: Matplotlib's parameters that differ from its default style.
    """
    logger = logging.getLogger("matplotlib")
    level = logger.level
    if "matplotlib" not in sys.modules:
        logger.setLevel(logging.ERROR)
    try:
        import matplotlib.style

        with warnings.catch_warnings(), matplotlib.style.context(["default", dict(style)]):
            warnings.simplefilter("ignore")
            buffer = io.BytesIO()
            build().savefig(buffer, format="png", dpi="figure", metadata={"Software": None})
    finally:
        logger.setLevel(level)
    return buffer.getvalue()


#: Sides in px between which images are shown; smaller ones grow by a whole factor, larger ones shrink.
SMALLEST, LARGEST = 64, 128
#: Width in px of a letter, of every one in this font and size, where an inch has as many pixels as points.
LETTER = 6
FONT = "DejaVu Sans Mono"
STYLE = {"font.family": FONT, "font.size": 10, "text.parse_math": False}


def tile_size(width: int, height: int) -> tuple[int, int]:
    """Return width and height in px at which an image is shown."""
    side = max(width, height)
    if side < SMALLEST:
        factor = -(-SMALLEST // side)
        return width * factor, height * factor
    if side > LARGEST:
        return max(1, width * LARGEST // side), max(1, height * LARGEST // side)
    return width, height


def tile(pixels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return an image, uint8 ``(H, W, 3)``, at a width and height in px: enlarged by whole pixels, reduced smoothly."""
    import numpy as np
    from PIL import Image

    shown = Image.fromarray(pixels)
    grows = shown.width <= size[0] and shown.height <= size[1]
    return np.asarray(shown.resize(size, Image.Resampling.NEAREST if grows else Image.Resampling.LANCZOS))


@lru_cache(4096)
def fitting(text: str, width: int, others: frozenset[str] = frozenset()) -> str:
    """Return a text, shortened until it fits into ``width`` px, so that none of ``others`` reads alike.

    It loses its end; its middle or its beginning where one of ``others`` would then read alike; and it ends with its
    number among all of them where none of these tells them apart.
    """
    texts = sorted({drawable(item) for item in (text, *others)})
    text = drawable(text)
    for kept in (1.0, 0.5, 0.0):
        short = _cut(text, width, kept)
        if [_cut(other, width, kept) for other in texts].count(short) == 1:
            return short
    return _cut(text, width, 1.0, f"~{texts.index(text) + 1}")


def _cut(text: str, width: int, kept: float, dots: str = "...") -> str:
    """Return a text of at most ``width`` px, the share ``kept`` of its letters before the dots."""
    if len(text) * LETTER <= width:
        return text
    letters = max(0, width // LETTER - len(dots))
    front = round(kept * letters)
    return f"{text[:front]}{dots}{text[len(text) - letters + front :]}"


@lru_cache(4096)
def drawable(text: str) -> str:
    """Return a text on one line; a character that cannot be seen becomes its code point, so that two names differ."""
    from matplotlib.font_manager import findfont, get_font

    known = get_font(findfont(FONT)).get_char_index
    return "".join(
        char if char.isprintable() and known(ord(char)) else char.encode("unicode_escape").decode("ascii")
        for char in " ".join(text.split())
    )
