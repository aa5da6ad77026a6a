"""Measures of a classifier: numbers done by hand, and those of scikit-learn and of MedMNIST's own evaluator."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn.metrics
from medmnist.evaluator import getAUC

from benchbench.statistics.classifier import BINS, FLOOR, auc, calibration_error, log_probabilities, measures


def softmax(logits):
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)


def some(classes: int, images: int = 300, seed: int = 0):
    """Probabilities that know something of the labels, and the labels, of unequal numbers."""
    rng = np.random.default_rng(seed)
    labels = np.minimum(rng.geometric(2 / classes, images) - 1, classes - 1).astype(np.int64)
    labels[:classes] = np.arange(classes)
    return softmax(rng.normal(size=(images, classes)) + 1.5 * np.eye(classes)[labels]), labels


def test_numbers_by_hand():
    probabilities = np.array([[0.75, 0.25], [0.5, 0.5], [0.125, 0.875], [1, 0]], np.float32)
    found = measures(probabilities, np.array([0, 1, 1, 1]))
    assert found["per_class"] == [1.0, pytest.approx(1 / 3)]
    assert found["balanced_accuracy"] == pytest.approx(2 / 3)
    assert found["confusion"] == [[1, 0], [2, 1]]
    assert found["auc"] == pytest.approx(2 / 3)  # of 0.5, 0.875 and 0, two are above 0.25
    assert found["nll"] == pytest.approx(-(np.log(0.75) + np.log(0.5) + np.log(0.875) + FLOOR) / 4)
    # Bins of 1/15: 0.5 in (7/15, 8/15], 0.75 in (11/15, 12/15], 0.875 in (13/15, 14/15], 1 in the last one.
    assert found["ece"] == pytest.approx((0.5 + 0.25 + 0.125 + 1) / 4)


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_they_are_those_of_scikit_learn(classes):
    probabilities, labels = some(classes)
    found, answers = measures(probabilities, labels), probabilities.argmax(axis=1)
    assert found["balanced_accuracy"] == pytest.approx(sklearn.metrics.balanced_accuracy_score(labels, answers))
    assert found["confusion"] == sklearn.metrics.confusion_matrix(labels, answers).tolist()
    expected = sklearn.metrics.recall_score(labels, answers, average=None)
    np.testing.assert_allclose(found["per_class"], expected, rtol=1e-12)
    exact = probabilities.astype(np.float64)
    exact /= exact.sum(axis=1, keepdims=True)
    assert found["nll"] == pytest.approx(sklearn.metrics.log_loss(labels, exact), rel=1e-6)


@pytest.mark.parametrize(("classes", "task"), [(2, "binary-class"), (3, "multi-class"), (10, "multi-class")])
def test_the_area_is_that_of_medmnist_also_with_ties(classes, task):
    probabilities, labels = some(classes)
    for scores in (probabilities, probabilities.round(1)):
        assert auc(scores, labels) == pytest.approx(getAUC(labels[:, None], scores, task), rel=1e-12)


def test_the_calibration_error_is_that_of_the_formula_bin_by_bin():
    rng = np.random.default_rng(5)
    confidence, right = rng.uniform(0.1, 1, 500), rng.random(500) < 0.6
    total = 0.0
    for low in np.arange(BINS) / BINS:
        inside = (confidence > low) & (confidence <= low + 1 / BINS)
        if inside.any():
            total += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    assert calibration_error(confidence, right) == pytest.approx(total)
    assert calibration_error(np.ones(4), np.array([True] * 4)) == 0


def test_a_class_without_test_images_is_left_out_and_has_no_curve():
    probabilities, labels = some(3)
    labels[labels == 2] = 1
    found = measures(probabilities, labels)
    assert found["per_class"][2] is None
    assert found["auc"] is None
    assert found["balanced_accuracy"] == pytest.approx(np.mean(found["per_class"][:2]))


def test_one_image_has_all_that_one_image_can_have():
    found = measures(np.array([[0.25, 0.75]], np.float32), np.array([1]))
    assert found == {
        "balanced_accuracy": 1,
        "auc": None,
        "ece": 0.25,
        "nll": pytest.approx(-np.log(0.75)),
        "per_class": [None, 1],
        "confusion": [[0, 0], [0, 1]],
    }


def test_constant_answers_rank_nothing():
    found = measures(np.full((9, 3), 1 / 3, np.float32), np.arange(9) % 3)
    assert found["auc"] == 0.5
    assert found["balanced_accuracy"] == pytest.approx(1 / 3)
    assert found["ece"] == pytest.approx(0, abs=1e-7)
    assert found["nll"] == pytest.approx(np.log(3), rel=1e-6)


def test_many_classes_have_no_confusion_matrix():
    probabilities, labels = some(201, images=402)
    found = measures(probabilities, labels)
    assert "confusion" not in found
    assert len(found["per_class"]) == 201


def test_logs_are_those_of_what_sums_to_one_and_end_at_the_floor():
    given = np.array([[0.5, 0.4995, 0]], np.float32)
    np.testing.assert_allclose(log_probabilities(given), [[np.log(0.5 / 0.9995), np.log(0.4995 / 0.9995), FLOOR]], 1e-6)
