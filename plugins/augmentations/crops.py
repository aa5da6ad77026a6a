"""Random crop with zero padding and horizontal flip, whole batches at a time."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

#: Bytes of padded images that are cropped at once on the CPU, so that they stay in a core's cache.
BLOCK_BYTES = 1 << 20


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
        return torch.from_numpy(crop_windows(images.numpy(), corners.numpy(), mirrored.numpy(), padding))
    return crop_gather(images, corners, mirrored, padding)


def crop_windows(images: NDArray, corners: NDArray, mirrored: NDArray, padding: int) -> NDArray:
    """Crop on the CPU: windows of padded images, copied by one indexing operation per block of images.

    A row of an image is one element to NumPy here, so that it is copied at once wherever it begins.

    Args:
        images: ``(B, C, H, W)``.
        corners: integers ``(B, 2)`` in ``0..2 * padding``, row and column of each crop in its padded image.
        mirrored: bool ``(B,)``, whether the crop is mirrored left to right.
        padding: zeros added on each side.

    Returns:
        A new array of the same shape and dtype.
    """
    count, channels, height, width = images.shape
    sides = (height + 2 * padding, width + 2 * padding)
    places = 2 * padding + 1
    block = max(1, min(count, BLOCK_BYTES // (channels * sides[0] * sides[1] * images.itemsize)))
    row = np.dtype((np.void, width * images.itemsize))
    padded = np.zeros((block, channels, *sides), images.dtype)
    steps = padded.strides
    inner = np.ndarray((block, channels, sides[0], places), row, padded, strides=steps)
    inner = inner[:, :, padding : padding + height, padding]
    windows = np.ndarray((block, channels, places, places, height), row, padded, strides=(*steps, steps[2]))
    rows = np.ascontiguousarray(images).view(row)[..., 0]
    out = np.empty(images.shape, images.dtype)
    for start in range(0, count, block):
        part = slice(start, min(start + block, count))
        here = np.arange(part.stop - start)
        inner[: len(here)] = rows[part]
        crops = windows[here, :, corners[part, 0], corners[part, 1]].view(images.dtype).reshape(-1, *images.shape[1:])
        turned = np.flatnonzero(mirrored[part])
        crops[turned] = torch.from_numpy(crops[turned]).flip(-1).numpy()
        out[part] = crops
    return out


def crop_gather(images: torch.Tensor, corners: torch.Tensor, mirrored: torch.Tensor, padding: int) -> torch.Tensor:
    """Crop on an accelerator: one gather and no loop; same arguments and result as :func:`crop_windows`."""
    count, channels, height, width = images.shape
    padded = torch.nn.functional.pad(images, (padding,) * 4)
    rows = corners[:, :1] + torch.arange(height, device=images.device)
    columns = torch.arange(width, device=images.device).expand(count, width)
    columns = corners[:, 1:] + torch.where(mirrored[:, None], width - 1 - columns, columns)
    index = torch.arange(count, device=images.device)[:, None, None, None]
    channel = torch.arange(channels, device=images.device)[None, :, None, None]
    return padded[index, channel, rows[:, None, :, None], columns[:, None, None, :]]
