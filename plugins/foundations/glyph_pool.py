"""``glyph-pool``: embedded images to retrieve from, with an index of their ``glyph-clip`` embeddings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from benchbench.plugins import Foundation


@dataclass(frozen=True)
class GlyphPool(Foundation):
    """6,000 captioned images of characters at 32 px, in img2dataset's parquet layout, and their index."""

    format: ClassVar[str] = "pool"
    licence: ClassVar[str] = "Apache-2.0"
    source: ClassVar[str] = (
        "drawn in this project from typefaces and pen strokes (benchbench_plugins.foundations.pretrain)"
    )

    def folder(self) -> Path:
        """Return the folder with ``00000.parquet`` and, beside it, the files of the index."""
        return Path(__file__).parent / "data" / "glyph-pool"
