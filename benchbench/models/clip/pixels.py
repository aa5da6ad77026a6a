"""The image processor of a CLIP on batches of tensors: resize, centre crop, rescale, normalise."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

if TYPE_CHECKING:
    from .layout import Preprocessing


def preprocess(images: NDArray[np.uint8], how: Preprocessing) -> torch.Tensor:
    """Return float32 ``(N, 3, crop, crop)`` on the CPU for uint8 images ``(N, H, W, 3)``.

    Sizes and crops are those of transformers' ``CLIPImageProcessor`` and of open_clip's transform, both of
    which round pixels to whole numbers after resizing, as Pillow does; so does this. Torch sums a filter's
    products in another precision than Pillow: of random pixels one in 200 differs, by 1 or 2 levels of 255.
    """
    # A copy: stored images are memory-mapped and read-only, which torch warns of.
    pixels = torch.from_numpy(np.array(images)).permute(0, 3, 1, 2)
    size = _target(pixels.shape[2], pixels.shape[3], how)
    if size != tuple(pixels.shape[2:]):
        pixels = F.interpolate(pixels, size=size, mode=how.interpolation, antialias=True, align_corners=False)
    margins = [side - how.crop for side in pixels.shape[2:]]
    top, left = (round(margin / 2) if how.even else margin // 2 for margin in margins)
    pixels = pixels[:, :, top : top + how.crop, left : left + how.crop].to(torch.float32)
    mean, std = (torch.tensor(values)[:, None, None] for values in (how.mean, how.std))
    return ((pixels * how.rescale - mean) / std).contiguous()


def _target(height: int, width: int, how: Preprocessing) -> tuple[int, int]:
    """Return height and width after resizing; the longer side is rounded down, as torchvision does."""
    if how.resize is None:
        return how.crop, how.crop
    if height <= width:
        return how.resize, int(how.resize * width / height)
    return int(how.resize * height / width), how.resize
