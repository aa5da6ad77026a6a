"""Probabilities of every class for images, from a CLIP and the classes' prompts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from numpy.typing import NDArray

from benchbench.models.clip.model import class_probabilities, open_clip_model

if TYPE_CHECKING:
    import numpy as np

#: Images that a CLIP sees at once. Fixed, since sums in floating point depend on it.
BATCH = 50


class Scorer:
    """A CLIP with one prompt per class: zero-shot classification (Radford et al. 2021, section 3.1).

    Args:
        folder: the CLIP's folder.
        name: how the user named it, the start of messages.
        prompts: of each class, in label order.
        device: ``"cpu"`` or ``"cuda"``.
    """

    def __init__(self, folder: Path, name: str, prompts: Sequence[str], device: str) -> None:
        self._clip = open_clip_model(folder, name, device=device)
        self._prompts = list(prompts)

    def probabilities(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return float32 ``(N, C)`` for uint8 images ``(N, H, W, 3)``: softmax over classes of scaled cosines."""
        return class_probabilities(self._clip, images, self._prompts, batch=BATCH)
