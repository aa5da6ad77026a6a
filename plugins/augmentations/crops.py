"""Random crop with zero padding and horizontal flip, whole batches at a time or in parts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray

#: Bytes of padded images that are cropped at once on the CPU, so that they stay in a core's cache.
BLOCK_BYTES = 1 << 21


class CropFlips:
    """The crops and flips of one batch: each image is shifted, zeros moving in, and maybe mirrored.

    Args:
        count: images in the batch.
        padding: largest shift in px; each offset in ``-padding..padding`` is equally likely, rows and columns apart.
        flip: whether an image is mirrored with probability one half.
        rng: draws three numbers per image, whether ``flip`` is set or not.
    """

    def __init__(self, count: int, padding: int, flip: bool, rng: torch.Generator) -> None:
        self.padding = padding
        #: Row and column of each crop in its padded image, int64 ``(count, 2)``.
        self.corners = torch.randint(0, 2 * padding + 1, (count, 2), generator=rng, device=rng.device)
        #: Which crops are mirrored left to right, bool ``(count,)``.
        self.mirrored = torch.rand(count, generator=rng, device=rng.device) < 0.5
        if not flip:
            self.mirrored = torch.zeros_like(self.mirrored)
        self._windows: Windows | None = None

    def __call__(self, images: torch.Tensor, part: slice) -> torch.Tensor:
        """Return new images of the same shape and dtype.

        Args:
            images: ``(n, C, H, W)`` of any dtype, on the device of the draws.
            part: where in the batch they stand.
        """
        if images.device.type != "cpu":
            return crop_gather(images, self.corners[part], self.mirrored[part], self.padding)
        pixels = np.ascontiguousarray(images.numpy())
        if self._windows is None or not self._windows.fits(pixels):
            self._windows = Windows(len(pixels), pixels.shape[1:], pixels.dtype, self.padding)
        crops = self._windows.crop(pixels, self.corners.numpy()[part], self.mirrored.numpy()[part])
        return torch.from_numpy(crops)


class Windows:
    """Crops on the CPU: padded images in memory, and every window of them.

    A row of an image is one element to NumPy here, so that it is copied at once wherever it begins. At most
    ``BLOCK_BYTES`` of padded images are held at once.

    Args:
        count: images that are cropped at once at most.
        shape: of an image, ``(C, H, W)``.
        dtype: of its pixels.
        padding: zeros added on each side.
    """

    def __init__(self, count: int, shape: Sequence[int], dtype: DTypeLike, padding: int) -> None:
        channels, height, width = shape
        self.shape = tuple(shape)
        self.dtype = np.dtype(dtype)
        size = self.dtype.itemsize
        sides, places = (height + 2 * padding, width + 2 * padding), 2 * padding + 1
        self.block = max(1, min(count, BLOCK_BYTES // max(1, channels * sides[0] * sides[1] * size)))
        self.row = np.dtype((np.void, width * size))
        padded = np.zeros((self.block, channels, *sides), self.dtype)
        steps = padded.strides
        offset = padding * (steps[2] + steps[3])
        self.inner = np.ndarray((self.block, channels, height), self.row, padded, offset, steps[:3])
        corners = (self.block, channels, places, places, height)
        self.windows = np.ndarray(corners, self.row, padded, strides=(*steps, steps[2]))

    def fits(self, images: NDArray) -> bool:
        """Return whether these images can be cropped here."""
        return images.dtype == self.dtype and images.shape[1:] == self.shape

    def crop(self, images: NDArray, corners: NDArray, mirrored: NDArray) -> NDArray:
        """Return a new array of crops.

        Args:
            images: ``(n, C, H, W)``, contiguous.
            corners: integers ``(n, 2)`` in ``0..2 * padding``, row and column of each crop in its padded image.
            mirrored: bool ``(n,)``, whether the crop is mirrored left to right.
        """
        count = len(images)
        if count <= self.block:
            return self._crop(images, corners, mirrored)
        out = np.empty(images.shape, images.dtype)
        for start in range(0, count, self.block):
            part = slice(start, min(start + self.block, count))
            out[part] = self._crop(images[part], corners[part], mirrored[part])
        return out

    def _crop(self, images: NDArray, corners: NDArray, mirrored: NDArray) -> NDArray:
        here = np.arange(len(images))
        self.inner[: len(here)] = images.view(self.row)[..., 0]
        rows = self.windows[here, :, corners[:, 0], corners[:, 1]]
        crops = rows.view(self.dtype).reshape(images.shape)
        turned = np.flatnonzero(mirrored)
        crops[turned] = torch.from_numpy(crops[turned]).flip(-1).numpy()
        return crops


def crop_gather(images: torch.Tensor, corners: torch.Tensor, mirrored: torch.Tensor, padding: int) -> torch.Tensor:
    """Crop on an accelerator: one gather and no loop; arguments and result as in :meth:`Windows.crop`, as tensors."""
    count, channels, height, width = images.shape
    padded = torch.nn.functional.pad(images, (padding,) * 4)
    rows = corners[:, :1] + torch.arange(height, device=images.device)
    columns = torch.arange(width, device=images.device).expand(count, width)
    columns = corners[:, 1:] + torch.where(mirrored[:, None], width - 1 - columns, columns)
    index = torch.arange(count, device=images.device)[:, None, None, None]
    channel = torch.arange(channels, device=images.device)[None, :, None, None]
    return padded[index, channel, rows[:, None, :, None], columns[:, None, None, :]]
