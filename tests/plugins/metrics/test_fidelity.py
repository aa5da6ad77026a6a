"""The metric ``fidelity`` on the embedded extractor: what it returns, what it refuses, what it depends on."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from datasetinfos import dataset_info
from safetensors.torch import save

from benchbench.errors import BenchError, CorruptError, UsageError
from benchbench.plugins.context import Context
from benchbench.plugins.images import ImageSet
from benchbench.plugins.parameters import build
from benchbench.statistics.distances import frechet_distance, kernel_distance
from benchbench.statistics.prdc import compute_prdc
from benchbench_plugins.foundations.glyph import GlyphCNN as Foundation
from benchbench_plugins.foundations.glyph_cnn_model import GlyphCNN as Network
from benchbench_plugins.foundations.glyph_cnn_model import at_its_side
from benchbench_plugins.metrics import scoring
from benchbench_plugins.metrics.fidelity import Fidelity

CLASSES = ("cat", "dog", "owl")


@pytest.fixture
def standin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a small random network in place of the embedded one: what is tested here is no number."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        content = save(Network(num_classes=3, width=4).state_dict())
    folder = tmp_path / "glyph-cnn"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(content)
    monkeypatch.setattr(scoring, "GLYPHCNN_SHA256", hashlib.sha256(content).hexdigest())
    return folder


def context_for(folder: Path, seed: int = 7) -> Context:
    info = dataset_info(CLASSES, 32, foundation="glyph-sd")
    return Context(seed, folder, folder, info, foundations={"glyph-cnn": folder})


def toy(count: int, seed: int, side: int = 32, classes: int = 3) -> ImageSet:
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, side, side, 3)).astype(np.uint8)
    return ImageSet(images, (np.arange(count) % classes).astype(np.int64), CLASSES)


def test_the_numbers_are_those_of_the_measures(standin: Path) -> None:
    real, synthetic, context = toy(40, 0), toy(30, 1), context_for(standin)
    found = Fidelity(nearest_k=3).score(real, synthetic, context)
    extractor = scoring.glyphcnn(standin)
    x, y = (scoring.extract(extractor, part.images, context, "") for part in (real, synthetic))
    shares = compute_prdc(x, y, nearest_k=3)
    assert x.shape == (40, 128)
    assert found["fd"] == frechet_distance(x, y)
    assert found["kd"] == kernel_distance(x, y)
    assert (found["precision"], found["recall"]) == (shares.precision, shares.recall)
    assert (found["density"], found["coverage"]) == (shares.density, shares.coverage)
    assert (found["extractor"], found["n_score"], found["n_reference"]) == ("glyphcnn-v1", 30, 40)
    details = found["details"]
    assert details["extractor"] == {
        "id": "glyphcnn-v1",
        "sha256": scoring.GLYPHCNN_SHA256,
        "layer": "embed",
        "width": 128,
        "preprocess": "rgb-0to1-bilinear-antialias-32-v1",
        "dtype": "float32",
    }
    assert (details["nearest_k"], details["zero_radius_real"], details["zero_radius_synthetic"]) == (3, 0, 0)
    assert details["synthetic_class_counts"] == [10, 10, 10]


def test_same_bytes_again_and_no_trace_in_the_global_random_state(standin: Path) -> None:
    real, synthetic = toy(20, 0), toy(20, 1)
    torch.manual_seed(1)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    first = json.dumps(Fidelity().score(real, synthetic, context_for(standin)), allow_nan=False)
    assert torch.equal(torch.get_rng_state(), before[0])
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])
    torch.manual_seed(2)
    assert json.dumps(Fidelity().score(real, synthetic, context_for(standin))) == first


def test_features_do_not_depend_on_the_batch(standin: Path) -> None:
    """Batch normalisation in training mode would fail this by far."""
    images, context = toy(70, 3).images, context_for(standin)
    extractor = scoring.glyphcnn(standin)
    whole = scoring.extract(extractor, images, context, "")
    for batch in (1, 64):
        parts = scoring.extract(replace(extractor, batch=batch), images, context, "")
        np.testing.assert_allclose(parts, whole, rtol=0, atol=1e-4)
    assert not extractor.encode(torch.from_numpy(images[:1]).permute(0, 3, 1, 2)).requires_grad


def test_one_pixel_and_one_weight_are_seen(standin: Path) -> None:
    images, context = toy(3, 4).images, context_for(standin)
    features = scoring.extract(scoring.glyphcnn(standin), images, context, "")
    images[1, 5, 5] ^= 128
    changed = scoring.extract(scoring.glyphcnn(standin), images, context, "")
    np.testing.assert_array_equal((features != changed).any(axis=1), [False, True, False])


def test_other_sizes_are_resized_by_one_rule() -> None:
    exact = torch.arange(3 * 32 * 32).reshape(1, 3, 32, 32).remainder(256) / 255
    assert at_its_side(exact) is exact
    board = ((torch.arange(64)[:, None] + torch.arange(64)[None]) % 2).float().expand(1, 3, 64, 64)
    small = at_its_side(board)
    assert small.shape == (1, 3, 32, 32)
    assert small.sub(0.5).abs().max() < 0.05  # antialiased: without, a checkerboard may turn into anything
    torch.testing.assert_close(at_its_side(torch.full((1, 3, 8, 20), 0.2)), torch.full((1, 3, 32, 32), 0.2))


def test_memory_mapped_sets_of_another_size(standin: Path, tmp_path: Path) -> None:
    toy(20, 5, side=48).save(tmp_path / "set")
    found = Fidelity().score(toy(20, 6), ImageSet.load(tmp_path / "set"), context_for(standin))
    assert found["warnings"][0] == "real images are 32x32 px, generated ones 48x48 px; each is resized on its own"


def test_nothing_is_left_out_without_a_word(standin: Path) -> None:
    real, synthetic = toy(30, 0), toy(50, 1)
    everything = Fidelity(images=0).score(real, synthetic, context_for(standin))
    assert everything["n_score"] == 50
    assert not any("are scored" in line for line in everything["warnings"])
    capped = Fidelity(images=20).score(real, synthetic, context_for(standin))
    assert (capped["n_score"], sum(capped["details"]["synthetic_class_counts"])) == (20, 20)
    assert capped["warnings"][0] == "20 of 50 generated images are scored (fidelity:images=20), a seeded choice"
    assert capped == Fidelity(images=20).score(real, synthetic, context_for(standin))
    assert capped["fd"] != Fidelity(images=20).score(real, synthetic, context_for(standin, seed=8))["fd"]


def test_what_a_reader_is_warned_of(standin: Path) -> None:
    real = toy(40, 0)
    copies = toy(20, 1, classes=2)
    copies.images[:8] = copies.images[0]
    warnings = Fidelity().score(real, copies, context_for(standin))["warnings"]
    assert warnings == [
        "class 'owl' has 0 generated images",
        "N=20 < d=128: FD (glyphcnn-v1) is mostly sample-size bias; read kd and the real baseline too",
        "20 generated images against 40 real ones: perfect coverage is 0.885 at this ratio",
        "8 of 20 generated images have 5 or more exact copies: "
        "their balls are empty and count as a miss even where the match is perfect",
    ]


def test_equal_large_sets_need_no_warning(standin: Path) -> None:
    found = Fidelity().score(toy(130, 0), toy(130, 1), context_for(standin))
    assert found["warnings"] == []
    assert found["expected_coverage"] == pytest.approx(0.97, abs=0.01)


def test_too_few_images(standin: Path) -> None:
    with pytest.raises(BenchError) as caught:
        Fidelity().score(toy(20, 0), toy(5, 1), context_for(standin))
    assert str(caught.value) == "fidelity: synthetic set has 5 images; a k=5 neighbourhood needs at least 6"
    with pytest.raises(BenchError, match=r"^fidelity: real set has 0 images; a k=1 neighbourhood needs at least 2$"):
        Fidelity(nearest_k=1).score(toy(0, 0), toy(5, 1), context_for(standin))


def test_features_that_are_not_numbers(standin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Network(num_classes=3, width=4)
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    weights["embed.bias"][0] = float("nan")
    content = save(weights)
    (standin / "model.safetensors").write_bytes(content)
    monkeypatch.setattr(scoring, "GLYPHCNN_SHA256", hashlib.sha256(content).hexdigest())
    with pytest.raises(BenchError) as caught:
        Fidelity().score(toy(9, 0), toy(8, 1), context_for(standin))
    assert str(caught.value) == ("fidelity: real features contain NaN or infinity in 9 of 9 rows (first: index 0)")


def test_other_weights_are_refused(standin: Path) -> None:
    pin = scoring.GLYPHCNN_SHA256
    path = standin / "model.safetensors"
    path.write_bytes(path.read_bytes() + b" ")
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(CorruptError) as caught:
        scoring.glyphcnn(standin)
    assert str(caught.value) == (
        f"glyph-cnn: model.safetensors is not the weights of glyphcnn-v1 "
        f"(SHA-256 {found[:8]}..., expected {pin[:8]}...); reinstall the package"
    )
    path.unlink()
    with pytest.raises(CorruptError) as caught:
        scoring.glyphcnn(standin)
    assert str(caught.value) == (
        "glyph-cnn: model.safetensors cannot be read (No such file or directory); reinstall the package"
    )


def test_the_shipped_weights_are_the_pinned_ones() -> None:
    folder = Foundation().folder()
    extractor = scoring.glyphcnn(folder)
    assert extractor.sha256 == hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert (extractor.id, extractor.width) == ("glyphcnn-v1", 128)


def test_the_shipped_extractor_orders_disturbances() -> None:
    """Noise, missing classes and upside-down are farther from real digits than other real digits are."""
    datasets = pytest.importorskip("sklearn.datasets")
    digits = datasets.load_digits()
    pixels = np.kron(digits.images, np.ones((4, 4))) * (255 / 16)
    images = np.repeat(pixels.astype(np.uint8)[..., None], 3, axis=3)
    order = np.random.default_rng(0).permutation(len(images))
    real, held_out = order[:600], order[600:1200]
    noisy = np.random.default_rng(1).normal(images[held_out], 60).clip(0, 255).astype(np.uint8)
    extractor = scoring.glyphcnn(Foundation().folder())
    context = context_for(Path())

    def features(part: np.ndarray) -> np.ndarray:
        return scoring.extract(extractor, part, context, "")

    reference = features(images[real])
    baseline = frechet_distance(reference, features(images[held_out]))
    half = held_out[digits.target[held_out] < 5]
    for worse in (noisy, images[half], images[held_out][:, ::-1]):
        assert frechet_distance(reference, features(worse)) > 3 * baseline


def test_parameters_and_needs() -> None:
    assert build(Fidelity, {}, subject="fidelity") == Fidelity()
    assert Fidelity().needs().foundations == ("glyph-cnn",)
    assert Fidelity().input_paths() == ()
    with pytest.raises(UsageError, match=r"^fidelity: weights is for extractor=inception; "):
        build(Fidelity, {"weights": "a.pth"}, subject="fidelity")
    with pytest.raises(UsageError, match=r"^fidelity:extractor=incepton: must be one of glyphcnn-v1, inception "):
        build(Fidelity, {"extractor": "incepton"}, subject="fidelity")
    with pytest.raises(UsageError, match=r"^fidelity:nearest_k=0: must be at least 1$"):
        build(Fidelity, {"nearest_k": "0"}, subject="fidelity")


def test_the_module_is_light() -> None:
    code = (
        "import sys; from benchbench_plugins.metrics.fidelity import Fidelity; "
        "from benchbench_plugins.foundations.glyph import GlyphCNN; Fidelity().needs(); "
        "Fidelity('inception').needs(); Fidelity('inception').input_paths(); "
        "print([name for name in ('torch', 'torch_fidelity', 'sklearn', 'pandas') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
