"""The positive control: further real images in place of generated ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from benchbench.errors import BenchError
from benchbench.plugins import Context, Generator, ImageSet

#: Images per yielded set.
CHUNK = 500


@dataclass(frozen=True)
class MoreReal(Generator):
    """Further real images of the training part, none of them in the subset: what a perfect generator would make.

    As many as were asked to be generated, or as many as there are, the classes as even as the data allow. It is a
    control: where even these do not improve a classifier, the experiment cannot show that generated images do.
    """

    control: ClassVar[str] = "more-real"
    reads_rest: ClassVar[bool] = True
    may_yield_fewer: ClassVar[bool] = True  # where another draw splits the images anew, a few less may be left

    def sample(self, train: ImageSet, context: Context) -> Iterator[ImageSet]:
        """Yield ``context.n_syn`` of the real images in ``context.rest``, or all; fewer are contained in more.

        Raises:
            BenchError: there is no real image outside the subset.
        """
        from benchbench.planning.subsets import balanced_sample

        if context.rest is None:
            raise BenchError("more-real: all real images are in use")
        count = min(context.n_syn, len(context.rest))
        chosen = balanced_sample(context.rest.labels, count, context.seed)
        for chunk in context.chunks(len(chosen), CHUNK):
            places = chosen[chunk.start : chunk.stop]
            further = context.rest.subset(places)
            yield ImageSet(further.images, further.labels, further.classes, [{"rest": int(at)} for at in places])
