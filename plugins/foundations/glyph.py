"""The embedded models: small, trained in this project, in the published formats."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from benchbench.plugins import Foundation


@dataclass(frozen=True)
class Glyph(Foundation):
    """An embedded model; its data lie in ``data/NAME``."""

    licence: ClassVar[str] = "Apache-2.0"
    source: ClassVar[str] = "trained in this project on rendered characters (benchbench_plugins.foundations.pretrain)"
    #: The name, which is that of its folder.
    called: ClassVar[str]

    def folder(self) -> Path:
        """Return the folder with its configuration and weights."""
        return Path(__file__).parent / "data" / self.called


@dataclass(frozen=True)
class GlyphSD(Glyph):
    """A small latent diffusion model of rendered characters at 32 px, opened as Stable Diffusion is.

    The embedded text-to-image diffusion model, in the folder format of Stable Diffusion. The folder holds
    ``model_index.json`` and one folder for each part of the pipeline.
    """

    format: ClassVar[str] = "diffusers"
    called: ClassVar[str] = "glyph-sd"


@dataclass(frozen=True)
class GlyphCNN(Glyph):
    """A small classifier of rendered characters; its 128 features order generators within this project.

    The embedded feature extractor that fidelity is measured with by default. The folder holds ``config.json`` and
    ``model.safetensors``.
    """

    format: ClassVar[str] = "features"
    called: ClassVar[str] = "glyph-cnn"


@dataclass(frozen=True)
class GlyphCLIP(Glyph):
    """A small CLIP of rendered characters at 32 px, opened as OpenAI's CLIPs are.

    The embedded model that says how well an image of a character fits a text. The folder holds the model, its
    tokenizer and its image processor.
    """

    format: ClassVar[str] = "clip"
    called: ClassVar[str] = "glyph-clip"


@dataclass(frozen=True)
class GlyphBigGAN(Glyph):
    """A small BigGAN of rendered digits at 32 px; a narrower one of the architecture trained on CIFAR.

    The embedded class-conditional GAN of the ten digits, with the published models' names. The folder holds
    ``config.json`` and ``model.safetensors``.
    """

    format: ClassVar[str] = "biggan"
    called: ClassVar[str] = "glyph-biggan"


@dataclass(frozen=True)
class GlyphPool(Glyph):
    """6,000 captioned images of characters at 32 px, in img2dataset's parquet layout, and their index.

    Embedded images to retrieve from, with an index of their ``glyph-clip`` embeddings. The folder holds
    ``00000.parquet`` and the files of the index.
    """

    format: ClassVar[str] = "pool"
    source: ClassVar[str] = (
        "drawn in this project from typefaces and pen strokes (benchbench_plugins.foundations.pretrain)"
    )
    called: ClassVar[str] = "glyph-pool"


@dataclass(frozen=True)
class GlyphWords(Glyph):
    """A small T5 that describes characters ("the digit seven") in the words that ``glyph-sd`` was trained on.

    The embedded language model, in the folder format of a transformers T5. The folder holds configuration,
    tokenizer and weights.
    """

    format: ClassVar[str] = "language"
    source: ClassVar[str] = "trained in this project on generated captions (benchbench_plugins.foundations.pretrain)"
    called: ClassVar[str] = "glyph-words"
