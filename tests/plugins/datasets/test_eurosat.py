"""EuroSAT as torchvision lays it out: the published parts, the regenerated ones, and none."""

from __future__ import annotations

import hashlib
import inspect
import json
import shutil
import socket
import time
import zipfile
from collections import Counter

import numpy as np
import pytest
from releases import publish, reason

from benchbench.errors import MissingError, UsageError
from benchbench.testing import conformance
from benchbench_plugins.datasets import _scan, eurosat
from benchbench_plugins.datasets._listing import cut
from benchbench_plugins.datasets.eurosat import CLASSES, EuroSAT
from benchbench_plugins.datasets.imagenette import Imagenette

FOLDERS = list(CLASSES)
#: Fixed for ever by the hash of the names.
VALIDATION_STARTS = [
    "AnnualCrop/AnnualCrop_6.jpg",
    "AnnualCrop/AnnualCrop_7.jpg",
    "Forest/Forest_6.jpg",
    "Forest/Forest_9.jpg",
]
#: Notes about the reduced dataset below with its own split file.
REDUCED = (
    "100 images here; the complete dataset has 27,000",
    "parts of split_zhou_EuroSAT.json that differ from the published ones: train 50 of 13,500, validation 20 of 5,400, "
    "test 30 of 8,100",
)
PER_CLASS = [3000, 3000, 3000, 2500, 2500, 2000, 2500, 3000, 2500, 3000]


@pytest.fixture
def root(tmp_path, draw):
    """A reduced EuroSAT: eurosat/2750/<Class>/<Class>_<n>.jpg, 64 x 64, ten images of each class."""
    for label, name in enumerate(FOLDERS):
        for number in range(1, 11):
            path = tmp_path / "data" / "eurosat" / "2750" / name / f"{name}_{number}.jpg"
            draw(path, (64, 64), seed=10 * label + number)
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
    assert info.notes == ("split of split_zhou_EuroSAT.json", *REDUCED)
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
    parts = cut(files, 0, eurosat.shares)
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


def test_three_layouts_and_the_data_folder(root, monkeypatch):
    published(root)
    first = EuroSAT(path=str(root)).info()
    for path in (root / "eurosat", root / "eurosat" / "2750"):
        assert EuroSAT(path=str(path)).info() == first
    monkeypatch.setenv("BENCH_DATA", str(root))
    assert EuroSAT().info() == first
    images, split = root / "eurosat" / "2750", root / "eurosat" / "split_zhou_EuroSAT.json"
    assert EuroSAT().input_paths() == (images, split)
    assert EuroSAT(path=str(images)).input_paths() == (images, split)
    assert EuroSAT(path=str(root)).input_paths() == (images, split)
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
        REDUCED[0],
        REDUCED[1].replace("validation 20", "validation 19"),
    )


def test_a_complete_dataset_with_a_split_file_that_lost_its_end(tmp_path, monkeypatch):
    files = {
        name: [f"{name}/{name}_{number}.jpg" for number in range(count)]
        for name, count in zip(FOLDERS, PER_CLASS, strict=True)
    }
    parts = cut(files, 0, eurosat.shares)
    content = {theirs: [[path, label, ""] for path, label in parts[ours]] for ours, theirs in eurosat.PARTS.items()}
    place = tmp_path / eurosat.SPLIT_FILE

    def notes():
        place.write_text(json.dumps(content))
        return EuroSAT(path=str(tmp_path))._listing(tmp_path / "2750").notes

    (tmp_path / "2750").mkdir()
    monkeypatch.setattr(eurosat, "names_in_folder", lambda root: files)

    assert notes() == ("split of split_zhou_EuroSAT.json",)
    content["test"] = content["test"][:-100]
    assert notes() == (
        "split of split_zhou_EuroSAT.json",
        "images here that split_zhou_EuroSAT.json does not name, not used: 100",
        "parts of split_zhou_EuroSAT.json that differ from the published ones: test 8,000 of 8,100",
    )


