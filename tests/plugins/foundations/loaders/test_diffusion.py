from functools import cache

import numpy as np
import pytest
import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    PNDMScheduler,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionPipeline,
)
from PIL import Image

from benchbench.errors import UsageError
from benchbench.models import autoencoder as diffusion_vae
from benchbench.models.autoencoder import open_autoencoder
from benchbench.models.diffusion import sampling as diffusion
from benchbench.models.diffusion.layout import scheduler_names, steps_taken
from benchbench.models.diffusion.parts import TextEncoder
from benchbench.models.diffusion.sampling import open_text_to_image
from benchbench.plugins.locate import locate

PROMPTS = ["a photo of the digit two", "an image of the digit zero", "a photo of the digit two"]
SEEDS = [11, 12, 13]


@pytest.fixture(params=["mini", "mini_v", "glyph-sd"])
def folder(request):
    """A random model of the architecture of v1-4, the same with v-prediction, and the embedded one."""
    return locate("glyph-sd") if request.param == "glyph-sd" else request.getfixturevalue(request.param)


@cache
def opened_once(folder):
    return open_text_to_image(
        folder, "m", device="cpu", precision="fp32", scheduler="DPMSolverMultistepScheduler", subject="toy"
    )


def opened(folder, scheduler="DPMSolverMultistepScheduler"):
    """A model of its own, with the networks of one that was opened before."""
    model = opened_once(folder)
    return diffusion.TextToImage(model.parts, model._text, scheduler, model.subject)


@cache
def stock_parts(folder):
    """The networks as diffusers opens them; transformers 4 does not read the text encoder that version 5 wrote."""
    pipeline = StableDiffusionPipeline.from_pretrained(
        str(folder), safety_checker=None, feature_extractor=None, requires_safety_checker=False, use_safetensors=True,
        torch_dtype=torch.float32, text_encoder=TextEncoder(folder, "m").encoder,
    )  # fmt: skip
    return pipeline.components


