"""STL-10's binary files: columns first, labels from one, the labelled part alone."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torchvision
from arrayfiles import STL10 as NAMES
from arrayfiles import cycle, md5, noise, pack, write_stl10
from releases import publish, reason

from benchbench.testing import conformance
from benchbench_plugins.datasets.stl10 import STL10

PARTS = {"train": (noise(20, 96, 1), cycle(20, 10, 1)), "test": (noise(30, 96, 2), cycle(30, 10, 2))}
COUNTED = "images here of those published: train 20 of 5,000, test 30 of 8,000"


@pytest.fixture
def root(tmp_path):
    write_stl10(tmp_path / "data", PARTS)
    return tmp_path / "data"


def said(root):
    return reason(STL10(path=str(root)))


def test_pixels_labels_orientation_and_order_are_those_that_were_written(root, context_of):
    dataset = STL10(path=str(root))
    for split, (images, labels) in PARTS.items():
        found = dataset.load(split, context_of(dataset))
        np.testing.assert_array_equal(found.images, images)
        assert found.labels.tolist() == labels.tolist()
    assert dataset.info().counts == {"train": 20, "validation": 0, "test": 30}
    assert dataset.info().notes == (
        "not the published files, by their MD5: train_X.bin, train_y.bin, test_X.bin, test_y.bin",
        COUNTED,
    )


def test_images_are_those_of_torchvisions_own_class(root, context_of, monkeypatch):
    library = torchvision.datasets.STL10
    for name in ("train_list", "test_list"):
        listed = [[file, md5(root / "stl10_binary" / file)] for file, _ in getattr(library, name)]
        monkeypatch.setattr(library, name, listed)
    files = {name: md5(root / "stl10_binary" / name) for name in STL10.release.files}
    publish(monkeypatch, STL10, files=files)
    dataset = STL10(path=str(root))
    for split in PARTS:
        ours = dataset.load(split, context_of(dataset))
        reference = library(str(root), split=split)
        assert tuple(reference.classes) == ours.classes == NAMES
        for (image, label), pixels, found in zip(reference, ours.images, ours.labels, strict=True):
            np.testing.assert_array_equal(np.asarray(image), pixels)
            assert label == found
    assert dataset.info().notes == (COUNTED,)


def test_the_archive_is_verified_and_unpacked_in_part(root, context_of, monkeypatch, cache):
    place, archive = root / "stl10_binary", root / "stl10_binary.tar.gz"
    (place / "unlabeled_X.bin").write_bytes(b"not read")
    publish(monkeypatch, STL10, md5=pack(place, archive))
    shutil.rmtree(place)
    dataset = STL10(path=str(root))
    np.testing.assert_array_equal(dataset.load("test", context_of(dataset)).images, PARTS["test"][0])
    assert dataset.info().notes == (COUNTED,)
    assert [item.name for item in root.iterdir()] == [archive.name]
    monkeypatch.undo()
    monkeypatch.setenv("BENCH_CACHE", str(cache / "other"))
    assert "wrong checksum: md5 91f7769df0f17e558f3565bffb0c7dfb is published" in said(root)


def test_the_unlabeled_images_and_the_folds_need_not_be_there_and_the_folder_may_have_another_name(root):
    place = root / "stl10_binary"
    for name in ("unlabeled_X.bin", "fold_indices.txt", "class_names.txt"):
        (place / name).unlink()
    place.rename(root / "renamed")
    assert STL10(path=str(root / "renamed")).info().counts["test"] == 30


def test_facts_are_there_without_files(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    dataset, library = STL10(), torchvision.datasets.STL10
    info = dataset.info()
    assert info.counts == {"train": 5000, "validation": 0, "test": 8000}
    assert info.class_counts == (500,) * 10
    assert (info.resolution, info.generate_resolution, info.group_size) == (96, 256, 100)
    (need,) = dataset.needs().files
    assert need.path == tmp_path / "stl10" / library.filename
    assert library.url in need.source
    assert (dataset.release.folder, dataset.release.md5) == (library.base_folder, library.tgz_md5)
    assert dataset.release.files == {
        name: known for name, known in (*library.train_list, *library.test_list) if "unlabeled" not in name
    }


def test_damaged_files_are_named(root):
    place = root / "stl10_binary"
    (place / "class_names.txt").write_text("\n".join(reversed(NAMES)))
    assert "class_names.txt: does not name the 10 published classes in their order" in said(root)
    (place / "class_names.txt").unlink()
    labels = (place / "train_y.bin").read_bytes()
    (place / "train_y.bin").write_bytes(b"\0" + labels[1:])
    assert "train_y.bin: 1 label is out of range, the first is 0 of image 0; they go from 1 to 10; " in said(root)
    (place / "train_y.bin").write_bytes(labels[:-1] + b"\x0b")
    assert "train_y.bin: 1 label is out of range, the first is 11 of image 19; they go from 1 to 10; " in said(root)
    (place / "train_y.bin").write_bytes(b"\xff" + labels[1:-1] + b"\x0b")
    assert "train_y.bin: 2 labels are out of range, the first is 255 of image 0; they go from 1 to 10; " in said(root)
    (place / "train_y.bin").write_bytes(b"\1" * 20)
    assert "no train images of 'bird', 'car', 'cat' and 6 more" in said(root)
    (place / "train_y.bin").write_bytes(labels[:-1])
    assert "train_y.bin has 19 labels for the 20 images in train_X.bin" in said(root)
    pixels = (place / "train_X.bin").read_bytes()
    (place / "train_X.bin").write_bytes(pixels[:-1])
    assert "train_X.bin: 552,959 bytes are not a whole number of 96 x 96 images" in said(root)
    for name in ("test_X.bin", "test_y.bin"):
        (place / name).write_bytes(b"")
    (place / "train_X.bin").write_bytes(pixels)
    (place / "train_y.bin").write_bytes(labels)
    assert said(root) == "the test part is empty; fetch it again"
    (place / "test_y.bin").unlink()
    assert said(root).startswith(f"{place}: missing test_y.bin; STL-10 consists of train_X.bin, ")


def test_keeps_the_promises_of_a_dataset(root):
    conformance(STL10, values={"path": str(root)})
