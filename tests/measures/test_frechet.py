"""Closed forms, invariances and parity of the Fréchet distance."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchbench.statistics.distances import frechet_distance, moments


def whitened(rng: np.random.Generator, count: int, width: int) -> np.ndarray:
    """Rows whose empirical mean is 0 and whose unbiased covariance is the identity, up to rounding."""
    x = rng.standard_normal((count, width))
    x -= x.mean(axis=0)
    q, _ = np.linalg.qr(x)
    return q * np.sqrt(count - 1)


def test_diagonal_gaussians_have_the_closed_form() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.uniform(0.5, 2, 8), rng.uniform(0.5, 2, 8)
    mu = rng.standard_normal(8)
    x, y = whitened(rng, 300, 8) * a, whitened(rng, 200, 8) * b + mu
    expected = np.sum(mu**2) + np.sum((a - b) ** 2)
    assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-10)


def test_one_dimension_by_hand() -> None:
    rng = np.random.default_rng(1)
    x, y = whitened(rng, 50, 1), 3 + 2 * whitened(rng, 70, 1)
    assert frechet_distance(x, y) == pytest.approx(3**2 + (2 - 1) ** 2, rel=1e-12)


def by_eigenvalues(x: np.ndarray, y: np.ndarray) -> float:
    """Return the distance by the textbook's formula, from the eigenvalues of the product of both covariances."""
    (m1, s1), (m2, s2) = moments(x), moments(y)
    root = np.sqrt(np.linalg.eigvals(s1 @ s2).astype(complex)).real.sum()
    return float(np.sum((m1 - m2) ** 2) + np.trace(s1) + np.trace(s2) - 2 * root)


def test_non_commuting_covariances_against_eigenvalues_of_the_product() -> None:
    rng = np.random.default_rng(2)
    x = rng.standard_normal((400, 20)) @ rng.standard_normal((20, 20))
    y = rng.standard_normal((300, 20)) @ rng.standard_normal((20, 20)) + 1
    assert frechet_distance(x, y) == pytest.approx(by_eigenvalues(x, y), rel=1e-9)


@pytest.mark.parametrize("shape", [(500, 16), (16, 16), (17, 16), (10, 64)])
def test_a_set_has_distance_zero_to_itself(shape: tuple[int, int]) -> None:
    x = np.random.default_rng(3).standard_normal(shape)
    assert 0 <= frechet_distance(x, x) < 1e-9


@pytest.mark.parametrize("count", [8, 200])
def test_a_constant_set_leaves_the_mean_and_one_trace(count: int) -> None:
    rng = np.random.default_rng(4)
    x = rng.standard_normal((300, 12))
    constant = np.full((count, 12), 0.7)
    expected = np.sum((x.mean(0) - 0.7) ** 2) + np.trace(np.cov(x, rowvar=False))
    assert frechet_distance(x, constant) == pytest.approx(expected, abs=1e-9)


def test_dead_and_doubled_features_change_nothing() -> None:
    rng = np.random.default_rng(5)
    x, y = rng.standard_normal((300, 6)), rng.standard_normal((250, 6)) * 2
    dead = np.zeros((300, 3)), np.zeros((250, 3))
    plain = frechet_distance(x, y)
    assert frechet_distance(np.hstack([x, dead[0]]), np.hstack([y, dead[1]])) == pytest.approx(plain, rel=1e-9)
    assert frechet_distance(np.hstack([x, x]), np.hstack([y, y])) == pytest.approx(2 * plain, rel=1e-9)


