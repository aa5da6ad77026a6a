"""The denoising loss of stage 1 (Zhou et al. 2023, section 3), for every prediction type and weighting."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch


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
