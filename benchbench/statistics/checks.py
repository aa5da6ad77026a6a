"""Checks of feature arrays before any number is computed from them, each failure one whole sentence.

NaN in a feature gives plausible precision and recall when nobody looks, so every measure looks first.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Features as stored, float32 or float64 ``(N, d)``; every measure computes in float64, block by block.
Features = NDArray[np.floating[Any]]

#: Rows that are converted to float64 at a time where nothing else decides.
CHUNK = 2048


def check_features(features: Features, name: str, *, minimum: int = 1, purpose: str = "") -> Features:
    """Return ``features`` unchanged if statistics can be computed from them.

    Args:
        features: float32 or float64 ``(N, d)``.
        name: ``"real"`` or ``"synthetic"``, the subject of a message.
        minimum: smallest allowed N.
        purpose: what needs ``minimum`` samples, ``"a covariance"``.

    Raises:
        ValueError: not two-dimensional, not floating point, empty, fewer than ``minimum`` rows, NaN or
            infinity.
    """
    if features.ndim != 2:
        raise ValueError(f"{name} features must have shape (N, d); got {tuple(features.shape)}")
    if features.dtype not in (np.float32, np.float64):
        raise ValueError(f"{name} features must be float32 or float64; got {features.dtype}")
    count, width = features.shape
    if count == 0:
        raise ValueError(f"{name} set is empty: there are no images to score")
    if width == 0:
        raise ValueError(f"{name} features have width 0: the extractor returned nothing")
    if count < minimum:
        plural = "sample" if count == 1 else "samples"
        raise ValueError(f"{name} set has {count} {plural}; {purpose or 'this measure'} needs at least {minimum}")
    bad = np.concatenate([~np.isfinite(features[rows]).all(axis=1) for rows in blocks(count, CHUNK)])
    if bad.any():
        raise ValueError(
            f"{name} features contain NaN or infinity in {int(bad.sum())} of {count} rows "
            f"(first: index {int(bad.argmax())})"
        )
    return features


def check_pair(real: Features, synthetic: Features, *, minimum: int = 1, purpose: str = "") -> None:
    """Check both sets and that they come from one extractor; arguments as in :func:`check_features`.

    Raises:
        ValueError: as in :func:`check_features`, or when the widths differ.
    """
    check_features(real, "real", minimum=minimum, purpose=purpose)
    check_features(synthetic, "synthetic", minimum=minimum, purpose=purpose)
    if real.shape[1] != synthetic.shape[1]:
        raise ValueError(f"feature widths differ: real {real.shape[1]}, synthetic {synthetic.shape[1]}")


def check_at_least(value: int, minimum: int, name: str) -> int:
    """Return ``value`` if it is at least ``minimum``, else raise ``ValueError`` naming the parameter."""
    if value < minimum:
        raise ValueError(f"{name} must be at least {minimum}; got {value}")
    return value


def blocks(count: int, chunk: int) -> Iterator[slice]:
    """Yield consecutive slices of at most ``chunk`` rows that cover ``range(count)``."""
    for start in range(0, count, chunk):
        yield slice(start, min(start + chunk, count))


def block(features: Features, rows: slice, centre: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
    """Return some rows in float64, less ``centre`` ``(d,)``: the only place where features are converted."""
    part = np.asarray(features[rows], dtype=np.float64)
    return part if centre is None else part - centre


def mean_of(features: Features, chunk: int = CHUNK) -> NDArray[np.float64]:
    """Return the mean of the rows in float64 ``(d,)`` without a float64 copy of the whole array."""
    total = np.zeros(features.shape[1])
    for rows in blocks(len(features), chunk):
        total += block(features, rows).sum(axis=0)
    return total / len(features)
