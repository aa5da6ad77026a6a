"""ImageNette as torchvision lays it out: unpacked, as the archive, complete, in part, and not at all."""

from __future__ import annotations

import hashlib
import io
import shutil
import socket
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from releases import publish, reason

from benchbench.errors import MissingError, UsageError
from benchbench.testing import conformance
from benchbench_plugins.datasets import _cache, _scan, imagenette
from benchbench_plugins.datasets._images import read
from benchbench_plugins.datasets.imagenette import CLASSES, Imagenette

WNIDS = list(CLASSES)
PUBLISHED = {"train": 9469, "validation": 0, "test": 3925}


@pytest.fixture
def root(tmp_path, draw):
    """A reduced ImageNette: imagenette2/{train,val}/<wnid>/*.JPEG of odd sizes, and the list that lies beside."""
    seed = 0
    for part, count in (("train", 3), ("val", 2)):
        for wnid in WNIDS:
            for _ in range(count):
                seed += 1
                name = f"{wnid}_{seed}.JPEG" if part == "train" else f"ILSVRC2012_val_{seed:08d}.JPEG"
                draw(tmp_path / "data/imagenette2" / part / wnid / name, (60 + seed % 9, 50 + seed % 7), seed=seed)
    (tmp_path / "data/imagenette2/noisy_imagenette.csv").write_text("path,noisy_labels_0\n")
    return tmp_path / "data"


@pytest.fixture
def small(monkeypatch):
    """Read images at 32 px, as 256 px only cost time here."""
    publish(monkeypatch, Imagenette, side=32)


def packed(root, monkeypatch, members=()):
    """Pack the folder as published and make the checksum that of the small archive."""
    archive = root / "imagenette2.tgz"
    with tarfile.open(archive, "w:gz") as out:
        out.add(root / "imagenette2", "imagenette2")
        for member, content in members:
            out.addfile(member, io.BytesIO(content))
    publish(monkeypatch, Imagenette, md5=hashlib.md5(archive.read_bytes()).hexdigest())
    return archive


def said(root):
    return reason(Imagenette(path=str(root)))


def test_images_and_labels_are_those_of_torchvisions_reader(root, context_of):
    from torchvision.datasets import Imagenette as Reference

    (root / "imagenette2/val" / WNIDS[3] / "._ILSVRC2012_val_00000001.JPEG").write_bytes(b"litter")
    dataset = Imagenette(path=str(root))
    context = context_of(dataset)
    for split, part in (("train", "train"), ("test", "val")):
        images = dataset.load(split, context)
        reference = Reference(str(root), split=part)
        assert reference.wnids == WNIDS
        assert [names[0] for names in reference.classes] == list(images.classes)
        expected = [(path, label) for path, label in reference._samples if "/._" not in path]
        found = [
            (str(root / "imagenette2" / origin["source"]), label)
            for origin, label in zip(images.origins, images.labels, strict=True)
        ]
        assert found == expected
        for pixels, (path, _) in zip(images.images, expected, strict=True):
            np.testing.assert_array_equal(pixels, read(Path(path), 256))
    assert dataset.load("validation", context).images.shape == (0, 256, 256, 3)


def test_url_checksum_and_names_are_those_of_torchvision():
    from torchvision.datasets import Imagenette as Reference

    assert Reference._ARCHIVES["full"] == (Imagenette.release.url, Imagenette.release.md5)
    assert {wnid: names[0] for wnid, names in Reference._WNID_TO_CLASS.items()} == CLASSES


