"""The MedMNIST datasets in their .npz files: the package's own arrays, and nothing but numbers."""

from __future__ import annotations

import medmnist
import numpy as np
import pytest
from arrayfiles import cycle, md5, noise, write_medmnist
from releases import publish as release
from releases import reason

from benchbench.errors import UsageError
from benchbench.testing import conformance
from benchbench_plugins.datasets.medmnist_sets import BloodMNIST, DermaMNIST, PathMNIST

ALL = (PathMNIST, DermaMNIST, BloodMNIST)


def parts_of(dataset, seed=0):
    count = len(dataset.release.info.classes)
    sizes = {"train": 3 * count, "val": count - 1, "test": 2 * count}
    return {
        name: (noise(size, 28, seed + at), cycle(size, count, seed + at))
        for at, (name, size) in enumerate(sizes.items(), 1)
    }


@pytest.fixture
def publish(tmp_path, monkeypatch):
    """Return a function that writes a dataset's file and makes its checksum the published one."""

    def write(dataset, **changes):
        name = dataset.release.info.name
        path = write_medmnist(tmp_path / "data" / f"{name}.npz", parts_of(dataset) | changes)
        monkeypatch.setitem(medmnist.INFO[name], "MD5", md5(path))
        release(monkeypatch, dataset, md5=md5(path))
        return path

    return write


def said(dataset, path):
    return reason(dataset(path=str(path)))


@pytest.mark.parametrize("dataset", ALL)
def test_pixels_labels_and_order_are_those_that_were_written(dataset, publish, context_of):
    path = publish(dataset)
    made = dataset(path=str(path.parent))
    info, context = made.info(), context_of(made)
    for theirs, (images, labels) in parts_of(dataset).items():
        found = made.load("validation" if theirs == "val" else theirs, context)
        np.testing.assert_array_equal(found.images, images)
        assert found.labels.tolist() == labels.tolist()
    count = len(info.classes)
    assert info.counts == {"train": 3 * count, "validation": count - 1, "test": 2 * count}
    assert info.class_counts == (3,) * count
    assert info.notes[-1].startswith(f"images here of those published: train {3 * count} of ")
    assert made.input_paths() == (path,)
    assert dataset(path=str(path)).info() == info


@pytest.mark.parametrize("dataset", ALL)
def test_arrays_are_those_of_the_package(dataset, publish, context_of):
    path = publish(dataset)
    made = dataset(path=str(path))
    library = getattr(medmnist, medmnist.INFO[path.stem]["python_class"])
    for theirs in ("train", "val", "test"):
        ours = made.load("validation" if theirs == "val" else theirs, context_of(made))
        reference = library(split=theirs, root=str(path.parent))
        for index, (pixels, label) in enumerate(zip(ours.images, ours.labels, strict=True)):
            image, target = reference[index]
            np.testing.assert_array_equal(np.asarray(image), pixels)
            assert target.tolist() == [label]


@pytest.mark.parametrize("dataset", ALL)
def test_facts_are_there_without_files_and_agree_with_the_package(dataset, tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    info = dataset().info()
    published = medmnist.INFO[info.name]
    assert tuple(published["label"].values()) == info.classes
    assert {"train": published["n_samples"]["train"], "validation": published["n_samples"]["val"]} == {
        name: info.counts[name] for name in ("train", "validation")
    }
    assert published["n_samples"]["test"] == info.counts["test"]
    assert sum(info.class_counts) == info.counts["train"]
    assert published["license"] == info.licence
    assert published["n_channels"] == 3
    assert (published["url"], published["MD5"]) == (dataset.release.url, dataset.release.md5)
    assert (info.optimizer, info.paper_cap, info.resolution, info.generate_resolution) == ("adamw", 500, 28, 128)
    assert len(info.prompt_names) == len(info.classes)
    (need,) = dataset().needs().files
    assert need.path == tmp_path / info.name / f"{info.name}.npz"
    assert published["url"] in need.source


def test_the_smallest_class_of_dermamnist():
    assert DermaMNIST().info().class_counts == (228, 359, 769, 80, 779, 4693, 99)


def test_prompts_read_as_sentences():
    told = [dataset().info() for dataset in ALL]
    assert [info.prompt.format(info.prompt_names[0]) for info in told] == [
        "a histology image of adipose tissue.",
        "a dermatoscopic image of actinic keratosis or intraepithelial carcinoma.",
        "a microscope image of a basophil.",
    ]


def test_another_checksum_is_refused(publish, monkeypatch):
    path = publish(BloodMNIST)
    monkeypatch.undo()
    monkeypatch.setenv("BENCH_CACHE", str(path.parent / "cache"))
    assert said(BloodMNIST, path) == (
        f"{path}: wrong checksum: md5 7053d0359d879ad8a5505303e11de1dc is published, this file "
        f"({path.stat().st_size:,} bytes) has {md5(path)}; move it away and run `bench fetch bloodmnist:path={path}`, "
        "or fetch https://zenodo.org/records/10519652/files/bloodmnist.npz?download=1 by hand"
    )


def test_the_second_time_calls_no_reader(publish, monkeypatch):
    path = publish(DermaMNIST)
    first = DermaMNIST(path=str(path)).info()
    monkeypatch.setattr(DermaMNIST, "_verify", None)
    assert DermaMNIST(path=str(path)).info() == first


def test_objects_are_not_loaded(publish, monkeypatch, tmp_path):
    import os

    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "it ran"),)

    path = publish(BloodMNIST)
    with np.load(path) as held:
        arrays = dict(held)
    arrays["train_labels"] = np.array([[Evil()]] * len(arrays["train_images"]), dtype=object)
    np.savez(path, **arrays)
    release(monkeypatch, BloodMNIST, md5=md5(path))
    with pytest.raises(ValueError, match="Object arrays cannot be loaded"):
        BloodMNIST(path=str(path)).info()
    assert not (tmp_path / "it ran").exists()


def test_a_folder_that_has_the_files_name_is_not_the_file(tmp_path):
    place = tmp_path / "bloodmnist.npz"
    place.mkdir()
    for path in (tmp_path, place):
        with pytest.raises(UsageError, match=f"{place} is a folder, not the archive; "):
            BloodMNIST(path=str(path)).needs()


@pytest.mark.parametrize("dataset", ALL)
def test_keeps_the_promises_of_a_dataset(dataset, publish):
    conformance(dataset, values={"path": str(publish(dataset))})
