"""The autoencoder of a latent diffusion model: scaled latents, and images through it and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..errors import BenchError
from .diffusion.layout import VAELayout, read_vae_layout
from .opening import open_part

if TYPE_CHECKING:
    from pathlib import Path


#: Pixels that an autoencoder takes at once: 50 images of 128 px; at 512 px one image takes about a GiB.
PIXELS_AT_ONCE = 50 * 128 * 128


def at_once(resolution: int) -> int:
    """Return how many images of this side an autoencoder takes at once, at least one."""
    return max(1, PIXELS_AT_ONCE // resolution**2)


def frozen(network: Any, device: torch.device) -> Any:
    """Move a network to a device, channels last on CUDA, in eval mode and without gradients; returns it."""
    network.requires_grad_(False).eval().to(device)
    if device.type == "cuda":
        network.to(memory_format=torch.channels_last)
    return network


def signed(images: NDArray[np.uint8], device: torch.device) -> torch.Tensor:
    """Return fp32 ``(N, 3, H, W)`` in [-1, 1] on a device for uint8 ``(N, H, W, 3)``."""
    return torch.from_numpy(np.array(images)).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1


@dataclass
class Autoencoder:
    """A frozen ``AutoencoderKL`` in fp32 on one device, which takes :func:`at_once` images at a time.

    Attributes:
        layout: its shapes.
        vae: the network.
        device: where it is.
    """

    layout: VAELayout
    vae: Any
    device: torch.device

    def posterior(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return mean and deviation ``(B, C, h, w)`` of the scaled latents of ``(B, 3, R, R)`` in [-1, 1]."""
        with torch.inference_mode():
            posteriors = [self.vae.encode(part).latent_dist for part in images.split(at_once(images.shape[2]))]
            mean = (torch.cat([each.mean for each in posteriors]) - self._shift) * self.vae.config.scaling_factor
            std = torch.cat([each.std for each in posteriors]) * self.vae.config.scaling_factor
        return mean.clone(), std.clone()

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Return uint8 images ``(B, R, R, 3)`` on the CPU for scaled latents ``(B, C, h, w)``.

        Raises:
            BenchError: a pixel is not finite, which as a byte would be black.
        """
        made = []
        with torch.inference_mode():
            for part in latents.split(at_once(latents.shape[2] * self.layout.vae_factor)):
                pixels = self.vae.decode(part / self.vae.config.scaling_factor + self._shift).sample
                if not bool(torch.isfinite(pixels).all()):
                    raise BenchError(
                        f"{self.layout.name}: made images that are not finite (NaN or infinite); "
                        "its weights or the precision are at fault"
                    )
                levels = (pixels.clamp(-1, 1) + 1) * 127.5
                made.append(levels.round().to(torch.uint8).permute(0, 2, 3, 1).cpu())
        return torch.cat(made).contiguous()

    def autoencode(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return uint8 ``(N, S, S, 3)`` encoded and decoded, by the posterior's mode: nothing random.

        ``S`` is a multiple of ``layout.vae_factor``.
        """
        mean, _ = self.posterior(signed(images, self.device))
        return self.decode(mean).numpy()

    @property
    def _shift(self) -> float:
        return getattr(self.vae.config, "shift_factor", None) or 0.0


def open_autoencoder(folder: Path, name: str, *, device: str) -> Autoencoder:
    """Open the autoencoder of a diffusers folder, or a folder that is one; no other network is read.

    Raises:
        UsageError: it is missing or is another kind of network.
        BenchError: weights that are truncated, or of another network than the configuration says.
    """
    from diffusers import AutoencoderKL

    layout = read_vae_layout(folder, name)
    part = "" if layout.folder == folder else layout.folder.name
    vae = open_part(AutoencoderKL.from_pretrained, folder, part, name, torch_dtype=torch.float32)
    place = torch.device(device)
    return Autoencoder(layout, frozen(vae, place), place)
