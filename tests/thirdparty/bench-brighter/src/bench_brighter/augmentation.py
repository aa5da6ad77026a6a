"""The augmentation ``dimmer``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchbench.plugins import Augmentation, DatasetInfo, param

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Dimmer(Augmentation):
    """Each image darker by a random factor. Labels are kept."""

    least: float = param(0.5, low=0.0, high=1.0, help="Smallest factor of the pixel values; the largest is 1.")

    def apply(
        self, images: torch.Tensor, targets: torch.Tensor, rng: torch.Generator, info: DatasetInfo
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw one factor per image."""
        import torch

        factor = self.least + (1 - self.least) * torch.rand(len(images), 1, 1, 1, generator=rng, device=images.device)
        return images * factor, targets
