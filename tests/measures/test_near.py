"""Nearly equal images: found where they are copies, in no two honest images, in every pair, whatever the order."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from benchbench.statistics import near as module
from benchbench.statistics.near import alike, near, thumbnails
from benchbench.statistics.overlap import LIKENESS
from benchbench_plugins.datasets.digits import indices, read


@pytest.fixture(scope="module")
def digits():
    images, labels = read()
    return {part: images[chosen] for part, chosen in indices(labels).items()}


def each(images, change):
    return np.stack([np.asarray(change(Image.fromarray(image))) for image in images])


def as_jpeg(image):
    file = io.BytesIO()
    image.save(file, "JPEG", quality=50)
    return Image.open(file)


def brushes(count: int, side: int, seed: int):
    """Coloured pictures of large strokes, no two alike."""
    small = np.random.default_rng(seed).integers(0, 256, (count, 5, 5, 3), dtype=np.uint8)
    return each(small, lambda image: image.resize((side, side), Image.Resampling.BICUBIC))


def test_no_test_digit_is_like_a_training_digit(digits):
    """The threshold must take no honest image for a copy; these are as alike as images of different people get."""
    ours, theirs = near(digits["train"], thumbnails(digits["test"]))
    assert (ours.sum(), theirs.sum()) == (0, 0)


CHANGES = {
    "jpeg": as_jpeg,
    "resized": lambda image: image.resize((image.width // 2, 24), Image.Resampling.BICUBIC),
    "less contrast": lambda image: image.point(lambda value: 25 + 0.8 * value),
    "noise": lambda image: Image.fromarray(
        (np.array(image, np.float32) + np.random.default_rng(0).normal(0, 5, (*image.size, 3)))
        .clip(0, 255)
        .astype(np.uint8)
    ),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("kind", ["digits", "brushes"])
def test_a_changed_copy_is_found_and_it_alone(change, kind, digits):
    images = digits["test"][:200] if kind == "digits" else brushes(200, 96, 1)
    ours, theirs = near(each(images[:150], change), thumbnails(images))
    assert ours.all()
    assert theirs.tolist() == [True] * 150 + [False] * 50


def test_mirrored_and_shifted_images_are_others():
    images = brushes(50, 32, 2)
    for other in (images[:, :, ::-1], np.roll(images, 4, axis=1)):
        assert not near(other, thumbnails(images))[0].any()


def test_every_pair_is_compared_whatever_the_blocks(monkeypatch):
    monkeypatch.setattr(module, "_BLOCK", 7)
    rng = np.random.default_rng(3)
    first, second = (rng.normal(size=(count, 192)) for count in (60, 45))
    second[:20] = first[rng.integers(0, 60, 20)] + rng.normal(size=(20, 192)) * rng.uniform(0, 0.2, (20, 1))
    first, second = ((v / np.linalg.norm(v, axis=1, keepdims=True)).astype(np.float32) for v in (first, second))
    pairs = first.astype(np.float64) @ second.T >= LIKENESS
    assert 0 < pairs.sum() < 20
    ours, theirs = alike(first, second)
    np.testing.assert_array_equal(ours, pairs.any(axis=1))
    np.testing.assert_array_equal(theirs, pairs.any(axis=0))


def test_parts_are_as_a_whole(monkeypatch):
    images = brushes(30, 32, 4)
    test = thumbnails(images[[3, 17, 29]])
    monkeypatch.setattr(module, "_AT_ONCE", 8)
    ours, theirs = near(images, test)
    assert np.flatnonzero(ours).tolist() == [3, 17, 29]
    assert theirs.all()


@pytest.mark.parametrize("side", [4, 8, 13, 96])
def test_a_thumbnail_is_the_mean_of_equal_parts(side):
    image = brushes(1, side, 5)
    fine = np.repeat(np.repeat(image[0].astype(np.float64), 8, axis=0), 8, axis=1)  # 8 * side is a multiple of 8
    means = fine.reshape(8, side, 8, side, 3).mean(axis=(1, 3)).ravel()
    means -= means.mean()
    np.testing.assert_allclose(thumbnails(image)[0], means / np.linalg.norm(means), atol=1e-6)


def test_flat_images_are_like_none_and_empty_sets_are_no_error():
    grey = np.full((3, 8, 8, 3), 200, np.uint8)
    grey[1, 0, 0] = 201
    assert not thumbnails(grey).any()
    assert not near(grey, thumbnails(grey))[0].any()
    assert [len(part) for part in near(grey[:0], thumbnails(grey))] == [0, 3]
    assert [len(part) for part in near(grey, thumbnails(grey[:0]))] == [3, 0]
