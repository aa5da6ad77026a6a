"""AutoAugment: one of the published pairs of operators per image.

The three policies are 25 pairs of operators each (Cubuk et al. 2019, appendix). Written as ``name probability
magnitude``, the magnitude in 0..9 or ``-`` where an operator has none. Some pairs are published twice, and so are twice
as likely.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from benchbench.plugins import Augmentation, DatasetInfo, param

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from ._plan import Plan

#: Magnitude bins of the published policies.
BINS = 10

IMAGENET = """
Posterize 0.4 8, Rotate 0.6 9
Solarize 0.6 5, AutoContrast 0.6 -
Equalize 0.8 -, Equalize 0.6 -
Posterize 0.6 7, Posterize 0.6 6
Equalize 0.4 -, Solarize 0.2 4
Equalize 0.4 -, Rotate 0.8 8
Solarize 0.6 3, Equalize 0.6 -
Posterize 0.8 5, Equalize 1.0 -
Rotate 0.2 3, Solarize 0.6 8
Equalize 0.6 -, Posterize 0.4 6
Rotate 0.8 8, Color 0.4 0
Rotate 0.4 9, Equalize 0.6 -
Equalize 0.0 -, Equalize 0.8 -
Invert 0.6 -, Equalize 1.0 -
Color 0.6 4, Contrast 1.0 8
Rotate 0.8 8, Color 1.0 2
Color 0.8 8, Solarize 0.8 7
Sharpness 0.4 7, Invert 0.6 -
ShearX 0.6 5, Equalize 1.0 -
Color 0.4 0, Equalize 0.6 -
Equalize 0.4 -, Solarize 0.2 4
Solarize 0.6 5, AutoContrast 0.6 -
Invert 0.6 -, Equalize 1.0 -
Color 0.6 4, Contrast 1.0 8
Equalize 0.8 -, Equalize 0.6 -
"""

CIFAR10 = """
Invert 0.1 -, Contrast 0.2 6
Rotate 0.7 2, TranslateX 0.3 9
Sharpness 0.8 1, Sharpness 0.9 3
ShearY 0.5 8, TranslateY 0.7 9
AutoContrast 0.5 -, Equalize 0.9 -
ShearY 0.2 7, Posterize 0.3 7
Color 0.4 3, Brightness 0.6 7
Sharpness 0.3 9, Brightness 0.7 9
Equalize 0.6 -, Equalize 0.5 -
Contrast 0.6 7, Sharpness 0.6 5
Color 0.7 7, TranslateX 0.5 8
Equalize 0.3 -, AutoContrast 0.4 -
TranslateY 0.4 3, Sharpness 0.2 6
Brightness 0.9 6, Color 0.2 8
Solarize 0.5 2, Invert 0.0 -
Equalize 0.2 -, AutoContrast 0.6 -
Equalize 0.2 -, Equalize 0.6 -
Color 0.9 9, Equalize 0.6 -
AutoContrast 0.8 -, Solarize 0.2 8
Brightness 0.1 3, Color 0.7 0
Solarize 0.4 5, AutoContrast 0.9 -
TranslateY 0.9 9, TranslateY 0.7 9
AutoContrast 0.9 -, Solarize 0.8 3
Equalize 0.8 -, Invert 0.1 -
TranslateY 0.7 9, AutoContrast 0.9 -
"""

SVHN = """
ShearX 0.9 4, Invert 0.2 -
ShearY 0.9 8, Invert 0.7 -
Equalize 0.6 -, Solarize 0.6 6
Invert 0.9 -, Equalize 0.6 -
Equalize 0.6 -, Rotate 0.9 3
ShearX 0.9 4, AutoContrast 0.8 -
ShearY 0.9 8, Invert 0.4 -
ShearY 0.9 5, Solarize 0.2 6
Invert 0.9 -, AutoContrast 0.8 -
Equalize 0.6 -, Rotate 0.9 3
ShearX 0.9 4, Solarize 0.3 3
ShearY 0.8 8, Invert 0.7 -
Equalize 0.9 -, TranslateY 0.6 6
Invert 0.9 -, Equalize 0.6 -
Contrast 0.3 3, Rotate 0.8 4
Invert 0.8 -, TranslateY 0.0 2
ShearY 0.7 6, Solarize 0.4 8
Invert 0.6 -, Rotate 0.8 4
ShearY 0.3 7, TranslateX 0.9 3
ShearX 0.1 6, Invert 0.6 -
Solarize 0.7 2, TranslateY 0.6 7
ShearY 0.8 4, Invert 0.8 -
ShearX 0.7 9, TranslateY 0.8 3
ShearY 0.8 5, AutoContrast 0.7 -
ShearX 0.7 2, Invert 0.1 -
"""

POLICIES = {"imagenet": IMAGENET, "cifar10": CIFAR10, "svhn": SVHN}


@dataclass(frozen=True)
class SubPolicies:
    """A policy as arrays, one row per sub-policy.

    Attributes:
        which: int64 ``(25, 2)``, positions in the ``names`` it was read with.
        probabilities: float64 ``(25, 2)``, of each operator being applied.
        bins: int64 ``(25, 2)``, magnitude bins, 0 where an operator has none.
    """

    which: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    bins: NDArray[np.int64]


@lru_cache(maxsize=8)
def subpolicies(policy: str, names: tuple[str, ...]) -> SubPolicies:
    """Return a published policy, its operators as positions in ``names``.

    Args:
        policy: a key of ``POLICIES``.
        names: operator names.
    """
    import numpy as np

    rows = [[entry.split() for entry in line.split(",")] for line in POLICIES[policy].split("\n") if line]
    return SubPolicies(
        which=np.array([[names.index(name) for name, _, _ in row] for row in rows]),
        probabilities=np.array([[float(probability) for _, probability, _ in row] for row in rows]),
        bins=np.array([[0 if magnitude == "-" else int(magnitude) for _, _, magnitude in row] for row in rows]),
    )


@dataclass(frozen=True)
class AutoAugment(Augmentation):
    """One of 25 published sub-policies per image: two operators, each applied with its own probability.

    Cubuk et al. 2019, with the policy found on ImageNet as Diffusion Inversion (Zhou et al. 2023, appendix B.2.3) uses
    it on every dataset. Ranges are those of torchvision's transform: ten magnitude bins, random signs, nearest
    neighbour, black from outside. Images come back as uint8 values in the dtype that they came in.
    """

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

        policy = subpolicies(self.policy, AUTOAUGMENT)
        space = autoaugment_space(AUTOAUGMENT, BINS, height, width)
        chosen = rng.integers(len(policy.which), size=count)
        operators, magnitudes = space.draw(policy.which[chosen], policy.bins[chosen], rng)
        applied = rng.random(operators.shape) < policy.probabilities[chosen]
        return Plan(np.where(applied, operators, IDENTITY), np.where(applied, magnitudes, 0.0))
