"""Memorisation: copies are found, real held-out images score what they are expected to, and the refusals."""

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
from benchbench_plugins.metrics.fidelity import Fidelity, Memorisation

INFO = Digits().info()


@pytest.fixture(scope="module")
def digits():
    images, labels = read()
    return {part: ImageSet(images[rows], labels[rows], INFO.classes) for part, rows in indices(labels).items()}


def measured(real, synthetic, tmp_path, **values):
    metric = build(Memorisation, values, subject="memorisation")
    return scored(metric, real, synthetic, make_context(tmp_path, info=INFO))


def test_it_keeps_what_metrics_promise():
    conformance(Memorisation, name="memorisation")


def test_real_images_score_about_what_is_expected(digits, tmp_path):
    found = measured(digits["train"], digits["test"], tmp_path, share=0.05)
    assert found["memorised_expected"] == pytest.approx(0.05, abs=1e-3)
    # Three standard errors: of the images that are compared, and of those that the limit comes from.
    for name, compared, known in (("memorised", 547, 1000), ("memorised_real", 500, 500)):
        error = np.sqrt(0.05 * 0.95 * (1 / compared + 1 / known))
        assert found[name] == pytest.approx(0.05, abs=3 * error), name
    assert found["nearest_ratio"] == pytest.approx(1, abs=0.1)
    assert (found["n_score"], found["n_reference"], found["warnings"]) == (547, 1000, [])


def test_copies_are_found_and_named_also_with_noise(digits, tmp_path):
    train, test = digits["train"], digits["test"]
    noise = np.random.default_rng(0).normal(0, 10, train.images[:40].shape)
    noisy = (train.images[:40] + noise).clip(0, 255).astype(np.uint8)
    images = np.concatenate([train.images[100:110], noisy, test.images[:150]])
    made = ImageSet(images, np.zeros(200, np.int64), INFO.classes)
    found = measured(train, made, tmp_path)
    assert 0.2 <= found["memorised"] <= 0.28
    closest = found["details"]["closest"]
    assert [pair[:2] for pair in closest[:10]] == [[at, 100 + at] for at in range(10)]
    assert all(distance < 1e-4 for _, _, distance in closest[:10])
    assert sum(at - 10 == source for at, source, _ in closest[10:]) >= 9


def test_few_real_images_and_twins_are_said(digits, tmp_path):
    few = digits["train"].subset([*range(20), 0, 1])
    found = measured(few, digits["test"].subset(range(30)), tmp_path)
    assert found["warnings"] == [
        "22 real images are too few for a share of 0.01: 0.0435 is expected",
        "4 of 22 real images have an exact copy among the others",
    ]


def test_constant_images_are_all_copies_and_have_no_ratio(tmp_path):
    grey = ImageSet(np.full((8, 32, 32, 3), 128, np.uint8), np.zeros(8, np.int64), INFO.classes)
    found = measured(grey, grey, tmp_path)
    assert (found["memorised"], found["memorised_real"], found["nearest_ratio"]) == (1, 1, None)


def test_one_image_can_be_scored_and_sets_that_are_too_small_are_refused(digits, tmp_path):
    one = digits["test"].subset([0])
    assert measured(digits["train"].subset(range(30)), one, tmp_path)["n_score"] == 1
    with pytest.raises(BenchError, match="memorisation: real set has 3 images; two halves of at least 2 are needed"):
        measured(digits["train"].subset(range(3)), one, tmp_path)
    with pytest.raises(BenchError, match="memorisation: synthetic set is empty"):
        measured(digits["train"].subset(range(30)), one.subset([]), tmp_path)


def test_it_needs_what_fidelity_needs_for_its_network():
    assert Memorisation().needs() == Fidelity().needs()
    inception = replace(Memorisation(), extractor="inception")
    assert inception.needs().packages == ("torch_fidelity",)
    assert inception.input_paths() == Fidelity(extractor="inception").input_paths()
    with pytest.raises(ValueError, match="weights is for extractor=inception"):
        Memorisation(weights="x.pth")