def stock(kind, folder, scheduler):
    parts = stock_parts(folder)
    pipeline = kind(
        **{**parts, "scheduler": scheduler.from_config(parts["scheduler"].config)}, requires_safety_checker=False
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def generators(seeds=SEEDS):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def levels(images):
    """What a pipeline gives as floats in [0, 1], as uint8 levels."""
    return np.rint(np.asarray(images) * 255).astype(int)


def differ_by_a_rounding(ours, theirs):
    """At most one level anywhere: sums in another order may end on the other side of a half."""
    distance = np.abs(ours.astype(int) - theirs.astype(int))
    return distance.max() <= 1 and distance.mean() < 0.05


def some_images(count=3, side=32):
    """Smooth ones, so that an autoencoder and an image-to-image chain have something to keep."""
    small = np.random.default_rng(5).integers(0, 256, (count, 4, 4, 3), dtype=np.uint8)
    return np.stack([np.asarray(Image.fromarray(item).resize((side, side), 3)) for item in small])


@pytest.mark.parametrize("kind", [PNDMScheduler, DPMSolverMultistepScheduler, EulerAncestralDiscreteScheduler])
def test_prompts_become_the_images_of_the_stock_pipeline(kind, folder):
    """Also with a scheduler that adds noise, which takes each image's generator after its initial latents."""
    expected = stock(StableDiffusionPipeline, folder, kind)(
        PROMPTS, generator=generators(), guidance_scale=3.0, num_inference_steps=5, height=32, width=32,
        output_type="np",
    ).images  # fmt: skip
    ours = opened(folder, kind.__name__).generate(
        PROMPTS, SEEDS, guidance_scale=3.0, num_inference_steps=5, resolution=32
    )
    assert ours.shape == (3, 32, 32, 3)
    assert ours.dtype == np.uint8
    assert differ_by_a_rounding(ours, levels(expected))
    assert not differ_by_a_rounding(ours[0], ours[2])  # one prompt, two seeds


def test_a_negative_prompt_and_no_guidance_are_those_of_the_stock_pipeline(mini):
    pipeline, ours = stock(StableDiffusionPipeline, mini, DDIMScheduler), opened(mini, "DDIMScheduler")
    fixed = {"num_inference_steps": 4}
    for guidance_scale, negative in ((5.0, "a photo"), (1.0, ""), (0.5, "a photo")):
        expected = pipeline(
            PROMPTS, negative_prompt=[negative] * 3, generator=generators(), guidance_scale=guidance_scale, height=32,
            width=32, output_type="np", **fixed,
        ).images  # fmt: skip
        found = ours.generate(
            PROMPTS, SEEDS, guidance_scale=guidance_scale, resolution=32, negative_prompt=negative, **fixed
        )
        assert differ_by_a_rounding(found, levels(expected)), guidance_scale


@pytest.mark.parametrize("strength", [0.35, 1.0])
@pytest.mark.parametrize("kind", [PNDMScheduler, DDIMScheduler, DPMSolverMultistepScheduler])
def test_image_to_image_is_that_of_the_stock_pipeline(kind, strength, folder):
    images = some_images()
    expected = stock(StableDiffusionImg2ImgPipeline, folder, kind)(
        PROMPTS, image=[Image.fromarray(item) for item in images], generator=generators(), strength=strength,
        guidance_scale=3.0, num_inference_steps=10, output_type="np",
    ).images  # fmt: skip
    ours = opened(folder, kind.__name__).image_to_image(
        images, PROMPTS, SEEDS, strength=strength, guidance_scale=3.0, num_inference_steps=10
    )
    assert differ_by_a_rounding(ours, levels(expected))


def test_every_accepted_scheduler_does_image_to_image(mini):
    images = some_images(2)
    for name in scheduler_names():
        found = opened(mini, name).image_to_image(
            images, PROMPTS[:2], SEEDS[:2], strength=0.5, guidance_scale=2.0, num_inference_steps=4
        )
        assert found.shape == images.shape, name


def test_the_less_strength_the_nearer_to_the_image():
    images, model = some_images(4), opened(locate("glyph-sd"))
    kept = open_autoencoder(locate("glyph-sd"), "glyph-sd", device="cpu").autoencode(images).astype(int)
    far = [
        np.abs(
            model.image_to_image(
                images, ["a photo"] * 4, range(4), strength=strength, guidance_scale=2.0, num_inference_steps=10
            )
            - kept
        ).mean()
        for strength in (0.1, 0.4, 0.9)
    ]
    assert far[0] < far[1] < far[2]


def test_steps_of_a_share_are_those_that_are_meant():
    assert [steps_taken(100, share / 100) for share in (15, 20, 35, 40, 50, 29, 57)] == [15, 20, 35, 40, 50, 29, 57]
    assert [steps_taken(12, share) for share in (0.08, 0.15, 0.5, 1.0)] == [0, 1, 6, 12]


def test_an_image_depends_on_its_own_seed_and_prompt_alone():
    model = opened(locate("glyph-sd"))
    settings = {"guidance_scale": 2.0, "num_inference_steps": 4, "resolution": 32}
    together = model.generate(PROMPTS, SEEDS, **settings)
    again = model.generate(PROMPTS, SEEDS, **settings)
    assert np.array_equal(together, again)
    for place in range(3):
        alone = model.generate(PROMPTS[place : place + 1], SEEDS[place : place + 1], **settings)
        assert differ_by_a_rounding(alone[0], together[place])


def test_each_prompt_is_encoded_once(mini, monkeypatch):
    monkeypatch.setattr(diffusion, "_KEPT_PROMPTS", 3)
    model, asked = opened(mini), []
    whole = model._text.encode
    monkeypatch.setattr(model._text, "encode", lambda prompts: (asked.extend(prompts), whole(prompts))[1])
    settings = {"guidance_scale": 2.0, "num_inference_steps": 1, "resolution": 8}
    for _ in range(2):
        model.generate(PROMPTS, SEEDS, **settings)
    assert sorted(asked) == ["", *sorted(set(PROMPTS))]
    model.generate(["a", "the"], SEEDS[:2], **settings)
    assert model._encoded.cache_info().currsize == 3
    model.encode("")
    assert sorted(asked) == sorted(["", *set(PROMPTS), "a", "the"])


def test_decoding_in_parts_changes_nothing(mini, monkeypatch):
    model = opened(mini)
    settings = {"guidance_scale": 2.0, "num_inference_steps": 1}
    whole = model.generate(PROMPTS, SEEDS, resolution=32, **settings)
    noised = model.image_to_image(some_images(), PROMPTS, SEEDS, strength=1.0, **settings)
    monkeypatch.setattr(diffusion_vae, "PIXELS_AT_ONCE", 100)
    assert differ_by_a_rounding(model.generate(PROMPTS, SEEDS, resolution=32, **settings), whole)
    assert differ_by_a_rounding(model.image_to_image(some_images(), PROMPTS, SEEDS, strength=1.0, **settings), noised)


def test_a_resolution_that_does_not_fit_is_one_line(mini):
    with pytest.raises(UsageError, match=r"^toy:resolution=20: must be a multiple of 8"):
        opened(mini).generate(["a"], [0], guidance_scale=1, num_inference_steps=1, resolution=20)


def test_autoencoding_is_the_posteriors_mode_decoded(folder):
    images = some_images()
    vae = AutoencoderKL.from_pretrained(str(folder), subfolder="vae", torch_dtype=torch.float32).eval()
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.inference_mode():
        decoded = vae.decode(vae.encode(pixels).latent_dist.mode()).sample
    expected = ((decoded.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
    for found in (
        open_autoencoder(folder, "m", device="cpu").autoencode(images),
        open_autoencoder(folder / "vae", "m", device="cpu").autoencode(images),
    ):
        assert differ_by_a_rounding(found, expected)
