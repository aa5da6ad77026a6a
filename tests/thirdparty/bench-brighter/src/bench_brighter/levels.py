"""How both plugins change grey levels; a helper module, so that a change here is a change of both."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def scale(images: NDArray[np.uint8], factor: float) -> NDArray[np.uint8]:
    """Multiply grey levels by ``factor``, clipped to 0..255."""
    return np.clip(np.rint(images * factor), 0, 255).astype(np.uint8)
