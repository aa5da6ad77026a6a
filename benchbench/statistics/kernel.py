"""Kernel distance: squared maximum mean discrepancy with a cubic kernel (Binkowski et al. 2018), as in KID.

The unbiased U-statistic over the full samples, so there is nothing to seed and no subset size to report.
"""

from __future__ import annotations

import numpy as np

from .checks import CHUNK, Features, block, blocks, check_at_least, check_pair


def kernel_distance(
    real: Features, synthetic: Features, *, degree: int = 3, offset: float = 1.0, chunk: int = CHUNK
) -> float:
    """Return the unbiased estimate of MMD^2 under ``k(x, y) = (x'y / d + offset)^degree``.

    Zero in expectation for samples of one distribution at every sample size, hence sometimes negative. A set
    against itself is negative, not zero: the cross term then holds the pairs (x, x), which the inner terms
    leave out.

    Args:
        real: float32 or float64 ``(N, d)``.
        synthetic: float32 or float64 ``(M, d)``.
        degree: power of the kernel.
        offset: constant inside the power.
        chunk: side of the blocks of the kernel matrix; memory is ``O(chunk^2 + chunk d)``.

    Raises:
        ValueError: fewer than 2 samples, unequal widths, NaN or infinity.
    """
    check_pair(real, synthetic, minimum=2, purpose="an unbiased kernel distance")
    check_at_least(chunk, 1, "chunk")
    check_at_least(degree, 1, "degree")
    N, M = len(real), len(synthetic)
    within_real = _sum_of_pairs(real, degree, offset, chunk) / (N * (N - 1))
    within_synthetic = _sum_of_pairs(synthetic, degree, offset, chunk) / (M * (M - 1))
    across = 0.0
    for rows in blocks(N, chunk):
        X = block(real, rows)
        for columns in blocks(M, chunk):
            across += float(((X @ block(synthetic, columns).T / X.shape[1] + offset) ** degree).sum())
    return within_real + within_synthetic - 2 * across / (N * M)


def _sum_of_pairs(features: Features, degree: int, offset: float, chunk: int) -> float:
    """Return the sum of the kernel over ordered pairs of different rows, from the upper triangle."""
    total = 0.0
    for rows in blocks(len(features), chunk):
        X = block(features, rows)
        for columns in blocks(len(features), chunk):
            if columns.start < rows.start:
                continue
            K = (X @ block(features, columns).T / X.shape[1] + offset) ** degree
            if columns.start == rows.start:
                np.fill_diagonal(K, 0.0)
                total += float(K.sum())
            else:
                total += 2 * float(K.sum())
    return total
