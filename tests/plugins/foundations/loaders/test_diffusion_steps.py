from functools import cache

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, PNDMScheduler, StableDiffusionPipeline

from benchbench.errors import BenchError
from benchbench.models.diffusion.layout import scheduler_names
from benchbench.models.diffusion.parts import load_parts
from benchbench.models.diffusion.sampling import denoise, make_scheduler


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
            subject="toy",
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
                subject="toy",
                **given,
            )

    found = run(3.0)
    without, with_tokens = calls[0].chunk(2)
    w = 2.0
    scheduler = make_scheduler("DDIMScheduler", parts.layout.scheduler, "mini", "toy")
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
                    subject="toy",
                    **{key: value[:count] for key, value in inputs(2).items()},
                )
        assert torch.isfinite(found[2]).all(), name
        scale = float(found[1].abs().mean())
        torch.testing.assert_close(found[1], found[2][:1], rtol=1e-3, atol=1e-3 * scale, msg=name)


def test_a_scheduler_that_refuses_the_configuration_is_one_line():
    with pytest.raises(BenchError) as caught:
        make_scheduler("DDIMScheduler", {"beta_schedule": "cosmic"}, "mini", "toy")
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(
        "toy:scheduler=DDIMScheduler: does not take the scheduler configuration of mini ("
    )
    with pytest.raises(BenchError, match="has no such scheduler"):
        make_scheduler("NoScheduler", {}, "mini", "toy")
