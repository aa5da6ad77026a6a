"""What the probabilities of a classifier say beside its accuracy: by class, ranking, calibration.

Closed forms over probabilities and labels. An image's answer is the first of its largest probabilities, as for
accuracy.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Log-probabilities are clipped here: e^-30 is 9e-14, below what a float32 softmax tells from 0.
FLOOR = -30.0
#: Bins of equal width of the calibration error, as in Guo et al. 2017, section 2 and their experiments.
BINS = 15
#: With more classes there is no confusion matrix: a record would hold millions of numbers.
CONFUSION_CLASSES = 200


def log_probabilities(probabilities: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the log of probabilities ``(N, C)``, rows made to sum to exactly 1, clipped at ``FLOOR``; float64."""
    given = probabilities.astype(np.float64)
    with np.errstate(divide="ignore"):
        logs: NDArray[np.float64] = np.log(given / given.sum(axis=1, keepdims=True))
    return logs.clip(min=FLOOR, out=logs)


def measures(probabilities: NDArray[np.float32], labels: NDArray[np.int64]) -> Mapping[str, Any]:
    """Return what a record keeps of a classifier beside its accuracy.

    Args:
        probabilities: float32 ``(N, C)``, N at least 1, finite, not negative, rows summing to 1.
        labels: int64 ``(N,)``, in 0 to C - 1.

    Returns:
        ``balanced_accuracy``: the mean of ``per_class``, in 0 to 1. ``auc``: :func:`auc`. ``ece``:
        :func:`calibration_error`. ``nll``: the mean negative log of the label's probability, in nats, at most 30.
        ``per_class``: share of each class's images that are answered right, ``None`` for a class without images.
        ``confusion``: images by label (rows) and answer (columns), left out above ``CONFUSION_CLASSES`` classes.
    """
    images, classes = probabilities.shape
    answers = probabilities.argmax(axis=1)
    count = np.bincount(labels, minlength=classes)
    right = np.bincount(labels[answers == labels], minlength=classes)
    shares = [int(hits) / int(of) if of else None for hits, of in zip(right, count, strict=True)]
    known = [share for share in shares if share is not None]
    sums = probabilities.sum(axis=1, dtype=np.float64)
    of_label = probabilities[np.arange(images), labels] / sums
    found: dict[str, Any] = {
        "balanced_accuracy": sum(known) / len(known),
        "auc": auc(probabilities, labels),
        "ece": calibration_error(probabilities[np.arange(images), answers] / sums, answers == labels),
        "nll": 0.0 - float(np.log(np.maximum(of_label, np.exp(FLOOR))).mean()),
        "per_class": shares,
    }
    if classes <= CONFUSION_CLASSES:
        pairs = np.bincount(labels * classes + answers, minlength=classes**2)
        found["confusion"] = pairs.reshape(classes, classes).tolist()
    return found


def auc(scores: NDArray[np.float32], labels: NDArray[np.int64]) -> float | None:
    """Return the area under the ROC curve by MedMNIST's convention (Yang et al. 2023; ``medmnist.evaluator.getAUC``).

    Of two classes it is the area of the second column; of more, the mean over the classes of each one against the rest.
    Ties count half.

    Args:
        scores: ``(N, C)``.
        labels: int64 ``(N,)``, in 0 to C - 1.

    Returns:
        A number in 0 to 1; ``None`` where a class has no image or all of them, for which there is no curve.
    """
    classes = scores.shape[1]
    areas = []
    for label in (1,) if classes == 2 else range(classes):
        positive = labels == label
        ours, others = int(positive.sum()), int((~positive).sum())
        if not ours or not others:
            return None
        _, place, count = np.unique(scores[:, label], return_inverse=True, return_counts=True)
        ranks = (np.cumsum(count) - (count - 1) / 2)[place]  # ties share their mean rank
        areas.append((float(ranks[positive].sum()) - ours * (ours + 1) / 2) / (ours * others))
    return sum(areas) / len(areas)


def calibration_error(confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> float:
    """Return the expected calibration error (Guo et al. 2017, equation 3) over ``BINS`` bins, open on the left.

    Args:
        confidence: probability of the answer of each image, ``(N,)``, in 0 to 1.
        right: whether the answer is right, ``(N,)``.

    Returns:
        The mean over images of how far accuracy and mean confidence of an image's bin are apart, in 0 to 1.
    """
    edges = np.arange(1, BINS) / BINS
    bins = np.searchsorted(edges, confidence, side="left")
    gaps = np.bincount(bins, right, BINS) - np.bincount(bins, confidence, BINS)
    return float(np.abs(gaps).sum() / len(confidence))
