"""CIFAR-10 and CIFAR-100 in their exact formats: read as torchvision reads them, refused where they are not safe."""

from __future__ import annotations

import pickle
import shutil
import tarfile
import time

import numpy as np
import pytest
import torchvision
from arrayfiles import CIFAR10 as NAMES
from arrayfiles import cifar_rows, cycle, md5, noise, pack, write_batch, write_cifar10, write_cifar100, write_pickle
from releases import publish, reason

from benchbench.errors import MissingError, UsageError
from benchbench.testing import conformance
from benchbench_plugins.datasets import cifar
from benchbench_plugins.datasets.cifar import CIFAR10, CIFAR100, CIFAR100_CLASSES

TRAIN, TRAIN_Y = noise(40, 32, 1), cycle(40, 10, 1)
TEST, TEST_Y = noise(20, 32, 2), cycle(20, 10, 2)


@pytest.fixture
def root(tmp_path):
    write_cifar10(tmp_path / "data", TRAIN, TRAIN_Y, TEST, TEST_Y)
    return tmp_path / "data"


def said(root, kind=CIFAR10):
    return reason(kind(path=str(root)))


def test_pixels_labels_and_order_are_those_that_were_written(root, context_of):
    dataset = CIFAR10(path=str(root))
    info, context = dataset.info(), context_of(dataset)
    assert info.counts == {"train": 40, "validation": 0, "test": 20}
    assert info.class_counts == (4,) * 10
    train, test = dataset.load("train", context), dataset.load("test", context)
    np.testing.assert_array_equal(train.images, TRAIN)
    np.testing.assert_array_equal(test.images, TEST)
    assert train.labels.tolist() == TRAIN_Y.tolist()
    assert test.labels.tolist() == TEST_Y.tolist()
    assert [origin["source"] for origin in test.origins] == list(range(20))
    assert len(dataset.load("validation", context)) == 0
    assert train.classes == NAMES == info.classes
    assert isinstance(train.images, np.memmap)


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_batches_that_a_newer_python_wrote(root, context_of, protocol):
    path = root / "cifar-10-batches-py" / "test_batch"
    path.write_bytes(pickle.dumps({"data": cifar_rows(TEST), "labels": TEST_Y.tolist()}, protocol=protocol))
    dataset = CIFAR10(path=str(root))
    np.testing.assert_array_equal(dataset.load("test", context_of(dataset)).images, TEST)


def test_images_are_those_of_torchvisions_own_class(root, context_of, monkeypatch):
    """The library's unchanged reader, with the checksums of these files in place of the published ones."""
    place = root / "cifar-10-batches-py"
    library = torchvision.datasets.CIFAR10
    for name in ("train_list", "test_list"):
        monkeypatch.setattr(library, name, [[file, md5(place / file)] for file, _ in getattr(library, name)])
    monkeypatch.setattr(library, "meta", {**library.meta, "md5": md5(place / "batches.meta")})
    publish(monkeypatch, CIFAR10, files={name: md5(place / name) for name in CIFAR10.release.files})
    dataset = CIFAR10(path=str(root))
    for split in ("train", "test"):
        ours = dataset.load(split, context_of(dataset))
        reference = library(str(root), train=split == "train")
        assert len(reference) == len(ours)
        for (image, label), pixels, found in zip(reference, ours.images, ours.labels, strict=True):
            np.testing.assert_array_equal(np.asarray(image), pixels)
            assert label == found
    # With the checksums as published, nothing but the counts is remarked.
    assert dataset.info().notes == ("images here of those published: train 40 of 50,000, test 20 of 10,000",)


def test_a_folder_that_differs_from_the_published_one_is_counted_and_noted(root):
    assert CIFAR10(path=str(root)).info().notes == (
        "not the published files, by their MD5: data_batch_1, data_batch_2, data_batch_3, data_batch_4, data_batch_5, "
        "test_batch, batches.meta",
        "images here of those published: train 40 of 50,000, test 20 of 10,000",
    )


