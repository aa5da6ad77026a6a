"""Stage 2 of Diffusion Inversion (Zhou et al. 2023, section 3): new images around each learned embedding.

c_hat = (1 - a) c_i + a c_j + lambda N(0, I), with a same-class partner j, then classifier-free guidance
against an unconditional input that is by default the mean of all learned vectors. Every image draws its
embedding noise, its latents and any noise of the scheduler from its own generator, so it does not depend
on its neighbours.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from benchbench.models.diffusion.parts import encode_prompts, load_parts
from benchbench.models.diffusion.sampling import denoise
from benchbench.models.resize import resized
from benchbench.plugins.context import Context, derive_seed
from benchbench.plugins.images import ImageSet, Origin, batches

from .inversion import read_embeddings

if TYPE_CHECKING:
    from . import DiffusionInversion

#: Images per yielded chunk: what a kill can cost. Fixed, so that a run continues under any ``sample_batch``.
CHUNK = 50
#: Images of a class beyond which the partners that are used are drawn without ordering the others.
MANY = 1000


@dataclass(frozen=True)
class Variant:
    """The recipe of one generated image.

    Attributes:
        source: training image whose embedding is varied; its label is kept.
        partner: another image of the class, whose embedding is mixed in; ``None`` when nothing is mixed in.
        guidance_scale: in the diffusers convention.
        checkpoint: visits per image of the embeddings used.
        seed: of this image's generator (embedding noise, then latents).
    """

    source: int
    partner: int | None
    guidance_scale: float
    checkpoint: int
    seed: int


class Assignment:
    """A deterministic list of ``n_syn`` variants over the training images.

    Variants come in rounds: round k makes the k-th variant of every image, in order, so any prefix is
    balanced; a last, incomplete round takes a seeded choice of images, class by class in turn. The k-th
    variant of an image takes the next of the ``guidance_scale x checkpoint`` settings in rotation, shifted
    from image to image, and moves to the next partner when all settings had their turn: 45 variants under the
    paper's preset are 5 partners x 3 guidance scales x 3 checkpoints (Zhou et al. 2023, appendix B.2.2).
    Partners are the other images of the class in a seeded order. An image that is alone in its class has none
    and is not interpolated.

    Args:
        labels: int64 ``(N,)``.
        n_syn: number of variants.
        plugin: the scales and checkpoints to mix, and whether partners are used at all.
        seed: of every choice.
    """

    def __init__(self, labels: NDArray[np.int64], n_syn: int, plugin: DiffusionInversion, seed: int) -> None:
        self.labels, self.seed = labels, seed
        self.interpolate = plugin.interpolation_strength > 0
        self.mixed = list(product(plugin.guidance_scale, plugin.mixed_checkpoints or ()))
        self._rounds, rest = divmod(n_syn, len(labels))
        self._last = _balanced_choice(labels, rest, seed)
        self._members = {int(label): np.flatnonzero(labels == label) for label in np.unique(labels)}
        self._used = -(-(self._rounds + (rest > 0)) // len(self.mixed)) if self.interpolate else 0
        self._partners = lru_cache(maxsize=len(labels))(self._partners_of)

    def __getitem__(self, number: int) -> Variant:
        """Return variant ``number`` in 0..n_syn-1."""
        turn, place = divmod(number, len(self.labels))
        source = place if turn < self._rounds else self._last[place]
        scale, checkpoint = self.mixed[(turn + source) % len(self.mixed)]
        partner = None
        if self.interpolate:
            partners = self._partners(source)
            partner = partners[(turn // len(self.mixed)) % len(partners)] if partners else None
        return Variant(source, partner, scale, checkpoint, derive_seed(self.seed, "variant", source, turn))

    def _partners_of(self, source: int) -> tuple[int, ...]:
        """Return the partners that an image's variants use, in order: all others of its class if that is not many."""
        members = self._members[int(self.labels[source])]
        rng = np.random.default_rng(derive_seed(self.seed, "partners", source))
        if len(members) <= MANY:
            return tuple(rng.permutation(members[members != source]).tolist())
        # Work and memory that grow with what is used: of 5,000 images in a class, 5 are.
        # With more variants further partners follow, and the first stay.
        drawn: dict[int, None] = {}
        while len(drawn) < min(self._used, len(members) - 1):
            drawn[int(members[rng.integers(len(members))])] = None
            drawn.pop(source, None)
        return tuple(drawn)


