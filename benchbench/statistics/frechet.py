"""Fréchet distance between Gaussians fitted to two feature sets (Heusel et al. 2017; Dowson and Landau 1982).

    FD = |mu_1 - mu_2|^2 + Tr S_1 + Tr S_2 - 2 Tr (S_1 S_2)^(1/2)

With any factors ``F_i' F_i = S_i`` the last trace is the nuclear norm of ``F_1 F_2'``. No matrix square root
is needed and nothing complex can appear. Few samples (N <= d) are their own factor, which keeps the null
space null: the classical routes turn rounding noise into positive square roots there and come out low.
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
    at equal N, against the same reference, and beside a real-against-real baseline.

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
