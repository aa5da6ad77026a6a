"""What steps need of a machine, from the images that they work on: disk, memory, memory of the accelerator.

All numbers are bytes. What a plugin keeps beside images (weights, features, embeddings) is not counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def images_on_disk(stage: str, body: Mapping[str, Any], info: Mapping[str, Any]) -> int:
    """Return the bytes of the images that a step leaves in the store.

    Args:
        stage: of the step.
        body: of the step.
        info: the dataset's facts as JSON.
    """
    counts = info["counts"]
    count = {
        "data": sum(counts.values()),
        "sample": body.get("n_syn", 0),
        "transform": counts.get(body.get("split"), 0),
    }.get(stage, 0)
    return int(count) * _pixels(info["resolution"])


def _pixels(side: int) -> int:
    return 3 * side * side
