"""The baseline: the real training images as they are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from benchbench.plugins import Context, Generator, ImageSet


@dataclass(frozen=True)
class Real(Generator):
    """The real training images, unchanged: the baseline row of every table.

    Its number of images is that of the training subset; ``--n-syn`` does not apply to it.
    """

    is_real: ClassVar[bool] = True

    def sample(self, train: ImageSet, context: Context) -> Iterator[ImageSet]:
        """Yield the training subset, once."""
        yield train
