"""``glyph-words``: the embedded language model, in the folder format of a transformers T5."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from benchbench.plugins import Foundation


@dataclass(frozen=True)
class GlyphWords(Foundation):
    """A small T5 that describes characters ("the digit seven") in the words that ``glyph-sd`` was trained on."""

    format: ClassVar[str] = "language"
    licence: ClassVar[str] = "Apache-2.0"
    source: ClassVar[str] = "trained in this project on generated captions (benchbench_plugins.foundations.pretrain)"

    def folder(self) -> Path:
        """Return the folder with configuration, tokenizer and weights."""
        return Path(__file__).parent / "data" / "glyph-words"
