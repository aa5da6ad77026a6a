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

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .checks import CHUNK, Features, block, blocks, check_at_least, check_features, check_pair, mean_of
from .pairs import ONE_CORE, SIDE, Compute, Vector, each_block

if TYPE_CHECKING:
    from torch import Tensor

Matrix = NDArray[np.float64]
#: Mean ``(d,)`` and a factor F of the covariance, ``F' F = S``, of a fitted Gaussian.
Gaussian = tuple[Vector, Matrix]

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
    return gaussian_distance(gaussian(real, chunk=chunk), gaussian(synthetic, chunk=chunk))


def gaussian(features: Features, *, chunk: int = CHUNK) -> Gaussian:
    """Return the Gaussian fitted to float32 or float64 ``(N, d)``, finite, N at least 2, ``chunk`` rows at a time."""
    count, width = features.shape
    if count <= width:
        mu = mean_of(features, chunk)
        return mu, block(features, slice(None), mu) / np.sqrt(count - 1)
    mu, S = _moments(features, chunk)
    return mu, _factor(S)


def gaussian_distance(real: Gaussian, synthetic: Gaussian) -> float:
    """Return the Fréchet distance between two Gaussians, at least 0.

    Raises:
        ArithmeticError: it came out negative or not finite.
    """
    (mu_1, F_1), (mu_2, F_2) = real, synthetic
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


def _factor(S: Matrix) -> Matrix:
    """Return F with ``F' F = S``: by Cholesky, or by eigenvectors where a feature is dead or doubled."""
    try:
        return np.asarray(np.linalg.cholesky(S).T)
    except np.linalg.LinAlgError:
        values, vectors = np.linalg.eigh(S)
        noise = len(S) * np.finfo(np.float64).eps * max(float(values[-1]), 0.0)
        return np.asarray((vectors * np.sqrt(np.where(values > noise, values, 0.0))).T)


def kernel_distance(
    real: Features,
    synthetic: Features,
    *,
    degree: int = 3,
    offset: float = 1.0,
    chunk: int = SIDE,
    within_real: float | None = None,
    compute: Compute = ONE_CORE,
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
        chunk: side of the blocks of the kernel matrix; memory is ``O(threads chunk^2 + chunk d)``.
        within_real: what :func:`mean_kernel` returned for ``real`` and this kernel; made here otherwise.
        compute: what it is computed with; ``threads`` never changes the result.

    Raises:
        ValueError: fewer than 2 samples, unequal widths, NaN or infinity.
    """
    check_pair(real, synthetic, minimum=2, purpose="an unbiased kernel distance")
    check_at_least(chunk, 1, "chunk")
    check_at_least(degree, 1, "degree")
    kernel = (degree, offset, chunk, compute)
    if within_real is None:
        within_real = _mean_of_pairs(real, None, *kernel, "kernel of real images")
    within_synthetic = _mean_of_pairs(synthetic, None, *kernel, "kernel of generated images")
    return within_real + within_synthetic - 2 * _mean_of_pairs(real, synthetic, *kernel, "kernel between both")


def mean_kernel(
    real: Features, *, degree: int = 3, offset: float = 1.0, chunk: int = SIDE, compute: Compute = ONE_CORE
) -> float:
    """Return the mean of the kernel over all pairs of different rows; arguments as in :func:`kernel_distance`."""
    check_features(real, "real", minimum=2, purpose="an unbiased kernel distance")
    return _mean_of_pairs(real, None, degree, offset, chunk, compute, "kernel of real images")


def _mean_of_pairs(
    first: Features, second: Features | None, degree: int, offset: float, chunk: int, compute: Compute, label: str
) -> float:
    """Return the mean of the kernel over all pairs, of a set with itself over ordered pairs of different rows."""
    total = np.zeros(1)

    def work(rows: slice, columns: slice, X: Tensor, Y: Tensor) -> float:
        K = (X @ Y.T).div_(X.shape[1]).add_(offset).pow_(degree)
        if second is None and columns.start == rows.start:
            K.fill_diagonal_(0.0)
        return float(K.sum())

    for rows, columns, found in each_block(first, second, work, total, side=chunk, compute=compute, label=label):
        total += 2 * found if second is None and columns.start > rows.start else found
    pairs = len(first) * (len(first) - 1 if second is None else len(second))
    return float(total[0]) / pairs
