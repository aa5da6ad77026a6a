"""The cheap half of LECF: choose among scored candidates."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchbench.plugins.context import Context
from benchbench.plugins.images import ImageSet

from .._filtering import select

#: Images per yielded set.
CHUNK = 500


def sample_candidates(
    context: Context,
    *,
    threshold: float,
    min_per_class: int,
    keep: str,
    num_sentences: int | None,
) -> Iterator[ImageSet]:
    """Yield at most ``context.n_syn`` candidates above the threshold, classes taking turns, and report the counts.

    Args:
        context: with the folders of the candidates' shards.
        threshold: of the probability of the intended class; without scores every candidate passes.
        min_per_class: how many to keep of a class at least, the best ones where too few pass.
        keep: ``"random"`` or ``"best"`` of those that pass, where more do than are wanted.
        num_sentences: how many were asked for per class, ``None`` without a language model.

    Raises:
        UsageError: nothing is left of a class.
    """
    shards = [ImageSet.load(folder) for folder in context.fitted]
    labels = np.concatenate([shard.labels for shard in shards])
    scores = read_scores(context.fitted, labels)
    chosen = select(
        np.ones(len(labels), np.float32) if scores is None else scores,
        labels,
        shards[0].classes,
        n_syn=context.n_syn,
        threshold=0.0 if scores is None else threshold,
        min_per_class=min_per_class,
        best_first=keep == "best",
        rng=context.rng("selection"),
        subject="lecf:clip_threshold",
    )
    if scores is not None:
        context.report(clip_threshold=threshold, **chosen.facts(scores, labels, shards[0].classes))
    if num_sentences is not None:
        context.report(**sentence_facts(context.fitted, shards[0].classes, num_sentences))
    starts = np.cumsum([0, *(len(shard) for shard in shards)])
    for chunk in context.chunks(len(chosen.kept), CHUNK, label="filtering"):
        yield ImageSet.concatenate(
            [_taken(shards, starts, int(row), scores) for row in chosen.kept[chunk.start : chunk.stop]]
        )


def read_scores(folders: tuple[Path, ...], labels: NDArray[np.int64]) -> NDArray[np.float32] | None:
    """Return the probability of each candidate's own class, float32 ``(N,)``; ``None`` where nothing was scored."""
    files = [folder / "probabilities.npy" for folder in folders]
    if not all(file.exists() for file in files):
        return None
    table = np.concatenate([np.load(file, allow_pickle=False) for file in files])
    return np.ascontiguousarray(table[np.arange(len(labels)), labels])


def sentence_facts(folders: tuple[Path, ...], classes: tuple[str, ...], wanted: int) -> dict[str, Any]:
    """Return different sentences per class, in label order, and the classes that had to repeat some."""
    found: dict[int, int] = {}
    for folder in folders:
        written = json.loads((folder / "sentences.json").read_text("utf-8"))
        found |= {int(label): len(own) for label, own in written.items()}
    counts = [found.get(label, 0) for label in range(len(classes))]
    return {
        "sentences_per_class": counts,
        "sentences_repeated": [classes[label] for label, count in enumerate(counts) if count < wanted],
    }


def _taken(shards: list[ImageSet], starts: NDArray[Any], row: int, scores: NDArray[np.float32] | None) -> ImageSet:
    place = int(np.searchsorted(starts, row, side="right")) - 1
    one = shards[place].subset([row - int(starts[place])])
    if scores is None:
        return one
    origin = {**one.origins[0], "clip_score": round(float(scores[row]), 6)}
    return ImageSet(one.images, one.labels, one.classes, [origin])
