"""Random crop with zero padding and horizontal flip, whole batches at a time or in parts."""

from __future__ import annotations

import numpy as np
import torch


def crop(images: torch.Tensor, corners: torch.Tensor, mirrored: torch.Tensor, padding: int) -> torch.Tensor:
    """Return crops of images with ``padding`` zeros on each side, new images of the same shape, dtype and device.

    Args:
        images: ``(n, C, H, W)`` of any dtype.
        corners: integers ``(n, 2)`` in ``0..2 * padding``, row and column of each crop in its padded image.
        mirrored: bool ``(n,)``, whether the crop is mirrored left to right.
        padding: zeros added on each side, in px.
    """
    if images.device.type != "cpu":
        return crop_gather(images, corners, mirrored, padding)
    count, channels, height, width = images.shape
    pixels = np.ascontiguousarray(images.numpy())
    # A row of an image is one element to NumPy here, so that it is copied at once wherever it begins.
    row, places = np.dtype((np.void, width * pixels.itemsize)), 2 * padding + 1
    padded = np.zeros((count, channels, height + 2 * padding, width + 2 * padding), pixels.dtype)
    steps = padded.strides
    inside = np.ndarray((count, channels, height), row, padded, padding * (steps[2] + steps[3]), steps[:3])
    inside[:] = pixels.view(row)[..., 0]
    windows = np.ndarray((count, channels, places, places, height), row, padded, strides=(*steps, steps[2]))
    rows = windows[np.arange(count), :, corners[:, 0].numpy(), corners[:, 1].numpy()]
    crops = rows.view(pixels.dtype).reshape(images.shape)
    turned = np.flatnonzero(mirrored.numpy())
    crops[turned] = torch.from_numpy(crops[turned]).flip(-1).numpy()
    return torch.from_numpy(crops)


def crop_gather(images: torch.Tensor, corners: torch.Tensor, mirrored: torch.Tensor, padding: int) -> torch.Tensor:
    """Crop on an accelerator: one gather and no loop; arguments and result as in :func:`crop`."""
    count, channels, height, width = images.shape
    padded = torch.nn.functional.pad(images, (padding,) * 4)
    rows = corners[:, :1] + torch.arange(height, device=images.device)
    columns = torch.arange(width, device=images.device).expand(count, width)
    columns = corners[:, 1:] + torch.where(mirrored[:, None], width - 1 - columns, columns)
    index = torch.arange(count, device=images.device)[:, None, None, None]
    channel = torch.arange(channels, device=images.device)[None, :, None, None]
    return padded[index, channel, rows[:, None, :, None], columns[:, None, None, :]]
