"""The default augmentation: both ways of cropping against a plain loop, and its statistics."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from benchbench.errors import UsageError
from benchbench_plugins.augmentations.crops import crop, crop_gather
from benchbench_plugins.augmentations.default import CropFlip


def naive(images, corners, mirrored, padding):
    out = np.zeros_like(images)
    side = images.shape[-1]
    for b in range(len(images)):
        for row in range(side):
            for column in range(side):
                source = side - 1 - column if mirrored[b] else column
                y, x = row + corners[b, 0] - padding, source + corners[b, 1] - padding
                if 0 <= y < side and 0 <= x < side:
                    out[b, :, row, column] = images[b, :, y, x]
    return out


def crop_flips(images, padding, flip, rng):
    info = SimpleNamespace(flip_keeps_class=flip)
    return CropFlip(padding=padding).imagewise(images.shape, rng, info)


def random_crop_flip(images, padding, flip, rng):
    return crop_flips(images, padding, flip, rng)(images, slice(0, len(images)))


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_windows_and_gather_equal_a_plain_loop(dtype):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (9, 3, 7, 7)).astype(dtype)
    corners, mirrored = rng.integers(0, 5, (9, 2)), rng.random(9) < 0.5
    expected = naive(images, corners, mirrored, 2)
    for ours in (crop, crop_gather):
        made = ours(torch.from_numpy(images), torch.from_numpy(corners), torch.from_numpy(mirrored), 2)
        assert made.numpy().dtype == dtype
        assert np.array_equal(made.numpy(), expected)


@pytest.mark.parametrize("shape", [(0, 3, 8, 8), (11, 3, 8, 8), (7, 1, 6, 12), (5, 2, 4, 6), (3, 3, 5, 7)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.int64])
def test_odd_sizes_do_not_show(shape, dtype):
    rng = np.random.default_rng(1)
    images = torch.from_numpy(rng.integers(0, 256, shape).astype(dtype))
    corners, mirrored = rng.integers(0, 7, (shape[0], 2)), rng.random(shape[0]) < 0.5
    windows, gathered = (
        ours(images, torch.from_numpy(corners), torch.from_numpy(mirrored), 3) for ours in (crop, crop_gather)
    )
    assert torch.equal(windows, gathered)
    assert windows.numpy().dtype == dtype


def test_parts_of_any_size_are_the_whole_in_any_dtype():
    images = torch.randint(0, 256, (11, 3, 8, 8), dtype=torch.uint8)
    crops = crop_flips(images, 2, True, torch.Generator().manual_seed(0))
    whole = crops(images, slice(0, 11))
    for part in (slice(3, 4), slice(0, 11), slice(4, 10), slice(10, 11), slice(5, 5)):
        assert torch.equal(crops(images[part], part), whole[part])
        assert torch.equal(crops(images[part].float(), part), whole[part].float())


def test_any_memory_layout_is_cropped_and_the_input_left_alone():
    images = torch.randint(0, 256, (5, 3, 8, 8), dtype=torch.uint8)
    turned = images.contiguous(memory_format=torch.channels_last)
    before = images.clone()
    first = random_crop_flip(images, 2, True, torch.Generator().manual_seed(0))
    assert torch.equal(first, random_crop_flip(turned, 2, True, torch.Generator().manual_seed(0)))
    assert torch.equal(images, before)
    assert first.data_ptr() != images.data_ptr()


def test_offsets_and_flips_are_uniform():
    images = torch.zeros(4000, 1, 8, 8, dtype=torch.uint8)
    images[:, :, 3, 3] = 1  # an asymmetric spot: mirrored it stands at column 4
    out = random_crop_flip(images, 1, True, torch.Generator().manual_seed(0))
    places = out.nonzero()[:, 2:]
    counts = np.zeros((8, 8))
    for row, column in places.tolist():
        counts[row, column] += 1
    assert set(zip(*np.nonzero(counts), strict=True)) == {(r, c) for r in (2, 3, 4) for c in (2, 3, 4, 5)}
    # Columns 2..4 come from crops, 3..5 from mirrored ones: 1/18 at the ends of each row, 1/9 in the middle.
    expected = np.array([1, 2, 2, 1]) * 4000 / 18
    assert np.abs(counts[2:5, 2:6] - expected).max() < 5 * np.sqrt(4000 / 9)


def test_plugin_follows_the_dataset_and_the_seed():
    images = torch.arange(6 * 3 * 16 * 16, dtype=torch.int64).view(6, 3, 16, 16).remainder(251).to(torch.uint8)
    targets = torch.arange(6)
    keep, mirror = SimpleNamespace(flip_keeps_class=False), SimpleNamespace(flip_keeps_class=True)

    def run(plugin, info, seed=0):
        out, same = plugin.apply(images, targets, torch.Generator().manual_seed(seed), info)
        assert same is targets
        return out

    assert torch.equal(run(CropFlip(padding=0), keep), images)
    flipped = run(CropFlip(padding=0), mirror)
    turned = [torch.equal(flipped[i], images[i].flip(-1)) for i in range(6)]
    assert 0 < sum(turned) < 6
    assert all(torch.equal(flipped[i], images[i]) for i in range(6) if not turned[i])
    assert torch.equal(run(CropFlip(), mirror), run(CropFlip(padding=2), mirror))  # an eighth of 16 px
    assert not torch.equal(run(CropFlip(), mirror), run(CropFlip(), mirror, seed=1))
    # Without flips the offsets are the same draws.
    assert torch.equal(run(CropFlip(), keep)[turned.index(False)], run(CropFlip(), mirror)[turned.index(False)])
    assert torch.equal(images, images.clone())


def test_a_padding_that_shifts_images_out_of_sight_is_refused():
    images = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    info = SimpleNamespace(flip_keeps_class=True)
    CropFlip(padding=7).apply(images, torch.arange(2), torch.Generator(), info)
    words = "^default:padding=8: shifts images of 8 px out of sight; make it smaller$"
    with pytest.raises(UsageError, match=words):
        CropFlip(padding=8).apply(images, torch.arange(2), torch.Generator(), info)
    with pytest.raises(UsageError, match=words):
        CropFlip(padding=8).check_resolution(8)
    CropFlip(padding=8).check_resolution(9)
    CropFlip().check_resolution(1)
