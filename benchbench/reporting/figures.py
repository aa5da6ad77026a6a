"""Pictures of what a generator makes, drawn with Pillow alone; the same images give the same bytes."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..records import write_atomic

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFont import FreeTypeFont, ImageFont

    from ..images import ImageSet

#: Sides in px between which images are shown; smaller ones grow by a whole factor, larger ones shrink.
SMALLEST, LARGEST = 64, 128
GAP, LABEL, MARGIN, LINE = 4, 104, 12, 18
#: Width in px below which a title would rarely fit.
NARROWEST = 480


class Variants(NamedTuple):
    """One row of a grid: the index of a real image and those of the generated images beside it."""

    real: int
    synthetic: list[int]


def variants_grid(
    real: ImageSet, synthetic: ImageSet, path: Path, rows: int = 10, columns: int = 10, title: str = ""
) -> Path:
    """Draw real images, each beside the images generated from it, and write a PNG.

    Rows go around the classes, so that few rows show many classes. Without a ``source`` in the origins, a row
    shows the first real image of a class and generated images of that class, and the heading says so.

    Args:
        real: the real training subset that ``origins[i]["source"]`` points into.
        synthetic: what was generated from it.
        path: the file to write.
        rows: at most so many real images.
        columns: at most so many generated images beside each.
        title: one line above.

    Raises:
        ValueError: one of the sets is empty.
        BenchError: the file cannot be written.

    """
    if not len(real) or not len(synthetic):
        raise ValueError("a grid needs at least one real and one generated image")
    sourced = variants_by_source(real, synthetic)
    chosen = around_classes(sourced or variants_by_class(real, synthetic), real)[:rows]
    picture = _draw(real, synthetic, chosen, columns, title, "real source" if sourced else "real, same class")
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=9)
    write_atomic(path, buffer.getvalue())
    return path


def variants_by_source(real: ImageSet, synthetic: ImageSet) -> list[Variants]:
    """Return the generated images of each real image; empty unless every origin has a valid source."""
    found: dict[int, list[int]] = {}
    for index, origin in enumerate(synthetic.origins):
        source = origin.get("source")
        if type(source) is not int or not 0 <= source < len(real):
            return []
        found.setdefault(source, []).append(index)
    return [Variants(source, found[source]) for source in sorted(found)]


def variants_by_class(real: ImageSet, synthetic: ImageSet) -> list[Variants]:
    """Return for each class that both sets have its first real image and all its generated images."""
    firsts: dict[int, int] = {}
    for index, label in enumerate(real.labels.tolist()):
        firsts.setdefault(label, index)
    found: dict[int, list[int]] = {}
    for index, label in enumerate(synthetic.labels.tolist()):
        found.setdefault(label, []).append(index)
    return [Variants(firsts[label], found[label]) for label in sorted(found.keys() & firsts.keys())]


def around_classes(variants: Sequence[Variants], real: ImageSet) -> list[Variants]:
    """Return the first row of every class, then the second of every class, and so on, classes in order."""
    seen: dict[int, int] = {}
    turns = []
    for item in variants:
        label = int(real.labels[item.real])
        seen[label] = seen.get(label, 0) + 1
        turns.append((seen[label], label, item))
    return [item for _, _, item in sorted(turns)]


def _draw(
    real: ImageSet, synthetic: ImageSet, chosen: Sequence[Variants], columns: int, title: str, left: str
) -> Image:
    from PIL import Image, ImageDraw

    shown = max([1, *(min(columns, len(item.synthetic)) for item in chosen)])
    width, height = _tile_size(real.images.shape[2], real.images.shape[1])
    font = _font()
    first = LABEL + MARGIN  # left edge of the real images
    second = first + width + 3 * MARGIN  # left edge of the generated ones
    top = MARGIN + (LINE if title else 0) + LINE
    right = second + shown * (width + GAP) - GAP + MARGIN
    size = (max(right, NARROWEST), top + len(chosen) * (height + GAP) - GAP + MARGIN)
    picture = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(picture)
    if title:
        pen.text((MARGIN, MARGIN - 4), _fitting(title, size[0] - 2 * MARGIN, font), "black", font)
    pen.text((first, top - LINE), _fitting(left, width + 3 * MARGIN - GAP, font), "black", font)
    pen.text((second, top - LINE), _fitting("generated", size[0] - second, font), "black", font)
    for number, item in enumerate(chosen):
        at = top + number * (height + GAP)
        label = _fitting(real.classes[int(real.labels[item.real])], LABEL - GAP, font)
        pen.text((MARGIN, at + height // 2 - LINE // 2), label, "black", font)
        picture.paste(_tile(real, item.real, (width, height)), (first, at))
        for column, index in enumerate(item.synthetic[:columns]):
            picture.paste(_tile(synthetic, index, (width, height)), (second + column * (width + GAP), at))
    return picture


def _tile_size(width: int, height: int) -> tuple[int, int]:
    side = max(width, height)
    if side < SMALLEST:
        factor = -(-SMALLEST // side)
        return width * factor, height * factor
    if side > LARGEST:
        return max(1, width * LARGEST // side), max(1, height * LARGEST // side)
    return width, height


def _tile(images: ImageSet, index: int, size: tuple[int, int]) -> Image:
    from PIL import Image

    tile = Image.fromarray(images.images[index])
    if tile.size == size:
        return tile
    grows = tile.width <= size[0] and tile.height <= size[1]
    return tile.resize(size, Image.Resampling.NEAREST if grows else Image.Resampling.LANCZOS)


def _font() -> FreeTypeFont | ImageFont:
    from PIL import ImageFont

    try:
        return ImageFont.load_default(12)
    except ImportError:  # a Pillow without FreeType has only its bitmap font
        return ImageFont.load_default()


def _fitting(text: str, width: int, font: FreeTypeFont | ImageFont) -> str:
    """Return a text, shortened until it fits into ``width`` px."""
    text = " ".join(text.split())
    try:
        font.getlength(text)
    except UnicodeEncodeError:  # the bitmap font knows Latin-1 only
        text = text.encode("latin-1", "replace").decode("latin-1")
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(f"{text}...") > width:
        text = text[:-1]
    return f"{text}..."
