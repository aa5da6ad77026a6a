"""The negative control: the real images of the subset, repeated."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from benchbench.plugins import Context, Generator, ImageSet

#: Images per yielded set.
CHUNK = 500


@dataclass(frozen=True)
class Copies(Generator):
    """The images of the subset again, each equally often but for one: what a generator makes that adds nothing.

    It is a control: copies hold nothing new, so where they are called better than the real images alone, so may
    be anything.
    """

    control: ClassVar[str] = "copies"

    def sample(self, train: ImageSet, context: Context) -> Iterator[ImageSet]:
        """Yield ``context.n_syn`` images: whole rounds through the subset, then some of each class."""
        from benchbench.planning.subsets import in_rounds

        sources = in_rounds(train.labels, context.n_syn, context.seed)
        for chunk in context.chunks(len(sources), CHUNK):
            places = sources[chunk.start : chunk.stop]
            again = train.subset(places)
            yield ImageSet(again.images, again.labels, again.classes, [{"source": int(at)} for at in places])
