"""The user's own images: layouts, sizes, and every mistake as one whole sentence."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from releases import refusal

from benchbench.errors import MissingError, UsageError
from benchbench.plugins.parameters import build
from benchbench.statistics.overlap import digests, shared_with_test
from benchbench.testing import conformance
from benchbench_plugins.datasets import _scan
from benchbench_plugins.datasets.folder import Folder

LAYOUT = "expected train/ and test/ (or val/) with a folder for each class, or a folder for each class alone"
#: Fixed for ever by the hash of the names.
TEST_OF_SEED_0 = ["cat/0.png", "cat/9.png", "dog/2.png"]
ENDINGS = ".bmp .gif .jpeg .jpg .pgm .png .ppm .tif .tiff .webp"
PETS = {"train/cat": 4, "train/dog": 3, "test/cat": 2, "test/dog": 1}


def sources(images):
    return [origin["source"] for origin in images.origins]


def test_train_and_test(tree, context_of):
    dataset = Folder(path=str(tree(PETS)))
    info, context = dataset.info(), context_of(dataset)
    assert info.classes == ("cat", "dog")
    assert info.counts == {"train": 7, "validation": 0, "test": 3}
    assert info.class_counts == (4, 3)
    assert (info.resolution, info.classify_resolution, info.generate_resolution) == (32, 32, 128)
    assert info.source == "the folder 'pets'"
    assert info.notes == ()
    train = dataset.load("train", context)
    assert sources(train) == [
        f"train/{name}.png" for name in ("cat/0", "cat/1", "cat/2", "cat/3", "dog/0", "dog/1", "dog/2")
    ]
    assert train.labels.tolist() == [0, 0, 0, 0, 1, 1, 1]
    for image, source in zip(train.images, sources(train), strict=True):
        np.testing.assert_array_equal(image, np.asarray(Image.open(Path(dataset.path) / source)))
    assert dataset.load("validation", context).images.shape == (0, 32, 32, 3)
    assert sources(dataset.load("test", context)) == ["test/cat/0.png", "test/cat/1.png", "test/dog/0.png"]


def test_val_is_test_without_test_and_validation_with_it(tree):
    root = tree({"train/cat": 2, "train/dog": 2, "val/cat": 1, "val/dog": 1})
    info = Folder(path=str(root)).info()
    assert info.counts == {"train": 4, "validation": 0, "test": 2}
    assert info.notes == ("'val' is the test part: there is no test/",)
    info = Folder(path=str(tree({"test/cat": 3, "test/dog": 3}))).info()
    assert info.counts == {"train": 4, "validation": 2, "test": 6}


def test_parts_in_other_spellings_and_what_else_lies_there(tree):
    root = tree({"Train/cat": 2, "Train/dog": 2, "Validation/cat": 1, "TEST/cat": 2, "unlabelled/x": 1})
    (root / "README.txt").write_text("hello")
    (root / "Train" / "labels.csv").write_text("a,b")
    (root / "__MACOSX").mkdir()
    for litter in (".DS_Store", "Thumbs.db", "desktop.ini", "._0.png"):
        (root / "Train" / "cat" / litter).write_bytes(b"litter")
    info = Folder(path=str(root)).info()
    assert info.counts == {"train": 4, "validation": 1, "test": 2}
    assert set(info.notes) == {"the test part has no images of 'dog'", "not used: 'unlabelled'"}


def test_a_single_folder_is_split_by_its_seed(tree, context_of):
    root = tree({"cat": 10, "dog": 5})
    dataset = Folder(path=str(root))
    info, context = dataset.info(), context_of(dataset)
    assert info.counts == {"train": 12, "validation": 0, "test": 3}
    assert info.class_counts == (8, 4)
    assert info.notes == ("20% of each class test, chosen by split_seed, anew for each draw",)
    train, test = sources(dataset.load("train", context)), sources(dataset.load("test", context))
    assert sorted(train + test) == sorted(
        f"{name}/{number}.png" for name, n in (("cat", 10), ("dog", 5)) for number in range(n)
    )
    assert train == sorted(train)
    assert test == TEST_OF_SEED_0
    other = Folder(path=str(root), split_seed=1)
    assert sources(other.load("test", context)) != test
    assert Folder(path=str(root), test_fraction=0.5).info().counts == {"train": 8, "validation": 0, "test": 7}
    # An added image joins one part and moves at most one other: the test images of before are not reshuffled.
    tree({"cat": 11})
    later = set(sources(dataset.load("test", context)))
    assert len(set(test) - later) <= 1


def test_each_draw_is_a_split_of_its_own(tree, context_of):
    root = tree({"cat": 10, "dog": 5})
    (root / "cat" / "0.png").rename(root / "cat" / "large.png")
    dataset = Folder(path=str(root), split_seed=3)
    info = dataset.info()
    assert dataset.of_draw(0, info) == dataset
    second = dataset.of_draw(1, info)
    assert second == Folder(path=str(root), split_seed=4, resolution=32)
    facts = second.info()
    assert (facts.counts, facts.class_counts, facts.notes) == (info.counts, info.class_counts, info.notes)
    assert facts.mean != info.mean  # of the training images of this draw
    tests = [set(sources(each.load("test", context_of(each)))) for each in (dataset, second)]
    assert tests[0] != tests[1]
    assert [sum(name.startswith("cat") for name in test) for test in tests] == [2, 2]


def test_a_draw_keeps_the_resolution_of_the_first(tree, draw):
    """The median of the training images' sides would be another one in each split, and rows would not be comparable."""
    root = tree({"cat": 4, "dog": 4})
    for place, side in enumerate((16, 32, 48, 64)):
        for name in ("cat", "dog"):
            draw(root / name / f"{place}.png", (side, side), seed=place)
    first = Folder(path=str(root), test_fraction=0.5)
    info = first.info()
    seeds = range(1, 6)
    assert {first.of_draw(seed, info).info().resolution for seed in seeds} == {info.resolution}
    assert len({Folder(path=str(root), test_fraction=0.5, split_seed=seed).info().resolution for seed in seeds}) > 1


