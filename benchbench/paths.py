"""Where files that belong to no project folder live: downloaded data, and what may be computed again.

Two environment variables move them: ``BENCH_DATA`` and ``BENCH_CACHE``. Nothing here creates a folder.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

__all__ = ["cache_root", "data_root"]


def cache_root() -> Path:
    """Return the folder for what can be computed again; it may not exist and may not be writable.

    ``$BENCH_CACHE``, else ``$XDG_CACHE_HOME/benchbench``, else ``~/.cache/benchbench``. Empty and relative
    values of ``XDG_CACHE_HOME`` are ignored, as the XDG base directory specification asks.
    """
    if chosen := os.environ.get("BENCH_CACHE"):
        return _expand(chosen)
    shared = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(shared):
        return Path(shared) / "benchbench"
    return _expand("~/.cache/benchbench")


def data_root() -> Path:
    """Return the folder where datasets are looked for when no ``path=`` is given: one folder for each
    dataset.

    ``$BENCH_DATA``, else ``data`` below :func:`cache_root`.
    """
    if chosen := os.environ.get("BENCH_DATA"):
        return _expand(chosen)
    return cache_root() / "data"


def _expand(text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError:  # a user without a home folder, as in some containers
        return Path(tempfile.gettempdir()) / text.lstrip("~/")
