"""The nearest sample of another set, and which samples are nearer to it than samples of one distribution are."""

from __future__ import annotations

from math import floor
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .checks import CHUNK, Features, block, blocks, check_at_least, check_pair, mean_of
from .pairs import ONE_CORE, SIDE, Compute, Vector, each_block, squared_distances

if TYPE_CHECKING:
    from torch import Tensor


def nearest(
    features: Features, others: Features, *, chunk: int = SIDE, compute: Compute = ONE_CORE
) -> tuple[NDArray[np.int64], Vector]:
    """Return the index of the nearest of the others of each sample, int64 ``(N,)``, and its distance, float64 ``(N,)``.

    Distances are those of the difference of two vectors: that of an exact copy is 0.

    Args:
        features: float32 or float64 ``(N, d)``.
        others: the same ``(M, d)``.
        chunk: side of the blocks of the distance matrix.
        compute: what it is computed with.

    Raises:
        ValueError: chunk below 1, an empty set, unequal widths, NaN or infinity.
    """
    check_at_least(chunk, 1, "chunk")
    check_pair(others, features)
    index, least = np.zeros(len(features), np.int64), np.full(len(features), np.inf)

    def work(rows: slice, columns: slice, X: Tensor, Y: Tensor) -> tuple[Vector, NDArray[np.int64]]:
        found = squared_distances(X, Y).min(dim=1)
        return found.values.cpu().numpy(), found.indices.cpu().numpy()

    state = (index, least)
    each = each_block(
        features, others, work, *state, side=chunk, compute=compute, label="nearest real images", centre=mean_of(others)
    )
    for rows, columns, (squares, places) in each:
        better = squares < least[rows]
        least[rows][better], index[rows][better] = squares[better], columns.start + places[better]
    parts = (block(features, rows) - np.asarray(others[index[rows]], np.float64) for rows in blocks(len(index), CHUNK))
    return index, np.concatenate([np.linalg.norm(part, axis=1) for part in parts])


def limit(left_out: Vector, share: float) -> tuple[float, float]:
    """Return a distance that a given share of new samples stays below, and what that share is exactly.

    A new sample of the same distribution is nearer to n samples than the k-th smallest of their own distances with
    probability ``k / (n + 1)``, whatever the distribution; n - 1 others stand in for the n that the new one meets.

    Args:
        left_out: distance of each of n samples to the nearest other one, ``(n,)``.
        share: wanted, in (0, 1); with fewer than ``1 / share - 1`` samples it cannot be had, and k is 1.
    """
    k = max(1, floor(share * (len(left_out) + 1) + 1e-9))
    return float(np.partition(left_out, k - 1)[k - 1]), k / (len(left_out) + 1)


def share_within(distances: Vector, least: float) -> float:
    """Return the share of samples that are nearer than ``least``, or exact copies, in 0 to 1."""
    return float(((distances < least) | (distances == 0)).mean())
