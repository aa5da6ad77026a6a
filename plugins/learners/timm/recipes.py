"""The quick recipe of each network: meant to be the cheapest that leaves a training on real images on its plateau.

They are searched on the digits' validation part, at 5 real images per class and 16 px, by
``benchmarks/recipe_search.py``; ``results/benchmarks/recipe_search.md`` has every candidate, and says which are decided
and what was not tried. The paper trains all networks alike, for 50,000 steps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

#: Real images that the steps below are for.
IMAGES = 50


@dataclass(frozen=True)
class Quick:
    """How a network is trained where the user says nothing.

    Attributes:
        steps: optimiser steps for ``IMAGES`` real images.
        batch_size: images per step, real and generated together.
        learning_rate: peak of the schedule of SGD.
        seconds: CPU seconds of a step at 16 px on one core: forward, backward and update. ``None`` if not measured.
    """

    steps: int
    batch_size: int
    learning_rate: float
    seconds: float | None = None


QUICK = {
    "resnet18": Quick(100, 32, 0.01, 0.470),
    "vgg16": Quick(100, 32, 0.01, 0.310),
    "mobilenetv2": Quick(400, 32, 0.01, 0.085),
    "shufflenetv2": Quick(400, 64, 0.02, 0.043),
    "efficientnetb0": Quick(400, 32, 0.01, 0.130),
}
#: Any other network of timm: not searched.
OTHER = Quick(400, 32, 0.01)
#: From published weights, which have a new head to learn: not searched. The paper fine-tunes nothing. The rate lies
#: within the range (0.0001 to 0.1) that Kornblith et al. 2019, appendix A, search.
FINE_TUNING = Quick(100, 32, 0.003)


def steps_for(quick: Quick, n_real: int) -> int:
    """Return the steps for ``n_real`` real images: more images take more, like the square root of their number."""
    return max(1, round(quick.steps * math.sqrt(n_real / IMAGES)))
