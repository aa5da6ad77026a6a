"""Which retrieved pictures equal a training image: a pool may hold the very images that query it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: Mean absolute difference, of 255, below which two pictures are the same one, encoded or scaled another time.
NEAR = 2.0
#: Blocks along each side by whose sums pairs are ruled out before their pixels are compared.
BLOCKS = 4
#: Training images whose pixels are compared at a time.
CHUNK = 256


class TrainingImages:
    """Answers whether a picture is one of the training images.

    By the triangle inequality the differences of the block sums bound the difference of the pixels from below, and
    that of the whole sums bounds them in turn, so that most images are ruled out without looking at their pixels and
    no copy is missed.
    """

    def __init__(self, images: NDArray[np.uint8]) -> None:
        """Sum up the images, uint8 ``(N, R, R, 3)``."""
        self.images = images
        sums = _block_sums(images)
        self.order = np.argsort(sums.sum(axis=1), kind="stable")
        self.sums = sums[self.order]
        self.totals = self.sums.sum(axis=1)

    def __contains__(self, picture: NDArray[np.uint8]) -> bool:
        """Return whether uint8 ``(R, R, 3)`` differs from one of them by less than :data:`NEAR` on average."""
        limit = NEAR * picture.size
        (sums,) = _block_sums(picture[None])
        first, last = np.searchsorted(self.totals, (sums.sum() - limit, sums.sum() + limit))
        near = np.abs(self.sums[first:last] - sums).sum(axis=1) < limit
        rows = self.order[first:last][near]
        pixels = picture.astype(np.int16)
        for start in range(0, len(rows), CHUNK):
            others = np.stack([self.images[row] for row in rows[start : start + CHUNK]]).astype(np.int16)
            if (np.abs(others - pixels).sum(axis=(1, 2, 3), dtype=np.int64) < limit).any():
                return True
        return False


def _block_sums(images: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return the sums over blocks, int64 ``(n, blocks * blocks * 3)``, of uint8 ``(n, H, W, 3)``; a part at a time."""
    edges = [np.unique(np.arange(BLOCKS) * side // BLOCKS) for side in images.shape[1:3]]
    rows = [np.zeros((0, edges[0].size * edges[1].size * 3), dtype=np.int64)]
    for start in range(0, len(images), CHUNK):
        part = np.asarray(images[start : start + CHUNK]).astype(np.int64)
        part = np.add.reduceat(np.add.reduceat(part, edges[0], axis=1), edges[1], axis=2)
        rows.append(part.reshape(len(part), -1))
    return np.concatenate(rows)
