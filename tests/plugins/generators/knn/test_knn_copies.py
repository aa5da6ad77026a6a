import numpy as np
import pytest

from benchbench_plugins.generators.knn.retrieve import NEAR, TrainingImages


@pytest.mark.parametrize("side", [1, 3, 8, 13])
def test_copies_are_those_that_brute_force_finds(side):
    rng = np.random.default_rng(side)
    train = rng.integers(0, 256, (300, side, side, 3), dtype=np.uint8)
    train[:150] = train[:150] // 32 + 100  # many alike
    noise = rng.integers(-6, 7, (60, side, side, 3)) * rng.random((60, 1, 1, 1))
    near = np.clip(train[rng.integers(0, 300, 60)] + noise, 0, 255).astype(np.uint8)
    images = np.concatenate([near, train[:3], rng.integers(0, 256, (20, side, side, 3), dtype=np.uint8)])
    differences = np.abs(images[:, None].astype(int) - train[None].astype(int)).mean(axis=(2, 3, 4))
    expected = (differences < NEAR).any(axis=1)
    known = TrainingImages(train)
    assert [image in known for image in images] == expected.tolist()
    assert expected[60:63].all()
    assert 0 < expected.sum() < len(images)


def test_nothing_is_among_no_images():
    assert np.zeros((4, 4, 3), np.uint8) not in TrainingImages(np.zeros((0, 4, 4, 3), np.uint8))
