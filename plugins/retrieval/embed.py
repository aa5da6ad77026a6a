"""Pictures of any size to unit rows: the one way that both an index and its queries are embedded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchbench.errors import BenchError

from .pictures import fit_into

if TYPE_CHECKING:
    from benchbench.models.clip.model import Clip


def open_clip(folder: Path, name: str, device: str = "cpu") -> Clip:
    """Open the CLIP that embeds; the import takes seconds, so that only work that embeds pays for it.

    Raises:
        BenchError: its folder is no CLIP, or damaged; one line.
    """
    from benchbench.models.clip.model import open_clip_model

    return open_clip_model(folder, name, device=device)


def embed_pictures(clip: Any, pictures: Sequence[NDArray[np.uint8]], batch: int) -> NDArray[np.float32]:
    """Return one unit row for each picture, float32 ``(n, width)``.

    Each picture's centre square is brought to the model's own input size with Pillow's antialiased bicubic filter, as
    CLIP's preprocessing does (Radford et al. 2021), so that a query equal to a picture of the pool has similarity 1.

    Args:
        clip: an opened CLIP.
        pictures: uint8 ``(H, W, 3)``, each of any size.
        batch: pictures at a time.
    """
    if not pictures:
        return np.zeros((0, clip.width), dtype=np.float32)
    side = clip.resolution
    rows = clip.encode_images(np.stack([fit_into(item, side, "crop") for item in pictures]), batch=batch)
    found = np.ascontiguousarray(rows, dtype=np.float32)
    if not np.isfinite(found).all():
        raise BenchError(f"clip={clip.name}: gave embeddings that are not finite; its weights are damaged")
    return found