@pytest.mark.parametrize(("kind", "name"), [(EuroSAT, "EuroSAT.zip"), (Imagenette, "imagenette2.tgz")])
def test_a_folder_that_has_the_archives_name_is_not_the_archive(tmp_path, kind, name):
    (tmp_path / name).mkdir()
    for path in (tmp_path, tmp_path / name):
        with pytest.raises(UsageError, match=f"{tmp_path / name} is a folder, not the archive; "):
            kind(path=str(path)).needs()


def test_odd_sizes_are_noted(root, draw):
    draw(root / "eurosat/2750/Forest/Forest_3.jpg", (80, 70))
    assert "images of another size, cropped and resized to 64 x 64 px: 1" in EuroSAT(path=str(root)).info().notes


def test_missing_files_are_said_at_once_and_without_the_network(tmp_path, monkeypatch, context_of):
    def refuse(*arguments, **options):
        raise AssertionError("network")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    here = tmp_path / "eurosat"
    start = time.process_time()
    (need,) = EuroSAT().needs().files
    assert time.process_time() - start < 0.1
    assert need.path == here / "2750"
    assert need.source == (
        f"`bench fetch eurosat` or torchvision.datasets.EuroSAT('{tmp_path}', download=True) gets them, or by hand "
        f"{EuroSAT.release.url} as {here}/EuroSAT.zip"
    )
    dataset = EuroSAT()
    with pytest.raises(MissingError) as raised:
        dataset.load("train", context_of(dataset))
    assert str(raised.value) == (
        f"eurosat: the EuroSAT images (RGB, ten class folders) are not here; looked for {here}/eurosat/2750, "
        f"{here}/2750, the ten class folders in {here} and {here}/EuroSAT.zip; {need.source}"
    )
    assert EuroSAT().input_paths() == (here,)


def test_published_facts_are_known_without_files(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    info = EuroSAT().info()
    assert info.counts == {"train": 13500, "validation": 5400, "test": 8100}
    assert sum(info.class_counts) == 13500
    assert info.classes == tuple(CLASSES.values())
    assert info.notes == (
        "without split_zhou_EuroSAT.json beside the images: split regenerated, differs from split_zhou_EuroSAT.json",
    )


def test_url_and_checksum_are_those_of_torchvision():
    from torchvision.datasets import EuroSAT as Reference

    code, release = inspect.getsource(Reference), EuroSAT.release
    assert f'md5="{release.md5}"' in code
    # Older versions fetch the same file from other places.
    assert f'"{release.url}"' in code or "c877bcd43f09" not in code


def packed(root, monkeypatch, extra=()):
    """Pack the images as published, with the folder's own entries, and make the checksum that of the small archive."""
    archive = root / "EuroSAT.zip"
    with zipfile.ZipFile(archive, "w") as out:
        for path in sorted((root / "eurosat").rglob("*")):
            if "2750" in path.parts:
                out.write(path, path.relative_to(root / "eurosat"))
        for name in extra:
            out.writestr(name, b"x")
    publish(monkeypatch, EuroSAT, md5=hashlib.md5(archive.read_bytes()).hexdigest())
    return archive


@pytest.mark.parametrize("with_split_file", [False, True])
def test_the_archive_is_the_same_as_the_folder(root, context_of, monkeypatch, with_split_file, cache):
    if with_split_file:
        published(root)
    archive = packed(root, monkeypatch, extra=["2750/.DS_Store", "2750/River/._River_1.jpg", "__MACOSX/2750/a.jpg"])
    folder = EuroSAT(path=str(root))
    info, context = folder.info(), context_of(folder)
    parts = {split: folder.load(split, context) for split in ("train", "validation", "test")}
    (root / "eurosat" / "2750").rename(root / "elsewhere")
    if with_split_file:
        (root / "eurosat" / eurosat.SPLIT_FILE).rename(root / eurosat.SPLIT_FILE)
    for path in (root, archive):
        dataset = EuroSAT(path=str(path))
        assert dataset.needs().files[0].path == archive
        assert dataset.input_paths() == ((archive, root / eurosat.SPLIT_FILE) if with_split_file else (archive,))
        assert dataset.info() == info
        assert path == archive or not (cache / "unpacked").exists(), "a plan unpacks nothing"
        for split, expected in parts.items():
            found = dataset.load(split, context)
            np.testing.assert_array_equal(found.images, expected.images)
            assert (found.labels.tolist(), found.origins) == (expected.labels.tolist(), expected.origins)


def test_another_checksum_is_refused(root, monkeypatch, tmp_path):
    archive = packed(root, monkeypatch)
    publish(monkeypatch, EuroSAT, md5="c8fa014336c82ac7804f0398fcb19387")
    (root / "eurosat").rename(tmp_path / "elsewhere")
    found = hashlib.md5(archive.read_bytes()).hexdigest()
    assert said(root) == (
        f"{archive}: wrong checksum: md5 {EuroSAT.release.md5} is published, this file ({archive.stat().st_size:,} "
        f"bytes) has {found}; fetch {EuroSAT.release.url} again, or "
        "unpack the archive that you trust and give the folder"
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("../escaped.jpg", "would be unpacked outside of the folder"),
        ("2750/River/../../../../escaped.jpg", "would be unpacked outside of the folder"),
        ("/tmp/escaped.jpg", "has an absolute name"),
    ],
)
def test_a_member_that_escapes_is_named_and_nothing_is_unpacked(root, monkeypatch, tmp_path, cache, name, message):
    archive = packed(root, monkeypatch, extra=[name])
    (root / "eurosat").rename(tmp_path / "elsewhere")
    assert said(root) == f"{archive}: member {name!r} {message}; nothing was unpacked; fetch the archive again"
    assert not list(tmp_path.rglob("escaped*"))
    assert not (cache / "unpacked").exists()


