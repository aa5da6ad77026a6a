"""Batches of captioned 32x32 images: batch i is a pure function of (seed, i), drawn on tensors.

The augmentation is broad on purpose (the foundation must meet a domain it has not seen), and a large part
of it lowers the resolution, since small cameras and old scanners do.
"""

import copy
import hashlib
import random
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .atlas import FONT, HERSHEY, PEN, Atlas
from .captions import CHARACTERS, caption

IMAGE_SIZE = 32
# Of a character that has all three: how often it comes from a typeface, a Hershey font, a pen.
_SOURCE_SHARE = {FONT: 0.42, HERSHEY: 0.13, PEN: 0.45}
_RESOLUTIONS = (8, 10, 12, 16, 32)
_RESOLUTION_SHARE = (0.34, 0.1, 0.1, 0.12, 0.34)


class Batch(NamedTuple):
    """Images and what they show.

    Attributes:
        images: float32 `(N, 3, 32, 32)` in [-1, 1].
        chars: int64 `(N,)`, indices into `captions.CHARACTERS`.
        captions: N sentences.

    """

    images: Tensor
    chars: Tensor
    captions: list[str]


def derived_seed(*parts: int | str) -> int:
    """Return a 63-bit seed that depends on all of `parts` and on nothing else."""
    digest = hashlib.sha256(":".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


class Corpus:
    """Draws batches from an atlas."""

    def __init__(self, atlas: Atlas, seed: int) -> None:
        self.seed = seed
        self._masks = torch.from_numpy(atlas.masks)
        self._hand = torch.from_numpy(atlas.handwritten)
        # Weight of a mask: its character's weight, times its source's share, over how many masks share both.
        weights = torch.zeros(len(atlas.chars), dtype=torch.float64)
        chars, sources = torch.from_numpy(atlas.chars), torch.from_numpy(atlas.sources)
        for index, char in enumerate(CHARACTERS):
            present = {s: ((chars == index) & (sources == s)).nonzero()[:, 0] for s in _SOURCE_SHARE}
            total = sum(_SOURCE_SHARE[s] for s, rows in present.items() if len(rows))
            for source, rows in present.items():
                if len(rows):
                    weights[rows] = char.weight * _SOURCE_SHARE[source] / total / len(rows)
        self._cumulative = weights.cumsum(0) / weights.sum()
        self._chars = chars

    def restricted(self, chars: Sequence[int]) -> "Corpus":
        """Return a corpus of the characters `chars` alone, as frequent among themselves as in this one."""
        keep = torch.isin(self._chars, torch.tensor(chars))
        weights = self._cumulative.diff(prepend=torch.zeros(1, dtype=torch.float64))[keep]
        other = copy.copy(self)
        other._masks, other._hand, other._chars = self._masks[keep], self._hand[keep], self._chars[keep]
        other._cumulative = weights.cumsum(0) / weights.sum()
        return other

    def batch(self, index: int, size: int) -> Batch:
        """Return batch `index` of `size` images; the same arguments give the same bytes."""
        g = torch.Generator().manual_seed(derived_seed(self.seed, "batch", index, size))
        draws = torch.rand(size, generator=g, dtype=torch.float64)
        rows = torch.searchsorted(self._cumulative, draws).clamp_max(len(self._cumulative) - 1)
        chars = self._chars[rows]
        images, styles = _augment(self._masks[rows], g)
        rng = random.Random(derived_seed(self.seed, "captions", index, size))
        texts = []
        for i in range(size):
            words = [name for name, present in styles.items() if present[i]]
            words.append("handwritten" if self._hand[rows[i]] else "printed")
            texts.append(caption(int(chars[i]), words, rng))
        return Batch(images, chars, texts)


def _augment(masks: Tensor, g: torch.Generator) -> tuple[Tensor, dict[str, list[bool]]]:
    """Turn uint8 masks `(N, 48, 48)` into images in [-1, 1], and say for each style word where it holds."""
    n = len(masks)

    def uniform(low: float, high: float) -> Tensor:
        return torch.rand(n, generator=g) * (high - low) + low

    def chance(p: float) -> Tensor:
        return torch.rand(n, generator=g) < p

    ink = masks.to(torch.float32)[:, None] / 255
    weight = uniform(-0.45, 1.0) * chance(0.6)
    ink = _thicken(ink, weight)
    grid, shape = _warp(n, uniform, g)
    ink = F.grid_sample(ink, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    blur = uniform(0.2, 1.0) * chance(0.25)
    ink = torch.lerp(ink, _binomial(_binomial(ink)), blur[:, None, None, None])
    ink, resolution = _lower_resolution(ink, g)
    contrast = torch.where(chance(0.25), uniform(0.5, 1.0), torch.ones(n))
    paper = torch.where(chance(0.2), uniform(0.0, 0.2), torch.zeros(n)).minimum(contrast - 0.3)
    image = paper[:, None, None, None] + (contrast - paper)[:, None, None, None] * ink
    noise = uniform(0.01, 0.08) * chance(0.12)
    image = image + noise[:, None, None, None] * torch.randn(n, 1, IMAGE_SIZE, IMAGE_SIZE, generator=g)
    inverted = chance(0.08)
    image = torch.where(inverted[:, None, None, None], 1 - image, image).clamp(0, 1)
    styles = {
        "bold": weight > 0.5,
        "thin": weight < -0.2,
        "slanted left": shape["shear"] < -0.14,
        "slanted right": shape["shear"] > 0.14,
        "tilted left": shape["angle"] < -0.14,
        "tilted right": shape["angle"] > 0.14,
        "large": shape["scale"] > 1.3,
        "small": shape["scale"] < 0.85,
        "wide": shape["aspect"] > 1.15,
        "narrow": shape["aspect"] < 0.82,
        "blurry": blur > 0.6,
        "low resolution": resolution <= 10,
        "noisy": noise > 0.04,
        "faint": contrast < 0.65,
        "on a light background": inverted,
    }
    return (image * 2 - 1).expand(-1, 3, -1, -1).contiguous(), {k: v.tolist() for k, v in styles.items()}


def _thicken(ink: Tensor, weight: Tensor) -> Tensor:
    """Move towards the dilated (weight to 1) or the eroded (weight to -1) ink."""
    wide = F.max_pool2d(ink, 3, 1, 1)
    thin = -F.max_pool2d(-ink, 3, 1, 1)
    w = weight[:, None, None, None]
    return ink + w.clamp_min(0) * (wide - ink) + (-w).clamp_min(0) * (thin - ink)


def _warp(n: int, uniform: Callable[[float, float], Tensor], g: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
    """Return sampling grids `(N, 32, 32, 2)` of affine maps and elastic fields, and the affine parts."""
    scale = torch.where(torch.rand(n, generator=g) < 0.65, uniform(1.15, 1.42), uniform(0.7, 1.2))
    aspect = uniform(0.75, 1.25)
    angle = torch.randn(n, generator=g) * 0.12
    shear = torch.randn(n, generator=g) * 0.14
    shift = (torch.rand(n, 2, generator=g) - 0.5) * 0.16 / scale[:, None]
    cos, sin = angle.cos(), angle.sin()
    # From output to input: undo the rotation, then the shear, then the scales.
    zoom_x, zoom_y = 1 / (scale * aspect), 1 / scale
    top = torch.stack([zoom_x * (cos + shear * -sin), zoom_x * (sin + shear * cos), shift[:, 0]], 1)
    bottom = torch.stack([zoom_y * -sin, zoom_y * cos, shift[:, 1]], 1)
    grid = F.affine_grid(torch.stack([top, bottom], 1), [n, 1, IMAGE_SIZE, IMAGE_SIZE], align_corners=False)
    strength = uniform(0.0, 0.085) * (torch.rand(n, generator=g) < 0.7)
    field = torch.randn(n, 2, 4, 4, generator=g) * strength[:, None, None, None]
    field = F.interpolate(field, size=IMAGE_SIZE, mode="bicubic", align_corners=True)
    return grid + field.permute(0, 2, 3, 1), {
        "scale": scale,
        "aspect": aspect,
        "angle": angle,
        "shear": shear,
    }


def _binomial(ink: Tensor) -> Tensor:
    kernel = torch.tensor([1.0, 2.0, 1.0])
    return F.conv2d(ink, (kernel[:, None] * kernel)[None, None] / 16, padding=1)


def _lower_resolution(ink: Tensor, g: torch.Generator) -> tuple[Tensor, Tensor]:
    """Reduce each image by area to one of the resolutions and bring it back by bicubic interpolation."""
    share = torch.tensor(_RESOLUTION_SHARE)
    choice = torch.multinomial(share, len(ink), replacement=True, generator=g)
    out = ink.clone()
    for i, size in enumerate(_RESOLUTIONS[:-1]):
        rows = (choice == i).nonzero()[:, 0]
        if len(rows):
            small = F.interpolate(ink[rows], size=size, mode="area")
            # A coarse scan rarely keeps its full range; stretching makes thin strokes legible again.
            small = (small / small.amax(dim=(1, 2, 3), keepdim=True).clamp_min(0.5)).clamp(0, 1)
            out[rows] = F.interpolate(small, size=IMAGE_SIZE, mode="bicubic", align_corners=False).clamp(0, 1)
    return out, torch.tensor(_RESOLUTIONS)[choice]
