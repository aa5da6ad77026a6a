"""Random crops against torchvision's: the geometry exactly, the draws by their distribution."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms import functional as tv

from benchbench.models.clip.layout import OPENAI_MEAN, OPENAI_STD, Preprocessing
from benchbench.models.clip.pixels import crop_pixels, preprocess, random_boxes, random_crops

HOW = Preprocessing(32, 32, "bicubic", 1 / 255, OPENAI_MEAN, OPENAI_STD)


def noise(count, height, width):
    return np.random.default_rng(0).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("box", [(0, 0, 40, 48), (3, 5, 20, 30), (10, 0, 7, 9), (8, 8, 32, 32)])
@pytest.mark.parametrize("mirrored", [False, True])
def test_a_crop_is_torchvisions(box, mirrored):
    images = noise(2, 40, 48)
    found = crop_pixels(images, np.array([box, box]), np.array([mirrored, mirrored]), HOW)
    cut = [tv.resized_crop(Image.fromarray(image), *box, [32, 32], tv.InterpolationMode.BICUBIC) for image in images]
    expected = torch.stack([tv.to_tensor(tv.hflip(image) if mirrored else image) for image in cut])
    off = (found - tv.normalize(expected, OPENAI_MEAN, OPENAI_STD)).abs() * torch.tensor(OPENAI_STD)[:, None, None]
    assert off.max() * 255 < 2.01  # two libraries' arithmetic of bytes
    assert (off * 255 > 0.5).float().mean() < 0.01


def test_the_whole_image_is_what_the_clip_sees_anyway():
    images = noise(3, 64, 64)
    whole = crop_pixels(images, np.array([[0, 0, 64, 64]] * 3), np.zeros(3, bool), HOW)
    assert whole.shape == (3, 3, 32, 32)
    assert whole.numpy() == pytest.approx(preprocess(images, HOW).numpy(), abs=1e-5)


@pytest.mark.parametrize(("height", "width", "low"), [(32, 32, 0.08), (32, 32, 0.5), (40, 20, 0.5)])
def test_draws_are_distributed_as_torchvisions(height, width, low):
    count = 4000
    found = random_boxes(count, height, width, (low, 1.0), torch.Generator().manual_seed(0)).astype(float)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        image = torch.zeros(3, height, width)
        drawn = [RandomResizedCrop.get_params(image, [low, 1.0], [3 / 4, 4 / 3]) for _ in range(count)]
    expected = np.array(drawn, float)
    error = np.sqrt((found.var(0) + expected.var(0)) / count) + 1e-9
    assert (np.abs(found.mean(0) - expected.mean(0)) < 4.5 * error).all()
    assert found.std(0) == pytest.approx(expected.std(0), rel=0.08, abs=1e-6)
    areas = [np.quantile(np.prod(boxes[:, 2:], axis=1), [0.1, 0.5, 0.9]) for boxes in (found, expected)]
    assert areas[0] == pytest.approx(areas[1], rel=0.08)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 300), st.integers(1, 300), st.floats(0.01, 1.0), st.integers(0, 99))
def test_every_crop_lies_inside(height, width, low, seed):
    boxes = random_boxes(7, height, width, (low, 1.0), torch.Generator().manual_seed(seed))
    top, left, tall, wide = boxes.T
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2:] >= 1).all() or min(height, width) == 1
    assert (top + tall <= height).all()
    assert (left + wide <= width).all()


def test_the_generator_alone_decides_and_flips_happen_only_where_they_may():
    images = noise(64, 32, 32)
    images[:, :, 16:] = 0  # left and right differ: a mirrored image is dark on the left

    def crops(flip, seed):
        return random_crops(images, HOW, scale=(1.0, 1.0), flip=flip, rng=torch.Generator().manual_seed(seed))

    assert torch.equal(crops(True, 1), crops(True, 1))
    assert not torch.equal(crops(True, 1), crops(True, 2))
    dark_left = crops(True, 3)[..., :8].mean((1, 2, 3)) < crops(True, 3)[..., -8:].mean((1, 2, 3))
    assert 16 < int(dark_left.sum()) < 48
    straight = crops(False, 3)
    assert bool((straight[..., :8].mean((1, 2, 3)) > straight[..., -8:].mean((1, 2, 3))).all())
