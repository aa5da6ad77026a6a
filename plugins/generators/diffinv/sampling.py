"""Stage 2 of Diffusion Inversion (Zhou et al. 2023, section 3): new images around each learned embedding.

c_hat = (1 - a) c_i + a c_j + lambda N(0, I), with a same-class partner j, then classifier-free guidance
against an unconditional input that is by default the mean of all learned vectors. Every image draws its
embedding noise, its latents and any noise of the scheduler from a generator of its own, so it does not depend
on its neighbours.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from benchbench.models.diffusion.parts import encode_prompts, load_parts
from benchbench.models.diffusion.steps import denoise
from benchbench.models.resize import resized
from benchbench.plugins.context import Context
from benchbench.plugins.images import ImageSet, Origin, batches

from .embeddings import read_embeddings
from .variants import Assignment, Variant

#: Images per yielded chunk: what a kill can cost. Fixed, so that a run continues under any ``sample_batch``.
CHUNK = 50


@dataclass(frozen=True)
class SamplingSettings:
    """The parameters of stage 2, all resolved; see ``DiffusionInversion`` for their meaning."""

    model: str
    num_tokens: int
    resolution: int
    interpolation: str
    guidance_scale: tuple[float, ...]
    mixed_checkpoints: tuple[int, ...]
    num_inference_steps: int
    scheduler: str
    noise_strength: float
    interpolation_strength: float
    unconditional: str
    sample_batch: int


def sample_variants(train: ImageSet, context: Context, settings: SamplingSettings) -> Iterator[ImageSet]:
    """Yield ``context.n_syn`` variants with their origins, in chunks, in the order of ``Assignment``."""
    plan = Assignment(
        train.labels,
        context.n_syn,
        settings.guidance_scale,
        settings.mixed_checkpoints,
        interpolate=settings.interpolation_strength > 0,
        seed=context.seed,
    )
    sampler: Sampler | None = None
    for chunk in context.chunks(context.n_syn, CHUNK):
        sampler = sampler or Sampler(train, context, settings)
        variants = [plan[number] for number in chunk]
        pixels = [
            sampler.images(variants[part.start : part.stop]) for part in batches(len(variants), settings.sample_batch)
        ]
        labels = train.labels[[variant.source for variant in variants]]
        origins = [_origin(variant, settings) for variant in variants]
        yield ImageSet(np.concatenate(pixels), labels, train.classes, origins)


class Sampler:
    """The foundation and the learned embeddings, ready to turn variants into pixels."""

    def __init__(self, train: ImageSet, context: Context, settings: SamplingSettings) -> None:
        self.settings, self.labels, self.side = settings, train.labels, context.info.resolution
        folder = context.foundation(settings.model)
        named = f"diffinv:model={settings.model}"
        self.parts = load_parts(folder, named, device=context.device, precision=context.precision)
        self.learned = {
            visits: torch.from_numpy(read_embeddings(context.fitted, visits, len(train)))
            for visits in settings.mixed_checkpoints
        }
        latent = self.parts.layout.latent_size(settings.resolution, "diffinv")
        self.shape = (self.parts.layout.latent_channels, latent, latent)
        self._empty: torch.Tensor | None = None
        if settings.unconditional == "empty-prompt":
            self._empty = encode_prompts(folder, settings.model, [""], settings.num_tokens, "diffinv")[0]
        self._means: dict[tuple[int, int], torch.Tensor] = {}

    def images(self, variants: Sequence[Variant]) -> NDArray[np.uint8]:
        """Return uint8 images ``(len(variants), R, R, 3)`` at the dataset's resolution."""
        place = self.parts.device
        generators = [torch.Generator().manual_seed(variant.seed) for variant in variants]
        pairs = zip(variants, generators, strict=True)
        tokens = torch.stack([self.conditioning(variant, generator) for variant, generator in pairs])
        latents = torch.stack([torch.randn(self.shape, generator=generator) for generator in generators])
        with torch.inference_mode():
            latents = denoise(
                self.parts,
                scheduler=self.settings.scheduler,
                num_inference_steps=self.settings.num_inference_steps,
                tokens=tokens.to(place),
                unconditional=torch.stack([self.unconditional(variant) for variant in variants]).to(place),
                guidance_scale=torch.tensor([variant.guidance_scale for variant in variants], device=place),
                latents=latents.to(place),
                generators=generators,
                guided=any(scale != 1.0 for scale in self.settings.guidance_scale),
                subject="diffinv",
            )
        return resized(self.parts.decode(latents).numpy(), self.side, self.settings.interpolation)

    def conditioning(self, variant: Variant, generator: torch.Generator) -> torch.Tensor:
        """Return c_hat, ``(K, D)``; ``generator`` gives the embedding noise."""
        table, strength = self.learned[variant.checkpoint], self.settings.interpolation_strength
        tokens = table[variant.source]
        if variant.partner is not None:
            tokens = (1 - strength) * tokens + strength * table[variant.partner]
        if self.settings.noise_strength > 0:
            tokens = tokens + self.settings.noise_strength * torch.randn(tokens.shape, generator=generator)
        return tokens

    def unconditional(self, variant: Variant) -> torch.Tensor:
        """Return the unconditional input of a variant, ``(K, D)``; only trained rows enter a mean."""
        if self._empty is not None:
            return self._empty
        label = int(self.labels[variant.source]) if self.settings.unconditional == "class-mean" else -1
        key = (variant.checkpoint, label)
        if key not in self._means:
            table = self.learned[variant.checkpoint]
            rows = table if label < 0 else table[torch.from_numpy(self.labels == label)]
            self._means[key] = rows.mean(dim=0)
        return self._means[key]


def _origin(variant: Variant, settings: SamplingSettings) -> Origin:
    return {
        "source": variant.source,
        "partner": variant.partner,
        "guidance_scale": variant.guidance_scale,
        "checkpoint": variant.checkpoint,
        "noise_strength": settings.noise_strength,
        "interpolation_strength": settings.interpolation_strength if variant.partner is not None else 0.0,
        "seed": variant.seed,
        "num_inference_steps": settings.num_inference_steps,
        "scheduler": settings.scheduler,
    }
