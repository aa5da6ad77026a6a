"""Trainings by simulation: logits of test images, draws, seeds and methods, and whether each is classified rightly."""

from __future__ import annotations

import numpy as np

#: Deviation of the images' difficulty and of the draws, both shared by all methods, and the mean, in logits.
DIFFICULTY, DRAWS, MEAN = 1.6, 0.5, 1.76


def simulate(
    rng: np.random.Generator,
    shape: tuple[int, int, int, int],
    deviations: tuple[float, float, float],
    methods: int = 2,
    effect: float = 0.0,
    mean: float = MEAN,
) -> np.ndarray:
    """Return which test images are right, bool ``(methods, R, K, S, N)``: repetitions, draws, seeds, images.

    Args:
        rng: gives all randomness.
        shape: R, K, S and N.
        deviations: of the logits of one method from another by draw, by seed and by image.
        methods: the first is the baseline.
        effect: logit by which all but the first are better.
        mean: of the logits.
    """
    repetitions, draws, _, images = shape
    of_draw, of_seed, of_image = (deviation / 2**0.5 for deviation in deviations)
    difficulty = mean + DIFFICULTY * rng.standard_normal((repetitions, 1, 1, images), np.float32)
    common = rng.normal(0, DRAWS, (repetitions, draws, 1, 1))
    found = np.empty((methods, *shape), bool)
    for method in range(methods):
        training = common + rng.normal(0, of_draw, common.shape) + (effect if method else 0.0)
        training = (training + rng.normal(0, of_seed, (*shape[:3], 1))).astype(np.float32)
        image = difficulty + np.float32(of_image) * rng.standard_normal(difficulty.shape, np.float32)
        odds = np.exp(-image - training, dtype=np.float32)
        found[method] = rng.random(shape, np.float32) * (1 + odds) < 1
    return found


def share_right(deviations: tuple[float, float, float], effect: float = 0.0, mean: float = MEAN) -> float:
    """Return the expected accuracy of a method: the mean of a logistic function of a normal variable."""
    places, weights = np.polynomial.hermite_e.hermegauss(60)
    deviation = np.sqrt(DIFFICULTY**2 + DRAWS**2 + np.square(deviations).sum() / 2)
    return float((weights / (1 + np.exp(-mean - effect - deviation * places))).sum() / weights.sum())
