"""``glyph-sd``: the embedded text-to-image diffusion model, in the folder format of Stable Diffusion."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from benchbench.plugins import Foundation


@dataclass(frozen=True)
class GlyphSD(Foundation):
    """A small latent diffusion model of rendered characters at 32 px, opened as Stable Diffusion is."""

    format: ClassVar[str] = "diffusers"
    licence: ClassVar[str] = "Apache-2.0"
    source: ClassVar[str] = "trained in this project on rendered characters (benchbench_plugins.foundations.pretrain)"

    def folder(self) -> Path:
        """Return the folder with ``model_index.json`` and one folder for each part of the pipeline."""
        return Path(__file__).parent / "data" / "glyph-sd"
