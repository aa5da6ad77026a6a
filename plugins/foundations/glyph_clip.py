"""``glyph-clip``: the embedded model that says how well an image of a character fits a text."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from benchbench.plugins import Foundation


@dataclass(frozen=True)
class GlyphCLIP(Foundation):
    """A small CLIP of rendered characters at 32 px, opened as OpenAI's CLIPs are."""

    format: ClassVar[str] = "clip"
    licence: ClassVar[str] = "Apache-2.0"
    source: ClassVar[str] = "trained in this project on rendered characters (benchbench_plugins.foundations.pretrain)"

    def folder(self) -> Path:
        """Return the folder with the model, its tokenizer and its image processor."""
        return Path(__file__).parent / "data" / "glyph-clip"
