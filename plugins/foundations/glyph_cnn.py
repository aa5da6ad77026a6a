"""``glyph-cnn``: the embedded feature extractor that fidelity is measured with by default."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from benchbench.plugins import Foundation


@dataclass(frozen=True)
class GlyphCNN(Foundation):
    """A small classifier of rendered characters; its 128 features order generators within this project."""

    format: ClassVar[str] = "features"
    licence: ClassVar[str] = "Apache-2.0"
    source: ClassVar[str] = "trained in this project on rendered characters (benchbench_plugins.foundations.pretrain)"

    def folder(self) -> Path:
        """Return the folder with ``config.json`` and ``model.safetensors``."""
        return Path(__file__).parent / "data" / "glyph-cnn"
