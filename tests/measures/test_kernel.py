"""The kernel distance: by hand, unbiased, in blocks, and torch-fidelity's arithmetic."""

from __future__ import annotations

import numpy as np
import pytest

from benchbench.statistics.distances import kernel_distance, mean_kernel
from benchbench.statistics.pairs import Compute


def test_two_points_in_each_set_by_hand() -> None:
    x, y = np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[1.0, 1.0], [2.0, 0.0]])

    def kernel(a: np.ndarray, b: np.ndarray) -> float:
        return float((a @ b / 2 + 1) ** 3)

    across = sum(kernel(a, b) for a in x for b in y) / 4
    assert kernel(x[0], x[1]) == 1.0
    assert kernel(y[0], y[1]) == 8.0
    assert kernel_distance(x, y) == pytest.approx(1 + 8 - 2 * across, abs=1e-12)


def test_a_set_against_itself_is_not_positive() -> None:
    x = np.random.default_rng(0).standard_normal((50, 6))
    assert kernel_distance(x, x) < 0


def test_unbiased_for_one_distribution() -> None:
    rng = np.random.default_rng(1)
    values = [kernel_distance(rng.standard_normal((40, 8)), rng.standard_normal((25, 8))) for _ in range(60)]
    assert min(values) < 0 < max(values)
    assert abs(np.mean(values)) < 4 * np.std(values, ddof=1) / np.sqrt(len(values))


def test_grows_with_the_shift() -> None:
    rng = np.random.default_rng(2)
    x, y = rng.standard_normal((100, 8)), rng.standard_normal((100, 8))
    assert kernel_distance(x, y) < kernel_distance(x, y + 0.5) < kernel_distance(x, y + 1)


def test_blocks_order_and_storage_do_not_matter() -> None:
    rng = np.random.default_rng(3)
    x = rng.standard_normal((130, 8)).astype(np.float32)
    y = (rng.standard_normal((90, 8)) + 0.3).astype(np.float32)
    plain = kernel_distance(x, y)
    for chunk in (1, 64, 100, 4096):
        assert kernel_distance(x, y, chunk=chunk) == pytest.approx(plain, abs=1e-12)
    assert kernel_distance(y, x) == pytest.approx(plain, abs=1e-12)
    assert kernel_distance(rng.permutation(x), y) == pytest.approx(plain, abs=1e-12)
    assert kernel_distance(x.astype(np.float64), y.astype(np.float64)) == plain


def test_threads_and_a_part_that_was_made_before_change_no_bit() -> None:
    rng = np.random.default_rng(5)
    x, y = rng.standard_normal((300, 16)), rng.standard_normal((200, 16)) + 0.1
    found = kernel_distance(x, y, chunk=32)
    for threads in (1, 2, 5):
        compute = Compute(threads=threads)
        within = mean_kernel(x, chunk=32, compute=compute)
        assert kernel_distance(x, y, chunk=32, compute=compute) == found
        assert kernel_distance(x, y, chunk=32, within_real=within, compute=compute) == found


def test_torch_fidelity_on_one_subset_of_everything() -> None:
    torch = pytest.importorskip("torch")
    metric_kid = pytest.importorskip("torch_fidelity.metric_kid")
    rng = np.random.default_rng(4)
    x = rng.standard_normal((80, 16)).astype(np.float32)
    y = (rng.standard_normal((80, 16)) * 1.2).astype(np.float32)
    expected = metric_kid.kid_features_to_metric(
        torch.from_numpy(x), torch.from_numpy(y), kid_subsets=1, kid_subset_size=80, verbose=False
    )
    assert kernel_distance(x, y) == pytest.approx(expected["kernel_inception_distance_mean"], abs=1e-5)


def test_one_sample_is_refused() -> None:
    x = np.zeros((3, 2))
    with pytest.raises(ValueError, match=r"^real set has 1 sample; an unbiased kernel distance needs at least 2$"):
        kernel_distance(x[:1], x)
