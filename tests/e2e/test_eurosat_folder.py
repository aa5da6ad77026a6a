"""The same job on a user's own images, with Stable Diffusion's own configuration keys: a mini model, opened by path."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from driving import Bench
from looking import hashes, records, rows
from mini_sd import write_mini_sd
from PIL import Image

EUROSAT = (
    *("AnnualCrop", "Forest", "HerbaceousVegetation", "Highway", "Industrial"),
    *("Pasture", "PermanentCrop", "Residential", "River", "SeaLake"),
)
QUICK = (
    *("--gen", "diffinv:model=./mini-sd,checkpoints=2,num_inference_steps=2", "--seeds", "1", "--mix", "0:1"),
    *("--learner", "timm:steps=3,batch_size=8", "--arch", "shufflenetv2", "--executor", "inline"),
)


def write_images(folder: Path, count: int, side: int, tint: int, ending: str) -> None:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(tint)
    for number in range(1, count + 1):
        pixels = rng.integers(0, 120, (side, side, 3), dtype=np.uint8)
        pixels[..., tint % 3] += np.uint8(12 * (tint % 10))
        Image.fromarray(pixels).save(folder / f"{folder.name}_{number}{ending}")


@pytest.fixture(scope="module")
def own(tmp_path_factory, environment):
    """A folder with a mini model, a EuroSAT of 100 images and photos of two pets."""
    folder = tmp_path_factory.mktemp("own-images")
    write_mini_sd(folder / "mini-sd")
    for label, name in enumerate(EUROSAT):
        write_images(folder / "data" / "eurosat" / "2750" / name, 10, 64, label, ".jpg")
    for label, name in enumerate(("cat", "dog")):
        write_images(folder / "pets" / "train" / name, 6, 40, label, ".png")
        write_images(folder / "pets" / "test" / name, 4, 40, label + 5, ".png")
    return Bench(folder, environment)


@pytest.mark.slow
def test_eurosat_with_a_model_in_a_folder(own):
    done = own("run", "--data", "eurosat:path=data", *QUICK, "--shots", "1", "--n-syn", "12", "--results", "eurosat")
    assert done.out.startswith("plan       2 cells, 0 done; ")
    assert done.errors == []
    results = own.folder / "eurosat"
    real, made = (
        next(row for row in rows(results) if (row["gen"] == "real") is baseline) for baseline in (True, False)
    )
    assert (real["n_real"], made["n_syn"]) == ("10", "12")
    assert made["gen"].startswith("diffinv:model=mini-sd@")
    assert made["data"].startswith("eurosat:path=data@")
    notes = records(results)[0]["provenance"]["notes"]
    assert any("regenerated" in note for note in notes), notes
    assert len(list((results / "figures").glob("*.png"))) == 1
    fits = [json.loads(path.read_text()) for path in (results / "artifacts").rglob("done.json")]
    sides = {fit["body"]["values"]["resolution"] for fit in fits if fit["stage"] == "fit"}
    assert sides == {64}, "mini-sd has latents of 8 px under a VAE that reduces 8 times; the dataset asks for 256"


def test_the_same_images_and_model_elsewhere_are_the_same_work(own, tmp_path):
    """Keys name content: a copied folder is cached, one changed pixel is not."""
    plan = ("plan", *QUICK[:-2], "--results", "eurosat", "--json", "--shots", "1", "--n-syn", "12")
    keys = {step["key"] for step in json.loads(own(*plan, "--data", "eurosat:path=data").out)["steps"]}
    (own.folder / "moved").symlink_to(own.folder / "data")
    moved = {step["key"] for step in json.loads(own(*plan, "--data", "eurosat:path=moved").out)["steps"]}
    assert moved == keys
    image = own.folder / "data" / "eurosat" / "2750" / "River" / "River_1.jpg"
    before = image.read_bytes()
    try:
        Image.new("RGB", (64, 64), "red").save(image)
        edited = {step["key"] for step in json.loads(own(*plan, "--data", "eurosat:path=data").out)["steps"]}
    finally:
        image.write_bytes(before)
    assert not edited & keys


@pytest.mark.slow
def test_a_folder_of_photos(own):
    options = (*QUICK, "--data", "folder:path=pets", "--n-syn", "8", "--results", "pets-results")
    done = own("run", *options)
    results = own.folder / "pets-results"
    assert {row["n_real"] for row in rows(results)} == {"12"}
    assert all(0 <= float(row["acc_mean"]) <= 100 for row in rows(results))
    assert "folder:path=pets@" in done.out
    before = hashes(results)
    assert "everything is cached" in own("run", *options).out
    assert hashes(results) == before
    assert not any(str(own.folder) in path.read_text("utf-8") for path in (results / "records").rglob("*.json"))


def test_missing_eurosat_is_said_at_once_with_the_folder_to_fill(own):
    done = own("run", "--data", "eurosat:path=nothing", *QUICK, code=2)
    assert done.seconds < 10
    assert done.out == ""
    assert done.err.count("\n") == 1
    place = own.folder / "nothing"
    assert done.err.startswith(
        f"bench: eurosat:path=nothing: not found: the EuroSAT images (RGB, ten class folders); looked for {place}"
    )
    assert "torchvision.datasets.EuroSAT(" in done.err
    assert "torchgeo/eurosat" in done.err


def test_the_data_folder_is_where_bench_data_says(own):
    done = own("plan", "--gen", "real", "--data", "eurosat", BENCH_DATA=str(own.folder / "data"))
    assert done.out.startswith("plan       5 cells, 0 done; ")


def test_a_model_that_is_no_pipeline(own):
    (own.folder / "not-sd").mkdir()
    (own.folder / "not-sd" / "README.txt").write_text("nothing")
    done = own("run", "--gen", "diffinv:model=./not-sd", "--data", "folder:path=pets", code=2)
    assert done.err.count("\n") == 1
    assert done.err.startswith("bench: diffinv:model=./not-sd: ")
