"""The quick recipe of each network: what comes near to four times its steps within the time of the main job.

They are searched on the digits' validation part, at 5 real images per class and 16 px, by
``benchmarks/recipe_search.py``; ``results/benchmarks/recipe_search.md`` has every candidate, and says which are decided
and what was not tried. The paper trains all networks alike, for 50,000 steps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

#: The search: its dataset, the real images that the steps below are for, and how much longer it trained for comparison.
SEARCHED, IMAGES, LONGER = "digits", 50, 4


@dataclass(frozen=True)
class Quick:
    """How a network is trained where the user says nothing.

    Attributes:
        steps: optimiser steps for ``IMAGES`` real images.
        batch_size: images per step, real and generated together.
        learning_rate: peak of the schedule of SGD.
        seconds: CPU seconds of a step at 16 px on one core: forward, backward and update. ``None`` if not measured.
        plateau: mean accuracy in percent of the recipe, and of ``LONGER`` times its steps on the same draws and seeds,
            real images alone, in the search. ``None`` where it was not searched.
    """

    steps: int
    batch_size: int
    learning_rate: float
    seconds: float | None = None
    plateau: tuple[float, float] | None = None


QUICK = {
    "resnet18": Quick(100, 32, 0.01, 0.360, (88.1, 88.9)),
    "vgg16": Quick(100, 32, 0.01, 0.330, (83.8, 86.0)),
    "mobilenetv2": Quick(200, 64, 0.02, 0.140, (79.5, 81.2)),
    "shufflenetv2": Quick(400, 32, 0.01, 0.025, (80.4, 81.9)),
    "efficientnetb0": Quick(200, 64, 0.02, 0.215, (84.2, 85.8)),
}
#: Any other network of timm: not searched.
OTHER = Quick(400, 32, 0.01)
#: From published weights, which have a new head to learn: not searched. The paper fine-tunes nothing. The rate lies
#: within the range (0.0001 to 0.1) that Kornblith et al. 2019, appendix A, search.
FINE_TUNING = Quick(100, 32, 0.003)


def steps_for(quick: Quick, n_real: int) -> int:
    """Return the steps for ``n_real`` real images: more images take more, like the square root of their number."""
    return max(1, round(quick.steps * math.sqrt(n_real / IMAGES)))
