"""Unusable features are refused in whole sentences by every measure, and names are gated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from benchbench.statistics.checks import blocks, mean_of
from benchbench.statistics.distances import frechet_distance, kernel_distance
from benchbench.statistics.labels import heading, kernel_heading
from benchbench.statistics.prdc import compute_prdc

MEASURES = [frechet_distance, kernel_distance, compute_prdc]
GOOD = np.random.default_rng(0).standard_normal((20, 4))


def broken(rows: list[int], value: float) -> np.ndarray:
    features = GOOD.copy()
    features[rows, 2] = value
    return features


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize(
    ("synthetic", "message"),
    [
        (
            broken([17, 3, 9], np.nan),
            "synthetic features contain NaN or infinity in 3 of 20 rows (first: index 3)",
        ),
        (
            broken([19], np.inf),
            "synthetic features contain NaN or infinity in 1 of 20 rows (first: index 19)",
        ),
        (GOOD[:0], "synthetic set is empty: there are no images to score"),
        (GOOD[:, :3], "feature widths differ: real 4, synthetic 3"),
        (GOOD[:, :0], "synthetic features have width 0: the extractor returned nothing"),
        (GOOD[0], "synthetic features must have shape (N, d); got (4,)"),
        (GOOD.astype(np.int64), "synthetic features must be float32 or float64; got int64"),
    ],
)
def test_unusable_features(measure: Callable[..., Any], synthetic: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        measure(GOOD, synthetic)
    assert str(caught.value) == message
    with pytest.raises(ValueError, match=r"real|widths"):
        measure(synthetic, GOOD)


def test_blocks_cover_every_row_once() -> None:
    assert [list(range(10))[rows] for rows in blocks(10, 4)] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert list(blocks(0, 4)) == []
    np.testing.assert_allclose(mean_of(GOOD.astype(np.float32), chunk=3), GOOD.mean(axis=0), atol=1e-6)


def test_only_inception_is_called_fid() -> None:
    for name, resize in {"inception": "torch-fidelity", "inception-legacy": "StudioGAN legacy"}.items():
        assert (heading(name), kernel_heading(name)) == (f"FID ({resize})", f"KID ({resize})")
    for other in ("glyphcnn-v1", "Inception", "inception-v3", "dinov2"):
        assert heading(other) == f"FD ({other})"
        assert kernel_heading(other) == f"KD ({other})"
    assert (heading(""), kernel_heading("")) == ("FD", "KD")
