"""Precision, recall, density and coverage: brute force, structure, ties, parity, memory."""

from __future__ import annotations

import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchbench.statistics.pairs import Compute, each_block
from benchbench.statistics.prdc import EXPECTED_DENSITY, _radii, balls_of, compute_prdc, expected_coverage

CHUNKS = (3, 7, 64, 4096)


def shares(real: np.ndarray, synthetic: np.ndarray, **options: int) -> tuple[float, float, float, float]:
    found = compute_prdc(real, synthetic, **options)
    return found.precision, found.recall, found.density, found.coverage


def brute_force(real: np.ndarray, synthetic: np.ndarray, k: int) -> tuple[float, float, float, float]:
    """The definitions over all pairs, by differences, which are exact for exact copies."""

    def distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.sqrt(((a[:, None, :] - b[None, :, :]) ** 2).sum(axis=2))

    def radii(a: np.ndarray) -> np.ndarray:
        own = distances(a, a)
        np.fill_diagonal(own, np.inf)
        return np.sort(own, axis=1)[:, k - 1]

    between = distances(real, synthetic)
    inside = between < radii(real)[:, None]
    recalled = (between < radii(synthetic)[None, :]).any(axis=1)
    return (
        float(inside.any(axis=0).mean()),
        float(recalled.mean()),
        float(inside.sum() / (k * len(synthetic))),
        float(inside.any(axis=1).mean()),
    )


def adversarial() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((60, 12)) * 3 + 40
    return {
        "identical": (x, x.copy()),
        "permuted": (x, rng.permutation(x)),
        "constant": (np.ones((30, 4)), np.ones((20, 4))),
        "eight copies": (np.repeat(x[:10], 8, axis=0), np.repeat(x[:10], 8, axis=0)),
        "three copies": (np.repeat(x[:20], 3, axis=0), rng.permutation(np.repeat(x[:20], 3, axis=0))),
        "collapse": (x, np.repeat(x[:1], 40, axis=0)),
        "disjoint": (x, x + 1000),
        "half memorised": (x, np.concatenate([x[:30], rng.standard_normal((30, 12)) + 40])),
        "grid": (np.argwhere(np.ones((8, 8))).astype(float), np.argwhere(np.ones((7, 9))).astype(float) + 1),
        "seven": (x, x[:7] + 0.01),
    }


@pytest.mark.parametrize("name", list(adversarial()))
@pytest.mark.parametrize("chunk", CHUNKS)
def test_ties_and_copies_equal_brute_force_for_every_chunk(name: str, chunk: int) -> None:
    real, synthetic = adversarial()[name]
    assert shares(real, synthetic, chunk=chunk) == pytest.approx(brute_force(real, synthetic, 5), abs=1e-15)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 6),
    st.integers(0, 40),
    st.integers(0, 40),
    st.integers(1, 9),
    st.integers(1, 60),
    st.integers(0, 2**31),
)
def test_integer_points_equal_brute_force(k: int, n: int, m: int, d: int, chunk: int, seed: int) -> None:
    """Points on a small grid: nearly every distance is a tie with some radius."""
    rng = np.random.default_rng(seed)
    real = rng.integers(0, 4, (k + 1 + n, d)).astype(np.float32)
    synthetic = rng.integers(0, 4, (k + 1 + m, d)).astype(np.float32)
    found = shares(real, synthetic, nearest_k=k, chunk=chunk)
    assert found == pytest.approx(brute_force(real.astype(float), synthetic.astype(float), k), abs=1e-12)


def test_identical_sets_are_perfect_for_every_chunk() -> None:
    x = np.random.default_rng(1).standard_normal((100, 16))
    assert {shares(x, x.copy(), chunk=chunk) for chunk in CHUNKS} == {(1.0, 1.0, 1.0, 1.0)}


