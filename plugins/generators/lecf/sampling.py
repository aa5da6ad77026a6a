"""The cheap half of LECF: choose among scored candidates."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchbench.plugins.context import Context
from benchbench.plugins.images import ImageSet

from .._filtering import filtered

if TYPE_CHECKING:
    from . import LECF


def sample_candidates(context: Context, plugin: LECF) -> Iterator[ImageSet]:
    """Yield at most ``context.n_syn`` candidates above the threshold, classes taking turns, and report the counts.

    Args:
        context: with the folders of the candidates' shards.
        plugin: the parameters.

    Raises:
        UsageError: nothing is left of a class.
    """
    shards = [ImageSet.load(folder) for folder in context.fitted]
    starts = np.cumsum([0, *(len(shard) for shard in shards)])

    def taken(rows: NDArray[np.int64]) -> ImageSet:
        places = np.searchsorted(starts, rows, side="right") - 1
        order = np.argsort(places, kind="stable")
        parts = [shards[place].subset(rows[places == place] - starts[place]) for place in np.unique(places)]
        return ImageSet.concatenate(parts).subset(np.argsort(order))

    yield from filtered(
        context,
        np.concatenate([shard.labels for shard in shards]),
        shards[0].classes,
        taken,
        threshold=plugin.clip_threshold,
        min_per_class=plugin.min_per_class,
        keep=plugin.keep,
        subject="lecf:clip_threshold",
    )
    if plugin.language_model:
        context.report(**_sentence_facts(context.fitted, shards[0].classes, plugin.num_sentences))


def _sentence_facts(folders: tuple[Path, ...], classes: tuple[str, ...], wanted: int) -> dict[str, Any]:
    """Return how many sentences each class has, in label order, and the classes that had to repeat some."""
    counts = [0] * len(classes)
    for folder in folders:
        for label, sentences in json.loads((folder / "sentences.json").read_text("utf-8")).items():
            counts[int(label)] = len(sentences)
    return {
        "sentences_per_class": counts,
        "sentences_repeated": [classes[label] for label, count in enumerate(counts) if count < wanted],
    }