def test_an_archive_that_lacks_a_class(root, monkeypatch, tmp_path):
    shutil.rmtree(root / "eurosat/2750/River")
    packed(root, monkeypatch, extra=["2750/Lake/Lake_1.jpg"])
    (root / "eurosat").rename(tmp_path / "elsewhere")
    assert said(root) == (
        "the class folders in 'EuroSAT.zip/2750' are not EuroSAT's ten; missing: 'River'; not expected: 'Lake'"
    )


def test_the_multispectral_edition_is_told_apart(root):
    for path in (root / "eurosat/2750").rglob("*.jpg"):
        path.rename(path.with_suffix(".tif"))
    assert said(root) == (
        "these are TIFF files, the multispectral edition (EuroSATallBands); the RGB edition is needed, JPEG files of "
        "64 x 64 px"
    )


def test_images_are_decoded_once(root, context_of, monkeypatch):
    dataset = EuroSAT(path=str(root))
    context = context_of(dataset)
    first = dataset.load("train", context)
    monkeypatch.setattr(_scan, "load_files", None)
    np.testing.assert_array_equal(dataset.load("train", context).images, first.images)


def said(root):
    return reason(EuroSAT(path=str(root)))


def test_other_class_folders(root):
    shutil.rmtree(root / "eurosat/2750/River")
    (root / "eurosat/2750/Lake").mkdir()
    assert said(root) == "the class folders in '2750' are not EuroSAT's ten; missing: 'River'; not expected: 'Lake'"


def test_a_damaged_image_is_named(root):
    path = root / "eurosat/2750/SeaLake/SeaLake_4.jpg"
    path.write_bytes(path.read_bytes()[:-600])
    assert said(root) == "1 image cannot be used: 'SeaLake/SeaLake_4.jpg' (truncated); repair it or move it away"


def test_a_class_of_one_image(root):
    for number in range(2, 11):
        (root / f"eurosat/2750/Forest/Forest_{number}.jpg").unlink()
    assert said(root) == "class 'Forest' has 1 image; a split into train and test needs at least 2"


def test_keeps_the_promises_of_a_dataset(root):
    published(root)
    conformance(EuroSAT, values={"path": str(root)})


def test_damaged_split_files(root):
    damaged = (
        "split_zhou_EuroSAT.json is damaged: expected JSON with lists of [path, label, name] under train, "
        "val and test; fetch it again, or move it away to have a split drawn"
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