def test_few_samples_agree_with_padding_to_many() -> None:
    """N <= d takes the route over samples, N > d the one over covariances: joined where both are valid."""
    rng = np.random.default_rng(6)
    x, y = rng.standard_normal((20, 24)), rng.standard_normal((200, 24))
    assert frechet_distance(x, y) == pytest.approx(by_eigenvalues(x, y), rel=1e-6)


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 40), st.integers(2, 40), st.integers(1, 12), st.floats(0.1, 10), st.integers(0, 2**31))
def test_rotation_scale_swap_and_order(n: int, m: int, d: int, scale: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((n, d)), rng.standard_normal((m, d)) + 0.5
    rotation, _ = np.linalg.qr(rng.standard_normal((d, d)))
    distance = frechet_distance(x, y)
    close = {"rel": 1e-7, "abs": 1e-9}
    assert distance >= 0
    assert frechet_distance(y, x) == pytest.approx(distance, **close)
    assert frechet_distance(x @ rotation + 3, y @ rotation + 3) == pytest.approx(distance, **close)
    assert frechet_distance(x * scale, y * scale) == pytest.approx(distance * scale**2, **close)
    assert frechet_distance(rng.permutation(x), y) == pytest.approx(distance, **close)


def test_moments_in_blocks_survive_a_large_offset() -> None:
    rng = np.random.default_rng(7)
    x = rng.standard_normal((1000, 5))
    mu, cov = moments(x)
    mu_off, cov_off = moments(x + 1e4, chunk=64)
    np.testing.assert_allclose(mu_off - 1e4, mu, rtol=0, atol=1e-11)
    np.testing.assert_allclose(cov_off, cov, rtol=0, atol=1e-11)
    np.testing.assert_allclose(cov, np.cov(x, rowvar=False), rtol=0, atol=1e-12)
    for chunk in (1, 7, 999, 5000):
        np.testing.assert_allclose(moments(x, chunk=chunk)[1], cov, rtol=1e-12, atol=1e-14)


def test_float32_storage_is_computed_in_float64() -> None:
    rng = np.random.default_rng(8)
    x, y = (rng.standard_normal((400, 32)).astype(np.float32) + 10 for _ in range(2))
    assert frechet_distance(x, y) == frechet_distance(x.astype(np.float64), y.astype(np.float64))


def test_sample_size_bias_of_one_distribution() -> None:
    """Two samples of N(0, I_64) at N = 500 are 4.5 apart on average, though the true distance is 0."""
    rng = np.random.default_rng(9)
    values = [frechet_distance(rng.standard_normal((500, 64)), rng.standard_normal((500, 64))) for _ in range(12)]
    error = np.std(values, ddof=1) / np.sqrt(len(values))
    assert abs(np.mean(values) - 4.5) < 0.05 + 4 * error


def test_scipy_matrix_square_root() -> None:
    linalg = pytest.importorskip("scipy.linalg")
    rng = np.random.default_rng(10)
    x = rng.standard_normal((500, 40)) @ rng.standard_normal((40, 40))
    y = rng.standard_normal((400, 40))
    (m1, s1), (m2, s2) = moments(x), moments(y)
    expected = np.sum((m1 - m2) ** 2) + np.trace(s1 + s2 - 2 * linalg.sqrtm(s1 @ s2).real)
    assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("shape", "rel"), [((600, 32), 1e-5), ((40, 64), 1e-4)])
def test_torch_fidelity(shape: tuple[int, int], rel: float) -> None:
    """Its mean is float32, and its eigenvalues come out low where N <= d."""
    torch = pytest.importorskip("torch")
    metric_fid = pytest.importorskip("torch_fidelity.metric_fid")
    rng = np.random.default_rng(11)
    x = rng.standard_normal(shape).astype(np.float32)
    y = (rng.standard_normal(shape) * 1.3 + 0.2).astype(np.float32)
    statistics = [metric_fid.fid_features_to_statistics(torch.from_numpy(part)) for part in (x, y)]
    expected = metric_fid.fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]
    assert frechet_distance(x, y) == pytest.approx(expected, rel=rel)


def test_one_sample_is_refused() -> None:
    x = np.zeros((5, 3))
    with pytest.raises(ValueError, match=r"^synthetic set has 1 sample; a covariance needs at least 2$"):
        frechet_distance(x, x[:1])
    with pytest.raises(ValueError, match=r"^chunk must be at least 1; got 0$"):
        frechet_distance(x, x, chunk=0)


def test_covariances_that_are_none_do_not_give_a_number() -> None:
    x = np.array([[1e200, 0.0], [-1e200, 1.0], [0.0, 2.0]])
    with np.errstate(all="ignore"), pytest.raises((ArithmeticError, np.linalg.LinAlgError)):
        frechet_distance(x, x)
