"""The ``clip-filter`` generator: keeps the images of another generator that a CLIP reads as their class."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from benchbench.models.generators import ClipUser
from benchbench.plugins import Context, ImageSet, param


@dataclass(frozen=True)
class ClipFilter(ClipUser):
    """The CLIP filter of He et al. 2023 behind any generator: ``diffinv+clip-filter:threshold=0.95``.

    ``fit`` scores each image of the link before against the prompts of all classes. ``sample`` keeps those whose
    probability of their own label is above ``threshold``; another threshold chooses again among the same scores.
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
        1.0, low=1, stage="sample", help="Images that the link before makes per image wanted of this one."
    )
    shard_size: int | None = param(
        None, low=1, stage="speed", help="Images per fit step; none is 5,000, or more to keep to 64 steps."
    )

    def upstream_count(self, n_syn: int) -> int:
        """Return how many images the link before has to make: ``oversample`` times ``n_syn``."""
        return math.ceil(n_syn * self.oversample)

    def shards(self, train_count: int) -> Sequence[range]:
        """Return ranges of the images of the link before."""
        size = self.shard_size or max(5000, -(-train_count // 64))
        return tuple(range(start, min(start + size, train_count)) for start in range(0, train_count, size))

    def fit(self, train: ImageSet, context: Context) -> None:
        """Score the images ``context.shard`` of the link before."""
        from .scoring import score_upstream

        score_upstream(context, self.clip, self.template)

    def sample(self, train: ImageSet, context: Context) -> Iterator[ImageSet]:
        """Yield at most ``context.n_syn`` images of the link before, with ``clip_score`` in their origins."""
        from .selecting import filter_upstream

        yield from filter_upstream(context, threshold=self.threshold, min_per_class=self.min_per_class, keep=self.keep)
