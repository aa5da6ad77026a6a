"""Datasets of image files from the command line: shown without files, refused when wrong, trained on as published."""

from __future__ import annotations

import os
import shutil
import tarfile
import zipfile

import numpy as np
import pytest
from driving import Bench
from looking import records, rows
from PIL import Image

WNIDS = (
    *("n01440764", "n02102040", "n02979186", "n03000684", "n03028079"),
    *("n03394916", "n03417042", "n03425413", "n03445777", "n03888257"),
)
URLS = {
    "imagenette": "https://s3.amazonaws.com/fast-ai-imageclas/imagenette2.tgz",
    "eurosat": "https://huggingface.co/datasets/torchgeo/eurosat/resolve/c877bcd43f099cd0196738f714544e355477f3fd/"
    "EuroSAT.zip",
}
RUN = ("--gen", "real", "--arch", "shufflenetv2", "--learner", "timm:steps=2,batch_size=8", "--executor", "inline")


@pytest.fixture(scope="module")
def place(tmp_path_factory, environment):
    """A folder with an ImageNette of 30 training and 20 test photos of odd sizes, two of them grey and CMYK."""
    folder = tmp_path_factory.mktemp("files")
    rng = np.random.default_rng(0)
    for part, count in (("train", 3), ("val", 2)):
        for wnid in WNIDS:
            (folder / "data/imagenette2" / part / wnid).mkdir(parents=True)
            for number in range(count):
                shape = (int(rng.integers(30, 60)), int(rng.integers(30, 60)), 3)
                image = Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8))
                mode = {0: "L", 1: "CMYK"}.get(number if wnid == WNIDS[0] else 2, "RGB")
                image.convert(mode).save(folder / "data/imagenette2" / part / wnid / f"{wnid}_{number}.JPEG")
    return Bench(folder, environment)


@pytest.mark.parametrize(
    ("name", "facts"),
    [
        (
            "imagenette",
            (
                "train 9,469, validation 0, test 3,925",
                "10: tench, English springer, cassette player",
                "256 px, classified at 256 px",
            ),
        ),
        (
            "eurosat",
            (
                "train 13,500, validation 5,400, test 8,100",
                "10: Annual Crop Land, Forest,",
                "64 px, classified at 64 px",
            ),
        ),
    ],
)
def test_show_tells_the_facts_without_files(bench, name, facts):
    done = bench("show", name)
    assert done.err == ""
    for fact in (*facts, "licence", URLS[name], "Zhou et al. 2023", f"`bench fetch {name}`"):
        assert fact in done.out, fact


def test_a_run_without_files_says_at_once_what_to_fetch_and_where_to_put_it(bench):
    done = bench("run", "--data", "imagenette", *RUN, BENCH_DATA=str(bench.folder / "data"), code=2)
    assert done.seconds < 10
    assert done.out == ""
    here = bench.folder / "data" / "imagenette"
    assert done.err == (
        f"bench: imagenette: not found: the ImageNette images (imagenette2, full size); looked for {here}/imagenette2; "
        f"put it there; source: `bench fetch imagenette` gets them, or by hand {URLS['imagenette']} as "
        f"{here}/imagenette2.tgz\n"
    )


