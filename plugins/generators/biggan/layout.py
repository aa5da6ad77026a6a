"""What a folder given as ``features=`` must hold, checked without loading weights."""

from __future__ import annotations

import json
from pathlib import Path

from benchbench.errors import UsageError


def check_features(folder: Path, subject: str) -> None:
    """Check that ``folder`` holds a feature network that can be opened here.

    Raises:
        UsageError: it does not.
    """
    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
        architecture = config.get("architecture") if isinstance(config, dict) else None
    except (OSError, ValueError):
        architecture = None
    if architecture != "GlyphCNN" or not (folder / "model.safetensors").is_file():
        found = f"its config.json says architecture {architecture!r}" if architecture else "no readable config.json"
        raise UsageError(f"{subject}: not a feature network of the kind of glyph-cnn ({found}); or say features=train")
