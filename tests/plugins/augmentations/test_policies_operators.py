"""Every operator of the policies against torchvision's, alone and in random sequences."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from policy_reference import one_by_one, pictures

from benchbench_plugins.augmentations import _operators
from benchbench_plugins.augmentations._plan import OPERATORS, PIXELS, Plan, as_uint8, perform, pieces

FACTORS = (-0.9, -0.81, -0.27, -0.1, 0.0, 0.06, 0.27, 0.63, 0.9)
MAGNITUDES = {
    "Identity": (0.0,),
    "ShearX": (-0.3, -0.1, -0.09, 0.0, 0.05, 0.1, 0.17, 0.3),
    "ShearY": (-0.3, -0.1, -0.09, 0.0, 0.05, 0.1, 0.17, 0.3),
    "TranslateX": (-100.0, -14.9, -7.0, -0.9, 0.0, 1.0, 4.35, 14.5, 43.5),
    "TranslateY": (-100.0, -14.9, -7.0, -0.9, 0.0, 1.0, 4.35, 14.5, 43.5),
    "Rotate": (-30.0, -9.0, -1.0, 0.0, 3.33, 9.0, 26.7, 30.0, 45.0, 90.0),
    "Brightness": FACTORS,
    "Color": FACTORS,
    "Contrast": FACTORS,
    "Sharpness": FACTORS,
    "Posterize": (0.0, 1.0, 3.0, 4.0, 7.0, 8.0),
    "Solarize": (0.0, 0.5, 76.5, 128.0, 170.0, 178.5, 254.5, 255.0),
    "AutoContrast": (0.0,),
    "Equalize": (0.0,),
    "Invert": (0.0,),
}
GEOMETRIC = ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate")
SIZES = ((16, 16), (32, 32), (33, 33), (96, 96), (20, 31))


def uniform(name, magnitudes):
    values = np.array(magnitudes, np.float32).astype(np.float64)[:, None]
    return Plan(np.full(values.shape, OPERATORS.index(name)), values)


def batch(name, height, width):
    values = np.repeat(MAGNITUDES[name], 3)
    return pictures(len(values), height, width, seed=height), uniform(name, values)


def test_all_operators_are_tested():
    assert tuple(MAGNITUDES) == OPERATORS


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("name", [name for name in OPERATORS if name not in GEOMETRIC])
def test_colour_operators_equal_torchvision(name, height, width):
    images, plan = batch(name, height, width)
    before = images.clone()
    ours = perform(images, plan, "nearest")
    assert ours.dtype == torch.uint8
    assert torch.equal(ours, one_by_one(images, plan.operators, plan.magnitudes, "nearest"))
    assert torch.equal(images, before)


def sources(name, magnitudes, height, width):
    """Source coordinates ``(n, H, W)`` of all pixels in float64, rows and columns."""
    maps = getattr(_operators, {"ShearX": "shear_x", "ShearY": "shear_y", "Rotate": "rotate"}[name])(
        magnitudes, height, width
    )
    y, x = np.meshgrid(np.arange(height) - (height - 1) / 2, np.arange(width) - (width - 1) / 2, indexing="ij")
    moved = np.einsum("nij,jhw->nihw", maps, np.stack([x, y, np.ones_like(x)]))
    return moved[:, 1] + (height - 1) / 2, moved[:, 0] + (width - 1) / 2


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("name", GEOMETRIC)
def test_nearest_equals_torchvision(name, height, width):
    """Equal, except that a source half-way between two pixels may go to either.

    The float32 matrix product that places the sources is the processor's own; where it rounds one way for a batch and
    another way for a single image, only pixels within a thousandth of a tie may differ, each in all three channels.
    """
    images, plan = batch(name, height, width)
    ours = perform(images, plan, "nearest")
    different = (ours != one_by_one(images, plan.operators, plan.magnitudes, "nearest")).any(1).numpy()
    if name.startswith("Translate"):
        assert not different.any()
        return
    rows, columns = sources(name, plan.magnitudes[:, 0], height, width)
    ties = np.minimum(np.abs(rows % 1 - 0.5), np.abs(columns % 1 - 0.5)) < 1e-3
    assert not (different & ~ties).any()
    assert different.mean() < 0.01


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("name", GEOMETRIC)
def test_bilinear_equals_torchvision(name, height, width):
    """Equal, except that a value within float32's error of ``k + 0.5`` may round to either: 1 in 1000, by 1."""
    images, plan = batch(name, height, width)
    ours = perform(images, plan, "bilinear")
    theirs = one_by_one(images, plan.operators, plan.magnitudes, "bilinear")
    difference = (ours.int() - theirs.int()).abs()
    assert difference.max() <= 1
    assert (difference > 0).float().mean() <= 1e-3


