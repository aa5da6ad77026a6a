"""Chooses among the scored images of the link before."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from benchbench.errors import BenchError
from benchbench.plugins.context import Context
from benchbench.plugins.images import ImageSet

from .._filtering import select

#: Images per yielded set.
CHUNK = 500


def filter_upstream(context: Context, *, threshold: float, min_per_class: int, keep: str) -> Iterator[ImageSet]:
    """Yield at most ``context.n_syn`` images above the threshold, classes taking turns, and report the counts.

    Args:
        context: with the images of the link before and the folders of their scores.
        threshold: of the probability of the label.
        min_per_class: how many to keep of a class at least, the best ones where too few pass.
        keep: ``"random"`` or ``"best"`` of those that pass, where more do than are wanted.

    Raises:
        UsageError: nothing is left of a class that the link before made images of.
    """
    images = context.upstream
    if images is None:
        raise BenchError("clip-filter: works on another generator's images; write generator+clip-filter")
    table = np.concatenate([np.load(folder / "probabilities.npy", allow_pickle=False) for folder in context.fitted])
    scores = np.ascontiguousarray(table[np.arange(len(images)), images.labels])
    chosen = select(
        scores,
        images.labels,
        images.classes,
        n_syn=context.n_syn,
        threshold=threshold,
        min_per_class=min_per_class,
        best_first=keep == "best",
        rng=context.rng("selection"),
        subject="clip-filter:threshold",
    )
    context.report(threshold=threshold, **chosen.facts(scores, images.labels, images.classes))
    for chunk in context.chunks(len(chosen.kept), CHUNK, label="filtering"):
        rows = chosen.kept[chunk.start : chunk.stop]
        part = images.subset(rows)
        origins = part.origins or [{} for _ in rows]
        scored = [{**o, "clip_score": round(float(s), 6)} for o, s in zip(origins, scores[rows], strict=True)]
        yield ImageSet(part.images, part.labels, part.classes, scored)
