"""Distances between two samples of features.

Fréchet distance between Gaussians fitted to two feature sets (Heusel et al. 2017; Dowson and Landau 1982).

    FD = |mu_1 - mu_2|^2 + Tr S_1 + Tr S_2 - 2 Tr (S_1 S_2)^(1/2)

With any factors ``F_i' F_i = S_i`` the last trace is the nuclear norm of ``F_1 F_2'``. No matrix square root
is needed and nothing complex can appear. Few samples (N <= d) are their own factor, which keeps the null
space null: the classical routes turn rounding noise into positive square roots there and come out low.

Kernel distance: squared maximum mean discrepancy with a cubic kernel (Binkowski et al. 2018), as in KID.

The unbiased U-statistic over the full samples, so there is nothing to seed and no subset size to report.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .checks import CHUNK, Features, block, blocks, check_at_least, check_features, check_pair, mean_of

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]

#: A distance below minus this share of its terms is a defect and not rounding.
ROUNDING = 1e-7


def moments(features: Features, *, chunk: int = CHUNK) -> tuple[Vector, Matrix]:
    """Return mean ``(d,)`` and unbiased covariance ``(d, d)`` in float64, ``chunk`` rows at a time.

    Two passes: rows are centred before they are squared, so a large common offset costs no digits.

    Raises:
        ValueError: fewer than 2 rows, wrong shape or type, NaN or infinity.
    """
    check_features(features, "given", minimum=2, purpose="a covariance")
    check_at_least(chunk, 1, "chunk")
    return _moments(features, chunk)


def frechet_distance(real: Features, synthetic: Features, *, chunk: int = CHUNK) -> float:
    """Return the Fréchet distance between the Gaussians fitted to two sets, at least 0.

    Sample-size bias is part of the value: about proportional to 1/N and dominant for N < d, so compare only
    at equal N, against the same reference, and next to a real-against-real baseline.

    Args:
        real: float32 or float64 ``(N, d)``.
        synthetic: float32 or float64 ``(M, d)``.
        chunk: rows in float64 at a time.

    Raises:
        ValueError: fewer than 2 samples, unequal widths, NaN or infinity.
    """
    check_pair(real, synthetic, minimum=2, purpose="a covariance")
    check_at_least(chunk, 1, "chunk")
    mu_1, F_1 = _mean_and_factor(real, chunk)
    mu_2, F_2 = _mean_and_factor(synthetic, chunk)
    return _distance(mu_1, F_1, mu_2, F_2)


def _distance(mu_1: Vector, F_1: Matrix, mu_2: Vector, F_2: Matrix) -> float:
    mean_term = float(np.sum((mu_1 - mu_2) ** 2))
    traces = float(np.sum(F_1**2) + np.sum(F_2**2))
    trace_of_root = float(np.linalg.svd(F_1 @ F_2.T, compute_uv=False).sum())
    distance = mean_term + traces - 2 * trace_of_root
    if not np.isfinite(distance) or distance < -ROUNDING * (mean_term + traces):
        raise ArithmeticError(f"the Fréchet distance came out as {distance:g}, which is not a distance")
    return max(distance, 0.0)


def _moments(features: Features, chunk: int) -> tuple[Vector, Matrix]:
    mu = mean_of(features, chunk)
    S = np.zeros((features.shape[1], features.shape[1]))
    for rows in blocks(len(features), chunk):
        X = block(features, rows, mu)
        S += X.T @ X
    return mu, S / (len(features) - 1)


def _mean_and_factor(features: Features, chunk: int) -> tuple[Vector, Matrix]:
    count, width = features.shape
    if count <= width:
        mu = mean_of(features, chunk)
        return mu, block(features, slice(None), mu) / np.sqrt(count - 1)
    mu, S = _moments(features, chunk)
    return mu, _factor(S)


def _factor(S: Matrix) -> Matrix:
    """Return F with ``F' F = S``: by Cholesky, or by eigenvectors where a feature is dead or doubled."""
    try:
        return np.asarray(np.linalg.cholesky(S).T)
    except np.linalg.LinAlgError:
        values, vectors = np.linalg.eigh(S)
        noise = len(S) * np.finfo(np.float64).eps * max(float(values[-1]), 0.0)
        return np.asarray((vectors * np.sqrt(np.where(values > noise, values, 0.0))).T)


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
