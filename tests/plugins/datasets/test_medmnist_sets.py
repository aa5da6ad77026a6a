"""The MedMNIST datasets in their .npz files: the package's own arrays, and nothing but numbers."""

from __future__ import annotations

import io
import zipfile

import medmnist
import numpy as np
import pytest
from arrayfiles import cycle, md5, noise, write_medmnist
from releases import reason

from benchbench.errors import UsageError
from benchbench.testing import conformance
from benchbench_plugins.datasets import _archives, medmnist_sets
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
        return path

    return write


def accept(path, monkeypatch):
    monkeypatch.setitem(medmnist.INFO[path.stem], "MD5", md5(path))


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
    assert published["url"] == dataset.release.url
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
        f"({path.stat().st_size:,} bytes) has {md5(path)}; remove it and run `bench fetch bloodmnist:path={path}`, "
        "or fetch https://zenodo.org/records/10519652/files/bloodmnist.npz?download=1 by hand"
    )


def test_the_second_time_calls_no_reader(publish, monkeypatch):
    path = publish(DermaMNIST)
    first = DermaMNIST(path=str(path)).info()
    monkeypatch.setattr(_archives, "verify", None)
    assert DermaMNIST(path=str(path)).info() == first


def rewrite(path, arrays, monkeypatch, allow_pickle=False):
    with zipfile.ZipFile(path, "w") as out:
        for name, array in arrays.items():
            held = io.BytesIO()
            np.lib.format.write_array(held, array, allow_pickle=allow_pickle)
            out.writestr(f"{name}.npy", held.getvalue())
    accept(path, monkeypatch)


def arrays_of(path):
    with np.load(path) as held:
        return dict(held)


BROKEN = {
    "missing": (lambda a: a.pop("val_labels"), "has no array val_labels"),
    "objects": (lambda a: a.update(train_labels=a["train_labels"].astype(object)), "train_labels holds Python objects"),
    "object images": (lambda a: a.update(test_images=a["test_images"].astype(object)), "test_images holds Python obj"),
    "floats": (lambda a: a.update(test_images=a["test_images"] / 255.0), "test_images must be uint8 (N, 28, 28, 3); "),
    "grey": (lambda a: a.update(test_images=a["test_images"][..., 0]), "got uint8 (16, 28, 28)"),
    "size": (lambda a: a.update(val_images=a["val_images"][:, :14]), "got uint8 (7, 14, 28, 3)"),
    "fewer": (lambda a: a.update(val_labels=a["val_labels"][1:]), "val_labels must be whole numbers (7, 1); got uint8"),
    "flat": (
        lambda a: a.update(val_labels=a["val_labels"][:, 0]),
        "val_labels must be whole numbers (7, 1); got uint8",
    ),
    "high": (lambda a: a["val_labels"].__setitem__(2, 8), "1 validation label is out of range, the first is label 8"),
    "huge": (
        lambda a: a.update(test_labels=a["test_labels"].astype(np.uint64) + np.uint64(2**64 - 9)),
        "16 test labels are out of range, the first is label 184467440737095516",
    ),
    "lacking": (
        lambda a: a["test_labels"].__setitem__(slice(None), 1),
        "no test images of 'basophil', 'erythroblast', ",
    ),
    "empty": (
        lambda a: a.update(train_images=a["train_images"][:0], train_labels=a["train_labels"][:0]),
        "the train part is empty",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_wrong_inside_is_named(publish, monkeypatch, case):
    path = publish(BloodMNIST)
    change, expected = BROKEN[case]
    arrays = arrays_of(path)
    change(arrays)
    rewrite(path, arrays, monkeypatch, allow_pickle=True)
    assert expected in said(BloodMNIST, path)


def test_objects_are_not_loaded(publish, monkeypatch, tmp_path):
    import os

    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "it ran"),)

    path = publish(BloodMNIST)
    arrays = arrays_of(path)
    arrays["train_labels"] = np.array([[Evil()]] * len(arrays["train_images"]), dtype=object)
    rewrite(path, arrays, monkeypatch, allow_pickle=True)
    assert "train_labels holds Python objects, which are not read" in said(BloodMNIST, path)
    # Nor would the package's reader load them, whatever was checked before.
    monkeypatch.setattr(medmnist_sets, "_check_arrays", lambda file, release, subject: None)
    assert f"medmnist cannot read the train part of {path} (Object arrays cannot be loaded" in said(BloodMNIST, path)
    assert not (tmp_path / "it ran").exists()


def test_a_damaged_file(publish, monkeypatch):
    path = publish(PathMNIST)
    whole = path.read_bytes()
    for content in (whole[:-100], b"", b"<html>", whole[:3000] + bytes(500) + whole[3500:]):
        path.write_bytes(content)
        accept(path, monkeypatch)
        told = said(PathMNIST, path)
        assert "damaged" in told or "cannot read the " in told
        assert str(path) in told


def test_a_folder_that_has_the_files_name_is_not_the_file(tmp_path):
    place = tmp_path / "bloodmnist.npz"
    place.mkdir()
    for path in (tmp_path, place):
        with pytest.raises(UsageError, match=f"{place} is a folder, not the archive; "):
            BloodMNIST(path=str(path)).needs()


def test_members_that_get_out(publish, monkeypatch):
    path = publish(PathMNIST)
    with zipfile.ZipFile(path, "a") as out:
        out.writestr("../evil.npy", b"x")
    accept(path, monkeypatch)
    assert "member '../evil.npy' would be unpacked outside of the folder" in said(PathMNIST, path)


@pytest.mark.parametrize("dataset", ALL)
def test_keeps_the_promises_of_a_dataset(dataset, publish):
    conformance(dataset, values={"path": str(publish(dataset))})