@pytest.fixture
def archive(root, monkeypatch):
    """The archive alone, with its checksum for the published one."""
    path = root / "cifar-10-python.tar.gz"
    publish(monkeypatch, CIFAR10, md5=pack(root / "cifar-10-batches-py", path))
    shutil.rmtree(root / "cifar-10-batches-py")
    return path


def test_the_archive_is_read_without_leaving_a_copy(root, archive, context_of, cache):
    dataset = CIFAR10(path=str(root))
    np.testing.assert_array_equal(dataset.load("train", context_of(dataset)).images, TRAIN)
    assert dataset.info().notes == ("images here of those published: train 40 of 50,000, test 20 of 10,000",)
    assert [item.name for item in root.iterdir()] == [archive.name]
    assert not (cache / "unpacked").exists()
    assert dataset.input_paths() == (archive,)
    assert CIFAR10(path=str(archive)).info() == dataset.info()


def test_a_folder_that_has_the_archives_name_is_not_the_archive(tmp_path):
    place = tmp_path / "cifar-10-python.tar.gz"
    place.mkdir()
    for path in (tmp_path, place):
        with pytest.raises(UsageError) as raised:
            CIFAR10(path=str(path)).needs()
        assert str(raised.value) == (
            f"cifar10:path={path}: {place} is a folder, not the archive; move it away and fetch "
            "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz, or give path= of another folder"
        )
    write_cifar10(place, TRAIN, TRAIN_Y, TEST, TEST_Y)  # a folder may have any name
    assert CIFAR10(path=str(place)).needs().files[0].path == place / "cifar-10-batches-py"
    write_cifar10(tmp_path, TRAIN, TRAIN_Y, TEST, TEST_Y)
    assert CIFAR10(path=str(tmp_path)).needs().files[0].path == tmp_path / "cifar-10-batches-py"


def test_an_archive_with_another_checksum_is_refused(root, archive, monkeypatch):
    monkeypatch.undo()
    assert said(root) == (
        f"{archive}: wrong checksum: md5 c58f30108f718f92721af3b95e74349a is published, this file "
        f"({archive.stat().st_size:,} bytes) has {md5(archive)}; move it away and run "
        f"`bench fetch cifar10:path={root}`, "
        "or fetch https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz by hand"
    )


def test_a_cut_archive_is_refused(root, archive):
    archive.write_bytes(archive.read_bytes()[:-500])
    assert "wrong checksum" in said(root)


def test_an_archive_with_a_member_that_gets_out_is_refused(root, archive, monkeypatch, cache):
    with tarfile.open(archive, "w:gz") as out:
        out.addfile(tarfile.TarInfo("cifar-10-batches-py/../../evil"))
    publish(monkeypatch, CIFAR10, md5=md5(archive))
    assert said(root) == (
        f"{archive}: member 'cifar-10-batches-py/../../evil' would be unpacked outside of the folder; nothing was "
        "unpacked; fetch the archive again"
    )
    assert not list(cache.rglob("evil*"))


def test_an_archive_without_a_batch_is_refused(root, tmp_path, archive, monkeypatch):
    place = write_cifar10(tmp_path / "other", TRAIN, TRAIN_Y, TEST, TEST_Y)
    (place / "data_batch_4").unlink()
    publish(monkeypatch, CIFAR10, md5=pack(place, archive))
    assert f"{archive}: the archive has no 'data_batch_4' in cifar-10-batches-py" in said(root)


@pytest.mark.parametrize("put_back", [True, False])
def test_batches_that_are_swapped_while_they_are_read_are_not_remembered(root, cache, monkeypatch, put_back):
    """Of an entry by the name of the right files every later run would take the wrong pixels."""
    batch, plain = root / "cifar-10-batches-py" / "data_batch_2", cifar.plain
    kept = batch.with_name("kept")

    def swapping(path, *arguments):
        if path.name == batch.name:
            batch.rename(kept)
            shutil.copyfile(batch.with_name("data_batch_3"), batch)
        found = plain(path, *arguments)
        if path.name == batch.name and put_back:
            kept.rename(batch)
        return found

    monkeypatch.setattr(cifar, "plain", swapping)
    assert said(root) == "its files changed while they were read; run again when they are complete"
    monkeypatch.setattr(cifar, "plain", plain)
    if not put_back:
        kept.rename(batch)
    assert CIFAR10(path=str(root)).info().counts == {"train": 40, "validation": 0, "test": 20}


