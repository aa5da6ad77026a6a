"""Decoded arrays: made once, opened in milliseconds, never half there; linked into the store, not copied."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys

import numpy as np
import pytest

from benchbench.errors import UsageError
from benchbench.plugins.images import ImageSet
from benchbench_plugins.datasets import _cache
from benchbench_plugins.datasets._cache import Source, decoded

IMAGES = np.random.default_rng(0).integers(0, 256, (7, 4, 4, 3), dtype=np.uint8)
LABELS = np.array([0, 1, 2, 0, 1, 2, 0])


def never(scratch):
    raise AssertionError("the reader was called again")


def reader(scratch):
    """Two parts, one of them empty, in blocks of any size."""
    (scratch / "work").mkdir()
    return {
        "train": Source(LABELS.astype(np.uint8), 4, iter([IMAGES[:3], IMAGES[3:4], IMAGES[4:]])),
        "validation": Source(np.empty(0, np.int64), 4, ()),
    }


def test_the_second_open_reads_nothing(cache):
    first = decoded(["rule", 1, "abc"], reader)
    again = decoded(["rule", 1, "abc"], never)
    for found in (first, again):
        np.testing.assert_array_equal(found["train"].images, IMAGES)
        assert found["train"].labels.tolist() == LABELS.tolist()
        assert found["train"].labels.dtype == np.int64
        assert isinstance(found["train"].images, np.memmap)
        assert not found["train"].images.flags.writeable
        assert found["validation"].images.shape == (0, 4, 4, 3)
    (entry,) = entries(cache)
    assert sorted(str(item.relative_to(entry)) for item in entry.rglob("*.*")) == [
        "train/images.npy",
        "train/labels.npy",
        "validation/images.npy",
        "validation/labels.npy",
    ]


def test_another_rule_or_content_is_another_entry():
    decoded(["rule", 1, "abc"], reader)
    for question in (["rule", 2, "abc"], ["rule", 1, "abd"], ["role", 1, "abc"]):
        with pytest.raises(AssertionError, match="called again"):
            decoded(question, never)


def test_a_kill_or_a_refusal_leaves_nothing(cache):
    def dies(scratch):
        (scratch / "work").write_bytes(b"x")

        def blocks():
            yield IMAGES[:3]
            raise KeyboardInterrupt

        return {"train": Source(LABELS, 4, blocks())}

    def refuses(scratch):
        (scratch / "work").write_bytes(b"x")
        raise UsageError("labels out of range")

    with pytest.raises(KeyboardInterrupt):
        decoded(["q"], dies)
    with pytest.raises(UsageError):
        decoded(["q"], refuses)
    assert not list((cache / "decoded").iterdir())
    name = "0" * 64
    (cache / "decoded" / f".tmp-{name}").mkdir()
    assert decoded(["q"], reader)["train"].labels.tolist() == LABELS.tolist()


def entries(cache):
    """Return what lies in the cache but the sums of its entries."""
    return [item for item in (cache / "decoded").iterdir() if item.suffix != ".sums"]


KILLED = """
import os, signal
import numpy as np
from benchbench_plugins.datasets._cache import Source, decoded

def blocks():
    yield np.zeros((3, 4, 4, 3), np.uint8)
    os.kill(os.getpid(), signal.SIGKILL)

