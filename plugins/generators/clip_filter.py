"""The ``clip-filter`` generator: keeps the images of another generator that a CLIP reads as their class."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from benchbench.errors import BenchError
from benchbench.models.generators import ClipUser
from benchbench.plugins import Context, ImageSet, param
from benchbench.plugins.images import batches

#: Images between two savings of the scores.
BLOCK = 500
#: Images that the CLIP sees at once. Fixed, since sums in floating point depend on it.
BATCH = 50


@dataclass(frozen=True)
class ClipFilter(ClipUser):
    """The CLIP filter of He et al. 2023 after any generator: ``diffinv+clip-filter:threshold=0.95``.

    ``fit`` scores each image of the generator before it against the prompts of all classes. ``sample`` keeps those
    whose probability of their own label is above ``threshold``; another threshold chooses again among the same scores.
    Where fewer images of a class pass than ``min_per_class``, its best-scoring ones are kept instead.
    """

    needs_upstream: ClassVar[bool] = True
    may_yield_fewer: ClassVar[bool] = True
    registered: ClassVar[str] = "clip-filter"

    clip: str = param(
        "glyph-clip",
        paper="timm/resnet50_clip.openai",
        help="CLIP that scores the images: an embedded name, a folder or a hub id.",
    )
    threshold: float = param(
        0.95, low=0, high=1, stage="sample", help="Keep images whose probability of their label is above this."
    )
    min_per_class: int = param(
        1, low=0, stage="sample", help="Images of a class to keep at least, the best ones where too few pass."
    )
    keep: str = param(
        "random",
        choices=("random", "best"),
        stage="sample",
        help="Which of those that pass, where more do than are wanted.",
    )
    oversample: float = param(
        1.0, low=1, stage="sample", help="Images that the generator before makes per image wanted of this one."
    )
    shard_size: int | None = param(
        None, low=1, affects_result=False, help="Images per fit step; none is 5,000, or more to keep to 64 steps."
    )

    def upstream_count(self, n_syn: int) -> int:
        """Return how many images the generator before has to make: ``oversample`` times ``n_syn``."""
        return math.ceil(n_syn * self.oversample)

    def shards(self, train_count: int) -> Sequence[range]:
        """Return ranges of the images of the generator before."""
        size = self.shard_size or max(5000, -(-train_count // 64))
        return tuple(batches(train_count, size))

    def fit(self, train: ImageSet, context: Context) -> None:
        """Write ``probabilities.npy``, float32 ``(n, C)``, for the images ``context.shard`` of the generator before.

        It may have made fewer than planned, so that n is less than the length of the shard, or 0.
        """
        import numpy as np

        from benchbench.models.clip.model import class_probabilities, open_clip_model
        from benchbench.models.prompts import class_prompts

        images = self._upstream(context).images
        rows = range(context.shard.start, min(context.shard.stop, len(images)))
        table = np.zeros((len(rows), len(context.info.classes)), np.float32)
        clip, prompts = None, class_prompts(context.info, self.template)
        for block in context.resume(list(batches(len(rows), BLOCK)), table, label="scoring", unit="block"):
            clip = clip or open_clip_model(context.foundation(self.clip), self.clip, device=context.device)
            pixels = images[rows.start + block.start : rows.start + block.stop]
            table[block.start : block.stop] = class_probabilities(clip, pixels, prompts, batch=BATCH)
        np.save(context.folder / "probabilities.npy", table, allow_pickle=False)

    def sample(self, train: ImageSet, context: Context) -> Iterator[ImageSet]:
        """Yield at most ``context.n_syn`` images of the generator before, with ``clip_score`` in their origins.

        The classes take turns, and the counts are reported.

        Raises:
            UsageError: nothing is left of a class that the generator before made images of.
        """
        from ._filtering import filtered

        images = self._upstream(context)
        yield from filtered(
            context,
            images.labels,
            images.classes,
            images.subset,
            threshold=self.threshold,
            min_per_class=self.min_per_class,
            keep=self.keep,
            subject="clip-filter:threshold",
        )

    @staticmethod
    def _upstream(context: Context) -> ImageSet:
        if context.upstream is None:
            raise BenchError("clip-filter: works on another generator's images; write generator+clip-filter")
        return context.upstream