def test_the_second_time_calls_no_reader(root, monkeypatch, context_of):
    dataset = CIFAR10(path=str(root))
    first = dataset.info()
    monkeypatch.setattr(cifar, "plain", None)
    begun = time.process_time()
    assert dataset.info() == first
    dataset.load("train", context_of(dataset))
    assert time.process_time() - begun < 0.2


def test_three_places_and_the_data_folder(root, monkeypatch):
    first = CIFAR10(path=str(root)).info()
    assert CIFAR10(path=str(root / "cifar-10-batches-py")).info() == first
    monkeypatch.setenv("BENCH_DATA", str(root.parent))
    root.rename(root.parent / "cifar10")
    assert CIFAR10().info() == first
    files = CIFAR10().input_paths()
    assert [file.name for file in files] == [*CIFAR10.release.files]


def test_cifar100_has_the_fine_labels(tmp_path, context_of):
    parts = {"train": (noise(200, 32, 3), cycle(200, 100, 3)), "test": (noise(100, 32, 4), cycle(100, 100, 4))}
    write_cifar100(tmp_path, CIFAR100_CLASSES, parts)
    dataset = CIFAR100(path=str(tmp_path))
    for split, (images, labels) in parts.items():
        found = dataset.load(split, context_of(dataset))
        np.testing.assert_array_equal(found.images, images)
        assert found.labels.tolist() == labels.tolist()
    assert dataset.info().class_counts == (2,) * 100
    conformance(CIFAR100, values={"path": str(tmp_path)})


