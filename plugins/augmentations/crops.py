"""Random crop with zero padding and horizontal flip, whole batches at a time."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray


def random_crop_flip(images: torch.Tensor, padding: int, flip: bool, rng: torch.Generator) -> torch.Tensor:
    """Return each image shifted by up to ``padding`` px in both directions, zeros moving in, and maybe mirrored.

    Args:
        images: ``(B, C, H, W)`` of any dtype, on the device of ``rng``.
        padding: largest shift in px; each offset in ``-padding..padding`` is equally likely, rows and columns apart.
        flip: whether an image is mirrored with probability one half.
        rng: draws three numbers per image, whether ``flip`` is set or not.

    Returns:
        A new tensor of the same shape, dtype and device.
    """
    count, device = len(images), images.device
    corners = torch.randint(0, 2 * padding + 1, (count, 2), generator=rng, device=device)
    mirrored = torch.rand(count, generator=rng, device=device) < 0.5
    if not flip:
        mirrored = torch.zeros_like(mirrored)
    if device.type == "cpu":
        return torch.from_numpy(crop_slices(images.numpy(), corners.numpy(), mirrored.numpy(), padding))
    return crop_gather(images, corners, mirrored, padding)


def crop_slices(images: NDArray, corners: NDArray, mirrored: NDArray, padding: int) -> NDArray:
    """Crop on the CPU: one slice copy per image, several times faster than one big gather there.

    Args:
        images: ``(B, C, H, W)``.
        corners: integers ``(B, 2)`` in ``0..2 * padding``, row and column of each crop in its padded image.
        mirrored: bool ``(B,)``, whether the crop is mirrored left to right.
        padding: zeros added on each side.
    """
    count, channels, height, width = images.shape
    padded = np.zeros((count, channels, height + 2 * padding, width + 2 * padding), images.dtype)
    padded[:, :, padding : padding + height, padding : padding + width] = images
    out = np.empty(images.shape, images.dtype)
    for index, ((top, left), turn) in enumerate(zip(corners.tolist(), mirrored.tolist(), strict=True)):
        window = padded[index, :, top : top + height, left : left + width]
        out[index] = window[:, :, ::-1] if turn else window
    return out


def crop_gather(images: torch.Tensor, corners: torch.Tensor, mirrored: torch.Tensor, padding: int) -> torch.Tensor:
    """Crop on an accelerator: one gather and no loop; same arguments and result as :func:`crop_slices`."""
    count, channels, height, width = images.shape
    padded = torch.nn.functional.pad(images, (padding,) * 4)
    rows = corners[:, :1] + torch.arange(height, device=images.device)
    columns = torch.arange(width, device=images.device).expand(count, width)
    columns = corners[:, 1:] + torch.where(mirrored[:, None], width - 1 - columns, columns)
    index = torch.arange(count, device=images.device)[:, None, None, None]
    channel = torch.arange(channels, device=images.device)[None, :, None, None]
    return padded[index, channel, rows[:, None, :, None], columns[:, None, None, :]]
