"""Precision and recall (Kynkäänniemi et al. 2019), density and coverage (Naeem et al. 2020) of a feature set.

Around every real sample lies a ball that reaches to its k-th nearest other real sample, and likewise around
every synthetic one. A sample is inside a ball when it is strictly nearer than the radius.

Two properties hold by construction. Memory is ``O(chunk^2 + chunk d)``: no matrix of all pairs exists. And
ties are decided by a rule and not by rounding: a distance within rounding of a radius lies *on* the sphere,
which is outside. Exact copies make such ties common, and without the rule identical data give different
numbers for different blocks. Both cost nothing: the tolerance is folded into the squared norms.

What a perfect generator would score: the value of a measure when both sets come from one distribution.

A coverage of 0.60 is perfect for a fifth as many synthetic as real samples; without this figure the
number cannot be read.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .checks import CHUNK, Features, block, blocks, check_at_least, check_pair, mean_of

Vector = NDArray[np.float64]

#: Half-width of a tie, in units of |a|^2 + |b|^2: some roundings of |a|^2 + |b|^2 - 2 a'b.
TIE = 32 * np.finfo(np.float64).eps


@dataclass(frozen=True)
class PRDC:
    """Four shares and what is needed to read them.

    Attributes:
        precision: share of synthetic samples inside the ball of some real sample, in [0, 1].
        recall: share of real samples inside the ball of some synthetic sample, in [0, 1].
        density: real balls around a synthetic sample, averaged and divided by k; at least 0, may exceed 1.
        coverage: share of real samples whose ball holds a synthetic sample, in [0, 1]; rises with M/N, see
            :func:`~benchbench.statistics.expected.expected_coverage`.
        nearest_k: k.
        n_real: N.
        n_synthetic: M.
        zero_radius_real: real samples with at least k exact copies. Their balls are empty and count against
            precision, density and coverage even where the match is perfect.
        zero_radius_synthetic: the same for synthetic samples and recall.
    """

    precision: float
    recall: float
    density: float
    coverage: float
    nearest_k: int
    n_real: int
    n_synthetic: int
    zero_radius_real: int
    zero_radius_synthetic: int


def compute_prdc(real: Features, synthetic: Features, *, nearest_k: int = 5, chunk: int = CHUNK) -> PRDC:
    """Return precision, recall, density and coverage of ``synthetic`` against ``real``.

    Diffusion Inversion, Zhou et al. 2023, reports these four with k = 5.

    Args:
        real: float32 or float64 ``(N, d)``, N > k.
        synthetic: float32 or float64 ``(M, d)``, M > k.
        nearest_k: k, at least 1.
        chunk: side of the blocks of the distance matrix; 1024 to 4096 are fastest. Never changes the result.

    Raises:
        ValueError: k or chunk below 1, a set with at most k samples, unequal widths, NaN or infinity.
    """
    k = check_at_least(nearest_k, 1, "nearest_k")
    check_at_least(chunk, 1, "chunk")
    check_pair(real, synthetic, minimum=k + 1, purpose=f"a k={k} neighbourhood")
    centre = mean_of(real)  # short vectors lose fewer digits in the expanded square
    radii_real, empty_real = _radii(real, k, centre, chunk)
    radii_synthetic, empty_synthetic = _radii(synthetic, k, centre, chunk)

    N, M = len(real), len(synthetic)
    covered, recalled = np.zeros(N, dtype=bool), np.zeros(N, dtype=bool)
    precise = np.zeros(M, dtype=bool)
    pairs_inside = 0
    for rows in blocks(N, chunk):
        X = block(real, rows, centre)
        for columns in blocks(M, chunk):
            distances = _squared_distances(X, block(synthetic, columns, centre), ties_outside=True)
            inside = distances < radii_real[rows, None]
            covered[rows] |= inside.any(axis=1)
            precise[columns] |= inside.any(axis=0)
            pairs_inside += int(np.count_nonzero(inside))
            recalled[rows] |= (distances < radii_synthetic[None, columns]).any(axis=1)
    return PRDC(
        precision=float(precise.mean()),
        recall=float(recalled.mean()),
        density=(1.0 / k) * (pairs_inside / M),
        coverage=float(covered.mean()),
        nearest_k=k,
        n_real=N,
        n_synthetic=M,
        zero_radius_real=empty_real,
        zero_radius_synthetic=empty_synthetic,
    )


def _radii(features: Features, k: int, centre: Vector, chunk: int) -> tuple[Vector, int]:
    """Return squared radii ``(N,)`` and how many are zero, from the upper triangle of the distance matrix."""
    count = len(features)
    nearest = np.full((count, k), np.inf)
    scale = np.zeros(count)
    for rows in blocks(count, chunk):
        X = block(features, rows, centre)
        scale[rows] = np.einsum("nd,nd->n", X, X)
        for columns in blocks(count, chunk):
            if columns.start < rows.start:
                continue
            if columns.start == rows.start:
                distances = _squared_distances(X, X)
                np.fill_diagonal(distances, np.inf)  # the others, not itself
                _keep_nearest(nearest, rows, distances, k)
            else:
                distances = _squared_distances(X, block(features, columns, centre))
                _keep_nearest(nearest, columns, distances.T.copy(), k)
                _keep_nearest(nearest, rows, distances, k)
    radii = nearest.max(axis=1)
    zero = radii <= 2 * TIE * scale
    radii[zero] = 0.0
    return radii, int(zero.sum())


def _keep_nearest(nearest: Vector, rows: slice, distances: Vector, k: int) -> None:
    """Merge a block of distances ``(rows, columns)`` into the k smallest of each row; reorders the block."""
    if distances.shape[1] > k:
        distances.partition(k - 1, axis=1)
    merged = np.concatenate([nearest[rows], distances[:, :k]], axis=1)
    merged.partition(k - 1, axis=1)
    nearest[rows] = merged[:, :k]


def _squared_distances(X: Vector, Y: Vector, *, ties_outside: bool = False) -> Vector:
    """Return ``|x - y|^2`` for all pairs; with ``ties_outside`` larger by the width of a tie."""
    widen = 1.0 + TIE if ties_outside else 1.0
    distances = X @ Y.T
    distances *= -2.0
    distances += widen * np.einsum("nd,nd->n", X, X)[:, None]
    distances += widen * np.einsum("nd,nd->n", Y, Y)[None, :]
    return distances


#: Expected density of two samples of one continuous distribution, at any N, M and k: each of the N real balls
#: holds a new sample with probability k/N.
EXPECTED_DENSITY = 1.0


def expected_coverage(n_real: int, n_synthetic: int, nearest_k: int = 5) -> float:
    """Return the expected coverage of two samples of the same continuous distribution, whichever it is.

        1 - prod_{i=1..k} (N - i) / (M + N - i)

    A real ball stays empty when the k nearest of its N - 1 + M exchangeable neighbours are all real (Naeem et
    al. 2020). Precision and recall have no such form: they depend on the dimension.

    Raises:
        ValueError: ``nearest_k`` below 1, ``n_real`` at most ``nearest_k``, or ``n_synthetic`` below 1.
    """
    check_at_least(nearest_k, 1, "nearest_k")
    check_at_least(n_real, nearest_k + 1, "n_real")
    check_at_least(n_synthetic, 1, "n_synthetic")
    empty = 1.0
    for i in range(1, nearest_k + 1):
        empty *= (n_real - i) / (n_synthetic + n_real - i)
    return 1.0 - empty
