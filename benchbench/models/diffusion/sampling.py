"""Text-to-image and image-to-image with a latent diffusion model, one seed per image, as stock pipelines do it.

:func:`denoise` is the sampling loop: a diffusers scheduler under classifier-free guidance.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from inspect import signature
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...errors import BenchError
from ..autoencoder import signed
from .layout import steps_taken
from .parts import Parts, TextEncoder, load_parts

if TYPE_CHECKING:
    from pathlib import Path

#: Encoded prompts that are kept, the latest used; one of Stable Diffusion v1 takes 0.2 MiB.
_KEPT_PROMPTS = 512


class TextToImage:
    """A foundation that makes images of prompts; see :func:`open_text_to_image`.

    Every image has one generator on the CPU, seeded with its seed: the initial latents come from it
    first, then whatever noise the scheduler asks for. So an image depends on its prompt, its seed and the
    settings, and on its neighbours in a call only as far as a network's floating-point sums depend on the size
    of the batch.
    """

    def __init__(self, parts: Parts, text: TextEncoder, scheduler: str, subject: str) -> None:
        self.parts, self.scheduler, self.subject = parts, scheduler, subject
        self._text = text
        self._encoded = lru_cache(_KEPT_PROMPTS)(lambda prompt: text.encode([prompt])[0])

    def generate(
        self,
        prompts: Sequence[str],
        seeds: Sequence[int],
        *,
        guidance_scale: float,
        num_inference_steps: int,
        resolution: int,
        negative_prompt: str = "",
    ) -> NDArray[np.uint8]:
        """Make one image for each prompt, all in one batch, as diffusers' ``StableDiffusionPipeline`` does.

        Args:
            prompts: n texts; beyond the text encoder's length they are cut.
            seeds: of each image, in [0, 2**63).
            guidance_scale: g of eps_u + g (eps_c - eps_u); 1 or less leaves out the unconditional half.
            num_inference_steps: of the scheduler, at least 1.
            resolution: side R of the images in px, a multiple of ``parts.layout.vae_factor``.
            negative_prompt: the unconditional input; by default the empty prompt.

        Returns:
            uint8 ``(n, R, R, 3)``.

        Raises:
            UsageError: ``resolution`` does not fit the autoencoder.
            BenchError: the scheduler does not take the foundation's configuration, or an image is not finite.
        """
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        return self._sampled(prompts, negative_prompt, guidance_scale, num_inference_steps, generators, resolution)

    def image_to_image(
        self,
        images: NDArray[np.uint8],
        prompts: Sequence[str],
        seeds: Sequence[int],
        *,
        strength: float,
        guidance_scale: float,
        num_inference_steps: int,
        negative_prompt: str = "",
    ) -> NDArray[np.uint8]:
        """Noise images and denoise them towards prompts (SDEdit, Meng et al. 2022), as diffusers' own pipeline does.

        The autoencoder's posterior is sampled, from each image's generator, before the noise is drawn.

        Args:
            images: uint8 ``(n, R, R, 3)`` with R a multiple of ``parts.layout.vae_factor``.
            prompts: n texts.
            seeds: of each image.
            strength: share of the steps that is taken, in (0, 1]; see ``steps_taken``, which must not be 0.
            guidance_scale: as in :meth:`generate`.
            num_inference_steps: of the whole chain.
            negative_prompt: as in :meth:`generate`.

        Returns:
            uint8 ``(n, R, R, 3)``.

        Raises:
            UsageError: the resolution does not fit the autoencoder.
            BenchError: the scheduler does not take the foundation's configuration, or an image is not finite.
        """
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        resolution = images.shape[1]
        sampled = self._noise(generators, resolution)
        mean, std = self.parts.posterior(signed(images, self.parts.device))
        start = mean + std * sampled
        return self._sampled(
            prompts, negative_prompt, guidance_scale, num_inference_steps, generators, resolution, start, strength
        )

    def encode(self, prompt: str) -> torch.Tensor:
        """Return the text encoder's output for one prompt, ``(K, D)``; kept, so that asking again costs nothing."""
        return self._encoded(prompt)

    def _noise(self, generators: Sequence[torch.Generator], resolution: int) -> torch.Tensor:
        side = self.parts.layout.latent_size(resolution, self.subject)
        shape = (self.parts.layout.latent_channels, side, side)
        return torch.stack([torch.randn(shape, generator=generator) for generator in generators]).to(self.parts.device)

    def _sampled(
        self,
        prompts: Sequence[str],
        negative_prompt: str,
        guidance_scale: float,
        num_inference_steps: int,
        generators: Sequence[torch.Generator],
        resolution: int,
        start: torch.Tensor | None = None,
        strength: float = 1.0,
    ) -> NDArray[np.uint8]:
        tokens = torch.stack([self.encode(prompt) for prompt in prompts])
        with torch.inference_mode():
            latents = denoise(
                self.parts,
                scheduler=self.scheduler,
                num_inference_steps=num_inference_steps,
                tokens=tokens,
                unconditional=self.encode(negative_prompt).expand_as(tokens),
                guidance_scale=torch.full((len(tokens),), guidance_scale, device=self.parts.device),
                latents=self._noise(generators, resolution),
                generators=generators,
                subject=self.subject,
                guided=guidance_scale > 1,
                start=start,
                strength=strength,
            )
        return self.parts.decode(latents).numpy()