def test_parts_that_are_there_are_those_of_every_draw(tree):
    dataset = Folder(path=str(tree(PETS)))
    assert dataset.of_draw(7, dataset.info()) is dataset


def test_more_draws_than_there_are_test_parts(tree):
    root = tree({"cat": 20, "dog": 3})
    dataset = Folder(path=str(root))
    info = dataset.info()
    dataset.of_draw(2, info)
    assert refusal(lambda: dataset.of_draw(3, info)) == (
        f"folder:path={root}: --draws: class 'dog' has so few images that there are 3 different test parts; "
        "give at most --draws 3, or add images"
    )


def test_a_group_is_in_one_part(tree, draw, context_of):
    """Four animals with pictures in both classes, and one picture that belongs to nobody."""
    root = tree({"awake": 0, "asleep": 0})
    for number, (label, animal) in enumerate(
        [(label, animal) for label in ("awake", "asleep") for animal in "abcd"] * 3
    ):
        draw(root / label / f"animal-{animal}-{number}.png", seed=number)
    draw(root / "awake" / "unknown.png", seed=99)
    dataset = Folder(path=str(root), group=r"animal-(\w)")
    info = dataset.info()
    assert info.notes == (
        "20% of each class test, chosen by split_seed, anew for each draw",
        r"images that share 'animal-(\w)' in their path are in one part",
    )
    seen = set()
    for number in range(3):
        split = dataset.of_draw(number, info)
        parts = {part: sources(split.load(part, context_of(split))) for part in ("train", "test")}
        animals = {part: {name.split("-")[1] for name in names if "-" in name} for part, names in parts.items()}
        assert not animals["train"] & animals["test"]
        assert sum(map(len, parts.values())) == 25
        assert {name.split("/")[0] for name in parts["test"]} == {"awake", "asleep"}
        seen.add(frozenset(animals["test"]))
    assert len(seen) > 1
    assert refusal(lambda: dataset.of_draw(4, info)) == (
        rf"folder:path={root}: --draws: class 'asleep' has so few groups of images that there are 4 different test "
        "parts; give at most --draws 4, or add images"
    )


def test_a_large_share_of_two_groups_leaves_one_for_training(tree):
    root = tree({"cat/a": 3, "cat/b": 3, "dog": 6})
    info = Folder(path=str(root), group="cat/.", test_fraction=0.8).info()
    assert (info.class_counts, info.counts["test"]) == ((3, 1), 8)


@pytest.mark.parametrize(
    ("counts", "group", "message"),
    [
        ({"cat": 3, "dog": 3}, "fox", "group=fox: is in no path of an image, such as 'cat/0.png'"),
        (PETS, "cat", "group=cat: has a test part, so that nothing is split; leave group out"),
        ({"cat": 3, "dog": 3}, "cat", "class 'cat': a split of its 1 group of images leaves none for train"),
    ],
)
def test_groups_that_cannot_be_kept(tree, counts, group, message):
    root = tree(counts)
    assert said(Folder(path=str(root), group=group)) == f"folder:path={root}: {message}"