def test_the_centre_square_is_resized_by_our_rule(root, context_of):
    path = root / "imagenette2/train" / WNIDS[0] / "n01440764_1.JPEG"
    Image.new("RGB", (900, 300), (200, 30, 60)).save(path, quality=95)
    wide = Image.open(path).convert("RGB")
    dataset = Imagenette(path=str(root))
    first = dataset.load("train", context_of(dataset)).images[0]
    expected = wide.crop((300, 0, 600, 300)).resize((256, 256), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(first, np.asarray(expected))


def test_grey_and_cmyk_photos(root, small, context_of):
    folder = root / "imagenette2/train" / WNIDS[0]
    Image.new("L", (70, 70), 90).save(folder / "a.JPEG", quality=100)
    Image.new("CMYK", (70, 70), (0, 255, 255, 0)).save(folder / "b.JPEG", quality=100)
    dataset = Imagenette(path=str(root))
    images = dataset.load("train", context_of(dataset))
    assert [origin["source"] for origin in images.origins[:2]] == [f"train/{WNIDS[0]}/{name}.JPEG" for name in "ab"]
    np.testing.assert_allclose(images.images[0], 90, atol=1)
    np.testing.assert_allclose(images.images[1], np.broadcast_to([255, 0, 0], (32, 32, 3)), atol=3)


def test_a_reduced_folder_is_counted_and_said(root):
    info = Imagenette(path=str(root)).info()
    assert info.counts == {"train": 30, "validation": 0, "test": 20}
    assert info.class_counts == (3,) * 10
    train, test = info.notes
    assert train.startswith("30 training images here, 9,469 published: tench 3 of 963, English springer 3 of 955, ")
    assert test.startswith("20 test images here, 3,925 published: tench 2 of 387, English springer 2 of 395, ")


def test_a_complete_folder_has_no_notes(root, monkeypatch):
    monkeypatch.setattr(imagenette, "TRAIN_COUNTS", (3,) * 10)
    monkeypatch.setattr(imagenette, "TEST_COUNTS", (2,) * 10)
    assert Imagenette(path=str(root)).info().notes == ()
    (root / "imagenette2/val" / WNIDS[1] / "ILSVRC2012_val_00000034.JPEG").unlink()
    assert Imagenette(path=str(root)).info().notes == ("19 test images here, 20 published: English springer 1 of 2",)


def test_published_facts_are_known_without_files(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    info = Imagenette().info()
    assert info.counts == PUBLISHED
    assert sum(info.class_counts) == 9469
    assert sum(imagenette.TEST_COUNTS) == 3925
    assert info.notes == ()
    assert (info.resolution, info.classify_resolution, info.generate_resolution, info.group_size) == (256,) * 3 + (100,)
    prompts = [info.prompt.format(name) for name in info.prompt_names]
    assert prompts[:2] == ["a photo of a tench.", "a photo of an English springer."]
    assert prompts[5] == "a photo of a French horn."


def test_four_places(root, tmp_path, monkeypatch):
    first = Imagenette(path=str(root)).info()
    assert Imagenette(path=str(root)).input_paths() == (root / "imagenette2",)
    assert Imagenette(path=str(root / "imagenette2")).info() == first
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    root.rename(tmp_path / "imagenette")
    assert Imagenette().info() == first
    assert Imagenette().needs().files[0].path == tmp_path / "imagenette/imagenette2"
    (tmp_path / "imagenette/imagenette2").rename(tmp_path / "renamed")
    assert Imagenette(path=str(tmp_path / "renamed")).info() == first
    monkeypatch.chdir(tmp_path / "renamed")
    assert Imagenette(path=".").info() == first
    (tmp_path / "renamed").rename(tmp_path / "imagenette2-160")
    note = "the edition reduced to a shorter side of 160 px, not the full one"
    assert note in Imagenette(path=str(tmp_path / "imagenette2-160")).info().notes


def test_missing_files_are_said_at_once_and_without_the_network(tmp_path, monkeypatch, context_of):
    def refuse(*arguments, **options):
        raise AssertionError("network")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    here = tmp_path / "imagenette"
    start = time.process_time()
    (need,) = Imagenette().needs().files
    assert time.process_time() - start < 0.1
    assert need.path == here / "imagenette2"
    assert need.source == (
        f"`bench fetch imagenette` gets them, or by hand {Imagenette.release.url} as {here}/imagenette2.tgz"
    )
    dataset = Imagenette()
    with pytest.raises(MissingError) as raised:
        dataset.load("train", context_of(dataset))
    assert str(raised.value) == (
        f"imagenette: the ImageNette images (imagenette2, full size) are not here; looked for {here}/imagenette2, "
        f"train/ and val/ in {here} and {here}/imagenette2.tgz; {need.source}"
    )


def test_the_archive_is_the_same_as_the_folder(root, small, context_of, monkeypatch, cache):
    archive = packed(root, monkeypatch)
    folder = Imagenette(path=str(root))
    context = context_of(folder)
    parts = {split: folder.load(split, context) for split in ("train", "validation", "test")}
    (root / "imagenette2").rename(root / "elsewhere")
    for path in (root, archive):
        dataset = Imagenette(path=str(path))
        assert dataset.needs().files[0].path == archive
        assert dataset.input_paths() == (archive,)
        info = dataset.info()
        assert (info.counts, info.notes) == (PUBLISHED, ())
        assert path == archive or not (cache / "unpacked").exists(), "a plan unpacks nothing"
        for split, expected in parts.items():
            found = dataset.load(split, context)
            np.testing.assert_array_equal(found.images, expected.images)
            assert (found.labels.tolist(), found.origins) == (expected.labels.tolist(), expected.origins)


def test_another_checksum_is_refused(root, monkeypatch):
    archive = packed(root, monkeypatch)
    found = Imagenette.release.md5
    publish(monkeypatch, Imagenette, md5="fe2fc210e6bb7c5664d602c3cd71e612")
    shutil.rmtree(root / "imagenette2")
    assert said(root) == (
        f"{archive}: wrong checksum: md5 {Imagenette.release.md5} is published, this file ({archive.stat().st_size:,} "
        f"bytes) has {found}; fetch {Imagenette.release.url} again, or "
        "unpack the archive that you trust and give the folder"
    )


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("../escaped.JPEG", tarfile.REGTYPE, "would be unpacked outside of the folder"),
        ("/tmp/escaped.JPEG", tarfile.REGTYPE, "has an absolute name"),
        ("imagenette2/train/link", tarfile.SYMTYPE, "is a link to '../../../escaped'"),
        ("imagenette2/train/pipe", tarfile.FIFOTYPE, "is a device or another special file"),
    ],
)
def test_a_member_that_escapes_is_named_and_nothing_is_unpacked(
    root, context_of, monkeypatch, tmp_path, cache, name, kind, message
):
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, "../../../escaped" if kind == tarfile.SYMTYPE else ""
    archive = packed(root, monkeypatch, [(member, b"")])
    shutil.rmtree(root / "imagenette2")
    dataset = Imagenette(path=str(root))
    with pytest.raises(UsageError) as raised:
        dataset.load("train", context_of(dataset))
    assert str(raised.value) == (
        f"imagenette:path={root}: {archive}: member {name!r} {message}; nothing was unpacked; fetch the archive again"
    )
    assert not list(tmp_path.rglob("escaped*"))
    assert not [path for path in (cache / "unpacked").rglob("*") if path.is_file() and ".lock" not in path.name]


