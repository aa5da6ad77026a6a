"""The positive control where all real images are in use: half of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from benchbench.plugins import Context, Generator, ImageSet

#: Images per yielded set.
CHUNK = 500


@dataclass(frozen=True)
class HalfReal(Generator):
    """Half of the real images of each class, drawn at random: the baseline with half of its images.

    It is a control where all real images are in use and no further ones are left: the gain of the baseline over it
    is what doubling the real images brings. ``--n-syn`` does not apply to it. Of a class with an odd number of
    images, half is rounded up or down; a class of one image may be left out.
    """

    control: ClassVar[str] = "half-real"

    def output_count(self, train_count: int, asked: int | None, default: int) -> int:
        """Return half of the training images, rounded up."""
        return (train_count + 1) // 2

    def sample(self, train: ImageSet, context: Context) -> Iterator[ImageSet]:
        """Yield ``context.n_syn`` images, evenly spaced in the order of their classes, shuffled within each."""
        import numpy as np

        shuffled = context.rng("half").permutation(len(train))
        by_class = shuffled[np.argsort(train.labels[shuffled], kind="stable")]
        count = context.n_syn
        chosen = np.sort(by_class[(2 * np.arange(count) + 1) * len(train) // (2 * count)])
        for chunk in context.chunks(len(chosen), CHUNK):
            places = chosen[chunk.start : chunk.stop]
            half = train.subset(places)
            yield ImageSet(half.images, half.labels, half.classes, [{"source": int(at)} for at in places])