def test_a_group_that_is_no_pattern(tree):
    with pytest.raises(UsageError) as raised:
        build(Folder, {"path": str(tree(PETS)), "group": "("}, subject="folder")
    told = "folder: group='(' is no regular expression (missing ), unterminated subpattern at position 0)"
    assert str(raised.value) == told


def test_a_class_may_be_called_train(tree):
    assert Folder(path=str(tree({"train": 3, "car": 3}))).info().classes == ("car", "train")


def test_images_in_folders_of_a_class_folder(tree, context_of):
    root = tree({"cat/indoor": 2, "cat/outdoor": 2, "dog": 4})
    (root / "dog" / "more").symlink_to(root / "cat" / "indoor")
    dataset = Folder(path=str(root))
    assert sum(dataset.info().counts.values()) == 10
    found = sources(dataset.load("train", context_of(dataset)))
    assert {name.split("/")[0] for name in found} == {"cat", "dog"}
    assert all(not name.startswith("/") for name in found)


@pytest.mark.parametrize(
    ("size", "resolution", "generate"),
    [
        ((28, 28), 28, 128),
        ((8, 8), 16, 128),
        ((40, 70), 32, 128),
        ((48, 48), 48, 128),
        ((100, 64), 64, 256),
        ((300, 280), 256, 256),
    ],
)
def test_native_resolution(tree, size, resolution, generate):
    info = Folder(path=str(tree({"cat": 2, "dog": 2}, size=size))).info()
    assert (info.resolution, info.classify_resolution, info.generate_resolution) == (
        resolution,
        resolution,
        generate,
    )


def test_a_chosen_resolution(tree, context_of):
    dataset = Folder(path=str(tree({"cat": 2, "dog": 2}, size=(50, 40))), resolution=20)
    assert dataset.info().resolution == 20
    assert dataset.load("train", context_of(dataset)).images.shape == (2, 20, 20, 3)


def test_mean_and_std_are_those_of_the_training_images(tree, context_of):
    root = tree({"cat": 5, "dog": 5})
    Image.new("RGB", (32, 32), (255, 0, 0)).save(root / "cat" / "red.png")
    dataset = Folder(path=str(root))
    info = dataset.info()
    pixels = dataset.load("train", context_of(dataset)).images / 255
    np.testing.assert_allclose(info.mean, pixels.mean(axis=(0, 1, 2)), atol=5.1e-5)
    np.testing.assert_allclose(info.std, pixels.std(axis=(0, 1, 2)), atol=5.1e-5)
    for name in ("a", "b"):
        (root.parent / "black" / name).mkdir(parents=True)
        for number in range(2):
            Image.new("RGB", (16, 16)).save(root.parent / "black" / name / f"{number}.png")
    assert Folder(path=str(root.parent / "black")).info().std == (1.0, 1.0, 1.0)


def test_prompts(tree):
    root = tree({"brown_bear": 2, "dog": 2})
    info = Folder(path=str(root), prompt="one {}!", flip=False).info()
    assert [info.prompt.format(name) for name in info.prompt_names] == ["one brown bear!", "one dog!"]
    assert not info.flip_keeps_class
    for prompt in ("a photo", "{} and {}", "{} {x}", "{0}"):
        with pytest.raises(UsageError) as raised:
            build(Folder, {"path": str(root), "prompt": prompt}, subject="folder")
        assert str(raised.value) == f"folder: prompt='{prompt}' must hold {{}} once, for the class"


def test_files_that_train_and_test_are_noted(tree):
    root = tree(PETS | {"val/cat": 1})
    shutil.copy(root / "train/cat/0.png", root / "test/cat/copy.png")
    assert Folder(path=str(root)).info().notes == (
        "1 test image is byte for byte among the training or validation images",
    )
    shutil.copy(root / "val/cat/0.png", root / "test/dog/of_validation.png")
    Image.open(root / "train/dog/0.png").save(root / "test/dog/copy.bmp")  # another file: the harness compares pixels
    assert Folder(path=str(root)).info().notes == (
        "2 test images are byte for byte among the training or validation images",
    )


