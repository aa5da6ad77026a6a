"""Shear, translation and rotation of a batch, one affine map per image, in one call of ``grid_sample``.

Coordinates are those of torchvision's transforms on tensors: the origin is the middle of the image, shears keep its
upper left corner, positive angles turn counter-clockwise, and what comes from outside is 0. Even the order of the
float32 operations is kept, because a nearest neighbour depends on it where a source lies half-way between two pixels.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray


def resample(images: torch.Tensor, matrices: NDArray[np.float64], interpolation: str) -> torch.Tensor:
    """Return each image seen through its affine map.

    Args:
        images: uint8 ``(n, C, H, W)``.
        matrices: ``(n, 2, 3)``, from a pixel of the result to its source, in px from the middle of the image.
        interpolation: ``"nearest"`` or ``"bilinear"``; the latter fades into 0 at the border and rounds to integers.
    """
    count, _, height, width = images.shape
    device = images.device
    pixels = torch.ones(height, width, 3, device=device)
    pixels[..., 0] = torch.linspace(-width * 0.5 + 0.5, width * 0.5 - 0.5, width, device=device)
    pixels[..., 1] = torch.linspace(-height * 0.5 + 0.5, height * 0.5 - 0.5, height, device=device)[:, None]
    half = torch.tensor([0.5 * width, 0.5 * height], device=device)
    maps = torch.from_numpy(matrices.astype(np.float32)).to(device).transpose(1, 2) / half
    grid = pixels.view(1, height * width, 3).expand(count, -1, -1).bmm(maps).view(count, height, width, 2)
    sampled = torch.nn.functional.grid_sample(
        images.float(), grid, mode=interpolation, padding_mode="zeros", align_corners=False
    )
    return sampled.round_().to(torch.uint8)


def identities(count: int) -> NDArray[np.float64]:
    """Return ``count`` maps that change nothing, ``(count, 2, 3)``."""
    return np.broadcast_to(np.eye(2, 3), (count, 2, 3)).copy()


def shear_x(magnitudes: NDArray[np.float64], height: int, width: int) -> NDArray[np.float64]:
    """Move each row sideways by ``magnitude`` px per px of its distance from the upper edge."""
    maps, slope = identities(len(magnitudes)), _slopes(magnitudes)
    maps[:, 0, 1] = slope
    maps[:, 0, 2] = (width / 2 + slope * (height / 2)) - width / 2
    return maps


def shear_y(magnitudes: NDArray[np.float64], height: int, width: int) -> NDArray[np.float64]:
    """Move each column up or down by ``magnitude`` px per px of its distance from the left edge."""
    maps, slope = identities(len(magnitudes)), _slopes(magnitudes)
    maps[:, 1, 0] = slope
    maps[:, 1, 2] = (slope * (width / 2) + height / 2) - height / 2
    return maps


def translate_x(magnitudes: NDArray[np.float64], height: int, width: int) -> NDArray[np.float64]:
    """Move to the right by the magnitude in px, its fraction dropped."""
    maps = identities(len(magnitudes))
    maps[:, 0, 2] = -np.trunc(magnitudes)
    return maps


def translate_y(magnitudes: NDArray[np.float64], height: int, width: int) -> NDArray[np.float64]:
    """Move down by the magnitude in px, its fraction dropped."""
    maps = identities(len(magnitudes))
    maps[:, 1, 2] = -np.trunc(magnitudes)
    return maps


def rotate(magnitudes: NDArray[np.float64], height: int, width: int) -> NDArray[np.float64]:
    """Turn about the middle by the magnitude in degrees, counter-clockwise."""
    maps, angle = identities(len(magnitudes)), np.radians(-magnitudes)
    maps[:, 0, 0] = maps[:, 1, 1] = np.cos(angle)
    maps[:, 0, 1] = np.sin(angle)
    maps[:, 1, 0] = -np.sin(angle)
    return maps


def _slopes(magnitudes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the slopes as the tangents of angles that went through degrees, which is where torchvision rounds."""
    return np.tan(np.radians(np.degrees(np.arctan(magnitudes))))
