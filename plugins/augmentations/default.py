"""The augmentation of every row in the paper: random crop and horizontal flip."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from benchbench.plugins import Augmentation, DatasetInfo, param

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class CropFlip(Augmentation):
    """Random crop after zero padding of an eighth of the side, and a horizontal flip where it keeps the class.

    Diffusion Inversion, Zhou et al. 2023, appendix B.2.3. The flip follows ``DatasetInfo.flip_keeps_class``: digits
    and letters are not mirrored.
    """

    is_base: ClassVar[bool] = True

    padding: int | None = param(None, low=0, help="Zeros added on each side, in px; none: an eighth of the side.")

    def apply(
        self, images: torch.Tensor, targets: torch.Tensor, rng: torch.Generator, info: DatasetInfo
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return shifted and mirrored images of the same dtype; targets unchanged."""
        from .crops import random_crop_flip

        padding = images.shape[-1] // 8 if self.padding is None else self.padding
        return random_crop_flip(images, padding, info.flip_keeps_class, rng), targets
