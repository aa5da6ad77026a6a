from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, PNDMScheduler, StableDiffusionPipeline

from benchbench.errors import BenchError
from benchbench.images import ImageSet
from benchbench_plugins.generators.diffinv import sampling
from benchbench_plugins.generators.diffinv.embeddings import write_embeddings
from benchbench_plugins.generators.diffinv.pipeline import encode_prompts, load_parts
from benchbench_plugins.generators.diffinv.sampling import (
    Sampler,
    SamplingSettings,
    denoise,
    make_scheduler,
    sample_variants,
)
from benchbench_plugins.generators.diffinv.schedulers import scheduler_names
from benchbench_plugins.generators.diffinv.variants import Variant

SETTINGS = SamplingSettings(
    model="mini",
    num_tokens=5,
    resolution=32,
    interpolation="bicubic",
    guidance_scale=(2.0,),
    mixed_checkpoints=(5,),
    num_inference_steps=2,
    scheduler="DPMSolverMultistepScheduler",
    noise_strength=0.1,
    interpolation_strength=0.25,
    unconditional="mean",
    sample_batch=50,
)
TABLES = {n: np.random.default_rng(n).normal(size=(4, 5, 768)).astype(np.float32) for n in (2, 5)}


@pytest.fixture
def fitted(tmp_path):
    """Two shards whose embeddings are known, given in the wrong order."""
    folders = []
    for number, rows in enumerate(([2, 3], [0, 1])):
        folder = tmp_path / f"shard {number}"
        folder.mkdir()
        tables = {visits: np.ascontiguousarray(table[rows]) for visits, table in TABLES.items()}
        write_embeddings(folder, np.array(rows), tables, {})
        folders.append(folder)
    return tuple(folders)


@cache
def opened(folder):
    return load_parts(folder, "mini", device="cpu", precision="fp32")


def inputs(count, seed=0):
    rng = torch.Generator().manual_seed(seed)
    tokens, unconditional = torch.randn(count, 5, 768, generator=rng), torch.randn(1, 5, 768, generator=rng)
    generators = [torch.Generator().manual_seed(n) for n in range(count)]
    latents = torch.stack([torch.randn(4, 4, 4, generator=generator) for generator in generators])
    return {
        "tokens": tokens,
        "unconditional": unconditional.expand(count, -1, -1),
        "latents": latents,
        "generators": generators,
    }


@pytest.mark.parametrize("kind", [PNDMScheduler, DDIMScheduler, DPMSolverMultistepScheduler])
@pytest.mark.parametrize("foundation", ["mini", "mini_v"])
def test_our_loop_is_the_stock_pipelines(kind, foundation, request):
    folder = request.getfixturevalue(foundation)
    given = inputs(2)
    stock = StableDiffusionPipeline.from_pretrained(
        str(folder), safety_checker=None, feature_extractor=None, text_encoder=None, tokenizer=None,
        requires_safety_checker=False, use_safetensors=True,
    )  # fmt: skip
    stock.scheduler = kind.from_config(stock.scheduler.config)
    stock.set_progress_bar_config(disable=True)
    expected = stock(
        prompt_embeds=given["tokens"],
        negative_prompt_embeds=given["unconditional"],
        latents=given["latents"].clone(),
        guidance_scale=3.0,
        num_inference_steps=6,
        output_type="latent",
    ).images
    with torch.inference_mode():
        ours = denoise(
            opened(folder),
            scheduler=kind.__name__,
            num_inference_steps=6,
            guidance_scale=torch.full((2,), 3.0),
            **given,
        )
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)
    assert float((ours - given["latents"]).abs().mean()) > 0.01


