"""The generator ``brighter``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from benchbench.plugins import Context, Generator, ImageSet, param

from .levels import scale


@dataclass(frozen=True)
class Brighter(Generator):
    """Every real image, brighter by a random amount. Labels are kept."""

    factor: float = param(1.3, low=0.0, help="Largest factor of the pixel values; each image draws its own from 1.")
    rounds: int = param(1, low=1, paper=3, help="How often an image is made brighter.")

    def sample(self, train: ImageSet, context: Context) -> Iterator[ImageSet]:
        """Go round the training images, each time with another factor."""
        for chunk in context.chunks(context.n_syn, 256):
            source = np.array(chunk) % len(train)
            factors = [
                context.rng("factor", made).uniform(1.0, self.factor) if self.factor > 1 else self.factor
                for made in chunk
            ]
            images = np.asarray(train.images[source])
            for _ in range(self.rounds):
                images = np.stack([scale(image, factor) for image, factor in zip(images, factors, strict=True)])
            origins = [
                {"source": int(index), "factor": round(float(factor), 6)}
                for index, factor in zip(source, factors, strict=True)
            ]
            yield ImageSet(images, train.labels[source], train.classes, origins)
