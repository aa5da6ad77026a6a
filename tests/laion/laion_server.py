"""Run by the other environment's Python: the real ``clip-retrieval back``, on the loopback interface.

It has no option for that and would listen on every interface, so its Flask app is given to a server bound to
127.0.0.1. The embeddings of "beautiful" that it would download at its start are replaced by one strong direction, so
that a query with the client's defaults would be bent visibly.

Arguments: the JSON of indices, the folder of a CLIP, the file that the port is written into.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
from flask import Flask
from werkzeug.serving import make_server

# By its full name: the package has a function of the same name in its place.
clip_back = importlib.import_module("clip_retrieval.clip_back")


def main(indices: str, clip: str, port_file: str, width: int) -> None:
    def run(app: Any, **_: Any) -> None:
        server = make_server("127.0.0.1", 0, app, threaded=True)
        part = Path(port_file + ".part")
        part.write_text(str(server.port))
        part.rename(port_file)
        server.serve_forever()

    Flask.run = run
    beautiful = np.full(width, 10 / width**0.5, np.float32)
    clip_back.get_aesthetic_embedding = lambda model: dict.fromkeys(range(10), beautiful)
    clip_back.clip_back(
        indices_paths=indices,
        clip_model=f"hf_clip:{clip}",
        enable_mclip_option=False,
        provide_aesthetic_embeddings=True,
    )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
