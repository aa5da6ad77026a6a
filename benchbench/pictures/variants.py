"""Pictures of what a generator makes, drawn with Pillow alone; the same images give the same bytes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from .drawing import GAP, LABEL, LINE, MARGIN, NARROWEST, default_font, fitting, tile, tile_size, write_png

if TYPE_CHECKING:
    from PIL.Image import Image

    from ..plugins.images import ImageSet


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
    return write_png(picture, path)


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
    width, height = tile_size(real.images.shape[2], real.images.shape[1])
    font = default_font()
    first = LABEL + MARGIN  # left edge of the real images
    second = first + width + 3 * MARGIN  # left edge of the generated ones
    top = MARGIN + (LINE if title else 0) + LINE
    right = second + shown * (width + GAP) - GAP + MARGIN
    size = (max(right, NARROWEST), top + len(chosen) * (height + GAP) - GAP + MARGIN)
    picture = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(picture)
    if title:
        pen.text((MARGIN, MARGIN - 4), fitting(title, size[0] - 2 * MARGIN, font), "black", font)
    pen.text((first, top - LINE), fitting(left, width + 3 * MARGIN - GAP, font), "black", font)
    pen.text((second, top - LINE), fitting("generated", size[0] - second, font), "black", font)
    named = {real.classes[int(real.labels[item.real])] for item in chosen}
    for number, item in enumerate(chosen):
        at = top + number * (height + GAP)
        label = fitting(real.classes[int(real.labels[item.real])], LABEL - GAP, font, named)
        pen.text((MARGIN, at + height // 2 - LINE // 2), label, "black", font)
        picture.paste(tile(real.images[item.real], (width, height)), (first, at))
        for column, index in enumerate(item.synthetic[:columns]):
            picture.paste(tile(synthetic.images[index], (width, height)), (second + column * (width + GAP), at))
    return picture