def open_text_to_image(
    folder: Path, name: str, *, device: str, precision: str, scheduler: str, subject: str
) -> TextToImage:
    """Open a Stable Diffusion folder in the diffusers format for sampling from prompts.

    Args:
        folder: the foundation's folder.
        name: how the user named it; messages about the folder start with ``subject:model=name``.
        device: ``"cpu"`` or ``"cuda"``.
        precision: of the UNet, as :class:`~benchbench.plugins.Context` has it; text encoder and autoencoder stay fp32.
        scheduler: class name of a diffusers scheduler.
        subject: the plugin that asks, the start of messages about its parameters.

    Raises:
        UsageError: a part is missing or does not fit the others.
        BenchError: weights that are truncated, or of another network than the configuration says.
    """
    named = f"{subject}:model={name}"
    text = TextEncoder(folder, named, device=device)
    return TextToImage(load_parts(folder, named, device=device, precision=precision), text, scheduler, subject)


def denoise(
    parts: Parts,
    *,
    scheduler: str,
    num_inference_steps: int,
    tokens: torch.Tensor,
    unconditional: torch.Tensor,
    guidance_scale: torch.Tensor,
    latents: torch.Tensor,
    generators: Sequence[torch.Generator],
    subject: str,
    guided: bool = True,
    start: torch.Tensor | None = None,
    strength: float = 1.0,
) -> torch.Tensor:
    """Turn standard normal latents into clean scaled ones under classifier-free guidance.

    The formula is the diffusers convention, eps_u + g (eps_c - eps_u), both halves in one batch of 2B.

    Args:
        parts: the foundation.
        scheduler: name of a diffusers scheduler, made anew from the foundation's configuration.
        num_inference_steps: PNDM needs one network call more than this.
        tokens: conditional input ``(B, K, D)``.
        unconditional: unconditional input ``(B, K, D)``; not looked at unless ``guided``.
        guidance_scale: g of each image, ``(B,)``.
        latents: ``(B, C, h, w)``, fp32, the noise.
        generators: one for each image, for schedulers that add noise.
        subject: the plugin that asks, the start of messages.
        guided: ``False`` leaves out the unconditional half, for g = 1 everywhere.
        start: clean scaled latents ``(B, C, h, w)`` to begin at in place of nothing but noise (SDEdit, Meng et al.
            2022): ``latents`` noise them to the level of the first step that is taken.
        strength: share of the steps that is taken with ``start``, the last ones; see ``steps_taken``.

    Raises:
        BenchError: the scheduler does not take the foundation's configuration.
    """
    stepper = make_scheduler(scheduler, parts.layout.scheduler, parts.layout.name, subject)
    stepper.set_timesteps(num_inference_steps, device=parts.device)
    timesteps = stepper.timesteps
    if start is None:
        latents = latents * stepper.init_noise_sigma
    else:
        skipped = (num_inference_steps - steps_taken(num_inference_steps, strength)) * getattr(stepper, "order", 1)
        timesteps = timesteps[skipped:]
        if hasattr(stepper, "set_begin_index"):
            stepper.set_begin_index(skipped)
        latents = stepper.add_noise(start, latents, timesteps[:1].repeat(len(start)))
    takes_noise = "generator" in signature(stepper.step).parameters
    extra = {"generator": list(generators)} if takes_noise else {}
    scale = guidance_scale.view(-1, 1, 1, 1)
    both = torch.cat([unconditional, tokens]) if guided else tokens
    for timestep in timesteps:
        model_input = stepper.scale_model_input(latents, timestep)
        if guided:
            without, with_tokens = parts.predict(torch.cat([model_input, model_input]), timestep, both).chunk(2)
            predicted = without + scale * (with_tokens - without)
        else:
            predicted = parts.predict(model_input, timestep, both)
        latents = stepper.step(predicted, timestep, latents, return_dict=False, **extra)[0]
    return latents


def make_scheduler(name: str, config: Mapping[str, Any], model: str, subject: str) -> Any:
    """Return a fresh diffusers scheduler with the noise schedule and prediction type of a foundation.

    Raises:
        BenchError: the installed diffusers lacks it, or it refuses this configuration.
    """
    import diffusers

    kind: Callable[..., Any] | None = getattr(diffusers, name, None)
    if kind is None:
        raise BenchError(
            f"{subject}:scheduler={name}: the installed diffusers {diffusers.__version__} has no such scheduler"
        )
    try:
        return kind.from_config(dict(config))  # type: ignore[attr-defined]
    except (ValueError, NotImplementedError, ImportError) as error:
        why = str(error).strip().splitlines()[0]
        raise BenchError(
            f"{subject}:scheduler={name}: does not take the scheduler configuration of {model} ({why})"
        ) from None