def test_collapse_onto_one_real_image_is_precise_and_recalls_nothing() -> None:
    """Told apart only if precision and recall are not swapped."""
    x = np.random.default_rng(2).standard_normal((200, 8))
    found = compute_prdc(x, np.repeat(x[:1], 50, axis=0) + 1e-9 * np.arange(50)[:, None])
    assert found.precision == 1.0
    assert found.recall <= 1 / 200
    assert found.coverage < 0.1


def test_swapping_the_sets_swaps_precision_and_recall() -> None:
    rng = np.random.default_rng(3)
    x, y = rng.standard_normal((150, 6)), rng.standard_normal((90, 6)) + 0.5
    forth, back = compute_prdc(x, y), compute_prdc(y, x)
    assert (forth.precision, forth.recall) == (back.recall, back.precision)
    assert (forth.n_real, forth.n_synthetic) == (back.n_synthetic, back.n_real) == (150, 90)


def test_order_rigid_motion_scale_and_storage() -> None:
    rng = np.random.default_rng(4)
    x, y = rng.standard_normal((150, 6)), rng.standard_normal((90, 6)) * 1.2
    rotation, _ = np.linalg.qr(rng.standard_normal((6, 6)))
    plain = shares(x, y)
    assert shares(rng.permutation(x), rng.permutation(y)) == plain
    assert shares(x @ rotation * 3 + 7, y @ rotation * 3 + 7) == plain
    assert shares(x.astype(np.float32), y.astype(np.float32)) == pytest.approx(plain, abs=5e-4)


def test_zero_radii_are_counted() -> None:
    rng = np.random.default_rng(5)
    x = rng.standard_normal((40, 4))
    copies = np.concatenate([x, np.repeat(x[:1], 5, axis=0)])  # six equal rows
    found = compute_prdc(copies, x, nearest_k=5)
    assert (found.zero_radius_real, found.zero_radius_synthetic) == (6, 0)
    assert compute_prdc(x, copies[:-1], nearest_k=5).zero_radius_synthetic == 0  # five equal rows: four others
    constant = compute_prdc(np.ones((10, 4)), np.ones((12, 4)))
    assert (constant.zero_radius_real, constant.zero_radius_synthetic) == (10, 12)
    assert (constant.precision, constant.recall, constant.density, constant.coverage) == (0.0, 0.0, 0.0, 0.0)


def test_radii_on_a_line() -> None:
    line = np.arange(6, dtype=float)[:, None]
    np.testing.assert_allclose(_radii(line, 2, np.zeros(1), 4)[0], np.square([2, 1, 1, 1, 1, 2]), atol=1e-12)


@pytest.mark.parametrize("k", [1, 3, 5, 10])
def test_prdc_package(k: int, capsys: pytest.CaptureFixture[str]) -> None:
    reference = pytest.importorskip("prdc")
    rng = np.random.default_rng(k)
    x, y = rng.standard_normal((300, 24)), rng.standard_normal((210, 24)) * 1.1
    expected = reference.compute_prdc(x, y, nearest_k=k)
    found = shares(x, y, nearest_k=k, chunk=128)
    assert found == tuple(float(expected[name]) for name in ("precision", "recall", "density", "coverage"))
    capsys.readouterr()


def test_torch_fidelity_precision_and_recall() -> None:
    torch = pytest.importorskip("torch")
    metric_prc = pytest.importorskip("torch_fidelity.metric_prc")
    rng = np.random.default_rng(6)
    x, y = rng.standard_normal((300, 24)), rng.standard_normal((200, 24)) * 0.9
    expected = metric_prc.prc_features_to_metric(
        torch.from_numpy(y), torch.from_numpy(x), prc_neighborhood=5, verbose=False
    )
    found = compute_prdc(x, y)
    assert (found.precision, found.recall) == pytest.approx((expected["precision"], expected["recall"]), abs=1e-6)


