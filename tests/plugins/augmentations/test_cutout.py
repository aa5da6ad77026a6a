"""CutOut: size, place, colour, and torchvision's erasing driven with our draws."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from aug_info import make_batch, make_info, seeded
from torchvision.transforms.v2 import functional as reference

from benchbench.errors import UsageError
from benchbench_plugins.augmentations._mixing import box_mask, squares
from benchbench_plugins.augmentations.cutout import CutOut

BLACK = torch.zeros(1, dtype=torch.uint8)


def painted(plugin: CutOut, count: int = 2000, side: int = 16, seed: int = 0) -> torch.Tensor:
    """Return which pixels change, bool ``(count, side, side)``, on images that have the colour nowhere."""
    images = torch.full((count, 3, side, side), 7, dtype=torch.uint8)
    out, _ = plugin.apply(images, torch.zeros(count, dtype=torch.int64), seeded(seed), make_info(side=side))
    return (out != 7).all(1)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("plugin", [CutOut(), CutOut(size=5), CutOut(inside=False, eighth="area")])
def test_equals_torchvisions_erase_at_the_same_places(plugin, dtype):
    images, labels = make_batch(64, 24)
    images, info = images.to(dtype), make_info(side=24)
    out, same = plugin.apply(images, labels, seeded(3), info)
    edges = squares(plugin.side(24, 24), 64, 24, 24, plugin.inside, seeded(3)).clamp(0, 24)
    colour = torch.tensor([51.0, 127.5, 204.0])
    colour = (colour if dtype.is_floating_point else colour.round()).to(dtype)[:, None, None]
    for image, made, (top, bottom, left, right) in zip(images, out, edges.tolist(), strict=True):
        expected = reference.erase(image, top, left, bottom - top, right - left, colour)
        assert torch.equal(made, expected)
    assert same is labels
    assert out.dtype == dtype


def test_the_colour_is_zero_after_normalisation():
    images, labels = make_batch(8)
    info = make_info()
    out, _ = CutOut(size=15).apply(images.float(), labels, seeded(), info)
    normal = (out / 255 - torch.tensor(info.mean)[:, None, None]) / torch.tensor(info.std)[:, None, None]
    assert ((normal.abs() < 1e-6).all(1).sum((1, 2)) >= 225).all()
    whole, _ = CutOut(size=15).apply(images, labels, seeded(), info)
    assert whole[:, :, 8, 8].unique(dim=0).tolist() == [[51, 128, 204]]


@pytest.mark.parametrize(
    ("plugin", "side", "expected"),
    [
        (CutOut(), 96, 12),
        (CutOut(eighth="area"), 96, 34),
        (CutOut(), 32, 4),
        (CutOut(), 16, 2),
        (CutOut(), 7, 1),
        (CutOut(size=15), 16, 15),
        (CutOut(size=3, eighth="area"), 16, 3),
    ],
)
def test_the_side_of_the_square(plugin, side, expected):
    assert plugin.side(side, side) == expected
    areas = painted(plugin, count=5, side=side).sum((1, 2))
    assert areas.tolist() == [expected**2] * 5


@pytest.mark.parametrize("size", [16, 200])
def test_a_square_that_leaves_nothing_is_refused(size):
    words = f"^cutout:size={size}: leaves nothing of images of 16 px; make it smaller$"
    with pytest.raises(UsageError, match=words):
        painted(CutOut(size=size))
    with pytest.raises(UsageError, match=words):
        CutOut(size=size).check_resolution(16)
    CutOut(size=size).check_resolution(size + 1)


def test_every_place_inside_is_equally_likely():
    count, side, square = 12_000, 8, 3
    mask = painted(CutOut(size=square), count, side)
    assert (mask.sum((1, 2)) == square**2).all()
    first = mask.flatten(1).int().argmax(1)
    found = np.bincount(first.numpy(), minlength=side * side).reshape(side, side)
    places = (side - square + 1) ** 2
    assert (found[6:] == 0).all()
    assert (found[:, 6:] == 0).all()
    chance = 1 / places
    deviation = (found[:6, :6] - count * chance) / np.sqrt(count * chance * (1 - chance))
    assert np.abs(deviation).max() < 4.2  # 36 cells: chance 1 in 1,000 for one of them


def test_a_centre_anywhere_is_cut_off_at_the_border():
    count, side, square = 20_000, 8, 4
    areas = painted(CutOut(size=square, inside=False), count, side).sum((1, 2)).double()
    # A centre 0..7 with 2 px before it and 2 from it on leaves 2, 3, 4 (five times) or 3 px of a side.
    lengths = np.array([2, 3, 4, 4, 4, 4, 4, 3])
    assert abs(float(areas.mean()) - lengths.mean() ** 2) < 5 * float(areas.std()) / count**0.5
    assert areas.min() == 4
    assert areas.max() == 16


@pytest.mark.parametrize("chance", [0.0, 0.3, 1.0])
def test_rate(chance):
    count = 4000
    changed = painted(CutOut(probability=chance), count).flatten(1).any(1).sum()
    assert abs(int(changed) - chance * count) <= 4.5 * (count * chance * (1 - chance)) ** 0.5


def test_images_are_painted_apart():
    mask = painted(CutOut(), 200)
    assert len(mask.flatten(1).unique(dim=0)) > 100


def test_box_mask_equals_slices():
    edges = torch.tensor([[-3, 2, 1, 9], [0, 0, 0, 5], [2, 3, 4, 5], [0, 4, 0, 6]])
    for (top, bottom, left, right), mask in zip(edges.tolist(), box_mask(edges, 4, 6), strict=True):
        expected = torch.zeros(4, 6, dtype=torch.bool)
        expected[max(0, top) : bottom, max(0, left) : right] = True
        assert torch.equal(mask, expected)