def test_facts_are_there_without_files(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    for dataset, library in ((CIFAR10(), torchvision.datasets.CIFAR10), (CIFAR100(), torchvision.datasets.CIFAR100)):
        info = dataset.info()
        assert (info.resolution, info.generate_resolution, info.group_size) == (32, 128, 1000)
        assert sum(info.class_counts) == info.counts["train"] == 50000
        assert info.counts["test"] == 10000
        assert len(set(info.classes)) == len(info.class_counts)
        (need,) = dataset.needs().files
        assert need.path == tmp_path / info.name / library.filename
        assert library.url in need.source
        assert f"`bench fetch {info.name}`" in need.source
        files = [*library.train_list, *library.test_list, (library.meta["filename"], library.meta["md5"])]
        assert list(dataset.release.files.items()) == [tuple(file) for file in files]
        assert (dataset.release.folder, dataset.release.md5) == (library.base_folder, library.tgz_md5)
        assert dataset.input_paths() == ()
        with pytest.raises(MissingError, match=f"{info.name}: not found: .*; looked for {need.path}; `bench fetch"):
            dataset.load("train", None)
    assert CIFAR10().info().prompt.format(CIFAR10().info().prompt_names[0]) == "a photo of an airplane."
    names = dict(zip(CIFAR100_CLASSES, CIFAR100().info().prompt_names, strict=True))
    assert (names["aquarium_fish"], names["cattle"], names["sea"]) == ("an aquarium fish", "cattle", "the sea")
    assert (names["otter"], names["maple_tree"]) == ("an otter", "a maple tree")


class Evil:
    """Runs a function when it is unpickled."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("where", ["data_batch_2", "test_batch", "batches.meta"])
def test_a_pickle_that_runs_code_is_refused_before_it_runs(root, tmp_path, where):
    import os

    mark = tmp_path / "it ran"
    path = root / "cifar-10-batches-py" / where
    path.write_bytes(pickle.dumps({"data": Evil(os.mkdir, str(mark))}, protocol=2))
    assert said(root) == (
        f"{path}: refused: this pickle asks for posix.mkdir, which no array needs and which may run foreign code; "
        "move it away and fetch the published file"
    )
    assert not mark.exists()


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("function", [eval, exec, __import__, getattr, pickle.loads, np.load, np.fromfile, np.memmap])
def test_names_outside_of_the_few_are_refused(root, function, protocol):
    path = root / "cifar-10-batches-py" / "data_batch_1"
    path.write_bytes(pickle.dumps(Evil(function, "1"), protocol=protocol))
    told = said(root)
    assert "refused: this pickle asks for " in told
    assert function.__name__ in told


def test_arrays_of_objects_cannot_bring_foreign_names_in(root, tmp_path):
    import os

    mark = tmp_path / "it ran"
    held = np.array([Evil(os.mkdir, str(mark))], dtype=object)
    path = root / "cifar-10-batches-py" / "data_batch_1"
    path.write_bytes(pickle.dumps({"data": held, "labels": [0]}, protocol=2))
    assert "asks for posix.mkdir" in said(root)
    assert not mark.exists()


DAMAGE = {
    "empty file": (b"", "data_batch_3: damaged (Ran out of input)"),
    "no pickle": (b"<html>404</html>", "data_batch_3: damaged ("),
    "a list": ([1, 2], "holds no batch but a list"),
    "no pixels": ({"labels": [1]}, "the pixels must be uint8 (N, 3072); got NoneType"),
    "floats": ({"data": np.zeros((2, 3072)), "labels": [0, 1]}, "got float64 (2, 3072)"),
    "shape": ({"data": np.zeros((2, 784), np.uint8), "labels": [0, 1]}, "got uint8 (2, 784)"),
    "no labels": ({"data": np.zeros((2, 3072), np.uint8)}, "has no list of labels"),
    "text": ({"data": np.zeros((1, 3072), np.uint8), "labels": ["cat"]}, "has no list of labels"),
    "more": ({"data": np.zeros((2, 3072), np.uint8), "labels": [0]}, "has 1 label for 2 images"),
    "low": (
        {"data": np.zeros((1, 3072), np.uint8), "labels": [-1]},
        "data_batch_3: 1 label is out of range, the first is -1 of image 0; they go from 0 to 9; move it away and",
    ),
    "high": (
        {"data": np.zeros((2, 3072), np.uint8), "labels": [10, 11]},
        "data_batch_3: 2 labels are out of range, the first is 10 of image 0; ",
    ),
    "huge": (
        pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "labels": [0, 10**5000]}, protocol=2),
        "data_batch_3: 1 label is out of range, the first is a number of 16,610 bits of image 1; they go from 0 to 9",
    ),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damaged_batches_are_named(root, case):
    content, expected = DAMAGE[case]
    path = root / "cifar-10-batches-py" / "data_batch_3"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        write_pickle(path, content)
    assert expected in said(root)


def test_a_cut_batch(root):
    path = root / "cifar-10-batches-py" / "data_batch_3"
    path.write_bytes(path.read_bytes()[:-3000])
    assert "data_batch_3: damaged (" in said(root)


def test_missing_files_and_classes(root):
    place = root / "cifar-10-batches-py"
    write_batch(place / "test_batch", TEST[TEST_Y != 3], TEST_Y[TEST_Y != 3], "testing batch 1 of 1")
    assert said(root) == "no test images of 'cat'; every class needs at least one"
    held = {"data": np.empty((0, 3072), np.uint8), "labels": []}
    (place / "test_batch").write_bytes(pickle.dumps(held, protocol=4))
    assert said(root) == "the test part is empty; fetch it again"
    write_pickle(place / "batches.meta", {"label_names": list(reversed(NAMES))})
    assert "batches.meta: does not name the 10 published classes in their order" in said(root)
    (place / "data_batch_2").unlink()
    assert said(root).startswith(f"{place}: missing data_batch_2; CIFAR-10 consists of data_batch_1, ")


def test_keeps_the_promises_of_a_dataset(root):
    conformance(CIFAR10, values={"path": str(root)})
