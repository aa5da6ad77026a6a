"""Some images of a set: the same copy in memory and on disk, and what is read does not stay in memory."""

from __future__ import annotations

import os

import numpy as np
import pytest

from benchbench.files import drop_pages
from benchbench.plugins import ImageSet
from benchbench.running import parts
from benchbench.running.parts import part_of


def some(count: int, folder, side: int = 6) -> ImageSet:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, side, side, 3), dtype=np.uint8)
    origins = [{"seed": n} for n in range(count)]
    ImageSet(images, np.arange(count) % 3, ("a", "b", "c"), origins).save(folder)
    return ImageSet.load(folder)


@pytest.mark.parametrize("room", [2 * 25 * 108 - 1, 2 * 25 * 108])
@pytest.mark.parametrize("at_once", [1, 7, 256])
def test_a_part_is_the_subset_in_memory_or_on_disk(tmp_path, monkeypatch, room, at_once):
    monkeypatch.setattr(parts, "training_room", lambda device: room)
    monkeypatch.setattr(parts, "_IMAGES", at_once)
    given = some(60, tmp_path / "set")
    chosen = np.random.default_rng(1).permutation(60)[:25]
    part, wanted = part_of(given, chosen, tmp_path / "scratch"), given.subset(chosen)
    assert isinstance(part.images, np.memmap) == (room < 2 * 25 * 108)
    assert np.array_equal(part.images, wanted.images)
    assert np.array_equal(part.labels, wanted.labels)
    assert list(part.origins) == list(wanted.origins)
    assert not (tmp_path / "scratch/.part-of-set.npy").exists()
    part.save(tmp_path / "again")
    assert np.array_equal(ImageSet.load(tmp_path / "again").images, wanted.images)


@pytest.mark.parametrize("room", [0, 1 << 30])
def test_two_parts_live_side_by_side_and_a_part_may_be_empty(tmp_path, monkeypatch, room):
    monkeypatch.setattr(parts, "training_room", lambda device: room)
    given = some(20, tmp_path / "set")
    one, other = (part_of(given, np.arange(start, 20, 2), tmp_path / "scratch") for start in (0, 1))
    assert np.array_equal(one.images, given.images[::2])
    assert np.array_equal(other.images, given.images[1::2])
    assert part_of(given, np.arange(0), tmp_path / "scratch").images.shape == (0, 6, 6, 3)


def test_what_a_full_disk_cut_short_is_gone(tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "training_room", lambda device: 0)
    given = some(20, tmp_path / "set")
    with pytest.raises(IndexError):  # as any error while it is written
        part_of(given, np.array([3, 99]), tmp_path / "scratch")
    assert list((tmp_path / "scratch").iterdir()) == []


def resident_kib() -> int:
    with open("/proc/self/statm") as stream:
        return int(stream.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="reads /proc")
def test_dropped_pages_are_no_memory_and_are_read_again(tmp_path):
    np.save(tmp_path / "many.npy", np.arange(8 << 20, dtype=np.uint64))  # 64 MiB
    held = np.load(tmp_path / "many.npy", mmap_mode="r")
    view = np.asarray(held)[1 << 20 :]
    total, before = int(held.sum()), resident_kib()
    drop_pages(view)
    assert before - resident_kib() > 60_000
    assert int(held.sum()) == total


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="reads /proc")
def test_a_part_leaves_no_pages_of_its_set_in_memory(tmp_path):
    images = np.zeros((1000, 128, 128, 3), np.uint8)  # 47 MiB
    ImageSet(images, np.zeros(1000, np.int64), ("a",)).save(tmp_path)
    given, before = ImageSet.load(tmp_path), resident_kib()
    part = part_of(given, np.arange(0, 1000, 2), tmp_path / "scratch")
    assert resident_kib() - before < part.images.nbytes // 1024 + 10_000


@pytest.mark.parametrize("mode", ["c", "r+"])
def test_changes_to_a_map_are_not_dropped(tmp_path, mode):
    np.save(tmp_path / "few.npy", np.zeros(5000, np.uint8))
    changed = np.load(tmp_path / "few.npy", mmap_mode=mode)
    changed[:] = 7
    view = np.asarray(changed)[10:]
    drop_pages(view)
    drop_pages(np.zeros(3))
    assert view.min() == changed.min() == 7
