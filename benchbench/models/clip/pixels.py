"""Pixels for a CLIP: its image processor and random crops, on batches of tensors."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from .layout import Preprocessing


def preprocess(images: NDArray[np.uint8], how: Preprocessing) -> torch.Tensor:
    """Return float32 ``(N, 3, crop, crop)`` on the CPU for uint8 images ``(N, H, W, 3)``.

    Sizes and crops are those of transformers' ``CLIPImageProcessor`` and of open_clip's transform, both of
    which round pixels to whole numbers after resizing, as Pillow does; so does this. Torch sums a filter's
    products in another precision than Pillow: of random pixels one in 200 differs, by 1 or 2 levels of 255.
    """
    # A copy: stored images are memory-mapped and read-only, which torch warns of.
    pixels = torch.from_numpy(np.array(images)).permute(0, 3, 1, 2)
    size = [how.crop, how.crop]
    if how.resize is not None:  # the longer side is rounded down, as torchvision does
        size = [int(how.resize * side / min(pixels.shape[2:])) for side in pixels.shape[2:]]
    if size != list(pixels.shape[2:]):
        pixels = F.interpolate(pixels, size=size, mode=how.interpolation, antialias=True, align_corners=False)
    margins = [side - how.crop for side in pixels.shape[2:]]
    top, left = (round(margin / 2) if how.even else margin // 2 for margin in margins)
    pixels = pixels[:, :, top : top + how.crop, left : left + how.crop].to(torch.float32)
    return _normalised(pixels, how).contiguous()


#: Tries for a crop that lies inside the image, and the range of width by height; both as in torchvision.
_TRIES, _RATIO = 10, (3 / 4, 4 / 3)


def random_boxes(
    count: int, height: int, width: int, scale: tuple[float, float], rng: torch.Generator
) -> NDArray[np.int64]:
    """Draw the crops of ``count`` images as torchvision's ``RandomResizedCrop`` does.

    The area is uniform in ``scale`` of the image's, the logarithm of width by height uniform between those of 3/4
    and 4/3, and the place uniform; after ten tries that do not fit, it is the largest central crop of that range.

    Args:
        count: images.
        height: of each, in px.
        width: of each, in px.
        scale: smallest and largest share of the area.
        rng: on the CPU; draws the same number of values whatever they are.

    Returns:
        int64 ``(count, 4)``: top, left, height, width.
    """
    area = height * width * (scale[0] + (scale[1] - scale[0]) * torch.rand(count, _TRIES, generator=rng))
    low, high = math.log(_RATIO[0]), math.log(_RATIO[1])
    ratio = torch.exp(low + (high - low) * torch.rand(count, _TRIES, generator=rng))
    place = torch.rand(count, 2, generator=rng).double()
    tall, wide = (area / ratio).sqrt().round().long(), (area * ratio).sqrt().round().long()
    fits = (tall > 0) & (tall <= height) & (wide > 0) & (wide <= width)
    first = fits.to(torch.uint8).argmax(dim=1, keepdim=True)
    central = torch.tensor([min(height, round(width / _RATIO[0])), min(width, round(height * _RATIO[1]))])
    inside = fits.any(dim=1, keepdim=True)
    sizes = torch.where(inside, torch.cat([tall.gather(1, first), wide.gather(1, first)], dim=1), central)
    free = torch.tensor([height, width]) - sizes
    corners = torch.where(inside, (place * (free + 1)).long().minimum(free), free // 2)
    return torch.cat([corners, sizes], dim=1).numpy()


def crop_pixels(
    images: NDArray[np.uint8], boxes: NDArray[np.int64], mirrored: NDArray[np.bool_], how: Preprocessing
) -> torch.Tensor:
    """Return float32 ``(B, 3, crop, crop)`` on the CPU: each image cut, resized, maybe mirrored and normalised.

    On the CPU whatever the device, as :func:`preprocess` is, so that pixels are the same everywhere.

    Args:
        images: uint8 ``(B, H, W, 3)``.
        boxes: int64 ``(B, 4)``: top, left, height, width.
        mirrored: bool ``(B,)``, whether left and right change places.
        how: side, filter and normalisation of the CLIP.
    """
    pixels, side = torch.from_numpy(np.array(images)).permute(0, 3, 1, 2), (how.crop, how.crop)
    out = torch.empty((len(pixels), 3, *side), dtype=torch.uint8)
    for index, (top, left, height, width) in enumerate(boxes.tolist()):
        cut = pixels[index : index + 1, :, top : top + height, left : left + width]
        if (height, width) != side:
            cut = F.interpolate(cut, size=side, mode=how.interpolation, antialias=True, align_corners=False)
        out[index] = cut[0].flip(-1) if mirrored[index] else cut[0]
    return _normalised(out.float(), how)


def _normalised(pixels: torch.Tensor, how: Preprocessing) -> torch.Tensor:
    mean, std = (torch.tensor(values)[:, None, None] for values in (how.mean, how.std))
    return (pixels * how.rescale - mean) / std


def random_crops(
    images: NDArray[np.uint8], how: Preprocessing, *, scale: tuple[float, float], flip: bool, rng: torch.Generator
) -> torch.Tensor:
    """Return a batch of random crops, float32 ``(B, 3, crop, crop)`` on the CPU.

    Args:
        images: uint8 ``(B, H, W, 3)``.
        how: what the CLIP takes.
        scale: smallest and largest share of the area that a crop has.
        flip: whether an image is mirrored with probability one half.
        rng: on the CPU, so that every device sees the same crops.
    """
    count, height, width = images.shape[:3]
    boxes = random_boxes(count, height, width, scale, rng)
    mirrored = (torch.rand(count, generator=rng) < 0.5).numpy()
    return crop_pixels(images, boxes, mirrored & flip, how)
