"""The nearest sample of another set, against brute force, and the limit below which a share of new samples lies."""

from __future__ import annotations

import numpy as np
import pytest

from benchbench.statistics.nearest import limit, nearest, share_within
from benchbench.statistics.prdc import balls_of


@pytest.mark.parametrize("chunk", [3, 7, 512])
def test_it_is_the_nearest_of_all_whatever_the_blocks(chunk):
    rng = np.random.default_rng(0)
    features, others = (rng.normal(5, 1, (count, 9)).astype(np.float32) for count in (40, 31))
    features[7] = others[30]
    pairs = np.linalg.norm(features[:, None].astype(float) - others.astype(float), axis=2)
    index, distances = nearest(features, others, chunk=chunk)
    np.testing.assert_array_equal(index, pairs.argmin(axis=1))
    np.testing.assert_allclose(distances, pairs.min(axis=1), rtol=1e-12)
    assert distances[7] == 0


def test_a_new_sample_is_below_the_limit_as_often_as_it_says():
    """300 sets of 40, in two and in twenty dimensions."""
    rng = np.random.default_rng(1)
    for width in (2, 20):
        found, expected = [], 0.0
        for _ in range(300):
            real, new = rng.normal(size=(40, width)), rng.normal(size=(25, width))
            least, expected = limit(np.sqrt(balls_of(real, nearest_k=1).squared), 0.1)
            found.append(share_within(nearest(new, real)[1], least))
        assert expected == 4 / 41
        assert np.mean(found) == pytest.approx(expected, abs=4 * np.std(found) / np.sqrt(300))


def test_few_samples_give_the_least_share_there_is():
    assert limit(np.array([3.0, 1.0, 2.0]), 0.01) == (1.0, 0.25)
    assert limit(np.arange(99.0), 0.01) == (0.0, 0.01)
    assert limit(np.arange(1.0, 100.0), 0.02) == (2.0, 0.02)


def test_an_exact_copy_counts_and_the_limit_itself_does_not():
    assert share_within(np.array([0.0, 1.0, 2.0, 0.5]), 1.0) == 0.5
    assert share_within(np.array([0.0, 1.0]), 0.0) == 0.5


@pytest.mark.parametrize("wrong", [np.zeros((0, 3)), np.full((2, 3), np.nan), np.zeros((2, 4))])
def test_what_cannot_be_compared_is_refused(wrong):
    with pytest.raises(ValueError, match=r"empty|NaN|widths"):
        nearest(wrong, np.zeros((2, 3)))
