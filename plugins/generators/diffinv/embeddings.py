"""The learned embeddings on disk: one safetensors file per shard and checkpoint, beside a small JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save

from benchbench.errors import BenchError

FACTS = "inversion.json"


def embeddings_file(visits: int) -> str:
    """Return the name of the file that holds the embeddings after ``visits`` visits per image."""
    return f"embeddings-{visits:06d}.safetensors"


def write_embeddings(
    folder: Path,
    index: NDArray[np.int64],
    tables: Mapping[int, NDArray[np.float32]],
    facts: Mapping[str, Any],
) -> None:
    """Write one shard.

    Args:
        folder: where to.
        index: int64 ``(n,)``, the training image that each row belongs to.
        tables: per checkpoint (visits per image), float32 ``(n, K, D)``.
        facts: settings and loss curve, JSON values.
    """
    for visits, table in tables.items():
        (folder / embeddings_file(visits)).write_bytes(save({"embeddings": table, "index": index}))
    (folder / FACTS).write_text(json.dumps(facts, indent=1, sort_keys=True) + "\n", "utf-8")


def read_embeddings(folders: Sequence[Path], visits: int, count: int) -> NDArray[np.float32]:
    """Return the embeddings of all shards at one checkpoint, float32 ``(count, K, D)`` in image order.

    Raises:
        BenchError: the shards do not hold each of the ``count`` training images exactly once.
    """
    parts = [load_file(folder / embeddings_file(visits)) for folder in folders]
    index = np.concatenate([part["index"] for part in parts]) if parts else np.empty(0, np.int64)
    if not np.array_equal(np.sort(index), np.arange(count)):
        raise BenchError(
            f"diffinv: the fitted shards hold {len(index)} embeddings, not one for each of {count} images; "
            "remove them with `bench cache gc` and fit again"
        )
    return np.concatenate([part["embeddings"] for part in parts])[np.argsort(index)]
