"""EuroSAT as torchvision lays it out: the published parts, the regenerated ones, and none."""

from __future__ import annotations

import json
import shutil
import socket
import time
from collections import Counter

import numpy as np
import pytest

from benchbench.errors import MissingError, UsageError
from benchbench.testing import conformance
from benchbench_plugins.datasets import _eurosat
from benchbench_plugins.datasets.eurosat import CLASSES, EuroSAT

FOLDERS = list(CLASSES)
#: Fixed for ever by the hash of the names.
VALIDATION_STARTS = [
    "AnnualCrop/AnnualCrop_6.jpg",
    "AnnualCrop/AnnualCrop_7.jpg",
    "Forest/Forest_6.jpg",
    "Forest/Forest_9.jpg",
]
PER_CLASS = [3000, 3000, 3000, 2500, 2500, 2000, 2500, 3000, 2500, 3000]


@pytest.fixture
def root(tmp_path, draw):
    """A reduced EuroSAT: eurosat/2750/<Class>/<Class>_<n>.jpg, 64 x 64, ten images of each class."""
    first = draw(tmp_path / "noise.jpg", (64, 64))
    for name in FOLDERS:
        folder = tmp_path / "data" / "eurosat" / "2750" / name
        folder.mkdir(parents=True)
        for number in range(1, 11):
            shutil.copy(first, folder / f"{name}_{number}.jpg")
    draw(tmp_path / "data" / "eurosat" / "2750" / "River" / "River_1.jpg", (64, 64), seed=1)
    return tmp_path / "data"


def published(root, changes=None):
    """Write a split file in the published form: 5, 2 and 3 images of each class, by number."""
    parts = {"train": range(1, 6), "val": range(6, 8), "test": range(8, 11)}
    content = {
        part: [[f"{name}/{name}_{n}.jpg", label, CLASSES[name]] for label, name in enumerate(FOLDERS) for n in numbers]
        for part, numbers in parts.items()
    }
    (changes or (lambda content: None))(content)
    (root / "eurosat" / "split_zhou_EuroSAT.json").write_text(json.dumps(content))


def test_the_published_split(root, context_of):
    published(root)
    dataset = EuroSAT(path=str(root))
    info, context = dataset.info(), context_of(dataset)
    assert info.counts == {"train": 50, "validation": 20, "test": 30}
    assert info.class_counts == (5,) * 10
    assert info.notes == ("split of split_zhou_EuroSAT.json",)
    assert info.prompt.format(info.prompt_names[3]) == "a centered satellite photo of Highway or Road."
    assert (info.mean, info.std) == ((0, 0, 0), (1, 1, 1))
    assert (info.resolution, info.generate_resolution, info.licence) == (64, 256, "MIT")
    test = dataset.load("test", context)
    # By path, so that 10 comes before 8.
    assert [origin["source"] for origin in test.origins[:4]] == [
        "AnnualCrop/AnnualCrop_10.jpg",
        "AnnualCrop/AnnualCrop_8.jpg",
        "AnnualCrop/AnnualCrop_9.jpg",
        "Forest/Forest_10.jpg",
    ]
    assert test.labels.tolist() == [label for label in range(10) for _ in range(3)]


def test_images_and_labels_are_those_of_torchvisions_reader(root, context_of):
    from torchvision.datasets import EuroSAT as Reference

    published(root)
    reference = Reference(str(root))
    expected = {
        path.split("2750/")[1]: (image, label)
        for (path, _), (image, label) in zip(reference.samples, reference, strict=True)
    }
    assert reference.classes == FOLDERS
    dataset, seen = EuroSAT(path=str(root)), 0
    context = context_of(dataset)
    for split in ("train", "validation", "test"):
        part = dataset.load(split, context)
        for image, label, origin in zip(part.images, part.labels, part.origins, strict=True):
            wanted, wanted_label = expected[origin["source"]]
            np.testing.assert_array_equal(image, np.asarray(wanted))
            assert label == wanted_label
            seen += 1
    assert seen == len(expected) == 100


def test_a_regenerated_split_is_fixed_and_named(root, context_of):
    dataset = EuroSAT(path=str(root))
    info, context = dataset.info(), context_of(dataset)
    assert info.counts == {"train": 50, "validation": 20, "test": 30}
    assert info.notes == (
        "split regenerated, differs from split_zhou_EuroSAT.json",
        "100 images here; the complete dataset has 27,000",
    )
    sources = [
        [origin["source"] for origin in dataset.load(split, context).origins]
        for split in ("train", "validation", "test")
    ]
    assert len({name for part in sources for name in part}) == 100
    assert sources[1][:4] == VALIDATION_STARTS


def test_a_complete_dataset_gets_the_published_counts():
    files = {
        name: [f"{name}/{name}_{number}.jpg" for number in range(1, count + 1)]
        for name, count in zip(FOLDERS, PER_CLASS, strict=True)
    }
    parts, notes = _eurosat._draw(files, "eurosat")
    assert {part: len(items) for part, items in parts.items()} == {
        "train": 13500,
        "validation": 5400,
        "test": 8100,
    }
    train = Counter(label for _, label in parts["train"])
    assert [train[label] for label in range(10)] == [
        1500,
        1500,
        1500,
        1250,
        1250,
        1000,
        1250,
        1500,
        1250,
        1500,
    ]
    assert notes == ["split regenerated, differs from split_zhou_EuroSAT.json"]


