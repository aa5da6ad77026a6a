"""Reading scikit-learn's digits and fixing their parts."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchbench.errors import BenchError
from benchbench.plugins.context import derive_seed

#: SHA-256 of the 1,797 x 64 values and the labels, as uint8, that the parts were fixed on.
CONTENT = "87ff0c9e40dc7e2c0e34e7257799c2e3f3aec1a016363bb11cad869ec428a826"


def read(side: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return all images, uint8 ``(1797, side, side, 3)``, and labels, int64 ``(1797,)``, in scikit-learn's
    order.

    Raises:
        BenchError: the values differ from those that the parts were fixed on.
    """
    from sklearn.datasets import load_digits

    found = load_digits()
    values, labels = found.images.astype(np.uint8), found.target.astype(np.int64)
    if hashlib.sha256(values.tobytes() + labels.astype(np.uint8).tobytes()).hexdigest() != CONTENT:
        raise BenchError(
            "digits: the installed scikit-learn holds other digits than the 1,797 that the parts were fixed "
            "on; install another version of scikit-learn"
        )
    return np.stack([enlarge(image, side) for image in values]), labels


def enlarge(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Return an 8x8 image of values 0..16 as uint8 ``(side, side, 3)``: scaled to 0..255, then bicubic."""
    scaled = np.rint(image * (255 / 16)).astype(np.uint8)
    large = np.asarray(Image.fromarray(scaled).resize((side, side), Image.Resampling.BICUBIC))
    return np.repeat(large[:, :, None], 3, axis=2)


def parts(labels: NDArray[np.int64], train: int, validation: int) -> dict[str, NDArray[np.int64]]:
    """Return ascending indices of ``train``, ``validation`` and ``test``, with that many of each class.

    Classes are ordered by a hash of the index rather than by a random generator, so that no library version
    and no seed can ever move an image from one part to another.
    """
    chosen: dict[str, list[int]] = {"train": [], "validation": [], "test": []}
    for label in range(int(labels.max()) + 1):
        members = [int(index) for index in np.flatnonzero(labels == label)]
        members.sort(key=lambda index: derive_seed("digits", "parts", index))
        chosen["train"] += members[:train]
        chosen["validation"] += members[train : train + validation]
        chosen["test"] += members[train + validation :]
    return {name: np.array(sorted(indices), dtype=np.int64) for name, indices in chosen.items()}
