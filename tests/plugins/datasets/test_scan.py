"""What was read once is remembered as long as it is true, and a cache never decides anything."""

from __future__ import annotations

import json
import os
import shutil
import time

import pytest
from PIL import Image

from benchbench.errors import UsageError
from benchbench_plugins.datasets import _scan
from benchbench_plugins.datasets.folder import Folder

PETS = {"train/cat": 3, "train/dog": 3, "test/cat": 2}


@pytest.fixture
def reads(monkeypatch):
    """Return the names of the files that were decoded by the scan since the list was last cleared."""
    names: list[str] = []
    inspect, read = _scan.inspect, _scan.read
    monkeypatch.setattr(_scan, "inspect", lambda path: (names.append(path.name), inspect(path))[1])
    monkeypatch.setattr(_scan, "read", lambda path, side: (names.append("moments"), read(path, side))[1])
    return names


def test_a_folder_is_read_once(tree, reads):
    dataset = Folder(path=str(tree(PETS)))
    first = dataset.info()
    assert len(reads) == 8 + 6
    reads.clear()
    assert dataset.info() == first
    assert reads == []


def test_only_what_changed_is_read_again(tree, reads, draw):
    root = tree(PETS)
    dataset = Folder(path=str(root))
    before = dataset.info()
    reads.clear()
    draw(root / "train/cat/0.png", seed=99)
    (root / "train/dog/2.png").unlink()
    draw(root / "test/cat/new.png", seed=98)
    after = dataset.info()
    assert sorted(name for name in reads if name != "moments") == ["0.png", "new.png"]
    assert after.counts == {"train": 5, "validation": 0, "test": 3}
    assert after.mean != before.mean


def test_a_file_of_the_same_size_with_a_new_time_is_read_again(tree, reads):
    root = tree(PETS)
    dataset = Folder(path=str(root))
    dataset.info()
    reads.clear()
    os.utime(root / "train/cat/1.png", ns=(1, 1))
    dataset.info()
    assert reads == ["1.png"]


def test_other_images_of_equal_size_and_times_are_seen(tmp_path):
    """As BMP files are, and files from an archive with fixed times."""
    root = tmp_path / "pets"
    for kind, shade in (("cat", 10), ("dog", 20)):
        for part in ("train", "test"):
            (root / part / kind).mkdir(parents=True)
            for number in range(2):
                Image.new("RGB", (16, 16), (shade,) * 3).save(root / part / kind / f"{number}.bmp")
    dataset = Folder(path=str(root))
    before = dataset.info()
    for path in root.rglob("*.bmp"):
        status = path.stat()
        Image.new("RGB", (16, 16), (200,) * 3).save(path)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        assert path.stat().st_size == status.st_size
    assert dataset.info().mean != before.mean


def test_a_folder_in_which_nothing_changed_is_compared_and_no_more(tree, reads, cache, monkeypatch):
    """Also with a file that is dated in the future."""
    root = tree(PETS)
    os.utime(root / "train/cat/1.png", (4_000_000_000, 4_000_000_000))
    later = time.time_ns() + 3_000_000_000  # the change times are those of a moment ago
    monkeypatch.setattr(_scan.time, "time_ns", lambda: later)
    dataset = Folder(path=str(root))
    first = dataset.info()
    for other in ("scans", "moments"):
        shutil.rmtree(cache / other)
    reads.clear()
    assert dataset.info() == first
    assert reads == []
    later = time.time_ns() + 6_000_000_000
    (root / "test/cat/0.png").chmod(0o600)
    assert dataset.info() == first
    assert len(reads) == 8 + 6
    assert len(list((cache / "surveys").rglob("*.json"))) == 1


def test_what_was_read_of_another_folder_in_its_place_is_not_remembered(tree, cache, tmp_path, monkeypatch):
    """No signature of a file shows that the folder was away while its images were read."""
    root = tree(PETS)
    dataset, right = Folder(path=str(root)), tmp_path / "right"
    first, inspect = dataset.info(), _scan.inspect
    shutil.rmtree(cache)
    (other := tmp_path / "other").mkdir()

    def swapped(path):
        if path.name == "0.png" and path.parent.name == "cat" and path.parent.parent.name == "train":
            root.rename(right)
            shutil.copytree(right, root)
            Image.new("RGB", (16, 16)).save(path)
            facts = inspect(path)
            root.rename(other / "away")
            right.rename(root)
            return facts
        return inspect(path)

    with monkeypatch.context() as patched:
        patched.setattr(_scan, "in_threads", lambda function, items: map(function, items))
        patched.setattr(_scan, "inspect", swapped)
        with pytest.raises(UsageError, match="its files changed while they were read; run again when they are"):
            dataset.info()
    assert dataset.info() == first


def test_damage_is_not_remembered_and_what_was_good_is(tree, reads):
    root = tree(PETS)
    (root / "train/cat/1.png").write_bytes(b"")
    dataset = Folder(path=str(root))
    for decoded in (8, 1):
        reads.clear()
        with pytest.raises(UsageError, match="1 image cannot be used"):
            dataset.info()
        assert len(reads) == decoded


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'{"version": 1}', b'{"version": 3, "files": 3, "moments": []}', b"\xff\xfe",
     b'{"version": 3, "files": {"train/cat/0.png": "x", "train/cat/1.png": [1]}, "moments": {"a": 1}}'],
)  # fmt: skip
def test_a_damaged_cache_costs_time_only(tree, reads, cache, content):
    dataset = Folder(path=str(tree(PETS)))
    first = dataset.info()
    (remembered,), (moments,) = (cache / "scans").iterdir(), (cache / "moments").rglob("*.json")
    for file in (remembered, moments):
        file.write_bytes(content)
    reads.clear()
    assert dataset.info() == first
    assert len(reads) == 8 + 6
    assert json.loads(remembered.read_text())["version"] == _scan.VERSION


def test_a_cache_that_cannot_be_written_costs_time_only(tree, reads, cache):
    for topic in ("scans", "moments"):
        (cache / topic).write_text("a file where the folder should be")
    dataset = Folder(path=str(tree(PETS)))
    assert dataset.info() == dataset.info()
    assert len(reads) == 2 * (8 + 6)


def test_a_full_disk_leaves_nothing_behind(tree, cache, monkeypatch):
    def full(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    Folder(path=str(tree(PETS))).info()
    assert [path for path in cache.rglob("*") if path.is_file()] == []


def test_no_name_of_the_place_is_remembered(tree, cache, tmp_path):
    Folder(path=str(tree(PETS))).info()
    files = [path for path in cache.rglob("*") if path.is_file()]
    assert {path.relative_to(cache).parts[0] for path in files} == {"scans", "moments"}
    assert not [path for path in files if str(tmp_path) in path.read_text()]
