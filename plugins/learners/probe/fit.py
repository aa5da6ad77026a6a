"""The regression: weights of images, the penalty, and probabilities of the classes."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from benchbench.files import expanded
from benchbench.plugins import TrainResult
from benchbench.training.data import training_sets

from . import PENALTY
from .features import Features
from .formats import recognised

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from benchbench.plugins import Context, Task

    from . import Probe

Matrix: TypeAlias = "NDArray[np.float64]"

#: Penalties to choose from, and where L-BFGS stops: at a gradient below the tolerance.
GRID = tuple(10.0 ** (half / 2) for half in range(-8, 3))
STEPS, TOLERANCE = 1000, 1e-5


class Regression:
    """Multinomial logistic regression on features of weighted images (Hastie et al. 2009, section 4.4).

    It minimises ``sum_i w_i CE_i + penalty / 2 ||W||^2``, the weights of images summing to 1, over features of mean 0
    and deviation 1 under these weights; the intercept has no penalty. A class without an image gets no probability.

    Attributes:
        steps: of L-BFGS, of the last fit.
        converged: whether they sufficed.
    """

    def __init__(self, rows: NDArray[np.float32], labels: NDArray[np.int64], weights: Matrix, classes: int) -> None:
        """Take the training images: features ``(N, D)``, labels and weights ``(N,)``, weights above 0."""
        self.labels, self.weights, self._classes = labels, weights / weights.sum(), classes
        self._mean = self.weights @ rows
        deviation = np.sqrt(self.weights @ (rows - self._mean) ** 2)
        # A feature that differs by rounding alone says nothing.
        self._deviation = np.where(deviation > 1e-6 * np.abs(self._mean), deviation, 1.0)
        self._rows = self._standard(rows)
        self.steps, self.converged = 0, True
        self._model = LogisticRegression(max_iter=STEPS, tol=TOLERANCE, warm_start=True)

    def _standard(self, rows: NDArray[np.float32]) -> Matrix:
        return (rows - self._mean) / self._deviation

    def fit(self, penalty: float) -> None:
        """Fit with a penalty, from where the last fit ended."""
        if len(np.unique(self.labels)) == 1:
            return
        self._model.C = 1 / penalty
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            self._model.fit(self._rows, self.labels, self.weights)
        self.steps = int(self._model.n_iter_.max())
        self.converged = self.steps < STEPS

    def probabilities(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return probabilities of the classes, float32 ``(M, C)``, for features ``(M, D)``."""
        return self._probabilities(self._standard(rows))

    def _probabilities(self, standard: Matrix) -> NDArray[np.float32]:
        out = np.zeros((len(standard), self._classes), np.float32)
        seen = np.unique(self.labels)
        out[:, seen] = self._model.predict_proba(standard) if len(seen) > 1 else 1.0
        return out

    def train_accuracy(self) -> float:
        """Return the weighted share of its own training images that it gets right."""
        right = self._probabilities(self._rows).argmax(axis=1) == self.labels
        return min(1.0, float(self.weights @ right))  # weights sum to 1 but for rounding

    def choose(self, rows: NDArray[np.float32], labels: NDArray[np.int64]) -> tuple[float, float]:
        """Fit with the penalty of the grid that has the most hits on validation images, and return it and its accuracy.

        Of several the one with the least cross-entropy is taken; the grid is walked from the strongest penalty on.
        """
        scores = {}
        for penalty in sorted(GRID, reverse=True):
            self.fit(penalty)
            found = self.probabilities(rows)
            loss = -np.log(np.maximum(found[np.arange(len(labels)), labels], 1e-12)).mean()
            scores[penalty] = (float((found.argmax(axis=1) == labels).mean()), -float(loss))
        best = max(scores, key=scores.__getitem__)
        self.fit(best)
        return best, scores[best][0]


def image_weights(counts: dict[str, int], mix: tuple[int, int] | None) -> Matrix:
    """Return the weight of each training image, the sources one after the other: those of a source share its part."""
    parts = mix if mix and len(counts) == 2 else (1,) * len(counts)
    return np.concatenate([np.full(n, part / sum(parts) / n) for n, part in zip(counts.values(), parts, strict=True)])


def train(learner: Probe, subject: str, task: Task, context: Context) -> TrainResult:
    """Encode the images of a task, fit, and classify the test images; see :class:`Probe`."""
    folder, classes = context.foundation(str(learner.model)), task.info.classes
    features = Features(recognised(folder, subject), folder, subject, learner.resolution, context)
    sets = training_sets(task)
    rows = np.concatenate([features.of(images, f"encoding {name} images") for name, images in sets.items()])
    labels = np.concatenate([np.asarray(images.labels) for images in sets.values()])
    counts = {name: len(images) for name, images in sets.items()}
    regression = Regression(rows, labels, image_weights(counts, task.mix), len(classes))
    details: dict[str, Any] = {"training_images": counts, "mix": list(task.mix) if task.mix else None}
    penalty, why = learner.penalty or PENALTY, "given" if learner.penalty else "no validation images to choose it on"
    if learner.penalty is None and len(task.validation):
        held_out = features.of(task.validation, "encoding validation images")
        penalty, details["validation_accuracy"] = regression.choose(held_out, np.asarray(task.validation.labels))
        why = "chosen on validation images"
    else:
        regression.fit(penalty)
    if absent := [name for label, name in enumerate(classes) if label not in labels]:
        context.log(f"{subject}: no training image of {', '.join(absent[:5])}; none is answered")
        details["classes_without_images"] = absent
    if not regression.converged:
        context.log(f"{subject}: not converged after {STEPS} steps; a larger penalty would be")
    steps = regression.steps
    details["recipe"] = {
        "model": Path(str(learner.model)).name if expanded(str(learner.model)).exists() else learner.model,
        "features": rows.shape[1],
        "resolution": features.side,
        "penalty": penalty,
        "penalty_is": why,
        "converged": regression.converged,
        "precision": context.precision,
    }
    accuracy = regression.train_accuracy()
    told = {"train_accuracy": accuracy, "curve": [[steps, accuracy]], "rising": False}
    details["learning"] = told | {"converged": regression.converged}
    return TrainResult(
        regression.probabilities(features.of(task.test, "encoding test images")),
        steps=steps,
        images_seen=steps * len(rows),
        parameters=(rows.shape[1] + 1) * len(classes),
        details=details,
    )
