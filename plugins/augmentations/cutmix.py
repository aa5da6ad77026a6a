"""CutMix: a box of every image replaced by the same box of another, labels mixed by area."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchbench.plugins import Augmentation, DatasetInfo, param

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class CutMix(Augmentation):
    """Pastes a box from another image of the batch into each image, and mixes their labels by the area of the box.

    Yun et al. 2019, algorithm A1, as Diffusion Inversion compares with it (Zhou et al. 2023, appendix B.2.3): the
    batch is mixed with a permutation of itself, one box for the whole batch. Its sides are ``sqrt(1 - lambda)`` of the
    image's with lambda from Beta(1, 1), its centre is anywhere, what juts out is cut off, and lambda is then the share
    of the image that was left. Yun et al. mix half of the batches of CIFAR and all of ImageNet's; here all.
    """

    alpha: float = param(1.0, above=0.0, help="Both parameters of the Beta distribution of lambda; 1 is uniform.")
    probability: float = param(1.0, low=0.0, high=1.0, help="Chance of a batch to be mixed at all.")

    def apply(
        self, images: torch.Tensor, targets: torch.Tensor, rng: torch.Generator, info: DatasetInfo
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return images of the same dtype with a box from another, and mixed targets, float32 ``(B, classes)``."""
        import torch

        from ._mixing import beta_shares, blend, box_mask, centred_box, partners, soft_targets

        other = partners(len(images), rng)
        shares = beta_shares(self.alpha, 1, self.probability, rng)
        height, width = images.shape[-2:]
        inside = box_mask(centred_box(shares, height, width, rng), height, width)
        left = 1 - inside.double().mean(dim=(1, 2))  # lambda anew: the box may have been cut off at the border
        soft = soft_targets(targets, len(info.classes))
        mixed = torch.where(inside[:, None], images[other], images)
        return mixed, blend(soft, soft[other], left)
