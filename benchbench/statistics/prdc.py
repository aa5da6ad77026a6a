"""Precision and recall (Kynkäänniemi et al. 2019), density and coverage (Naeem et al. 2020) of a feature set.

Around every real sample lies a ball that reaches to its k-th nearest other real sample, and likewise around
every synthetic one. A sample is inside a ball when it is strictly nearer than the radius.

Two properties hold by construction. Memory is ``O(threads chunk^2 + N d)``: no matrix of all pairs exists. And
ties are decided by a rule and not by rounding: a distance within rounding of a radius lies *on* the sphere,
which is outside. Exact copies make such ties common, and without the rule identical data give different
numbers for different blocks. Both cost nothing: the tolerance is folded into the squared norms.

What a perfect generator would score: the value of a measure when both sets come from one distribution.

A coverage of 0.60 is perfect for a fifth as many synthetic as real samples; without this figure the
number cannot be read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .checks import Features, check_at_least, check_features, check_pair, mean_of
from .pairs import ONE_CORE, SIDE, Compute, Vector, each_block, squared_distances

if TYPE_CHECKING:
    from torch import Tensor

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


@dataclass(frozen=True)
class Balls:
    """The balls around the samples of one set.

    Attributes:
        squared: squared radii, float64 ``(N,)``; 0 where a sample has at least k exact copies.
        centre: the mean of the real set, float64 ``(d,)``: short vectors lose fewer digits in the expanded square.
    """

    squared: Vector
    centre: Vector

    @property
    def empty(self) -> int:
        """How many balls have no inside."""
        return int((self.squared == 0).sum())


def balls_of(real: Features, *, nearest_k: int = 5, chunk: int = SIDE, compute: Compute = ONE_CORE) -> Balls:
    """Return the balls of the real set, which serve every synthetic set that is compared with it.

    Args and errors as :func:`compute_prdc`.
    """
    k = check_at_least(nearest_k, 1, "nearest_k")
    check_at_least(chunk, 1, "chunk")
    check_features(real, "real", minimum=k + 1, purpose=f"a k={k} neighbourhood")
    centre = mean_of(real)
    return Balls(_radii(real, k, centre, chunk, compute)[0], centre)


def compute_prdc(
    real: Features,
    synthetic: Features,
    *,
    nearest_k: int = 5,
    chunk: int = SIDE,
    balls: Balls | None = None,
    compute: Compute = ONE_CORE,
) -> PRDC:
    """Return precision, recall, density and coverage of ``synthetic`` against ``real``.

    Diffusion Inversion, Zhou et al. 2023, reports these four with k = 5.

    Args:
        real: float32 or float64 ``(N, d)``, N > k.
        synthetic: float32 or float64 ``(M, d)``, M > k.
        nearest_k: k, at least 1.
        chunk: side of the blocks of the distance matrix. Never changes the result.
        balls: what :func:`balls_of` returned for ``real`` and k; made here otherwise.
        compute: what it is computed with. Never changes the result.

    Raises:
        ValueError: k or chunk below 1, a set with at most k samples, unequal widths, NaN or infinity.
    """
    k = check_at_least(nearest_k, 1, "nearest_k")
    check_at_least(chunk, 1, "chunk")
    check_pair(real, synthetic, minimum=k + 1, purpose=f"a k={k} neighbourhood")
    balls = balls or balls_of(real, nearest_k=k, chunk=chunk, compute=compute)
    radii_synthetic, empty_synthetic = _radii(synthetic, k, balls.centre, chunk, compute, "balls of generated images")

    N, M = len(real), len(synthetic)
    covered, recalled = np.zeros(N, dtype=bool), np.zeros(N, dtype=bool)
    precise, inside = np.zeros(M, dtype=bool), np.zeros(1, dtype=np.int64)

    def work(rows: slice, columns: slice, X: Tensor, Y: Tensor) -> tuple[Tensor, Tensor, Tensor, int]:
        import torch

        distances = squared_distances(X, Y, 1.0 + TIE)  # a tie is outside
        s = torch.from_numpy(radii_synthetic[columns]).to(X.device)
        r = torch.from_numpy(balls.squared[rows]).to(X.device)
        recalls = (distances - s).amin(dim=1) < 0
        distances.sub_(r[:, None])  # IEEE: a difference is below 0 exactly where the first is below the second
        covers, precises = distances.amin(dim=1) < 0, distances.amin(dim=0) < 0
        return covers.cpu(), recalls.cpu(), precises.cpu(), int(torch.count_nonzero(distances < 0))

    sets, state, label = (real, synthetic), (covered, recalled, precise, inside), "precision and recall"
    each = each_block(*sets, work, *state, side=chunk, compute=compute, label=label, centre=balls.centre)
    for rows, columns, found in each:
        covered[rows] |= found[0].numpy()
        recalled[rows] |= found[1].numpy()
        precise[columns] |= found[2].numpy()
        inside += found[3]
    return PRDC(
        precision=float(precise.mean()),
        recall=float(recalled.mean()),
        density=(1.0 / k) * (int(inside[0]) / M),
        coverage=float(covered.mean()),
        nearest_k=k,
        n_real=N,
        n_synthetic=M,
        zero_radius_real=balls.empty,
        zero_radius_synthetic=empty_synthetic,
    )


def _radii(
    features: Features,
    k: int,
    centre: Vector,
    chunk: int,
    compute: Compute = ONE_CORE,
    label: str = "balls of real images",
) -> tuple[Vector, int]:
    """Return squared radii ``(N,)`` and how many are zero, from the upper triangle of the distance matrix."""
    count = len(features)
    nearest, scale = np.full((count, k), np.inf), np.zeros(count)

    def work(rows: slice, columns: slice, X: Tensor, Y: Tensor) -> tuple[_Near, _Near | None]:
        distances = squared_distances(X, Y)
        if columns.start > rows.start:
            return _nearer(distances, nearest[rows]), _nearer(distances.T, nearest[columns])
        scale[rows] = (X * X).sum(dim=1).cpu().numpy()  # the one block of these rows that does
        distances.fill_diagonal_(np.inf)  # the others, not itself
        return _nearer(distances, nearest[rows]), None

    state = (nearest, scale)
    each = each_block(features, None, work, *state, side=chunk, compute=compute, label=label, centre=centre)
    for rows, columns, found in each:
        for part, near in zip((rows, columns), found, strict=True):
            if near is not None:
                own = nearest[part]
                merged = np.concatenate([own[near[0]], near[1]], axis=1)
                own[near[0]] = np.partition(merged, k - 1, axis=1)[:, :k]
    radii = nearest.max(axis=1)
    zero = radii <= 2 * TIE * scale
    radii[zero] = 0.0
    return radii, int(zero.sum())


#: Which rows of a block hold something nearer than what is known, and the nearest distances of each.
_Near = tuple[NDArray[np.int64], Vector]


def _nearer(distances: Tensor, known: Vector) -> _Near:
    """Return the smallest distances of the rows that can still change ``known`` ``(rows, k)``: most cannot."""
    import torch

    furthest = torch.from_numpy(known.max(axis=1)).to(distances.device)
    rows = torch.nonzero(distances.amin(dim=1) < furthest)[:, 0]
    k = min(known.shape[1], distances.shape[1])
    nearest = distances[rows].topk(k, dim=1, largest=False, sorted=False).values
    return rows.cpu().numpy(), nearest.cpu().numpy()


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