@pytest.mark.parametrize("name", URLS)
def test_fetching_without_a_network_says_at_once_what_to_do_by_hand(bench, name):
    away = {name: "http://127.0.0.1:9" for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")}
    done = bench("fetch", f"{name}:path=here", code=2, no_proxy="", NO_PROXY="", **away)
    assert done.seconds < 10
    assert done.err.count("\n") == 1
    assert done.err.startswith(f"bench: {name}:path=here: cannot reach ")
    assert URLS[name] in done.err
    assert f"put it at {bench.folder}/here/{URLS[name].rpartition('/')[2]}" in done.err


@pytest.mark.slow
def test_a_run_on_imagenette_as_published(place):
    done = place("run", "--data", "imagenette:path=data", *RUN)
    assert done.errors == []
    results = place.folder / "results"
    (row,) = rows(results)
    assert (row["gen"], row["n_real"]) == ("real", "30")
    assert row["data"].startswith("imagenette:path=data@")
    (record,) = records(results)
    (train, test) = record["provenance"]["notes"]
    assert train.startswith("30 training images here, 9,469 published: tench 3 of 963, ")
    assert test.startswith("20 test images here, 3,925 published: tench 2 of 387, ")
    assert not any(str(place.folder) in path.read_text("utf-8") for path in (results / "records").rglob("*.json"))
    (stored,) = results.rglob("train/images.npy")
    assert np.load(stored, mmap_mode="r").shape == (30, 256, 256, 3)
    assert "everything is cached" in place("run", "--data", "imagenette:path=data", *RUN).out


def refused(bench, *arguments):
    done = bench(*arguments, code=2, timeout=60)
    assert done.out == ""
    assert done.err.count("\n") == 1
    return done.err


@pytest.mark.parametrize("name", URLS)
def test_an_archive_that_is_not_the_published_one_is_not_unpacked(bench, name):
    """Here with a member that would leave the folder; one that had the right checksum would be refused for that."""
    (bench.folder / "data").mkdir()
    (bench.folder / "photo.jpg").write_bytes(b"x")
    archive = bench.folder / "data" / URLS[name].rpartition("/")[2]
    if name == "eurosat":
        with zipfile.ZipFile(archive, "w") as out:
            out.write(bench.folder / "photo.jpg", "../escaped.jpg")
    else:
        with tarfile.open(archive, "w:gz") as out:
            out.add(bench.folder / "photo.jpg", "../escaped.jpg")
    told = refused(bench, "run", "--data", f"{name}:path=data", *RUN)
    assert told.startswith(f"bench: {name}:path=data: {archive}: wrong checksum: md5 ")
    assert f"fetch {URLS[name]} again" in told
    assert not list(bench.folder.rglob("escaped.jpg"))


def test_classes_that_are_missing_are_named_before_any_work(place, bench):
    shutil.copytree(place.folder / "data/imagenette2", bench.folder / "part")
    shutil.rmtree(bench.folder / "part/train/n03417042")
    assert refused(bench, "run", "--data", "imagenette:path=part", *RUN) == (
        "bench: imagenette:path=part: the class folders in 'train' are not ImageNette's ten; missing: "
        "'n03417042 (garbage truck)'\n"
    )


def test_odd_files_of_ones_own_are_named_before_any_work(bench):
    for name in ("train/cat", "train/dog", "test/cat", "test/dog"):
        (bench.folder / "pets" / name).mkdir(parents=True)
        for number in range(2):
            colour = (len(name) * 9, ord(name[-1]), number * 50)
            Image.new("RGB", (1, 1), colour).save(bench.folder / "pets" / name / f"{number}.png")
    (bench.folder / "pets/train/cat/0.png").unlink()
    os.mkfifo(bench.folder / "pets/train/cat/0.png")
    (bench.folder / "pets/test/dog/0.png").write_bytes(b"P6 100000 100000 255\n")
    assert refused(bench, "plan", "--data", "folder:path=pets", *RUN[:-2]) == (
        "bench: folder:path=pets: 2 images cannot be used: 'train/cat/0.png' (not a regular file), 'test/dog/0.png' "
        "(more than 64 megapixels); repair them or move them away\n"
    )
    (bench.folder / "pets/train/cat/0.png").unlink()
    Image.new("RGB", (1, 1), (1, 1, 1)).save(bench.folder / "pets/test/dog/0.bmp")
    Image.new("RGB", (1, 1), (1, 1, 1)).save(bench.folder / "pets/train/dog/2.gif")
    (bench.folder / "pets/test/dog/0.png").unlink()
    told = bench("plan", "--data", "folder:path=pets", *RUN[:-2]).errors
    assert all(line.startswith("bench: warning: metric ") for line in told), told  # two images are too few for some
