"""Pictures as PNG files: drawn by Matplotlib in its own style, the same bytes each time, written atomically."""

from __future__ import annotations

import io
import logging
import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..files import write_atomic


def png(build: Callable[[], Any], style: Mapping[str, Any]) -> bytes:
    """Return the PNG of a figure, drawn with Agg and the default style whatever the user's configuration says.

    Matplotlib's remarks on font caches and on glyphs that a font lacks are not shown.

    Args:
        build: makes the ``matplotlib.figure.Figure``; it is called with the style in force.
        style: Matplotlib's parameters that differ from its default style.
    """
    logger = logging.getLogger("matplotlib")
    level = logger.level
    if "matplotlib" not in sys.modules:
        logger.setLevel(logging.ERROR)
    try:
        import matplotlib.style

        with warnings.catch_warnings(), matplotlib.style.context(["default", dict(style)]):
            warnings.simplefilter("ignore")
            buffer = io.BytesIO()
            build().savefig(buffer, format="png", dpi="figure", metadata={"Software": None})
    finally:
        logger.setLevel(level)
    return buffer.getvalue()


def write_png(content: bytes, path: Path) -> Path:
    """Write a picture; a reader, or a kill, meets the old file or the new one. A file with this content is not touched.

    Raises:
        BenchError: the file cannot be written.
    """
    if not path.exists() or path.read_bytes() != content:
        write_atomic(path, content)
    return path