def test_decoding_is_the_stock_pipelines(mini):
    latents = torch.randn(2, 4, 4, 4, generator=torch.Generator().manual_seed(0)) * 0.3
    stock = StableDiffusionPipeline.from_pretrained(
        str(mini), safety_checker=None, feature_extractor=None, requires_safety_checker=False
    )
    with torch.inference_mode():
        pixels = stock.vae.decode(latents / stock.vae.config.scaling_factor).sample
        images = stock.image_processor.postprocess(pixels, output_type="pil")
    ours = opened(mini).decode(latents).numpy()
    assert ours.dtype == np.uint8
    for mine, image in zip(ours, images, strict=True):
        assert np.abs(mine.astype(int) - np.asarray(image).astype(int)).max() <= 1


@pytest.mark.parametrize("foundation", ["mini", "mini_v"])
def test_guidance_is_the_papers_with_w_one_less(foundation, request):
    """(1 + w) eps_c - w eps_u at w = g - 1; at g = 1 the unconditional half changes nothing."""
    parts, given = opened(request.getfixturevalue(foundation)), inputs(1)
    calls = []

    class Recorded:
        layout, device = parts.layout, parts.device

        def predict(self, latents, timestep, tokens):
            calls.append(parts.predict(latents, timestep, tokens))
            return calls[-1]

    def run(scale, guided=True):
        with torch.inference_mode():
            return denoise(
                Recorded(),
                scheduler="DDIMScheduler",
                num_inference_steps=1,
                guidance_scale=torch.tensor([scale]),
                guided=guided,
                **given,
            )

    found = run(3.0)
    without, with_tokens = calls[0].chunk(2)
    w = 2.0
    scheduler = make_scheduler("DDIMScheduler", parts.layout.scheduler, "mini")
    scheduler.set_timesteps(1)
    guided = (1 + w) * with_tokens - w * without
    expected = scheduler.step(guided, scheduler.timesteps[0], given["latents"]).prev_sample
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(run(1.0), run(1.0, guided=False), rtol=1e-4, atol=1e-4)


def test_every_accepted_scheduler_samples_and_keeps_images_apart(mini):
    assert {"PNDMScheduler", "DDIMScheduler", "EulerAncestralDiscreteScheduler", "LCMScheduler"} <= set(
        scheduler_names()
    )
    for name in scheduler_names():
        found = {}
        for count in (1, 2):
            with torch.inference_mode():
                found[count] = denoise(
                    opened(mini),
                    scheduler=name,
                    num_inference_steps=3,
                    guidance_scale=torch.full((count,), 2.0),
                    **{key: value[:count] for key, value in inputs(2).items()},
                )
        assert torch.isfinite(found[2]).all(), name
        scale = float(found[1].abs().mean())
        torch.testing.assert_close(found[1], found[2][:1], rtol=1e-3, atol=1e-3 * scale, msg=name)


def made(train, context, settings=SETTINGS):
    return ImageSet.concatenate(list(sample_variants(train, context, settings)))


def test_images_do_not_depend_on_the_inference_batch(train, make_context, fitted, monkeypatch):
    monkeypatch.setattr(sampling, "CHUNK", 6)
    context = make_context("run", fitted=fitted, n_syn=10)
    whole, single = (made(train, context, replace(SETTINGS, sample_batch=size)) for size in (50, 1))
    assert np.abs(whole.images.astype(int) - single.images.astype(int)).max() <= 1
    assert whole.origins == single.origins
    assert len(np.unique(whole.images.reshape(10, -1), axis=0)) == 10


def test_a_killed_run_continues_behind_its_last_chunk_with_the_same_bytes(train, make_context, fitted, monkeypatch):
    monkeypatch.setattr(sampling, "CHUNK", 3)
    first = list(sample_variants(train, make_context("run", fitted=fitted, n_syn=8), SETTINGS))
    again = list(sample_variants(train, make_context("run", fitted=fitted, n_syn=8, completed=2), SETTINGS))
    assert [len(part) for part in first] == [3, 3, 2]
    assert len(again) == 1
    assert np.array_equal(again[0].images, first[2].images)
    assert again[0].origins == first[2].origins


def test_a_finished_run_opens_no_foundation(train, make_context, fitted, tmp_path):
    context = make_context("run", fitted=fitted, n_syn=8, completed=1, foundations={"mini": tmp_path / "gone"})
    assert list(sample_variants(train, context, SETTINGS)) == []


