"""Label agreement: right labels are found right, wrong ones wrong, and the refusals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scored import scored

from benchbench.errors import BenchError
from benchbench.plugins import ImageSet
from benchbench.plugins.parameters import build
from benchbench.testing import conformance, make_context
from benchbench_plugins.datasets.digits import Digits, indices, read
from benchbench_plugins.metrics.agreement import Agreement

INFO = Digits().info()
SHORT = {"steps": 60, "batch_size": 32, "resolution": 16}


@pytest.fixture(scope="module")
def digits():
    images, labels = read()
    return {part: ImageSet(images[rows], labels[rows], INFO.classes) for part, rows in indices(labels).items()}


@pytest.fixture(scope="module")
def trained(digits, tmp_path_factory):
    """The folder of a reference, and a context in which generated images are scored by it."""
    folder = tmp_path_factory.mktemp("reference")
    context = make_context(folder, info=INFO)
    metric = build(Agreement, SHORT, subject="agreement")
    metric.reference(digits["train"], context)
    return metric, replace(context, reference=context.folder)


def test_it_keeps_what_metrics_promise():
    conformance(Agreement, name="agreement", values={"steps": 3, "batch_size": 8, "resolution": 16})


def test_right_labels_agree_and_wrong_ones_do_not(digits, trained):
    metric, context = trained
    test = digits["test"]
    found = metric.score(digits["train"], test, context)
    assert found["agreement"] > 0.85
    assert found["train_accuracy"] > 0.85
    assert found["agreement_by_class"] == pytest.approx(np.mean(found["per_class"]))
    assert (found["n_score"], found["n_reference"]) == (547, 1000)
    wrong = ImageSet(test.images, (test.labels + 1) % 10, test.classes)
    assert metric.score(digits["train"], wrong, context)["agreement"] < 0.1


def test_classes_without_images_are_left_out_of_the_mean(digits, trained):
    metric, context = trained
    test = digits["test"]
    ours = test.subset(np.flatnonzero(test.labels < 2))
    found = metric.score(digits["train"], ours, context)
    assert found["per_class"][2:] == [None] * 8
    assert found["agreement_by_class"] == pytest.approx(np.mean(found["per_class"][:2]))


def test_one_constant_image_is_scored(digits, trained):
    metric, context = trained
    grey = ImageSet(np.full((1, 32, 32, 3), 128, np.uint8), np.zeros(1, np.int64), INFO.classes)
    assert metric.score(digits["train"], grey, context)["agreement"] in (0, 1)


def test_few_real_images_and_constant_ones_are_trained_on(tmp_path):
    grey = ImageSet(np.full((3, 32, 32, 3), 9, np.uint8), np.arange(3), INFO.classes)
    metric = build(Agreement, {**SHORT, "steps": 2}, subject="agreement")
    assert 0 <= scored(metric, grey, grey, make_context(tmp_path, info=INFO))["agreement"] <= 1


def test_empty_sets_are_refused(digits, tmp_path):
    context, empty = make_context(tmp_path, info=INFO), digits["test"].subset([])
    with pytest.raises(BenchError, match="agreement: real set is empty"):
        Agreement().reference(empty, context)
    with pytest.raises(BenchError, match="agreement: synthetic set is empty"):
        Agreement().score(digits["train"], empty, context)
