"""Images from latents, random or inverted; each image has its own seed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file

from benchbench.errors import BenchError
from benchbench.models.resize import resized
from benchbench.planning.subsets import in_rounds
from benchbench.plugins.context import Context, derive_seed
from benchbench.plugins.images import ImageSet, Origin

from .inversion import FEWEST, RESULT, report_losses
from .network import open_biggan

if TYPE_CHECKING:
    from . import BigGAN

#: Images per yielded chunk: what a kill can cost.
CHUNK = 50


def sample_latents(train: ImageSet, context: Context, plugin: BigGAN) -> Iterator[ImageSet]:
    """Yield ``context.n_syn`` images with their origins, in chunks.

    Number k is made for a training image: whole rounds through them in order, then a seeded choice of distinct ones,
    class by class in turn. Random latents take its label alone.

    Raises:
        BenchError: the generator's output is not finite, which as bytes would be black images.
    """
    places = in_rounds(train.labels, context.n_syn, derive_seed(context.seed, "last round"))
    latents = read_latents(context, len(train)) if plugin.mode == "inversion" else None
    generator = None
    for chunk in context.chunks(context.n_syn, CHUNK):
        generator = generator or open_biggan(
            context.foundation(plugin.model), plugin.model, context.info, device=context.device
        )
        recipes = [
            _random(generator.config.dim_z, plugin, context.seed, number)
            if latents is None
            else _inverted(latents, plugin, context.seed, number, int(places[number]))
            for number in chunk
        ]
        labels = train.labels[places[chunk.start : chunk.stop]]
        filler = max(0, FEWEST - len(recipes))  # kernels for very few rows round in another way
        z = torch.stack([z for z, _ in recipes + recipes[-1:] * filler]).to(context.device)
        y = torch.from_numpy(np.pad(labels, (0, filler), mode="edge")).to(context.device)
        with torch.inference_mode():
            made = generator(z, y)
            if not bool(torch.isfinite(made).all()):
                raise BenchError(
                    f"biggan:model={plugin.model}: made images that are not finite (NaN or infinite); "
                    "its weights are at fault, or fit gave such latents"
                )
            pixels = ((made + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
        images = pixels.permute(0, 2, 3, 1).cpu().numpy()[: len(recipes)]
        origins = [origin for _, origin in recipes]
        yield ImageSet(resized(images, context.info.resolution, "bicubic"), labels, train.classes, origins)
    if latents is not None:
        report_losses(context, latents)


def _random(dim_z: int, plugin: BigGAN, seed: int, number: int) -> tuple[torch.Tensor, Origin]:
    """Draw a latent from N(0, I); entries beyond ``truncation`` are drawn again (Brock et al. 2019)."""
    own = derive_seed(seed, "random latent", number)
    rng = torch.Generator().manual_seed(own)
    z = torch.randn(dim_z, generator=rng)
    limit = plugin.truncation
    if limit > 0:
        # The same distribution as drawing again until it fits, in one go: the inverse of the normal's own function.
        low, high = torch.special.ndtr(torch.tensor([-limit, limit], dtype=torch.float64))
        uniform = torch.rand(dim_z, generator=rng, dtype=torch.float64)
        z = torch.special.ndtri(low + (high - low) * uniform).float().clamp(-limit, limit)
    return z, {"seed": own, "truncation": limit}


def _inverted(
    latents: dict[str, NDArray], plugin: BigGAN, seed: int, number: int, source: int
) -> tuple[torch.Tensor, Origin]:
    z = torch.from_numpy(latents["z"][source])
    origin: dict[str, object] = {
        "source": source,
        "perturbation": plugin.perturbation,
        "feature_loss": round(float(latents["feature_loss"][source]), 6),
        "pixel_loss": round(float(latents["pixel_loss"][source]), 6),
    }
    if plugin.perturbation > 0:
        own = derive_seed(seed, "perturbation", number)
        z = z + plugin.perturbation * torch.randn(len(z), generator=torch.Generator().manual_seed(own))
        origin["seed"] = own
    return z, origin


def read_latents(context: Context, count: int) -> dict[str, NDArray]:
    """Join what the shards of ``fit`` wrote: ``z`` float32 ``(count, dim_z)`` and both losses per image.

    Raises:
        BenchError: they are not the latents of ``count`` images in order.
    """
    parts = [load_file(folder / RESULT) for folder in context.fitted]
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]} if parts else {}
    if not joined or not np.array_equal(joined["index"], np.arange(count)):
        raise BenchError(f"biggan: the inverted latents are not those of the {count} training images; run fit again")
    return joined
