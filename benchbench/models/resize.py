"""Resizing uint8 images with Pillow, the same both ways: into the foundation's resolution and out of it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def resized(images: NDArray[np.uint8], side: int, interpolation: str) -> NDArray[np.uint8]:
    """Return uint8 images ``(N, side, side, 3)`` for ``(N, H, W, 3)``, unchanged if of that size already."""
    if images.shape[1:3] == (side, side):
        return np.ascontiguousarray(images)
    method = Image.Resampling[interpolation.upper()]
    return np.stack([np.asarray(Image.fromarray(image).resize((side, side), method)) for image in images])