def test_directions():
    image = torch.zeros(1, 3, 5, 5, dtype=torch.uint8)
    image[..., 1, 2] = 200

    def spot(name, magnitude):
        return perform(image, uniform(name, [magnitude]), "nearest")[0, 0].nonzero().tolist()

    assert spot("TranslateX", 2.9) == [[1, 4]]
    assert spot("TranslateY", -1.0) == [[0, 2]]
    assert spot("TranslateY", 9.0) == []
    assert spot("Rotate", 90.0) == [[2, 1]]  # counter-clockwise: from above the middle to its left
    image = torch.full((1, 3, 5, 5), 9, dtype=torch.uint8)
    kept = (perform(image, uniform("ShearX", [1.0]), "nearest")[0, 0] > 0).sum(1).tolist()
    assert kept == sorted(kept, reverse=True)  # rows move further the lower they are; black comes in
    assert kept[0] > kept[-1]


def test_images_of_one_and_two_pixels():
    for side in (1, 2):
        images = pictures(6, side)
        for name in OPERATORS:
            plan = uniform(name, np.repeat(MAGNITUDES[name][-1], 6))
            expected = one_by_one(images, plan.operators, plan.magnitudes, "nearest")
            assert torch.equal(perform(images, plan, "nearest"), expected), (name, side)


@settings(max_examples=40, deadline=None)
@given(data=st.data(), height=st.integers(3, 24), width=st.integers(3, 24), seed=st.integers(0, 999))
def test_random_sequences_equal_torchvision(data, height, width, seed):
    """Whatever operators meet in a batch, each image gets its own; geometry only where nothing can tie."""
    names = st.sampled_from([n for n in OPERATORS if n not in ("ShearX", "ShearY", "Rotate")])
    links = data.draw(st.integers(1, 3))
    rows = data.draw(st.lists(st.lists(names, min_size=links, max_size=links), min_size=1, max_size=12))
    magnitudes = [[data.draw(st.sampled_from(MAGNITUDES[name])) for name in row] for row in rows]
    plan = Plan(np.array([[OPERATORS.index(name) for name in row] for row in rows]), np.array(magnitudes))
    images = pictures(len(rows), height, width, seed)
    expected = one_by_one(images, plan.operators, plan.magnitudes, "nearest")
    assert torch.equal(perform(images, plan, "nearest"), expected)


def test_strided_images():
    images = pictures(5, 12).to(memory_format=torch.channels_last)
    for name in OPERATORS:
        plan = uniform(name, np.repeat(MAGNITUDES[name][0], 5))
        assert torch.equal(perform(images, plan, "nearest"), perform(images.contiguous(), plan, "nearest")), name


def test_pieces_cover_a_group_once():
    images = torch.zeros(40, 3, 96, 96, dtype=torch.uint8)
    parts = list(pieces(images, 3, 40))
    assert [at for part in parts for at in range(part.start, part.stop)] == list(range(3, 40))
    assert all((part.stop - part.start) * 96 * 96 <= PIXELS for part in parts)
    assert list(pieces(images, 7, 7)) == []
    assert len(list(pieces(torch.zeros(2, 3, 600, 600), 0, 2))) == 2  # one image is the least


def test_float_values_are_rounded_into_range():
    values = torch.tensor([-0.4, 0.4, 0.6, 99.49, 254.6, 255.0])
    assert as_uint8(values).tolist() == [0, 0, 1, 99, 255, 255]
    kept = torch.tensor([1, 2], dtype=torch.uint8)
    assert as_uint8(kept) is kept
