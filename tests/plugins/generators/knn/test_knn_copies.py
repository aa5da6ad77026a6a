import numpy as np
import pytest
from limits import small_disk

from benchbench_plugins.generators.knn import retrieve
from benchbench_plugins.generators.knn.retrieve import NEAR, TrainingImages


def write_part(folder, images):
    folder.mkdir()
    np.save(folder / retrieve.IMAGES, images)
    keys = [f"{folder.name} {place}" for place in range(len(images))]
    retrieve.write_lines(folder / retrieve.PICTURES, [{"key": key} for key in keys])
    retrieve.write_lines(folder / retrieve.HITS, [[[key, 0.5] for key in keys]])
    retrieve.write_lines(folder / retrieve.BROKEN, [])
    return folder


def test_parts_are_joined_in_their_order_also_an_empty_one(tmp_path):
    images = np.random.default_rng(0).integers(0, 255, (5, 8, 8, 3), dtype=np.uint8)
    parts = [write_part(tmp_path / str(at), images[at:to]) for at, to in ((0, 2), (2, 2), (3, 5))]
    retrieve._merge(parts, tmp_path, 8)
    np.testing.assert_array_equal(np.load(tmp_path / retrieve.IMAGES), images[[0, 1, 3, 4]])


def test_a_disk_without_room_for_the_joined_parts_is_an_error_and_no_crash(tmp_path):
    parts = [write_part(tmp_path / str(at), np.zeros((2, 512, 512, 3), np.uint8)) for at in range(3)]
    with small_disk(tmp_path / "disk", 3 * 2**20) as disk, pytest.raises(OSError, match="No space left on device"):
        retrieve._merge(parts, disk, 512)


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
