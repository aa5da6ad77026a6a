"""The sampling loop of latent diffusion: a diffusers scheduler under classifier-free guidance."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from inspect import signature
from typing import Any

import torch

from ...errors import BenchError
from .layout import steps_taken
from .parts import Parts


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
