"""Which operators a policy draws from, and what its magnitude bins mean for each of them.

The ranges are those of AutoAugment (Cubuk et al. 2019, appendix) as torchvision's transforms have them, which differ
from the paper in three points: the enhancing operators are given as ``1 + magnitude`` with a random sign and so reach
0.1..1.9 from the middle outwards, translations scale with the image (150 px at 331 px), and Cutout and Sample Pairing
are left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from ._plan import OPERATORS

GEOMETRIC = ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate")
ENHANCING = ("Brightness", "Color", "Contrast", "Sharpness")
SIGNED = frozenset((*GEOMETRIC, *ENHANCING))

#: RandAugment's fourteen operators (Cubuk et al. 2020, section 3).
RANDAUGMENT = ("Identity", *GEOMETRIC, *ENHANCING, "Posterize", "Solarize", "AutoContrast", "Equalize")
#: AutoAugment's, of which a policy uses some.
AUTOAUGMENT = (*RANDAUGMENT, "Invert")
#: AugMix's nine (Hendrycks et al. 2020, section 3), without those that its corruption benchmark tests.
AUGMIX = (*GEOMETRIC, "Posterize", "Solarize", "AutoContrast", "Equalize")
#: AugMix's with the four enhancing ones.
AUGMIX_ALL = (*AUGMIX, *ENHANCING)


@dataclass(frozen=True)
class Space:
    """Magnitudes of some operators.

    Attributes:
        operators: int64 ``(K,)``, positions in ``OPERATORS``.
        magnitudes: float64 ``(K, bins)``; 0 where an operator has none.
        signed: bool ``(K,)``, whether half of the draws get a minus.
    """

    operators: NDArray[np.int64]
    magnitudes: NDArray[np.float64]
    signed: NDArray[np.bool_]

    def draw(
        self, which: NDArray[np.int64], bins: NDArray[np.int64], rng: np.random.Generator
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return operators and magnitudes with random signs.

        Args:
            which: positions in ``operators``, of any shape.
            bins: magnitude bins of that shape.
            rng: draws one sign for each, needed or not.
        """
        minus = rng.integers(2, size=which.shape).astype(bool) & self.signed[which]
        magnitudes = self.magnitudes[which, bins]
        return self.operators[which], np.where(minus, -magnitudes, magnitudes)


@lru_cache(maxsize=64)
def autoaugment_space(names: tuple[str, ...], bins: int, height: int, width: int) -> Space:
    """Return the magnitudes of AutoAugment and RandAugment in ``bins`` bins for images of ``height`` x ``width`` px."""
    return _space(names, bins, (150.0 / 331.0 * height, 150.0 / 331.0 * width), most_bits=8)


@lru_cache(maxsize=64)
def augmix_space(names: tuple[str, ...], bins: int, height: int, width: int) -> Space:
    """Return the magnitudes of AugMix: translations by up to a third of the side, posterising to 4 bits or fewer."""
    return _space(names, bins, (height / 3.0, width / 3.0), most_bits=4)


def _space(names: tuple[str, ...], bins: int, shifts: tuple[float, float], most_bits: int) -> Space:
    """Return the magnitudes of ``names``; ``shifts`` are the largest translations along y and x in px."""
    # In float32 by torch, as torchvision has it: the last bit decides which pixels reach a threshold.
    ramps = {
        "ShearX": torch.linspace(0.0, 0.3, bins),
        "ShearY": torch.linspace(0.0, 0.3, bins),
        "TranslateX": torch.linspace(0.0, shifts[1], bins),
        "TranslateY": torch.linspace(0.0, shifts[0], bins),
        "Rotate": torch.linspace(0.0, 30.0, bins),
        "Posterize": most_bits - (torch.arange(bins) / ((bins - 1) / 4)).round(),
        "Solarize": torch.linspace(255.0, 0.0, bins),
    }
    ramps |= {name: torch.linspace(0.0, 0.9, bins) for name in ENHANCING}
    none = torch.zeros(bins)
    return Space(
        operators=np.array([OPERATORS.index(name) for name in names]),
        magnitudes=torch.stack([ramps.get(name, none) for name in names]).double().numpy(),
        signed=np.array([name in SIGNED for name in names]),
    )
