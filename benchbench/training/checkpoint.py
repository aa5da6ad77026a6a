"""Leaving a training on disk and finding it again after a kill."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ..files import atomic_file

NAME = "training.pt"


def save(folder: Path, identity: str, state: dict[str, Any]) -> None:
    """Write tensors and plain values to ``folder`` at once: a kill leaves the old checkpoint or the new one.

    Args:
        folder: the step's scratch folder.
        identity: text that says which training this is; another one never reads it.
        state: nested dicts and lists of tensors, numbers and texts.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_file(folder / NAME) as stream:
        torch.save({"identity": identity, "state": state}, stream)


def load(folder: Path, identity: str, device: str) -> dict[str, Any] | None:
    """Return the state of this very training, tensors on ``device``; ``None`` if there is none to be read."""
    try:
        found = torch.load(folder / NAME, map_location=device, weights_only=True)
    except FileNotFoundError:
        return None
    except Exception:  # a damaged file costs its steps, not the run: whatever the reader stumbled over
        return None
    return found["state"] if found.get("identity") == identity else None


def clear(folder: Path) -> None:
    """Remove the checkpoint."""
    (folder / NAME).unlink(missing_ok=True)
