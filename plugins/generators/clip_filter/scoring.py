"""Scores the images of the link before with a CLIP; killed, it goes on behind its last block."""

from __future__ import annotations

import numpy as np

from benchbench.errors import BenchError
from benchbench.files import atomic_file
from benchbench.models.prompts import class_prompts
from benchbench.plugins.context import Context
from benchbench.plugins.images import batches

from .._scoring import Scorer

#: Images between two savings.
BLOCK = 500
PROBABILITIES = "probabilities.npy"


def score_upstream(context: Context, clip: str, template: str | None) -> None:
    """Write ``probabilities.npy``, float32 ``(n, C)``, for the images ``context.shard`` of the link before.

    It may have made fewer than planned, so that n is less than the length of the shard, or 0.
    """
    if context.upstream is None:
        raise BenchError("clip-filter: works on another generator's images; write generator+clip-filter")
    images = context.upstream.images
    rows = range(context.shard.start, min(context.shard.stop, len(images)))
    scorer: Scorer | None = None
    parts = [np.zeros((0, len(context.info.classes)), np.float32)]
    for block in context.progress(list(batches(len(rows), BLOCK)), label="scoring", unit="block"):
        file = context.scratch / f"block-{block.start:07d}.npy"
        if not file.exists():
            if scorer is None:
                prompts = class_prompts(context.info, template)
                scorer = Scorer(context.foundation(clip), clip, prompts, context.device)
            found = scorer.probabilities(images[rows.start + block.start : rows.start + block.stop])
            with atomic_file(file) as stream:
                np.save(stream, found, allow_pickle=False)
        parts.append(np.load(file, allow_pickle=False))
    np.save(context.folder / PROBABILITIES, np.concatenate(parts), allow_pickle=False)