def test_parts_and_classes_that_are_missing(root):
    (root / "imagenette2/val" / WNIDS[4]).rename(root / "imagenette2/val/n99999999")
    assert said(root) == (
        "the class folders in 'val' are not ImageNette's ten; missing: 'n03028079 (church)'; not expected: 'n99999999'"
    )
    shutil.rmtree(root / "imagenette2/val")
    assert said(root) == f"{root}/imagenette2 has no folder 'val'; ImageNette has train/ and val/"
    for path in (root / "imagenette2/train" / WNIDS[2]).iterdir():
        path.unlink()
    assert said(root).startswith(f"class folder 'train/{WNIDS[2]}' has no images (looked for ")


def test_only_jpeg_counts(root):
    folder = root / "imagenette2/train" / WNIDS[0]
    Image.new("RGB", (9, 9)).save(folder / "a.png")
    (folder / "n01440764_1.JPEG").rename(folder / "n01440764_1.jpeg")
    info = Imagenette(path=str(root)).info()
    assert info.counts["train"] == 30
    assert "images that do not end in .JPEG, not used: 1" in info.notes
    for path in folder.glob("*.[Jj]*"):
        path.rename(path.with_suffix(".png"))
    assert said(root) == f"'train' has no .JPEG images of '{WNIDS[0]}'"


def test_a_damaged_image_is_named_and_nothing_is_kept(root, small, context_of):
    path = root / "imagenette2/val" / WNIDS[9] / "ILSVRC2012_val_00000050.JPEG"
    whole = path.read_bytes()
    path.write_bytes(whole[:-400])
    dataset = Imagenette(path=str(root))
    context = context_of(dataset)
    with pytest.raises(UsageError) as raised:
        dataset.load("test", context)
    assert str(raised.value) == (
        f"imagenette:path={root}: 'val/{WNIDS[9]}/{path.name}' cannot be used (truncated); repair it or move it away"
    )
    path.write_bytes(whole)
    assert len(dataset.load("test", context)) == 20


def test_images_are_decoded_once(root, small, context_of, monkeypatch):
    dataset = Imagenette(path=str(root))
    context = context_of(dataset)
    first = dataset.load("train", context)
    assert isinstance(first.images, np.memmap)
    monkeypatch.setattr(_scan, "load_files", None)
    monkeypatch.setattr(_cache, "_make", None)
    np.testing.assert_array_equal(dataset.load("train", context).images, first.images)


def test_keeps_the_promises_of_a_dataset(root):
    conformance(Imagenette, values={"path": str(root)})