def _balanced_choice(labels: NDArray[np.int64], count: int, seed: int) -> list[int]:
    """Choose ``count`` distinct images, class by class in turn while a class lasts, in ascending order."""
    rng = np.random.default_rng(derive_seed(seed, "last round"))
    queues = [list(rng.permutation(np.flatnonzero(labels == label))) for label in rng.permutation(np.unique(labels))]
    chosen: list[int] = []
    while len(chosen) < count:
        for queue in queues:
            if queue and len(chosen) < count:
                chosen.append(int(queue.pop()))
    return sorted(chosen)


def sample_variants(train: ImageSet, context: Context, plugin: DiffusionInversion) -> Iterator[ImageSet]:
    """Yield ``context.n_syn`` variants with their origins, in chunks, in the order of ``Assignment``."""
    plan = Assignment(train.labels, context.n_syn, plugin, context.seed)
    sampler: Sampler | None = None
    for chunk in context.chunks(context.n_syn, CHUNK):
        sampler = sampler or Sampler(train, context, plugin)
        variants = [plan[number] for number in chunk]
        pixels = [
            sampler.images(variants[part.start : part.stop]) for part in batches(len(variants), plugin.sample_batch)
        ]
        labels = train.labels[[variant.source for variant in variants]]
        origins = [_origin(variant, plugin) for variant in variants]
        yield ImageSet(np.concatenate(pixels), labels, train.classes, origins)


class Sampler:
    """The foundation and the learned embeddings, ready to turn variants into pixels."""

    def __init__(self, train: ImageSet, context: Context, plugin: DiffusionInversion) -> None:
        self.plugin, self.labels, self.side = plugin, train.labels, context.info.resolution
        folder, named = context.foundation(str(plugin.model)), f"diffinv:model={plugin.model}"
        self.parts = load_parts(folder, named, device=context.device, precision=context.precision)
        self.learned = {
            visits: torch.from_numpy(read_embeddings(context.fitted, visits, len(train)))
            for visits in plugin.mixed_checkpoints or ()
        }
        latent = self.parts.layout.latent_size(plugin.resolution or 0, "diffinv")
        self.shape = (self.parts.layout.latent_channels, latent, latent)
        self._empty: torch.Tensor | None = None
        if plugin.unconditional == "empty-prompt":
            self._empty = encode_prompts(folder, str(plugin.model), [""], plugin.num_tokens, "diffinv")[0]
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
                scheduler=self.plugin.scheduler,
                num_inference_steps=self.plugin.num_inference_steps,
                tokens=tokens.to(place),
                unconditional=torch.stack([self.unconditional(variant) for variant in variants]).to(place),
                guidance_scale=torch.tensor([variant.guidance_scale for variant in variants], device=place),
                latents=latents.to(place),
                generators=generators,
                guided=any(scale != 1.0 for scale in self.plugin.guidance_scale),
                subject="diffinv",
            )
        return resized(self.parts.decode(latents).numpy(), self.side, self.plugin.interpolation)

    def conditioning(self, variant: Variant, generator: torch.Generator) -> torch.Tensor:
        """Return c_hat, ``(K, D)``; ``generator`` gives the embedding noise."""
        table, strength = self.learned[variant.checkpoint], self.plugin.interpolation_strength
        tokens = table[variant.source]
        if variant.partner is not None:
            tokens = (1 - strength) * tokens + strength * table[variant.partner]
        if self.plugin.noise_strength > 0:
            tokens = tokens + self.plugin.noise_strength * torch.randn(tokens.shape, generator=generator)
        return tokens

    def unconditional(self, variant: Variant) -> torch.Tensor:
        """Return the unconditional input of a variant, ``(K, D)``; only trained rows enter a mean."""
        if self._empty is not None:
            return self._empty
        label = int(self.labels[variant.source]) if self.plugin.unconditional == "class-mean" else -1
        key = (variant.checkpoint, label)
        if key not in self._means:
            table = self.learned[variant.checkpoint]
            rows = table if label < 0 else table[torch.from_numpy(self.labels == label)]
            self._means[key] = rows.mean(dim=0)
        return self._means[key]


def _origin(variant: Variant, plugin: DiffusionInversion) -> Origin:
    return {
        **asdict(variant),
        "noise_strength": plugin.noise_strength,
        "interpolation_strength": plugin.interpolation_strength if variant.partner is not None else 0.0,
        "num_inference_steps": plugin.num_inference_steps,
        "scheduler": plugin.scheduler,
    }
