"""AutoAugment: one of the published pairs of operators per image.

The three policies are 25 pairs of operators each (Cubuk et al. 2019, appendix), read from torchvision's own table. Some
pairs are published twice, and so are twice as likely.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar

from benchbench.plugins import Augmentation, DatasetInfo, param

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from ._plan import Plan

#: Magnitude bins of the published policies.
BINS = 10


@lru_cache(maxsize=8)
def subpolicies(
    policy: str, names: tuple[str, ...]
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
    """Return a published policy as three arrays ``(25, 2)``, one row per sub-policy.

    They are the operators as positions in ``names``, the probability of each being applied, and magnitude bins, 0 where
    an operator has none.

    Args:
        policy: ``"imagenet"``, ``"cifar10"`` or ``"svhn"``.
        names: operator names.
    """
    import numpy as np
    from torchvision.transforms import autoaugment

    rows = autoaugment.AutoAugment(autoaugment.AutoAugmentPolicy(policy)).policies
    return (
        np.array([[names.index(name) for name, _, _ in row] for row in rows]),
        np.array([[probability for _, probability, _ in row] for row in rows]),
        np.array([[magnitude or 0 for _, _, magnitude in row] for row in rows]),
    )


@dataclass(frozen=True)
class AutoAugment(Augmentation):
    """One of 25 published sub-policies per image: two operators, each applied with its own probability.

    Cubuk et al. 2019, with the policy found on ImageNet as Diffusion Inversion (Zhou et al. 2023, appendix B.2.3) uses
    it on every dataset. Ranges are those of torchvision's transform: ten magnitude bins, random signs, nearest
    neighbour, black from outside. Images come back as uint8 values in the dtype that they came in.
    """

    #: Its table of policies is read there.
    pinned_distributions: ClassVar[tuple[str, ...]] = ("torchvision",)

    policy: str = param(
        "imagenet", choices=("imagenet", "cifar10", "svhn"), help="Dataset that the policy was searched on."
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

        from ._plan import AUTOAUGMENT, IDENTITY, Plan, autoaugment_space

        which, probabilities, bins = subpolicies(self.policy, AUTOAUGMENT)
        space = autoaugment_space(AUTOAUGMENT, BINS, height, width)
        chosen = rng.integers(len(which), size=count)
        operators, magnitudes = space.draw(which[chosen], bins[chosen], rng)
        applied = rng.random(operators.shape) < probabilities[chosen]
        return Plan(np.where(applied, operators, IDENTITY), np.where(applied, magnitudes, 0.0))
