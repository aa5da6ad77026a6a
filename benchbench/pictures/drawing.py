"""What pictures of images share: tiles of one size, a font, texts that fit, and a PNG whose bytes never change."""

from __future__ import annotations

import contextlib
import importlib.util
import io
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from ..files import write_atomic

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image
    from PIL.ImageFont import FreeTypeFont, ImageFont

    Font = FreeTypeFont | ImageFont

#: Sides in px between which images are shown; smaller ones grow by a whole factor, larger ones shrink.
SMALLEST, LARGEST = 64, 128
GAP, LABEL, MARGIN, LINE = 4, 104, 12, 18
#: Width in px below which a title would rarely fit.
NARROWEST = 480


def write_png(picture: Image, path: Path) -> Path:
    """Write a picture; a reader, or a kill, meets the old file or the new one, never a part.

    Raises:
        BenchError: the file cannot be written.
    """
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=9)
    write_atomic(path, buffer.getvalue())
    return path


def tile_size(width: int, height: int) -> tuple[int, int]:
    """Return width and height in px at which an image is shown."""
    side = max(width, height)
    if side < SMALLEST:
        factor = -(-SMALLEST // side)
        return width * factor, height * factor
    if side > LARGEST:
        return max(1, width * LARGEST // side), max(1, height * LARGEST // side)
    return width, height


def tile(pixels: NDArray[np.uint8], size: tuple[int, int]) -> Image:
    """Return one image, uint8 ``(H, W, 3)``, at a size in px: enlarged by whole pixels, reduced smoothly."""
    from PIL import Image

    shown = Image.fromarray(pixels)
    if shown.size == size:
        return shown
    grows = shown.width <= size[0] and shown.height <= size[1]
    return shown.resize(size, Image.Resampling.NEAREST if grows else Image.Resampling.LANCZOS)


def default_font() -> Font:
    """Return the font that comes with Matplotlib (Latin, Greek, Cyrillic and more), else Pillow's own."""
    from PIL import ImageFont

    found = importlib.util.find_spec("matplotlib")
    if found is not None and found.origin:
        with contextlib.suppress(OSError, ImportError):  # packaged elsewhere, or a Pillow without FreeType
            return ImageFont.truetype(str(Path(found.origin).parent / "mpl-data/fonts/ttf/DejaVuSans.ttf"), 11)
    try:
        return ImageFont.load_default(12)
    except ImportError:  # a Pillow without FreeType has only its bitmap font
        return ImageFont.load_default()


def fitting(text: str, width: int, font: Font, others: Iterable[str] = ()) -> str:
    """Return a text, shortened until it fits into ``width`` px.

    It loses its end, or its middle or its beginning where one of ``others`` would then read alike.
    """
    text = drawable(text, font)
    if font.getlength(text) <= width:
        return text
    beside = [other for other in {drawable(other, font) for other in others} if other != text]
    for kept in (1.0, 0.5, 0.0):
        short = _shortened(text, width, font, kept)
        if all(_shortened(other, width, font, kept) != short for other in beside):
            return short
    return _shortened(text, width, font, 1.0)


def _shortened(text: str, width: int, font: Font, kept: float) -> str:
    """Return a text of at most ``width`` px, the share ``kept`` of its letters before the dots."""
    if font.getlength(text) <= width:
        return text
    for letters in range(len(text) - 1, 0, -1):
        front = round(kept * letters)
        short = f"{text[:front]}...{text[len(text) - letters + front :]}"
        if font.getlength(short) <= width:
            return short
    return "..."


def drawable(text: str, font: Font) -> str:
    """Return a text on one line; a character that the font lacks becomes its code point, so that two names differ."""
    return "".join(char if _known(char, font) else _code(char) for char in " ".join(text.split()))


def _known(char: str, font: Font) -> bool:
    if char.isascii():
        return True
    try:
        mask, missing = (font.getmask(item) for item in (char, "\uffff"))
    except UnicodeEncodeError:  # the bitmap font knows Latin-1 only
        return False
    return mask.size != missing.size or bytes(mask) != bytes(missing)


def _code(char: str) -> str:
    return char.encode("ascii", "backslashreplace").decode("ascii")
