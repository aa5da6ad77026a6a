"""``glyph-biggan``: the embedded class-conditional GAN of the ten digits, with the published models' names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from benchbench.plugins import Foundation


@dataclass(frozen=True)
class GlyphBigGAN(Foundation):
    """A small BigGAN of rendered digits at 32 px; a narrower one of the architecture trained on CIFAR."""

    format: ClassVar[str] = "biggan"
    licence: ClassVar[str] = "Apache-2.0"
    source: ClassVar[str] = "trained in this project on rendered characters (benchbench_plugins.foundations.pretrain)"

    def folder(self) -> Path:
        """Return the folder with ``config.json`` and ``model.safetensors``."""
        return Path(__file__).parent / "data" / "glyph-biggan"
