"""Images that nearly equal another: the same picture compressed, resized, brightened, or generated from memory.

Each image becomes a thumbnail of 8x8 px in colour, less its mean. Two images are alike where their thumbnails correlate
by 0.995 or more. Among the 547 test and 1,000 training digits no two are, nor among 1,000 and 1,200 photographs of 32
px. An image is found again (all digits, 99.9 % of the photographs and more) behind JPEG of quality 90, at half the
resolution, with noise of 5 grey levels, or at 80 % of its contrast; behind JPEG of quality 50 all digits and 69 % of
these small photographs are. An image that is shifted, cropped or mirrored is another one here. Perceptual hashes (DCT
and differences, 64 and 256 bits) were tried: they take different digits for one before they know a JPEG of one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from ..plugins.images import batches, pieces
from .overlap import LIKENESS, SIDE

#: A thumbnail that deviates less from its mean (root mean square, grey levels) shows nothing and is like none.
FLAT = 1.0
#: Thumbnails of either side that are compared at once, and those that are in memory: 16 MiB and 48 MiB.
_BLOCK, _AT_ONCE = 2048, 1 << 16

Thumbnails = NDArray[np.float32]


def thumbnails(images: NDArray[np.uint8]) -> Thumbnails:
    """Return unit vectors float32 ``(N, 192)`` of images uint8 ``(N, H, W, 3)``, of any side; 0 where one is flat."""
    made, at = np.empty((len(images), 3 * SIDE**2), np.float32), 0
    down, across = (_means(side) for side in images.shape[1:3])
    for piece in pieces(images):
        small = np.einsum("ih,nhwc,jw->nijc", down, piece.astype(np.float32), across, optimize=True)
        rows = small.reshape(len(piece), -1)
        rows -= rows.mean(axis=1, keepdims=True)
        norms = np.linalg.norm(rows, axis=1, keepdims=True)
        flat = norms < FLAT * np.sqrt(rows.shape[1])
        made[at : at + len(piece)] = np.where(flat, 0, rows / np.where(flat, 1, norms))
        at += len(piece)
    return made


def near(
    images: NDArray[np.uint8], test: Thumbnails, shown: Callable[[list[range]], Iterable[range]] = iter
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which of the images are like a test image, bool ``(N,)``, and which test images are like one of them.

    Args:
        images: uint8 ``(N, H, W, 3)``; may be on disk.
        test: thumbnails of the test images.
        shown: yields the ranges of images that it is given, and shows how far that is.
    """
    ours, theirs = np.zeros(len(images), bool), np.zeros(len(test), bool)
    for part in shown(list(batches(len(images), _AT_ONCE))):
        rows = slice(part.start, part.stop)
        ours[rows], found = alike(thumbnails(images[rows]), test)
        theirs |= found
    return ours, theirs


def _means(side: int) -> NDArray[np.float32]:
    """Return the matrix ``(SIDE, side)`` that averages a row of pixels over equal parts, pixels split where needed."""
    edges = np.arange(SIDE + 1) * side / SIDE
    low, high = np.maximum(edges[:-1, None], np.arange(side)), np.minimum(edges[1:, None], np.arange(1, side + 1))
    return ((high - low).clip(min=0) * SIDE / side).astype(np.float32)


def alike(first: Thumbnails, second: Thumbnails) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which images of each of two sets are like one of the other: bool ``(N,)`` and ``(M,)``.

    Every pair counts; memory does not grow with their number. Both sets are sorted along one axis, on which vectors
    that are alike lie near each other, so that most pairs need not be looked at.
    """
    found = np.zeros(len(first), bool), np.zeros(len(second), bool)
    if not len(first) or not len(second):
        return found
    axis = np.linalg.eigh(second.T @ second)[1][:, -1]
    places = [vectors @ axis for vectors in (first, second)]
    orders = [np.argsort(place, kind="stable") for place in places]
    sorted_places = places[1][orders[1]]
    apart = np.sqrt(2 - 2 * LIKENESS) + 1e-3  # of unit vectors that are alike, and rounding
    for part in batches(len(first), _BLOCK):
        rows = orders[0][part.start : part.stop]
        ends = places[0][rows[[0, -1]]] + (-apart, apart)
        start, stop = np.searchsorted(sorted_places, ends)
        for block in batches(stop - start, _BLOCK):
            columns = orders[1][start + block.start : start + block.stop]
            pairs = first[rows] @ second[columns].T >= LIKENESS
            found[0][rows] |= pairs.any(axis=1)
            found[1][columns] |= pairs.any(axis=0)
    return found