@pytest.mark.parametrize(("n", "m"), [(200, 200), (200, 50), (100, 300)])
def test_one_distribution_has_the_expected_coverage_and_density(n: int, m: int) -> None:
    rng = np.random.default_rng(7)
    runs = [compute_prdc(rng.standard_normal((n, 8)), rng.standard_normal((m, 8))) for _ in range(30)]
    for values, expected in (
        ([run.coverage for run in runs], expected_coverage(n, m)),
        ([run.density for run in runs], EXPECTED_DENSITY),
    ):
        error = np.std(values, ddof=1) / np.sqrt(len(values))
        assert abs(np.mean(values) - expected) < 4 * error + 1e-3


def test_expected_coverage_by_hand() -> None:
    assert expected_coverage(2, 1, 1) == pytest.approx(1 - 1 / 2)
    assert expected_coverage(500, 100) == pytest.approx(0.600, abs=5e-4)
    assert expected_coverage(500, 500) == pytest.approx(0.969, abs=5e-4)
    with pytest.raises(ValueError, match=r"^n_real must be at least 6; got 5$"):
        expected_coverage(5, 10)


GROWTH = """
import numpy as np
from benchbench.running.execute import peak_memory_mib, reset_peak_memory
from benchbench.statistics.pairs import Compute
from benchbench.statistics.prdc import compute_prdc
x, y = np.random.default_rng(8).standard_normal((2, 16000, 2))
compute_prdc(x[:1500], y[:1500], compute=Compute(threads=2))  # what torch takes once
reset_peak_memory()
before = peak_memory_mib()
compute_prdc(x, y, compute=Compute(threads=2))
print(peak_memory_mib() - before)
"""


def test_no_matrix_of_all_pairs_exists() -> None:
    """Of a process of its own, since NumPy's bookkeeping does not see what torch allocates."""
    done = subprocess.run([sys.executable, "-c", GROWTH], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 16000**2 / 2**20  # a matrix of all pairs holds 8 bytes for each, a mask 1


def test_balls_that_were_made_before_and_any_number_of_threads_change_nothing() -> None:
    rng = np.random.default_rng(9)
    x = np.concatenate([rng.standard_normal((300, 16)), np.ones((9, 16))]).astype(np.float32)
    y = np.concatenate([1.1 * rng.standard_normal((200, 16)), x[:20]]).astype(np.float32)
    found = compute_prdc(x, y, chunk=32)
    assert found.zero_radius_real == 9
    assert 0 < found.precision < 1
    assert 0 < found.recall < 1
    for threads in (1, 2, 5):
        compute = Compute(threads=threads)
        balls = balls_of(x, chunk=32, compute=compute)
        np.testing.assert_array_equal(balls.squared, balls_of(x, chunk=32).squared)
        assert compute_prdc(x, y, chunk=32, compute=compute) == found
        assert compute_prdc(x, y, chunk=50, balls=balls, compute=compute) == found


def test_blocks_run_at_once_each_with_one_thread_of_torch() -> None:
    """Two blocks meet at a barrier, which one thread after the other would not."""
    barrier, before = threading.Barrier(2, timeout=20), torch.get_num_threads()
    torch.set_num_threads(2)
    try:

        def work(rows: slice, columns: slice, X: torch.Tensor, Y: torch.Tensor) -> int:
            barrier.wait()
            return torch.get_num_threads()

        x = np.zeros((4, 1))
        found = list(each_block(x, x.copy(), work, side=2, compute=Compute(threads=2), label=""))
        assert [part for _, _, part in found] == [1, 1, 1, 1]
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"nearest_k": 0}, "nearest_k must be at least 1; got 0"),
        ({"chunk": 0}, "chunk must be at least 1; got 0"),
        ({"nearest_k": 9}, "real set has 9 samples; a k=9 neighbourhood needs at least 10"),
    ],
)
def test_options_out_of_range(options: dict[str, int], message: str) -> None:
    x = np.random.default_rng(9).standard_normal((9, 2))
    with pytest.raises(ValueError, match=rf"^{message}$"):
        compute_prdc(x, x, **options)
