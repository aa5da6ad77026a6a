"""Chunks of generated images: written once, whole after a kill at any moment, and one set in the end."""

from __future__ import annotations

import errno
import os
import shutil
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchbench.errors import BenchError
from benchbench.plugins.images import ImageSet
from benchbench.running.chunks import GrowingSet
from benchbench.statistics.overlap import DIGESTS, digests


def part(first, count, side=4, classes=("one", "two")):
    images = np.arange(first, first + count, dtype=np.uint8)[:, None, None, None] * np.ones(
        (1, side, side, 3), np.uint8
    )
    origins = [
        {"seed": number, **({"even": True} if number % 2 == 0 else {})} for number in range(first, first + count)
    ]
    return ImageSet(images, np.arange(first, first + count) % len(classes), classes, origins)


def finished(made, folder):
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    assert made.finish(folder) == len(made)
    return ImageSet.load(folder)


def same(one, other):
    np.testing.assert_array_equal(one.images, other.images)
    np.testing.assert_array_equal(one.labels, other.labels)
    assert one.classes == other.classes
    assert list(one.origins) == list(other.origins)


@settings(max_examples=30, deadline=None)
@given(sizes=st.lists(st.integers(0, 4), min_size=1, max_size=5), cut=st.integers(0, 5), data=st.data())
def test_whatever_happens_in_between_the_set_is_that_of_its_chunks(tmp_path_factory, sizes, cut, data):
    folder = tmp_path_factory.mktemp("growing")
    starts = np.cumsum([0, *sizes])
    parts = [part(int(start), size) for start, size in zip(starts, sizes, strict=False)]
    made = GrowingSet(folder / "scratch")
    for each in parts:
        made.add(each)
        if data.draw(st.booleans(), "killed"):  # a kill leaves pixels without a chunk, or a file being written
            with made.pixels.open("ab") as stream:
                stream.write(b"half of an image")
            made = GrowingSet(folder / "scratch")
    assert made.finished == len(parts)
    cut = min(cut, len(parts))
    made.cut(cut)
    assert GrowingSet(folder / "scratch").finished == cut
    for each in parts[cut:]:
        made.add(each)
    same(finished(made, folder / "set"), ImageSet.concatenate(parts))
    np.testing.assert_array_equal(np.load(folder / "set" / DIGESTS), digests(ImageSet.concatenate(parts)))


def test_images_are_written_once_and_are_the_file_that_numpy_writes(tmp_path):
    made = GrowingSet(tmp_path / "scratch")
    made.add(part(0, 3))
    made.add(part(3, 2))
    opened = finished(made, tmp_path / "set")
    assert os.path.samefile(made.pixels, tmp_path / "set" / "images.npy")
    np.save(tmp_path / "numpy.npy", np.asarray(opened.images))
    assert (tmp_path / "numpy.npy").read_bytes() == (tmp_path / "set" / "images.npy").read_bytes()
    same(finished(GrowingSet(tmp_path / "scratch"), tmp_path / "set"), opened)  # killed before it was published


def test_a_file_system_without_links_is_done_with(tmp_path, monkeypatch):
    def refuse(*paths):
        raise OSError(errno.EPERM, "no links")

    monkeypatch.setattr(os, "link", refuse)
    made = GrowingSet(tmp_path / "scratch")
    made.add(part(0, 3))
    same(finished(made, tmp_path / "set"), part(0, 3))


def test_chunks_of_other_images_are_refused(tmp_path):
    made = GrowingSet(tmp_path / "scratch")
    made.add(part(0, 3))
    for other in (part(3, 1, side=5), part(3, 1, classes=("one", "three"))):
        with pytest.raises(ValueError, match=r"chunk 1 has images .* unlike the first"):
            made.add(other)
    with pytest.raises(ValueError, match="at least one set"):
        GrowingSet(tmp_path / "none").finish(tmp_path)


def test_origins_of_all_chunks_are_never_in_memory_at_once(tmp_path, monkeypatch):
    made = GrowingSet(tmp_path / "scratch")
    for first in range(30):
        one = part(first, 1)
        made.add(ImageSet(one.images, one.labels, one.classes, [{"prompt": os.urandom(100_000).hex()}]))
    monkeypatch.setattr("benchbench.plugins.origins.ROWS", 1)
    tracemalloc.start()
    try:
        assert len(finished(made, tmp_path / "set").origins) == 30
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 10 * 200_000


def test_images_that_a_generator_keeps_in_its_scratch_folder_are_its_own(tmp_path):
    made, own = GrowingSet(tmp_path / "scratch"), part(0, 6)
    (tmp_path / "scratch").mkdir()
    np.save(tmp_path / "scratch" / "images.npy", own.images)
    mapped = np.load(tmp_path / "scratch" / "images.npy", mmap_mode="r")
    for first in (3, 0):
        made.add(ImageSet(mapped[first : first + 3], own.labels[:3], own.classes))
    np.testing.assert_array_equal(finished(made, tmp_path / "set").images, own.images[[3, 4, 5, 0, 1, 2]])


@pytest.mark.parametrize("left", [None, 150])
def test_pixels_that_somebody_removed_are_not_filled_with_black(tmp_path, left):
    made = GrowingSet(tmp_path / "scratch")
    made.add(part(0, 3))
    if left is None:
        made.pixels.unlink()
    else:
        os.truncate(made.pixels, left)
    (tmp_path / "set").mkdir()
    for use in (lambda: made.add(part(3, 2)), lambda: made.finish(tmp_path / "set")):
        with pytest.raises(BenchError, match=r"\.npy: was removed or cut while the step ran; run again"):
            use()
    assert GrowingSet(tmp_path / "scratch").finished == 0


def test_a_full_disk_costs_the_chunk_that_was_being_written(tmp_path, monkeypatch):
    made = GrowingSet(tmp_path / "scratch")
    made.add(part(0, 3))

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("benchbench.running.chunks.flush", full)
        with pytest.raises(OSError, match="No space"):
            made.add(part(3, 2))
    again = GrowingSet(tmp_path / "scratch")
    assert (again.finished, len(again)) == (1, 3)
    again.add(part(3, 2))
    same(finished(again, tmp_path / "set"), part(0, 5))
