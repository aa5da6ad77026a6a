"""The page for a pretrained model that a package ships."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from .base import Plugin


@dataclass(frozen=True)
class Foundation(Plugin):
    """A pretrained model that ships with the project (or a plugin package), opened by name."""

    kind: ClassVar[str] = "foundation"
    #: On-disk format: ``"diffusers"``, ``"features"``, ...
    format: ClassVar[str] = ""
    licence: ClassVar[str] = "unknown"
    source: ClassVar[str] = "unknown"

    def folder(self) -> Path:
        """Return the folder that holds its configuration and weights."""
        raise NotImplementedError