def test_equal_pixels_in_other_files_are_equal_images(tree, draw, context_of):
    """What the harness compares, whatever the file: another format, EXIF, a palette, a comment; not what is alike."""
    root = tree(PETS)
    image = Image.open(root / "train/dog/0.png")
    image.save(root / "test/dog/copy.bmp")
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.open(root / "train/cat/0.png").transpose(Image.Transpose.ROTATE_180).save(root / "test/cat/t.png", exif=exif)
    Image.new("RGB", (32, 32), (1, 2, 3)).save(root / "train/cat/flat.png")
    palette = Image.new("P", (32, 32))
    palette.putpalette([1, 2, 3])
    palette.save(root / "test/cat/flat.gif")
    draw(root / "train/cat/photo.jpg", (300, 304), seed=50)
    plain = (root / "train/cat/photo.jpg").read_bytes()
    (root / "test/cat/photo.jpg").write_bytes(plain[:2] + b"\xff\xfe\x00\x07hello" + plain[2:])
    image.resize((16, 16)).save(root / "test/dog/small.png")
    dataset = Folder(path=str(root))
    assert dataset.info().notes == ()
    context = context_of(dataset)
    found = {split: digests(dataset.load(split, context)) for split in ("train", "validation", "test")}
    assert shared_with_test(found) == {"test_in_train": 4, "test_in_validation": 0}


def test_the_content_decides_and_not_the_place(tree):
    root = tree(PETS)
    assert Folder(path=str(root)).input_paths() == (root,)
    assert Folder().input_paths() == ()


def test_images_are_decoded_once(tree, context_of, monkeypatch):
    root = tree(PETS)
    dataset = Folder(path=str(root))
    context = context_of(dataset)
    first = dataset.load("train", context)
    assert not first.images.flags.writeable

    def refuse(*arguments):
        raise AssertionError("decoded again")

    with monkeypatch.context() as patched:
        patched.setattr(_scan, "load_files", refuse)
        again = dataset.load("train", context)
    np.testing.assert_array_equal(again.images, first.images)
    assert (again.labels.tolist(), again.origins) == (first.labels.tolist(), first.origins)
    # The same content elsewhere is the same entry; other content, another split or size is not.
    shutil.copytree(root, root.parent / "copy")
    for other in ({"resolution": 16}, {}):
        if not other:
            Image.new("RGB", (32, 32), (9, 8, 7)).save(root / "train/cat/0.png")
        changed = Folder(path=str(root), **other)
        described = context_of(changed)
        with monkeypatch.context() as patched:
            patched.setattr(_scan, "load_files", refuse)
            Folder(path=str(root.parent / "copy")).load("train", context)
            with pytest.raises(AssertionError, match="decoded again"):
                changed.load("train", described)
    assert dataset.load("train", context).images[0, 0, 0].tolist() == [9, 8, 7]


def test_two_splits_of_one_folder_are_two_entries(tree, context_of):
    root = tree({"cat": 8, "dog": 8})
    for seed in (0, 1, 0):
        dataset = Folder(path=str(root), split_seed=seed)
        test = dataset.load("test", context_of(dataset))
        for image, source in zip(test.images, sources(test), strict=True):
            np.testing.assert_array_equal(image, np.asarray(Image.open(root / source)))


def test_what_the_cache_cannot_keep_goes_to_the_scratch_folder(tree, context_of, cache):
    dataset = Folder(path=str(tree(PETS)))
    context = context_of(dataset)
    expected = dataset.load("train", context).images
    shutil.rmtree(cache / "decoded")
    (cache / "decoded").write_text("a file where the folder should be")
    for _ in range(2):
        found = dataset.load("train", context).images
        assert context.scratch in Path(found.filename).parents
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("put_back", [True, False])
def test_a_folder_that_changes_while_it_is_read(tree, context_of, cache, monkeypatch, put_back):
    root = tree(PETS)
    dataset = Folder(path=str(root))
    context = context_of(dataset)
    files, photo = _scan.load_files, root / "train/cat/0.png"

    def meddle(*arguments):
        photo.rename(root.parent / "kept.png")
        Image.new("RGB", (32, 32)).save(photo)
        yield from files(*arguments)
        if put_back:
            (root.parent / "kept.png").rename(photo)

    monkeypatch.setattr(_scan, "load_files", meddle)
    with pytest.raises(UsageError) as raised:
        dataset.load("train", context)
    assert str(raised.value) == (
        f"folder:path={root}: its files changed while they were read; run again when they are complete"
    )
    assert not [path for path in (cache / "decoded").iterdir() if not path.name.startswith(".lock")]


