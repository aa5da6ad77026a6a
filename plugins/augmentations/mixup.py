"""MixUp: every image and its label blended with those of another image of the batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchbench.plugins import Augmentation, DatasetInfo, param

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class MixUp(Augmentation):
    """Blends each image with another of the batch, ``lambda x_i + (1 - lambda) x_j``, and their labels likewise.

    Zhang et al. 2018, as Diffusion Inversion compares with it (Zhou et al. 2023, appendix B.2.3): the batch is mixed
    with a permutation of itself, lambda is Beta(1, 1) and one for the whole batch. Cross-entropy is linear in the
    targets, so that mixed targets give the published mixture of two losses; pixels are blended before normalisation,
    which is linear too.
    """

    alpha: float = param(1.0, above=0.0, help="Both parameters of the Beta distribution of lambda; 1 is uniform.")
    probability: float = param(1.0, low=0.0, high=1.0, help="Chance of a batch to be mixed at all.")
    per_image: bool = param(False, help="A lambda for each image, in place of one for the batch.")

    def apply(
        self, images: torch.Tensor, targets: torch.Tensor, rng: torch.Generator, info: DatasetInfo
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return blended images, float32 in [0, 255], and blended targets, float32 ``(B, classes)``."""
        from ._mixing import beta_shares, blend, partners, soft_targets

        other = partners(len(images), rng)
        shares = beta_shares(self.alpha, len(images) if self.per_image else 1, self.probability, rng)
        soft = soft_targets(targets, len(info.classes))
        return blend(images, images[other], shares), blend(soft, soft[other], shares)
