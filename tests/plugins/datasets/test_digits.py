"""The digits: constants that planning relies on, and parts that no version may move."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from benchbench.errors import BenchError
from benchbench.plugins.parameters import build
from benchbench.testing import conformance
from benchbench_plugins.datasets import digits
from benchbench_plugins.datasets.digits import Digits


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    from benchbench.plugins import Context

    folder = tmp_path_factory.mktemp("digits")
    context = Context(seed=0, folder=folder, scratch=folder, info=Digits().info())
    return {split: Digits().load(split, context) for split in ("train", "validation", "test")}


def test_parts_are_those_of_ever(loaded):
    indices = [[origin["source"] for origin in loaded[split].origins] for split in ("train", "validation", "test")]
    content = b"".join(np.array(part, dtype="<i8").tobytes() for part in indices)
    assert hashlib.sha256(content).hexdigest() == "78bffc79e618753f105090e0b8b096b8bd81222f5568538923f728e482faecf6"
    assert sorted(index for part in indices for index in part) == list(range(1797))
    assert all(part == sorted(part) for part in indices)


def test_info_tells_what_load_gives(loaded):
    info = Digits().info()
    assert {split: len(part) for split, part in loaded.items()} == info.counts
    assert tuple(loaded["train"].counts) == info.class_counts == (100,) * 10
    assert set(loaded["validation"].counts) == {25}
    assert loaded["test"].counts.min() == 49
    pixels = loaded["train"].images / 255
    np.testing.assert_allclose(pixels.mean(axis=(0, 1, 2)), info.mean, atol=5e-5)
    np.testing.assert_allclose(pixels.std(axis=(0, 1, 2)), info.std, atol=5e-5)
    assert loaded["train"].classes == info.classes
    assert loaded["train"].images.shape == (1000, 32, 32, 3)
    assert info.quick_shots == 5
    assert not info.flip_keeps_class
    assert info.prompt.format(info.prompt_names[7]) == "a photo of the digit seven"


def test_images_are_scikit_learns_enlarged(loaded):
    from sklearn.datasets import load_digits

    source = load_digits()
    for split in loaded.values():
        for at in (0, len(split) // 2, len(split) - 1):
            index = split.origins[at]["source"]
            assert split.labels[at] == source.target[index]
            small = Image.fromarray(np.rint(source.images[index] * 255 / 16).astype(np.uint8))
            expected = np.asarray(small.resize((32, 32), Image.Resampling.BICUBIC))
            for channel in range(3):
                np.testing.assert_array_equal(split.images[at, :, :, channel], expected)


def test_classify_resolution_follows_the_preset():
    assert build(Digits, {}, subject="digits").info().classify_resolution == 16
    assert build(Digits, {}, subject="digits", preset="paper").info().classify_resolution == 32


PLANNING = """
import sys
from benchbench_plugins.datasets import cifar, digits, eurosat, folder, imagenette, medmnist_sets, stl10

published = cifar.CIFAR100, eurosat.EuroSAT, imagenette.Imagenette, medmnist_sets.PathMNIST, stl10.STL10
for kind in (digits.Digits, *published):
    kind().info()
    kind().needs()
heavy = ("sklearn", "torch", "torchvision", "medmnist", "PIL", "scipy", "pandas", "numpy")
print([name for name in heavy if name in sys.modules])
"""


def test_planning_without_files_imports_no_library(tmp_path):
    command, environment = [sys.executable, "-c", PLANNING], {**os.environ, "BENCH_DATA": str(tmp_path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_keeps_the_promises_of_a_dataset():
    conformance(Digits)


def test_other_digits_are_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(digits, "CONTENT", "0" * 64)
    with pytest.raises(BenchError) as raised:
        digits.read()
    assert str(raised.value) == (
        "digits: the installed scikit-learn holds other digits than the 1,797 that the parts were fixed on; "
        "install another version of scikit-learn"
    )
