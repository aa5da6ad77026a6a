"""Files that are written whole or not at all, and JSON lines."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Give a draft's path beside ``path``, with the same ending; what is there takes its place when the block ends.

    The draft is a file, or a folder where ``path`` is none yet. A block that raises leaves ``path`` as it was.
    """
    draft = path.with_name(f".draft-{os.getpid()}-{threading.get_ident()}-{path.name}")
    _remove(draft)  # a killed process of the same number may have left one
    try:
        yield draft
        os.replace(draft, path)
    finally:
        _remove(draft)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_lines(path: Path, items: Sequence[Any]) -> None:
    """Write JSON values, one a line."""
    path.write_text("".join(json.dumps(item, sort_keys=True) + "\n" for item in items), "utf-8")


def read_lines(path: Path) -> list[Any]:
    """Read what :func:`write_lines` wrote."""
    return [json.loads(line) for line in path.read_text("utf-8").split("\n") if line]
