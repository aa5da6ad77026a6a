"""Run by the other environment's Python: asks the server and the folder, and writes what came as JSON.

Arguments: the folder that ``laion_prepare.py`` filled, the address of the server, the folder of the index.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from clip_retrieval.clip_client import ClipClient
from PIL import Image

from benchbench.errors import BenchError
from benchbench_plugins.generators.knn import KNN
from benchbench_plugins.generators.knn.pools import Backend, Hit, open_backend

ASKED, K = 30, 8


def main(folder: Path, address: str, index: Path) -> None:
    def served(scratch: Path = folder / "scratch", **values: Any) -> Backend:
        return open_backend(KNN(pool=address, **values), None, scratch)

    queries = np.load(folder / "queries.npy")
    server = served(folder / "scratch", allow_private=True, indice_name="digits")
    local = open_backend(KNN(pool=str(index), allow_private=True), index, folder / "scratch")
    told: dict[str, Any] = {
        "server": asked(server, queries, folder),
        "folder": asked(local, queries, folder),
        "refused": asked(served(folder / "other"), queries[:3], folder),
        "described": server.describe(),
        "width": line(lambda: server.search(np.eye(32, dtype=np.float32)[:1], 3)),
        "name": line(lambda: served(indice_name="digit")),
        # What DI's script asked for: the client's defaults but for its filters.
        "bent": [
            [str(row["id"]) for row in client.query(embedding_input=[float(value) for value in query])]
            for client in [ClipClient(f"{address}/knn-service", "digits", num_images=K, deduplicate=False)]
            for query in queries[:ASKED]
        ],
    }
    (folder / "told.json").write_text(json.dumps(told))


def asked(pool: Backend, queries: Any, folder: Path) -> dict[str, Any]:
    """Search, fetch and compare each picture with the file it was made from."""
    found = pool.search(queries[:ASKED], K)
    hits: Sequence[Hit] = list({hit.key: hit for row in found for hit in row}.values())
    differences, missing = {}, {}
    for hit, pixels in zip(hits, pool.pictures(hits), strict=True):
        if isinstance(pixels, str):
            missing[hit.key] = pixels
            continue
        original = np.array(Image.open(folder / "pictures" / f"{int(hit.key):03d}.png"), np.int64)
        differences[hit.key] = float(np.abs(pixels - original).mean())
    return {
        "keys": [[hit.key for hit in row] for row in found],
        "similarities": [[hit.similarity for hit in row] for row in found],
        "captions": {hit.key: hit.caption for hit in hits},
        "differences": differences,
        "missing": missing,
    }


def line(job: Callable[[], Any]) -> str:
    try:
        job()
    except BenchError as error:
        return str(error)
    return "nothing was raised"


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
