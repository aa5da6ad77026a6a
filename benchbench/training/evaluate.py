"""Normalisation, and what a classifier says of held-out images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from .ahead import in_turn

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..plugins import DatasetInfo
    from .pixels import Pixels

#: Numbers that are normalised at once on the CPU, so that three passes over large images meet them in the cache.
BLOCK_PIXELS = 1 << 20


class Normalise:
    """Turns pixels in 0..255 into what a classifier takes: ``(x / 255 - mean) / std`` per channel, float32.

    On the CPU the result lies in a buffer that the next batch overwrites: fresh pages for every batch would cost more
    than the arithmetic. A backward pass must therefore come before the next call.
    """

    def __init__(self, info: DatasetInfo, device: str) -> None:
        mean = torch.tensor(info.mean, dtype=torch.float64).view(1, 3, 1, 1)
        std = torch.tensor(info.std, dtype=torch.float64).view(1, 3, 1, 1)
        self.scale = (1.0 / (255.0 * std)).float().to(device)
        self.shift = (-mean / std).float().to(device)
        self._buffer: torch.Tensor | None = None

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Return float32 ``(B, 3, H, W)`` from uint8 or float pixels in [0, 255]."""
        if images.device.type != "cpu":
            return (images.float() * self.scale + self.shift).contiguous(memory_format=torch.channels_last)
        out = self.room(images.shape)
        self.fill(out, images)
        return out

    def room(self, shape: Sequence[int]) -> torch.Tensor:
        """Return the buffer on the CPU that the next batch overwrites, float32 of ``shape``, for :meth:`fill`."""
        if self._buffer is None or self._buffer.shape[1:] != tuple(shape[1:]) or len(self._buffer) < shape[0]:
            self._buffer = torch.empty(tuple(shape))
        return self._buffer[: shape[0]]

    def fill(self, out: torch.Tensor, images: torch.Tensor) -> None:
        """Write normalised images of the CPU into ``out``, float32 of their shape."""
        block = max(1, BLOCK_PIXELS // max(1, images.shape[1:].numel()))
        for start in range(0, len(images), block):
            pixels = images[start : start + block].detach()
            out[start : start + block].copy_(pixels).mul_(self.scale).add_(self.shift)


def scoring_batch(resolution: int, device: str) -> int:
    """Return how many images are scored at once: as large as pays, small enough for a laptop's memory."""
    pixels = (1 << 22) if device != "cpu" else (1 << 18)
    return max(8, min(4096, pixels // resolution**2))


def logits_of(model: torch.nn.Module, images: Pixels, info: DatasetInfo, autocast: torch.autocast) -> torch.Tensor:
    """Return the logits of images, float32 ``(N, C)`` on their device, without waiting for it.

    The model is left in training mode or not, as found.

    Args:
        model: takes normalised float batches and returns logits ``(B, C)``.
        images: uint8 ``(N, 3, R, R)`` on the device or on disk, each scored once.
        info: the dataset, for the normalisation.
        autocast: the precision in which to run.
    """
    training = model.training
    model.eval()
    scores = []
    normalise = Normalise(info, images.device.type)  # its buffer is an inference tensor: never shared with training
    with torch.inference_mode(), autocast:
        for part in in_turn(images, scoring_batch(images.shape[-1], images.device.type)):
            scores.append(model(normalise(part)).float())
    model.train(training)
    return torch.cat(scores)


def probabilities(logits: torch.Tensor) -> NDArray[np.float32]:
    """Return the softmax of logits ``(N, C)`` as a float32 array ``(N, C)``.

    The class of the largest logit, of equal ones the first, gets the largest probability by itself, also where float32
    would give two classes the same or where logits are not finite: accuracies are those of the logits.
    """
    logits = logits.float()
    best = logits.argmax(dim=1, keepdim=True)
    shares = torch.softmax(logits.nan_to_num(nan=torch.finfo(torch.float32).max), dim=1)
    largest = shares.amax(dim=1, keepdim=True)
    return shares.scatter(1, best, torch.nextafter(largest, largest + 1)).cpu().numpy()
