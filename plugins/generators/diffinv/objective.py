"""The denoising loss of stage 1 (Zhou et al. 2023, section 3), for every prediction type and weighting, and its noise.

There is one random stream per image and window of visits, whatever the batch or the shard: an image's timesteps and
noises come from generators seeded by (seed, image, window) alone. Drawing a window of visits at a time keeps that
affordable (four kernels per image and 50 visits) and needs no state in a checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from benchbench.plugins.context import derive_seed

#: Visits per window; also the number of strata of stratified timesteps.
WINDOW = 50


class Objective:
    """Noising, target and per-sample loss under a foundation's own noise schedule.

    Args:
        scheduler: the foundation's scheduler configuration; its ``prediction_type`` and betas are honoured.
        weighting: ``"none"``, the plain mean squared error of what the network predicts (the paper's);
            ``"velocity"``, the error of v whatever is predicted, which stresses high noise for epsilon models
            (Salimans and Ho 2022); ``"min-snr"``, the error of the clean latent times min(SNR, 5) (Hang et
            al. 2023).
        device: where timesteps will be.
    """

    def __init__(self, scheduler: Mapping[str, Any], weighting: str, device: torch.device) -> None:
        from diffusers import DDPMScheduler

        schedule = DDPMScheduler.from_config(dict(scheduler))
        self.prediction_type: str = schedule.config.prediction_type
        self.num_train_timesteps: int = schedule.config.num_train_timesteps
        kept = schedule.alphas_cumprod.double()
        self._signal = kept.sqrt().float().to(device)
        self._noise = (1 - kept).sqrt().float().to(device)
        self._weights = _weights(kept, self.prediction_type, weighting).float().to(device)

    def noisy(self, latents: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        """Return z_t = sqrt(abar_t) z + sqrt(1 - abar_t) eps, ``(B, C, h, w)``, for timesteps ``(B,)``."""
        return _wide(self._signal, timesteps) * latents + _wide(self._noise, timesteps) * noise

    def target(self, latents: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        """Return what the network should predict: eps, v = sqrt(abar_t) eps - sqrt(1 - abar_t) z, or z."""
        if self.prediction_type == "epsilon":
            return noise
        if self.prediction_type == "v_prediction":
            return _wide(self._signal, timesteps) * noise - _wide(self._noise, timesteps) * latents
        return latents

    def losses(self, predicted: torch.Tensor, target: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        """Return the weighted mean squared error of each sample, ``(B,)``."""
        return (predicted - target).square().mean(dim=(1, 2, 3)) * self._weights[timesteps]


def _wide(table: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
    return table[timesteps].view(-1, 1, 1, 1)


def _weights(kept: torch.Tensor, prediction_type: str, weighting: str) -> torch.Tensor:
    """Return w(t) on the error of the predicted quantity.

    An error of the clean latent x counts SNR times in eps and SNR + 1 times in v, so a weight on x is divided
    by that.
    """
    if weighting == "none":
        return torch.ones_like(kept)
    snr = kept / (1 - kept)
    on_clean = snr + 1 if weighting == "velocity" else snr.clamp(max=5.0)
    as_predicted = {"epsilon": snr, "v_prediction": snr + 1, "sample": torch.ones_like(snr)}[prediction_type]
    return on_clean / as_predicted.clamp(min=1e-8)


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
