"""How fast and how large are the measures, beside the usual implementations, on this machine's CPU?

    python benchmarks/metrics_speed.py                                    # seconds, a smoke test
    python benchmarks/metrics_speed.py --count 10000 --width 2048 --pairs 5 --out metrics_speed.json

Precision, recall, density and coverage stand beside ``prdc``, once in full and once as every further generator has
them, the balls of the real images known; the Fréchet distance beside SciPy's matrix square root. One untimed run of
each warms up. Then the two alternate, and what is reported is the median over pairs of the ratio theirs / ours, so
that a machine that slows down slows both. CPU seconds count all threads; memory is how much the process grows at
most in one further run of each.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import prdc
import scipy.linalg

from benchbench.running.execute import peak_memory_mib, reset_peak_memory
from benchbench.statistics.distances import frechet_distance
from benchbench.statistics.pairs import Compute
from benchbench.statistics.prdc import Balls, balls_of, compute_prdc

SHARES = ("precision", "recall", "density", "coverage")


def prdc_package(real: np.ndarray, synthetic: np.ndarray) -> tuple[float, ...]:
    """Return what ``prdc`` says, without what it prints."""
    with contextlib.redirect_stdout(io.StringIO()):
        found = prdc.compute_prdc(real, synthetic, nearest_k=5)
    return tuple(float(found[name]) for name in SHARES)


def our_prdc(real: np.ndarray, synthetic: np.ndarray, threads: int, balls: Balls | None = None) -> tuple[float, ...]:
    """Return the same four shares by this project's blocks."""
    found = compute_prdc(real, synthetic, nearest_k=5, balls=balls, compute=Compute(threads=threads))
    return tuple(getattr(found, name) for name in SHARES)


def scipy_frechet(real: np.ndarray, synthetic: np.ndarray) -> tuple[float, ...]:
    """Return the Fréchet distance by the matrix square root of the product of covariances."""
    S_1, S_2 = np.cov(real, rowvar=False), np.cov(synthetic, rowvar=False)
    root = scipy.linalg.sqrtm(S_1 @ S_2).real
    difference = real.mean(axis=0) - synthetic.mean(axis=0)
    return (float(difference @ difference + np.trace(S_1) + np.trace(S_2) - 2 * np.trace(root)),)


def our_frechet(real: np.ndarray, synthetic: np.ndarray) -> tuple[float, ...]:
    """Return the Fréchet distance by this project's nuclear norm."""
    return (frechet_distance(real, synthetic),)


def timed(task: Callable[[], Any]) -> tuple[float, float]:
    """Return wall and CPU seconds of one call."""
    wall, cpu = time.perf_counter(), time.process_time()
    task()
    return time.perf_counter() - wall, time.process_time() - cpu


def peak_mib(task: Callable[[], Any]) -> float:
    """Return the largest extra memory of one call, in MiB."""
    reset_peak_memory()
    before = peak_memory_mib()
    task()
    return peak_memory_mib() - before


def compare(name: str, theirs: Callable[[], Any], ours: Callable[[], Any], pairs: int) -> dict[str, Any]:
    """Return one row: values, median seconds of each side and the median ratio over alternated pairs."""
    expected, found = theirs(), ours()
    runs = [(timed(theirs), timed(ours)) for _ in range(pairs)]
    row: dict[str, Any] = {
        "name": name,
        "theirs_s": statistics.median(a[0] for a, _ in runs),
        "ours_s": statistics.median(b[0] for _, b in runs),
        "wall_ratio": statistics.median(a[0] / b[0] for a, b in runs),
        "cpu_ratio": statistics.median(a[1] / max(b[1], 1e-9) for a, b in runs),
        "theirs_mib": peak_mib(theirs),
        "ours_mib": peak_mib(ours),
        "largest_difference": max(abs(a - b) / max(abs(a), 1e-12) for a, b in zip(expected, found, strict=True)),
        "runs": [{"theirs": a, "ours": b} for a, b in runs],
    }
    return row


def table(rows: list[dict[str, Any]]) -> str:
    """Return the rows as text that lines up."""
    heads = ("theirs s", "ours s", "wall x", "cpu x", "theirs MiB", "ours MiB")
    lines = [f"{'measure':<20}" + "".join(f"{head:>12}" for head in heads)]
    for row in rows:
        keys = ("theirs_s", "ours_s", "wall_ratio", "cpu_ratio", "theirs_mib", "ours_mib")
        lines.append(f"{row['name']:<20}" + "".join(f"{row[key]:>12.3f}" for key in keys))
    return "\n".join(lines)


def main() -> None:
    """Measure, print the table and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000, help="samples in each set")
    parser.add_argument("--width", type=int, default=128, help="features of a sample; keep below --count")
    parser.add_argument("--pairs", type=int, default=3, help="alternated pairs of runs")
    parser.add_argument("--threads", type=int, default=1, help="of our blocks")
    parser.add_argument("--out", type=Path, help="where the JSON goes")
    options = parser.parse_args()
    if not 1 < options.width < options.count or options.pairs < 1:
        parser.error("--width must be below --count, and --pairs at least 1")

    rng = np.random.default_rng(0)
    real = rng.standard_normal((options.count, options.width)).astype(np.float32).astype(np.float64)
    synthetic = 1.1 * rng.standard_normal((options.count, options.width)) + 0.1
    balls = balls_of(real, nearest_k=5)
    rows = [
        compare(
            "prdc",
            lambda: prdc_package(real, synthetic),
            lambda: our_prdc(real, synthetic, options.threads),
            options.pairs,
        ),
        compare(
            "prdc, real known",
            lambda: prdc_package(real, synthetic),
            lambda: our_prdc(real, synthetic, options.threads, balls),
            options.pairs,
        ),
        compare(
            "scipy sqrtm",
            lambda: scipy_frechet(real, synthetic),
            lambda: our_frechet(real, synthetic),
            options.pairs,
        ),
    ]
    packages = {name: version(name) for name in ("numpy", "scipy", "prdc", "scikit-learn")}
    sizes = f"N = M = {options.count}, d = {options.width}"
    print(f"{sizes}, {options.pairs} pairs, {options.threads} threads, {os.cpu_count()} CPUs, {packages}")
    print(table(rows))
    for row in rows:
        print(f"{row['name']}: largest relative difference between the values {row['largest_difference']:.1e}")
    if options.out:
        report = {
            "options": {k: str(v) for k, v in vars(options).items() if k != "out"},
            "packages": packages,
        }
        report |= {"python": platform.python_version(), "machine": platform.machine(), "rows": rows}
        options.out.write_text(json.dumps(report, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
