"""Corruptions of test images: which image gets which, always the same, and the refusals; the package is an extra."""

from __future__ import annotations

import importlib.util
import sys
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from benchbench.errors import BenchError, UsageError
from benchbench.planning.options import make_request
from benchbench.planning.plan import make_plan
from benchbench.plugins.images import ImageSet
from benchbench.plugins.parameters import build
from benchbench.testing import conformance, make_context
from benchbench_plugins.datasets.digits import Digits
from benchbench_plugins.generators import corrupt
from benchbench_plugins.generators.corrupt import COMMON, VALIDATION, Corrupt

INFO = Digits().info()


@pytest.fixture
def package():
    """The corruptions themselves; OpenCV is theirs too."""
    return pytest.importorskip("imagecorruptions", reason="the extra 'corruptions' is not installed")


def plugin(**values):
    return build(Corrupt, values, subject="corrupt")


def pictures(count: int, classes: int = 2, side: int = 32) -> ImageSet:
    small = np.random.default_rng(0).integers(40, 200, (count, 5, 5, 3), dtype=np.uint8)
    images = np.stack([np.asarray(Image.fromarray(image).resize((side, side))) for image in small])
    return ImageSet(images, np.arange(count) % classes, tuple(map(str, range(classes))))


def transformed(generator, images, tmp_path, seed=3):
    return ImageSet.concatenate(list(generator.transform(images, make_context(tmp_path, info=INFO, seed=seed))))


@pytest.mark.parametrize("labels", [np.arange(300) % 10, np.arange(300) // 30, np.arange(100) % 3])
def test_each_corruption_gets_its_share_of_the_images_and_of_each_class(labels):
    kinds = plugin()._kinds(labels)
    assert set(Counter(kinds).values()) <= {len(labels) // 15, -(-len(labels) // 15)}
    for label in np.unique(labels):
        of_class = Counter(kind for kind, own in zip(kinds, labels, strict=True) if own == label)
        assert max(of_class[kind] for kind in COMMON) - min(of_class[kind] for kind in COMMON) <= 1


def test_a_single_corruption_is_that_of_every_image():
    assert plugin(kind="fog")._kinds(np.zeros(20, np.int64)) == ["fog"] * 20


def test_small_images_and_unknown_corruptions_are_one_line():
    with pytest.raises(UsageError, match=r"^corrupt: digits has images of 28 px, and corruptions need 32 px or more$"):
        plugin().resolve(replace(INFO, resolution=28))
    with pytest.raises(UsageError, match=r"^corrupt:kind=rain: must be one of all, gaussian_noise, "):
        plugin(kind="rain")
    with pytest.raises(UsageError, match=r"^corrupt:severity=6: must be at most 5"):
        plugin(severity=6)


def test_the_class_stays_a_generator():
    assert Corrupt.kind == "generator"
    assert replace(plugin(kind="snow"), severity=1).kind == "snow"


def test_a_missing_package_is_named_with_its_extra(monkeypatch):
    find = importlib.util.find_spec
    hidden = {"imagecorruptions"}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name in hidden else find(name, *rest))
    given = {"gen": ["real"], "data": ["digits"], "arch": "shufflenetv2", "test_transform": ["corrupt"]}
    with pytest.raises(BenchError, match=r"corrupt: needs the package imagecorruptions, .*benchbench\[corruptions\]"):
        make_plan(make_request(given))


def test_it_keeps_what_generators_promise(package):
    conformance(Corrupt, name="corrupt", info=INFO, train=pictures(20, 10), n_syn=4)


@pytest.mark.parametrize("kind", [*COMMON, *VALIDATION])
def test_every_corruption_changes_images_and_repeats_itself(kind, package, tmp_path):
    given = pictures(3)
    made = transformed(plugin(kind=kind, severity=5), given, tmp_path / "one")
    assert (made.images != given.images).any()
    np.testing.assert_array_equal(made.labels, given.labels)
    assert made.origins[2] == {"source": 2, "corruption": kind, "severity": 5}
    np.random.seed(1)  # what others left behind must not matter
    again = transformed(plugin(kind=kind, severity=5), given, tmp_path / "two")
    np.testing.assert_array_equal(made.images, again.images)


def test_images_are_those_of_the_package(package, tmp_path):
    """Contrast and brightness have no randomness: the package alone gives the same."""
    given = pictures(2)
    for kind in ("contrast", "brightness"):
        expected = [package.corrupt(image, severity=3, corruption_name=kind) for image in given.images]
        np.testing.assert_array_equal(transformed(plugin(kind=kind), given, tmp_path / kind).images, expected)


def test_noise_is_of_the_image_and_leaves_the_global_state_alone(package, tmp_path):
    twice = pictures(1).subset([0, 0])
    state = np.random.get_state()[1].copy()
    made = transformed(plugin(kind="gaussian_noise"), twice, tmp_path / "noise").images
    np.testing.assert_array_equal(np.random.get_state()[1], state)
    assert (made[0] != made[1]).any()


def test_a_package_that_does_not_load_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "imagecorruptions", None)
    with pytest.raises(BenchError, match=r"^corrupt: imagecorruptions cannot be imported .*opencv-python-headless$"):
        corrupt._one(pictures(1).images[0], "fog", 3, 0)
