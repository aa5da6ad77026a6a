"""Random streams of stage 1: one per image and window of visits, whatever the batch or the shard.

An image's timesteps and noises come from generators seeded by (seed, image, window) alone. Drawing a window
of visits at a time keeps that affordable (four kernels per image and 50 visits) and needs no state in a
checkpoint.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from benchbench.plugins.context import derive_seed

#: Visits per window; also the number of strata of stratified timesteps.
WINDOW = 50


@dataclass(frozen=True)
class Draws:
    """What one window of visits consumes, for n images.

    Attributes:
        timesteps: int64 ``(WINDOW, n)``.
        posterior: standard normal ``(WINDOW, n, C, h, w)``, for sampling the VAE's posterior.
        noise: standard normal ``(WINDOW, n, C, h, w)``, added to the latents.
    """

    timesteps: torch.Tensor
    posterior: torch.Tensor
    noise: torch.Tensor


def draw_window(
    seed: int,
    images: Sequence[int],
    window: int,
    *,
    shape: tuple[int, int, int],
    num_train_timesteps: int,
    stratified: bool,
    device: torch.device,
) -> Draws:
    """Draw one window for the images of a batch.

    Args:
        seed: the step's seed.
        images: indices of the images in the training set.
        window: number of the window, visits ``window * WINDOW`` onwards.
        shape: ``(C, h, w)`` of a latent.
        num_train_timesteps: T; timesteps lie in 0..T-1.
        stratified: whether each window has one timestep in each of WINDOW equal parts of 0..T-1, in random
            order (lower gradient variance), instead of independent uniform ones (the paper's).
        device: where the generators live; streams differ between kinds of device.
    """
    count = len(images)
    timesteps = torch.empty(WINDOW, count, dtype=torch.int64, device=device)
    posterior = torch.empty(WINDOW, count, *shape, device=device)
    noise = torch.empty(WINDOW, count, *shape, device=device)
    rng = torch.Generator(device=device)
    for column, image in enumerate(images):
        rng.manual_seed(derive_seed(seed, "inversion", image, window))
        share = torch.rand(WINDOW, generator=rng, device=device, dtype=torch.float64)
        if stratified:
            order = torch.randperm(WINDOW, generator=rng, device=device)
            share = (order + share) / WINDOW
        timesteps[:, column] = (share * num_train_timesteps).long().clamp_(max=num_train_timesteps - 1)
        posterior[:, column] = torch.randn(WINDOW, *shape, generator=rng, device=device)
        noise[:, column] = torch.randn(WINDOW, *shape, generator=rng, device=device)
    return Draws(timesteps, posterior, noise)
