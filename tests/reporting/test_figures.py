from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from benchbench.pictures.canvas import LETTER
from benchbench.pictures.gallery import GAP, LABEL, MARGIN, variants, variants_grid
from benchbench.plugins.images import ImageSet


def flat(labels, values, origins=(), side=16, classes=("cat", "dog", "ein sehr langer Name 数字")):
    """Return images of one grey value each."""
    grey = np.array(values, dtype=np.uint8)[:, None, None, None]
    images = np.broadcast_to(grey, (len(values), side, side, 3)).copy()
    return ImageSet(images, np.array(labels, dtype=np.int64), classes, origins)


REAL = flat([1, 0, 1, 2], [10, 20, 30, 40])


def test_rows_follow_the_sources_and_go_around_the_classes():
    sources = [2, 0, 0, 1]
    synthetic = flat([1, 1, 1, 0], [130, 110, 111, 120], [{"source": source} for source in sources])
    assert variants(REAL.labels, synthetic) == ([(0, 1, [3]), (1, 0, [1, 2]), (1, 2, [0])], True)


@pytest.mark.parametrize("origins", [(), [{"source": 0}, {}], [{"source": 0}, {"source": 4}], [{"source": "0"}] * 2])
def test_without_a_source_rows_follow_the_classes(origins):
    synthetic = flat([1, 0], [100, 101], origins)
    assert variants(REAL.labels, synthetic) == ([(0, 1, [1]), (1, 0, [0])], False)


def test_classes_without_a_real_image_are_last(tmp_path):
    synthetic = flat([0, 2, 0, 2], [100, 102, 101, 103])
    assert variants(REAL.labels[[3]], synthetic) == ([(2, 0, [1, 3]), (0, None, [0, 2])], False)
    path = variants_grid(REAL, synthetic, tmp_path / "a.png", chosen=np.array([3]))
    first = 2 * MARGIN + LABEL
    with Image.open(path) as opened:
        picture = opened.convert("L")
    across = [first, first + 64 + 3 * MARGIN]
    assert [picture.getpixel((x, picture.height - MARGIN - 1)) for x in across] == [255, 100]


def test_the_picture_has_each_image_in_its_place_and_the_same_bytes(tmp_path):
    synthetic = flat([1, 1, 1, 2], [110, 111, 112, 140], [{"source": 0}] * 3 + [{"source": 3}])
    path = variants_grid(REAL, synthetic, tmp_path / "figures" / "a.png", columns=2, title="a title " * 40)
    with Image.open(path) as opened:
        picture = opened.convert("L")
    bottom = picture.height - MARGIN - 1
    first = 2 * MARGIN + LABEL
    second = first + 64 + 3 * MARGIN
    above = bottom - 64 - GAP
    across = [first, second, second + 64 + GAP]
    assert [picture.getpixel((x, above)) for x in across] == [10, 110, 111]
    assert [picture.getpixel((x, bottom)) for x in across] == [40, 140, 255]
    assert picture.getpixel((first - 1, bottom)) == 255
    before = path.read_bytes()
    assert variants_grid(REAL, synthetic, path, columns=2, title="a title " * 40).read_bytes() == before
    assert variants_grid(REAL, synthetic, tmp_path / "b.png", columns=1).read_bytes() != before


def test_small_images_grow_by_whole_factors_and_large_ones_shrink(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (1, 24, 24, 3), dtype=np.uint8)
    small = ImageSet(pixels, np.array([0]), ("cat",))
    with Image.open(variants_grid(small, small, tmp_path / "a.png")) as opened:
        picture = np.asarray(opened.convert("RGB"))
    first = 2 * MARGIN + len("cat") * LETTER
    corner = picture[-MARGIN - 72 : -MARGIN, first : first + 72]
    assert (corner == pixels[0].repeat(3, 0).repeat(3, 1)).all()
    large = flat([0], [77], side=300)
    with Image.open(variants_grid(large, large, tmp_path / "b.png")) as opened:
        assert opened.height < 128 + 60


def test_at_most_so_many_rows(tmp_path):
    synthetic = flat([1, 0, 1, 2], [1, 2, 3, 4], [{"source": number} for number in range(4)])
    heights = []
    for rows in (1, 3, 10):
        with Image.open(variants_grid(REAL, synthetic, tmp_path / f"{rows}.png", rows=rows)) as opened:
            heights.append(opened.height)
    assert heights[1] - heights[0] == 2 * (64 + GAP)
    assert heights[2] - heights[1] == 64 + GAP


def test_nothing_to_show(tmp_path):
    empty = REAL.subset([])
    with pytest.raises(ValueError, match="at least one real and one generated image"):
        variants_grid(REAL, empty, tmp_path / "a.png")