def said(dataset, kind=UsageError):
    return refusal(dataset.info, kind)


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({}, f"the folder is empty; {LAYOUT}"),
        ({"cat": 3}, "only one class ('cat'); a classifier needs at least two"),
        ({"train/cat": 3, "test/cat": 1}, "only one class ('cat'); a classifier needs at least two"),
        (
            {"cat": 3, "dog": 0},
            "class folder 'dog' has no images (looked for " + ENDINGS + ")",
        ),
        (
            PETS | {"test/dog": 0},
            "class folder 'test/dog' has no images (looked for " + ENDINGS + ")",
        ),
        (
            PETS | {"test/fox": 1},
            "'test' has a class that 'train' lacks: 'fox'; add training images or move it away",
        ),
        (
            PETS | {f"val/{name}": 1 for name in "abcd"},
            "'val' has 4 classes that 'train' lacks: 'a', 'b', 'c' and 1 more; add training images or move them away",
        ),
        ({"cat": 3, "dog": 1}, "class 'dog' has 1 image; a split into train and test needs at least 2"),
        ({"test/cat": 1, "test/dog": 1}, f"has 'test' but no train/; {LAYOUT}"),
        (
            {"train/cat": 1, "train/dog": 1},
            "has 'train' but neither test/ nor val/; add one, or give the path of 'train' itself to have it split",
        ),
        (PETS | {"train": 1}, f"images outside of a class folder ('train/0.png'); {LAYOUT}"),
        (
            {"train": 2, "test": 2},
            f"images outside of a class folder ('train/0.png', 'train/1.png'); {LAYOUT}",
        ),
        ({".": 5}, f"images outside of a class folder ('0.png', '1.png', '2.png' and 2 more); {LAYOUT}"),
        ({"train": 0, "test/cat": 1, "test/dog": 1}, f"'train' has no class folders; {LAYOUT}"),
        (PETS | {"TEST/cat": 1}, "both 'TEST' and 'test' could be the test part; rename one"),
        (
            PETS | {"val/cat": 1, "valid/cat": 1},
            "both 'val' and 'valid' could be the validation part; rename one",
        ),
    ],
)
def test_a_wrong_layout_is_one_clear_line(tree, counts, message):
    root = tree(counts)
    root.mkdir(exist_ok=True)
    assert said(Folder(path=str(root))) == f"folder:path={root}: {message}"


def test_no_folder(tree, tmp_path, monkeypatch):
    tree(PETS)
    monkeypatch.chdir(tmp_path)
    assert (
        said(Folder(path="pest"), MissingError) == f"folder:path=pest: no such folder (did you mean 'pets'?); {LAYOUT}"
    )
    assert said(Folder(path="no/such"), MissingError) == f"folder:path=no/such: no such folder; {LAYOUT}"
    assert said(Folder()) == f"folder: path is missing: folder:path=FOLDER; {LAYOUT}"
    Path("file.zip").write_bytes(b"x")
    assert said(Folder(path="file.zip")) == f"folder:path=file.zip: not a folder; {LAYOUT}"
    Path("notes").mkdir()
    Path("notes/a.txt").write_text("x")
    assert said(Folder(path="notes")) == f"folder:path=notes: no class folders; {LAYOUT}"


def test_a_folder_of_odd_images(tmp_path, context_of):
    """One file of each kind that users have, through the whole reader; each shows one colour."""
    root = tmp_path / "odd"
    for name in ("a", "b"):
        (root / name).mkdir(parents=True)
    palette = Image.new("P", (40, 30), 1)
    palette.putpalette([0, 0, 0, 40, 50, 60])
    turned = Image.Exif()
    turned[0x0112] = 6
    cases = {
        "bit.png": (Image.new("1", (40, 30), 1), {}, (255, 255, 255)),
        "cmyk.tif": (Image.new("CMYK", (40, 30), (0, 255, 255, 0)), {}, (255, 0, 0)),
        "deep.png": (Image.fromarray(np.full((30, 40), 32896, dtype=np.uint16)), {}, (128, 128, 128)),
        "frames.gif": (palette, {"save_all": True, "append_images": [Image.new("P", (40, 30))]}, (40, 50, 60)),
        "grey.bmp": (Image.new("L", (40, 30), 77), {}, (77, 77, 77)),
        "palette.png": (palette, {}, (40, 50, 60)),
        "pixel.webp": (Image.new("RGB", (1, 1), (9, 9, 9)), {"lossless": True}, (9, 9, 9)),
        "see.png": (Image.new("RGBA", (40, 30), (0, 0, 0, 51)), {}, (204, 204, 204)),
        "turned.png": (Image.new("RGB", (40, 30), (1, 2, 3)), {"exif": turned}, (1, 2, 3)),
    }
    for number, (name, (image, options, _)) in enumerate(cases.items()):
        image.save(root / "ab"[number % 2] / name, **options)
    dataset = Folder(path=str(root))
    info, context = dataset.info(), context_of(dataset)
    assert info.resolution == 16
    seen = {}
    for split in ("train", "test"):
        part = dataset.load(split, context)
        for pixels, source in zip(part.images, sources(part), strict=True):
            seen[source.split("/")[1]] = tuple(int(value) for value in pixels[3, 5])
            assert len(np.unique(pixels.reshape(-1, 3), axis=0)) == 1
    assert seen == {name: colour for name, (_, _, colour) in cases.items()}


