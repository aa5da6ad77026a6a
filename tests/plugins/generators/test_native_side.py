"""At which side each generator on a diffusion model works, for each dataset: the published layout, tiny weights."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace

import numpy as np
import pytest

from benchbench.models.diffusion.sampling import open_text_to_image
from benchbench.models.generators import CHUNK, TextToImageGenerator
from benchbench.models.resize import resized
from benchbench.planning.options import make_request
from benchbench.planning.plan import make_plan
from benchbench.plugins.catalog import catalog, load
from benchbench.plugins.images import ImageSet
from benchbench.plugins.parameters import build
from benchbench_plugins.datasets._published import Published


@dataclass(frozen=True)
class Stranger(TextToImageGenerator):
    """Nothing of its own."""


PROMPTED = ("prompt", "lecf", "real-guidance", "stranger")
#: Sides of learned embeddings and reconstructions, appendix B.2 of the paper.
LEARNED = {"stl10": 256, "eurosat": 256, "imagenette": 256, "cifar10": 128, "cifar100": 128} | dict.fromkeys(
    ("pathmnist", "dermamnist", "bloodmnist"), 128
)


@pytest.fixture(scope="module")
def like_v1_4(mini, tmp_path_factory):
    """Return a folder whose configuration says what that of SD v1-4 says: latents of 64 px, reduced 8 times."""
    folder = tmp_path_factory.mktemp("models") / "sd"
    shutil.copytree(mini, folder)
    config = folder / "unet" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "sample_size": 64}))
    return folder


def facts_of(name):
    cls = load(catalog().get("dataset", name))
    return cls.release.info if issubclass(cls, Published) else cls().info()


def resolved(generator, preset, info, **values):
    cls = Stranger if generator == "stranger" else load(catalog().get("generator", generator))
    if generator == "lecf":
        values |= {"language_model": "none", "clip": "glyph-clip"}
    return build(cls, values, subject=generator, preset=preset).resolve(info)


@pytest.mark.parametrize("preset", ["quick", "paper"])
@pytest.mark.parametrize("dataset", [*LEARNED, "digits"])
@pytest.mark.parametrize("generator", PROMPTED)
def test_text_works_at_the_models_own_side_whatever_the_dataset(generator, dataset, preset, like_v1_4):
    info = facts_of(dataset)
    assert resolved(generator, preset, info, model=str(like_v1_4)).resolution == 512
    assert resolved(generator, preset, info, model="glyph-sd").resolution == 32
    assert resolved(generator, preset, info, model=str(like_v1_4), resolution="256").resolution == 256


@pytest.mark.parametrize("preset", ["quick", "paper"])
@pytest.mark.parametrize(("dataset", "side"), LEARNED.items())
@pytest.mark.parametrize("generator", ["diffinv", "vae"])
def test_learned_embeddings_and_reconstructions_keep_the_side_of_the_dataset(
    generator, dataset, side, preset, like_v1_4
):
    assert resolved(generator, preset, facts_of(dataset), model=str(like_v1_4)).resolution == side


def test_a_plan_makes_photographs_of_a_folder_at_the_models_own_side(like_v1_4, tmp_path, monkeypatch):
    from PIL import Image

    for name in ("cat", "dog"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for number in range(8):
            noise = np.random.default_rng(number).integers(0, 256, (40, 40, 3), dtype=np.uint8)
            Image.fromarray(noise).save(tmp_path / "pets" / name / f"{number}.png")
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    gens = [f"{name}:model={like_v1_4}" for name in ("prompt", "real-guidance", "diffinv")]
    plan = make_plan(
        make_request({"data": f"folder:path={tmp_path / 'pets'}", "gen": gens, "metric": ["none"], "arch": "resnet18"})
    )
    made = [step.body for step in plan.steps.values() if step.stage == "sample" and step.body["foundations"]]
    sides = {body["name"]: body["values"]["resolution"] for body in made}
    assert sides == {"prompt": 512, "real-guidance": 512, "diffinv": 128}


def test_a_source_is_resized_to_the_models_side_and_what_is_made_back_to_the_dataset(mini, info, train, make_context):
    """INFO says 32 px for learned embeddings; the tiny model's own side is 64."""
    values = {"num_inference_steps": "2", "scheduler": "DDIMScheduler", "strength": "1"}
    guided = resolved("real-guidance", "quick", info, model=str(mini), **values)
    made = ImageSet.concatenate(list(guided.sample(train, make_context("run", n_syn=2))))
    model = open_text_to_image(mini, "mini", device="cpu", precision="fp32", scheduler="DDIMScheduler", subject="toy")
    by_hand = model.image_to_image(
        resized(train.images[[item["source"] for item in made.origins]], 64, "bicubic"),
        [item["prompt"] for item in made.origins],
        [item["seed"] for item in made.origins],
        strength=1.0,
        guidance_scale=2.0,
        num_inference_steps=2,
    )
    assert np.array_equal(made.images, resized(by_hand, 16, "bicubic"))


@pytest.mark.parametrize(("side", "count"), [(32, 50), (256, 50), (512, 12), (1024, 3), (4096, 1)])
def test_larger_images_are_sampled_in_smaller_batches_unless_told_otherwise(side, count, info):
    stranger = resolved("stranger", "quick", info, resolution=str(side), model="no-one/here")
    assert stranger.at_once() == count <= CHUNK
    assert replace(stranger, sample_batch=7).at_once() == 7