decoded(["q"], lambda scratch: {"train": Source(np.zeros(7, np.int64), 4, blocks())})
"""


def test_a_killed_process_leaves_no_entry_and_the_next_one_no_rest(cache):
    assert subprocess.run([sys.executable, "-c", KILLED], check=False).returncode == -signal.SIGKILL
    assert any(item.name.startswith(".tmp-") for item in (cache / "decoded").iterdir())
    np.testing.assert_array_equal(decoded(["q"], reader)["train"].images, IMAGES)
    (entry,) = entries(cache)
    assert len(entry.name) == 64


def test_what_a_kill_left_is_cleared_by_the_next_attempt(cache):
    decoded(["q"], reader)
    (entry,) = entries(cache)
    os.rename(entry, entry.with_name(f".tmp-{entry.name}"))  # killed before the last step
    (cache / "decoded" / f".tmp-{entry.name}" / "train" / "images.npy").write_bytes(b"half")
    np.testing.assert_array_equal(decoded(["q"], reader)["train"].images, IMAGES)
    assert entries(cache) == [entry]


@pytest.mark.parametrize("damage", ["cut", "gone", "labels"])
def test_a_damaged_entry_is_made_again(cache, damage):
    decoded(["q"], reader)
    (entry,) = entries(cache)
    images = entry / "train" / "images.npy"
    if damage == "cut":
        os.truncate(images, 200)
    elif damage == "gone":
        images.unlink()
    else:
        np.save(entry / "train" / "labels.npy", LABELS[:5])
    np.testing.assert_array_equal(decoded(["q"], reader)["train"].images, IMAGES)
    decoded(["q"], never)


def test_a_flipped_bit_is_found_before_results_rest_on_it(cache):
    """The store links the array: damage of one is damage of both, and making the step again must not link it again."""
    decoded(["q"], reader)
    (entry,) = entries(cache)
    images = entry / "train" / "images.npy"
    content = bytearray(images.read_bytes())
    content[-1] ^= 1
    images.write_bytes(bytes(content))
    np.testing.assert_array_equal(decoded(["q"], reader, checked=True)["train"].images, IMAGES)
    decoded(["q"], never, checked=True)


def test_a_cache_that_cannot_be_written_costs_time_only(cache, monkeypatch):
    cache.rmdir()
    cache.write_bytes(b"a file in the way")
    for _ in range(2):
        np.testing.assert_array_equal(decoded(["q"], reader)["train"].images, IMAGES)


@pytest.mark.parametrize(
    "error", [(28, "No space left on device"), (27, "File too large"), ("9 requested and 3 written",)]
)
def test_a_full_disk_is_done_without(cache, monkeypatch, error):
    def full(file, source):
        raise OSError(*error)

    monkeypatch.setattr(_cache, "_write", full)
    np.testing.assert_array_equal(decoded(["q"], reader)["train"].images, IMAGES)
    assert not list((cache / "decoded").iterdir())


@pytest.mark.parametrize("blocks", [[IMAGES[:6]], [IMAGES, IMAGES[:1]], [IMAGES.astype(float)], [IMAGES[:, :2]]])
def test_a_reader_that_breaks_its_promise(cache, blocks):
    with pytest.raises(ValueError, match="a reader gave"):
        decoded(["q"], lambda scratch: {"train": Source(LABELS, 4, blocks)})
    assert not list((cache / "decoded").iterdir())


@pytest.fixture
def whole():
    part = decoded(["q"], reader)["train"]
    return ImageSet(part.images, part.labels, ("a", "b", "c"))


def same_file(one, other):
    return os.path.samefile(one, other)


def test_a_whole_array_is_linked_into_the_store(tmp_path, cache, whole):
    whole.save(tmp_path / "artifact")
    source = whole.images.filename
    assert same_file(source, tmp_path / "artifact" / "images.npy")
    again = ImageSet.load(tmp_path / "artifact")
    np.testing.assert_array_equal(again.images, IMAGES)
    # What is written over a link later leaves the other name alone.
    whole.with_images(255 - IMAGES).save(tmp_path / "artifact")
    assert not same_file(source, tmp_path / "artifact" / "images.npy")
    np.testing.assert_array_equal(np.load(source), IMAGES)
    np.testing.assert_array_equal(ImageSet.load(tmp_path / "artifact").images, 255 - IMAGES)


def test_a_set_saved_onto_itself_stays(tmp_path, whole):
    whole.save(tmp_path / "a")
    ImageSet.load(tmp_path / "a").save(tmp_path / "a")
    np.testing.assert_array_equal(ImageSet.load(tmp_path / "a").images, IMAGES)


@pytest.mark.parametrize(
    "view",
    [
        lambda images: images[:3],
        lambda images: images[::-1],
        lambda images: images[:, ::-1],
        lambda images: images.transpose(0, 2, 1, 3),
        lambda images: images[np.arange(7)],
        lambda images: np.array(images),
    ],
)
def test_what_is_not_the_whole_file_is_written(tmp_path, whole, view):
    images = view(whole.images)
    ImageSet(images, whole.labels[: len(images)], whole.classes).save(tmp_path / "artifact")
    assert not same_file(whole.images.filename, tmp_path / "artifact" / "images.npy")
    np.testing.assert_array_equal(ImageSet.load(tmp_path / "artifact").images, images)


def test_without_links_the_images_are_copied(tmp_path, whole, monkeypatch):
    def refuse(*arguments):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    whole.save(tmp_path / "artifact")
    assert not same_file(whole.images.filename, tmp_path / "artifact" / "images.npy")
    np.testing.assert_array_equal(ImageSet.load(tmp_path / "artifact").images, IMAGES)


def test_images_that_may_still_change_are_copied(tmp_path, whole):
    images = np.load(whole.images.filename, mmap_mode="c")
    ImageSet(images, whole.labels, whole.classes).save(tmp_path / "artifact")
    assert not same_file(whole.images.filename, tmp_path / "artifact" / "images.npy")
    assert stat.S_ISREG((tmp_path / "artifact" / "images.npy").stat().st_mode)
