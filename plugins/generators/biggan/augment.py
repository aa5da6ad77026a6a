"""The augmentation that psi is trained with: one random operation per batch, as in IT-GAN (Zhao & Bilen 2022).

After their differentiable augmentation "color_crop_cutout_flip_scale_rotate", with its strengths, on images in
[0, 1]; nothing needs to be differentiable here. An operation is drawn for the batch, its parameters per image.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

BRIGHTNESS, SATURATION, CONTRAST = 1.0, 2.0, 0.5
SHIFT, CUTOUT, SCALE, DEGREES = 0.125, 0.5, 1.2, 15.0
OPERATIONS = ("color", "crop", "cutout", "flip", "scale", "rotate")


def augmented(images: Tensor, rng: torch.Generator, *, flip: bool, operation: str | None = None) -> Tensor:
    """Return float ``(B, 3, H, W)`` changed by one operation, drawn from ``rng`` unless it is given.

    Args:
        images: float32 in [0, 1], on the CPU.
        rng: the only source of randomness.
        flip: whether mirror images keep their class; without it, flips are not drawn.
        operation: one of ``OPERATIONS``.
    """
    choices = [name for name in OPERATIONS if flip or name != "flip"]
    operation = operation or choices[int(torch.randint(len(choices), (), generator=rng))]
    n = len(images)

    def uniform(low: float, high: float) -> Tensor:
        return torch.rand(n, 1, 1, 1, generator=rng) * (high - low) + low

    if operation == "color":
        images = images + uniform(-0.5, 0.5) * BRIGHTNESS
        grey = images.mean(1, keepdim=True)
        images = grey + (images - grey) * uniform(0, SATURATION)
        middle = images.mean((1, 2, 3), keepdim=True)
        return middle + (images - middle) * uniform(1 - CONTRAST, 1 + CONTRAST)
    if operation == "cutout":
        return images * _outside_square(images, rng)
    if operation == "flip":
        return torch.where(uniform(0, 1) < 0.5, images.flip(3), images)
    theta = torch.eye(2, 3).repeat(n, 1, 1)
    if operation == "crop":
        side = images.shape[-1]
        reach = int(side * SHIFT + 0.5)
        # Whole pixels: a crop moves an image and blurs nothing. The grid spans 2 units over the side.
        theta[:, :, 2] = torch.randint(-reach, reach + 1, (n, 2), generator=rng) * (2 / side)
    elif operation == "scale":
        theta[:, 0, 0] = uniform(1 / SCALE, SCALE)[:, 0, 0, 0]
        theta[:, 1, 1] = uniform(1 / SCALE, SCALE)[:, 0, 0, 0]
    else:
        angle = uniform(-DEGREES, DEGREES)[:, 0, 0, 0] * (math.pi / 180)
        cos, sin = angle.cos(), angle.sin()
        theta[:, :, :2] = torch.stack([torch.stack([cos, -sin], 1), torch.stack([sin, cos], 1)], 1)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def _outside_square(images: Tensor, rng: torch.Generator) -> Tensor:
    """Return a mask ``(B, 1, H, W)``, 0 in a square of half the side, anywhere, cut at the border."""
    n, _, height, width = images.shape
    centre = torch.rand(n, 2, generator=rng) * torch.tensor([height, width])
    rows = (torch.arange(height) + 0.5 - centre[:, :1]).abs() <= height * CUTOUT / 2
    columns = (torch.arange(width) + 0.5 - centre[:, 1:]).abs() <= width * CUTOUT / 2
    return 1 - (rows[:, None, :, None] & columns[:, None, None, :]).float()
