"""What a perfect generator would score: the value of a measure when both sets come from one distribution.

A coverage of 0.60 is perfect for a fifth as many synthetic as real samples; without this figure beside it the
number cannot be read.
"""

from __future__ import annotations

from .checks import check_at_least

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