def test_three_layouts_and_the_data_folder(root, monkeypatch):
    published(root)
    first = EuroSAT(path=str(root)).info()
    for path in (root / "eurosat", root / "eurosat" / "2750"):
        assert EuroSAT(path=str(path)).info() == first
    monkeypatch.setenv("BENCH_DATA", str(root))
    assert EuroSAT().info() == first
    images, split = root / "eurosat" / "2750", root / "eurosat" / "split_zhou_EuroSAT.json"
    assert EuroSAT().external() == (images, split)
    assert EuroSAT(path=str(images)).external() == (images, split)
    assert EuroSAT(path=str(root)).external() == (root,)
    assert [need.path for need in EuroSAT().needs().files] == [images]


def test_the_current_folder_may_be_2750(root, monkeypatch):
    published(root)
    first = EuroSAT(path=str(root)).info()
    monkeypatch.chdir(root / "eurosat" / "2750")
    assert EuroSAT(path=".").info() == first


def test_a_split_file_that_fits_in_part(root):
    published(
        root,
        lambda content: content["train"].append(["River/River_999.jpg", 8, "River"]) or content["val"].pop(),
    )
    assert EuroSAT(path=str(root)).info().notes == (
        "split of split_zhou_EuroSAT.json",
        "images that split_zhou_EuroSAT.json names and that are not here: 1 of 100",
        "images here that split_zhou_EuroSAT.json does not name, not used: 1",
    )


def test_odd_sizes_are_noted(root, draw):
    draw(root / "eurosat/2750/Forest/Forest_3.jpg", (80, 70))
    assert "images of another size, cropped and resized to 64 x 64 px: 1" in EuroSAT(path=str(root)).info().notes


def test_missing_files_are_said_at_once_and_without_the_network(tmp_path, monkeypatch):
    def refuse(*arguments, **options):
        raise AssertionError("network")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    start = time.process_time()
    with pytest.raises(MissingError) as raised:
        EuroSAT().info()
    assert time.process_time() - start < 0.1
    here = tmp_path / "eurosat"
    assert str(raised.value) == (
        f"eurosat: the EuroSAT images are not here; looked for {here}/eurosat/2750, {here}/2750 "
        f"and the ten class folders in {here}; get them by python -c "
        f"\"import torchvision; torchvision.datasets.EuroSAT('{tmp_path}', download=True)\", or unpack "
        f"EuroSAT.zip (RGB) of the Hugging Face dataset torchgeo/eurosat into {here}"
    )
    (need,) = EuroSAT().needs().files
    assert need.path == here / "2750"
    assert need.source in str(raised.value)
    assert EuroSAT().external() == (here,)


def said(root):
    with pytest.raises(UsageError) as raised:
        EuroSAT(path=str(root)).info()
    assert "\n" not in str(raised.value)
    return str(raised.value).removeprefix(f"eurosat:path={root}: ")


def test_other_class_folders(root):
    shutil.rmtree(root / "eurosat/2750/River")
    (root / "eurosat/2750/Lake").mkdir()
    assert said(root) == "the class folders in '2750' are not EuroSAT's ten; missing: 'River'; not expected: 'Lake'"


def test_a_damaged_image_is_named(root):
    path = root / "eurosat/2750/SeaLake/SeaLake_4.jpg"
    path.write_bytes(path.read_bytes()[:-600])
    assert said(root) == "1 image cannot be used: 'SeaLake/SeaLake_4.jpg' (truncated); repair or remove it"


def test_a_class_of_one_image(root):
    for number in range(2, 11):
        (root / f"eurosat/2750/Forest/Forest_{number}.jpg").unlink()
    assert said(root) == "class folder 'Forest' has 1 image; a split needs at least 2"


def test_keeps_the_promises_of_a_dataset(root):
    published(root)
    conformance(EuroSAT, values={"path": str(root)})


def test_damaged_split_files(root):
    damaged = (
        "split_zhou_EuroSAT.json is damaged: expected JSON with lists of [path, label, name] under train, "
        "val and test; fetch it again, or remove it to have a split drawn"
    )
    for content in (
        "",
        "[]",
        '{"train": [], "val": []}',
        '{"train": [3], "val": [], "test": []}',
        '{"train": [[]]}',
    ):
        (root / "eurosat" / "split_zhou_EuroSAT.json").write_text(content)
        assert said(root) == damaged
    published(root, lambda content: content["test"].append(content["train"][0]))
    assert said(root) == "split_zhou_EuroSAT.json names 'AnnualCrop/AnnualCrop_1.jpg' twice (train and test)"
    published(root, lambda content: content.update(test=content["test"][:-3]))
    assert said(root) == "split_zhou_EuroSAT.json gives no test images here to 'SeaLake'"