def test_every_image_has_its_label_its_size_and_its_origin(train, make_context, fitted):
    settings = replace(SETTINGS, guidance_scale=(2.0, 4.0), mixed_checkpoints=(2, 5))
    result = made(train, make_context("run", fitted=fitted, n_syn=9), settings)
    assert result.images.shape == (9, 16, 16, 3)
    assert result.classes == train.classes
    for label, origin in zip(result.labels, result.origins, strict=True):
        assert label == train.labels[origin["source"]] == train.labels[origin["partner"]]
        assert set(origin) == {
            "source", "partner", "guidance_scale", "checkpoint", "noise_strength", "interpolation_strength",
            "seed", "num_inference_steps", "scheduler",
        }  # fmt: skip
    assert {(item["guidance_scale"], item["checkpoint"]) for item in result.origins[:4]} == {
        (2.0, 2), (2.0, 5), (4.0, 2), (4.0, 5),
    }  # fmt: skip


def test_an_image_alone_in_its_class_is_not_interpolated(train, make_context, fitted):
    alone = ImageSet(train.images, np.array([0, 0, 0, 1]), train.classes)
    result = made(alone, make_context("run", fitted=fitted, n_syn=4))
    assert result.origins[3]["partner"] is None
    assert result.origins[3]["interpolation_strength"] == 0.0
    assert result.origins[0]["interpolation_strength"] == 0.25


def test_conditioning_is_interpolation_plus_noise(train, make_context, fitted):
    variant = Variant(source=0, partner=1, guidance_scale=2.0, checkpoint=5, seed=3)
    between = 0.75 * TABLES[5][0] + 0.25 * TABLES[5][1]
    quiet = Sampler(train, make_context("run", fitted=fitted), replace(SETTINGS, noise_strength=0.0))
    np.testing.assert_allclose(quiet.conditioning(variant, torch.Generator()), between, rtol=1e-5, atol=1e-6)
    alone = quiet.conditioning(replace(variant, partner=None), torch.Generator())
    np.testing.assert_array_equal(alone, TABLES[5][0])
    loud = Sampler(train, make_context("run", fitted=fitted), replace(SETTINGS, noise_strength=0.5))
    noise = loud.conditioning(variant, torch.Generator().manual_seed(3)).numpy() - between
    assert noise.std() == pytest.approx(0.5, rel=0.05)
    assert noise.mean() == pytest.approx(0.0, abs=0.03)


def test_unconditional_inputs(train, make_context, fitted, mini):
    variant = Variant(source=2, partner=3, guidance_scale=2.0, checkpoint=5, seed=3)
    expected = {
        "mean": TABLES[5].mean(axis=0),
        "class-mean": TABLES[5][2:].mean(axis=0),
        "empty-prompt": encode_prompts(mini, "mini", [""], 5)[0].numpy(),
    }
    for choice, wanted in expected.items():
        sampler = Sampler(train, make_context("run", fitted=fitted), replace(SETTINGS, unconditional=choice))
        np.testing.assert_allclose(sampler.unconditional(variant), wanted, rtol=1e-5, atol=1e-6)


def test_the_empty_prompt_cut_to_k_tokens_is_the_start_of_the_whole_encoding(mini):
    whole, cut = (encode_prompts(mini, "mini", [""], tokens) for tokens in (77, 5))
    torch.testing.assert_close(whole[:, :5], cut, rtol=1e-4, atol=1e-5)


def test_a_scheduler_that_refuses_the_configuration_is_one_line():
    with pytest.raises(BenchError) as caught:
        make_scheduler("DDIMScheduler", {"beta_schedule": "cosmic"}, "mini")
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(
        "diffinv:scheduler=DDIMScheduler: does not take the scheduler configuration of mini ("
    )
    with pytest.raises(BenchError, match="has no such scheduler"):
        make_scheduler("NoScheduler", {}, "mini")
