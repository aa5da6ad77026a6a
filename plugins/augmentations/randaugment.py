"""RandAugment: a few random operators at one magnitude."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchbench.plugins import Augmentation, DatasetInfo, param

if TYPE_CHECKING:
    import numpy as np
    import torch

    from ._plan import Plan


@dataclass(frozen=True)
class RandAugment(Augmentation):
    """Two of fourteen operators per image, drawn with replacement, at one magnitude with a random sign.

    Cubuk et al. 2020, as Diffusion Inversion (Zhou et al. 2023, appendix B.2.3) uses it, with the ranges of
    torchvision's transform and its defaults: magnitude 9 of 31 bins, nearest neighbour, black from outside. Images come
    back as uint8 values in the dtype that they came in.
    """

    num_ops: int = param(2, low=1, high=14, help="Operators per image, one after the other.")
    magnitude: int = param(9, low=0, high=999, help="Magnitude bin of all operators, below num_magnitude_bins.")
    num_magnitude_bins: int = param(31, low=2, high=1000, help="Bins that the range of each operator is cut into.")

    def __post_init__(self) -> None:
        """Raise ``ValueError`` unless the magnitude is one of the bins."""
        if self.magnitude >= self.num_magnitude_bins:
            raise ValueError(
                f"magnitude={self.magnitude} must be below num_magnitude_bins={self.num_magnitude_bins}; "
                "bins are counted from 0"
            )

    def apply(
        self, images: torch.Tensor, targets: torch.Tensor, rng: torch.Generator, info: DatasetInfo
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return augmented images of the same dtype; float values are rounded first. Targets unchanged."""
        from ._plan import augmented

        return augmented(images, self.plan, rng), targets

    def plan(self, count: int, height: int, width: int, rng: np.random.Generator) -> Plan:
        """Draw what ``count`` images of ``height`` x ``width`` px go through."""
        import numpy as np

        from ._plan import RANDAUGMENT, Plan, autoaugment_space

        space = autoaugment_space(RANDAUGMENT, self.num_magnitude_bins, height, width)
        which = rng.integers(len(RANDAUGMENT), size=(count, self.num_ops))
        return Plan(*space.draw(which, np.full_like(which, self.magnitude), rng))
