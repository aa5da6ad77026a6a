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
from benchbench_plugins.generators.knn.pools import Backend, Hit, Missing, Options, open_backend

ASKED, K = 30, 8


def main(folder: Path, address: str, index: Path) -> None:
    queries = np.load(folder / "queries.npy")
    options = Options(allow_private=True, scratch=folder / "scratch", indice_name="digits")
    server = open_backend(address, None, None, options)
    local = open_backend(str(index), index, None, options)
    told: dict[str, Any] = {
        "server": asked(server, queries, folder),
        "folder": asked(local, queries, folder),
        "refused": asked(open_backend(address, None, None, Options(scratch=folder / "other")), queries[:3], folder),
        "described": server.describe(),
        "width": line(lambda: server.search(np.eye(32, dtype=np.float32)[:1], 3)),
        "name": line(lambda: open_backend(address, None, None, Options(indice_name="digit"))),
        # What DI's script asked for: the client's defaults but for its filters.
        "bent": [
            [str(row["id"]) for row in client.query(embedding_input=[float(value) for value in query])]
            for client in [ClipClient(f"{address}/knn-service", "digits", num_images=K, deduplicate=False)]
            for query in queries[:ASKED]
        ],
        "few": [
            len(hits) for hits in open_backend(address, None, None, Options(deduplicate=True)).search(queries[:3], K)
        ],
    }
    (folder / "told.json").write_text(json.dumps(told))


def asked(pool: Backend, queries: Any, folder: Path) -> dict[str, Any]:
    """Search, fetch and compare each picture with the file it was made from."""
    found = pool.search(queries[:ASKED], K)
    hits: Sequence[Hit] = list({hit.key: hit for row in found for hit in row}.values())
    differences, missing = {}, {}
    for item in pool.pictures(hits):
        if isinstance(item, Missing):
            missing[item.key] = item.reason
            continue
        original = np.array(Image.open(folder / "pictures" / f"{int(item.key):03d}.png"), np.int64)
        differences[item.key] = float(np.abs(item.pixels - original).mean())
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