def test_an_image_that_is_too_large_is_named(tree):
    root = tree(PETS)
    (root / "train/cat/vast.ppm").write_bytes(b"P6 10000 7000 255\n")
    assert said(Folder(path=str(root))) == (
        f"folder:path={root}: 1 image cannot be used: 'train/cat/vast.ppm' (10000 x 7000 px, more than 64 megapixels); "
        "repair it or move it away"
    )


def test_unusable_images_are_named_and_counted(tree):
    root = tree({"train/cat": 6, "train/dog": 3, "test/cat": 2})
    first = root / "train/cat/1.png"
    first.write_bytes(first.read_bytes()[:-500])
    dataset = Folder(path=str(root))
    subject = f"folder:path={root}"
    assert (
        said(dataset) == f"{subject}: 1 image cannot be used: 'train/cat/1.png' (truncated); repair it or move it away"
    )
    (root / "train/cat/2.png").write_bytes(b"")
    (root / "train/dog/1.png").write_text("no image")
    (root / "test/cat/1.png").unlink()
    (root / "test/cat/1.png").symlink_to("nowhere")
    assert said(dataset) == (
        f"{subject}: 4 images cannot be used: 'train/cat/1.png' (truncated), 'train/cat/2.png' (an empty "
        "file), 'train/dog/1.png' (not an image, or damaged) and 1 more; repair them or move them away"
    )


def test_an_image_that_breaks_after_the_scan_is_named(tree, context_of):
    root = tree(PETS)
    dataset = Folder(path=str(root))
    context = context_of(dataset)
    (root / "train/dog/2.png").write_bytes(b"gone bad")
    with pytest.raises(UsageError) as raised:
        dataset.load("train", context)
    assert str(raised.value) == (
        f"folder:path={root}: 'train/dog/2.png' cannot be used (not an image, or damaged); repair it or move it away"
    )


def test_other_files_and_odd_names_in_a_class_folder(tree):
    root = tree(PETS)
    (root / "train/cat/labels.csv").write_text("a,b")
    assert said(Folder(path=str(root))) == (
        f"folder:path={root}: not an image file: 'train/cat/labels.csv'; a class folder holds " + ENDINGS
    )
    (root / "train/cat/labels.csv").rename(root / "train/cat/a\nb.png")
    assert said(Folder(path=str(root))) == (
        f"folder:path={root}: the name 'a\\nb.png' in 'train/cat' is not plain text; rename it"
    )


def test_keeps_the_promises_of_a_dataset(tree):
    conformance(Folder, values={"path": str(tree(PETS))})
    conformance(Folder, values={"path": str(tree({"a": 3, "b": 4}, name="single")), "resolution": 24})


def test_links_in_a_circle(tree):
    root = tree(PETS)
    (root / "train/cat/again").symlink_to(root / "train/cat")
    message = "is a link to a folder that holds it; move the link away"
    assert said(Folder(path=str(root))) == f"folder:path={root}: 'train/cat/again' {message}"
    (root / "train/cat/again").unlink()
    (root / "train/cat/again").symlink_to(root)
    assert said(Folder(path=str(root))) == f"folder:path={root}: 'train/cat/again' {message}"


def test_a_folder_that_cannot_be_listed(tree, monkeypatch):
    import os

    root, listing = tree(PETS), os.scandir

    def refuse(path):
        if str(path).endswith("train/cat"):
            raise PermissionError(13, "Permission denied", path)
        return listing(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert said(Folder(path=str(root))) == f"folder:path={root}: cannot list 'train/cat': Permission denied"


def test_the_home_of_nobody_is_no_folder():
    assert said(Folder(path="~nobody-of-that-name")).startswith("folder:path=~nobody-of-that-name: no such folder")
