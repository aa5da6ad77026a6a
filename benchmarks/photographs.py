"""Make a folder of small photographs out of sample pictures, to try experiments on something that no model here knows.

    python benchmarks/photographs.py build/photographs

Crops of the sample pictures that come with scikit-learn and scikit-image (photographs and textures), and drawn shapes
before crops of them: ten classes, ``train/`` and ``test/``, 32 px. A picture is cut into upright strips, of which every
other one is for training, so that no pixel is in both parts. Sizes, places, light and colour are drawn from a fixed
seed: the same versions of the two packages give the same bytes.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from benchbench.plugins.context import derive_seed

SIDE, TRAIN, TEST = 32, 100, 60
#: Strips of a picture, and the first of each part.
STRIPS, FIRST = 6, {"train": 0, "test": 1}
#: Sides of a crop, as shares of the width of a strip.
SIZES = (0.5, 1.0)
#: Samples of scikit-image that come with the package itself.
PICTURES = ("brick", "cat", "coffee", "grass", "gravel", "rocket")
SHAPES: dict[str, int] = {"disc": 0, "square": 4, "triangle": 3}


def pictures() -> dict[str, Image.Image]:
    """Return the sample pictures by the name of their class, in colour."""
    import skimage.data
    from sklearn.datasets import load_sample_image

    found = {name: getattr(skimage.data, name)() for name in PICTURES}
    found["temple"] = load_sample_image("china.jpg")
    return {name: Image.fromarray(pixels).convert("RGB") for name, pixels in sorted(found.items())}


def crop(picture: Image.Image, part: str, rng: np.random.Generator) -> Image.Image:
    """Return a square of one part of a picture at ``SIDE`` px, some of them mirrored, in another light."""
    width = picture.width // STRIPS
    low, side = width * (FIRST[part] + 2 * rng.integers(STRIPS // 2)), round(width * rng.uniform(*SIZES))
    x, y = rng.integers(low, low + width - side + 1), rng.integers(0, picture.height - side + 1)
    square = picture.crop((x, y, x + side, y + side)).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    pixels = np.asarray(square, np.float64)[:, :: rng.choice((-1, 1))]
    pixels = (pixels - pixels.mean()) * rng.uniform(0.6, 1.2) + rng.uniform(80, 170) + rng.normal(0, 12, 3)
    return Image.fromarray((pixels + rng.normal(0, 6, pixels.shape)).clip(0, 255).astype(np.uint8))


def shape(corners: int, before: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Return a drawn shape, turned and in some colour, before an image."""
    middle, radius, turn = rng.uniform(10, 22, 2), rng.uniform(5, 10), rng.uniform(0, math.tau)
    colour = tuple(int(value) for value in rng.integers(0, 256, 3))
    draw = ImageDraw.Draw(before)
    if corners:
        angles = turn + math.tau / corners * np.arange(corners)
        points = middle + radius * np.stack([np.cos(angles), np.sin(angles)], 1)
        draw.polygon([(float(x), float(y)) for x, y in points], fill=colour)
    else:
        draw.ellipse((*(middle - radius), *(middle + radius)), fill=colour)
    return before


def makers() -> dict[str, Callable[[str, np.random.Generator], Image.Image]]:
    """Return by class what makes an image of a part."""
    known = pictures()

    def of_shape(corners: int) -> Callable[[str, np.random.Generator], Image.Image]:
        return lambda part, rng: shape(corners, crop(known[str(rng.choice(sorted(known)))], part, rng), rng)

    def of_picture(name: str) -> Callable[[str, np.random.Generator], Image.Image]:
        return lambda part, rng: crop(known[name], part, rng)

    drawn = {name: of_shape(corners) for name, corners in SHAPES.items()}
    return {**{name: of_picture(name) for name in known}, **drawn}


def write(folder: Path) -> None:
    """Write all images into a new folder."""
    for name, make in makers().items():
        for part, count in (("train", TRAIN), ("test", TEST)):
            rng = np.random.default_rng(derive_seed("photographs", name, part))
            (folder / part / name).mkdir(parents=True)
            for number in range(count):
                make(part, rng).save(folder / part / name / f"{number:03}.png")


def main() -> None:
    """Write the folder, or say why not."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="a new folder; one that is there is left as it is")
    folder: Path = parser.parse_args().folder
    if folder.exists():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as made:
        write(Path(made) / folder.name)
        (Path(made) / folder.name).rename(folder)


if __name__ == "__main__":
    sys.exit(main())
