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
from scored import scored

from benchbench.errors import BenchError, CorruptError, UsageError
from benchbench.plugins.context import Context
from benchbench.plugins.images import ImageSet
from benchbench.plugins.parameters import build
from benchbench.statistics import prdc
from benchbench.statistics.distances import frechet_distance, kernel_distance
from benchbench.statistics.prdc import compute_prdc
from benchbench.testing import conformance
from benchbench.testing.subject import Killed, Probe, folder_digest
from benchbench_plugins.foundations.glyph import GlyphCNN as Foundation
from benchbench_plugins.foundations.glyph_cnn_model import GlyphCNN as Network
from benchbench_plugins.foundations.glyph_cnn_model import at_its_side
from benchbench_plugins.metrics import extractors, fidelity, reference
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
    monkeypatch.setattr(extractors, "GLYPHCNN_SHA256", hashlib.sha256(content).hexdigest())
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
    found = scored(Fidelity(nearest_k=3), real, synthetic, context)
    extractor = extractors.glyphcnn(standin)
    x, y = (extractors.extract(extractor, part.images) for part in (real, synthetic))
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
        "sha256": extractors.GLYPHCNN_SHA256,
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
    first = json.dumps(scored(Fidelity(), real, synthetic, context_for(standin)), allow_nan=False)
    assert torch.equal(torch.get_rng_state(), before[0])
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])
    torch.manual_seed(2)
    assert json.dumps(scored(Fidelity(), real, synthetic, context_for(standin))) == first


def test_features_do_not_depend_on_the_batch(standin: Path) -> None:
    """Batch normalisation in training mode would fail this by far."""
    images = toy(70, 3).images
    extractor = extractors.glyphcnn(standin)
    whole = extractors.extract(extractor, images)
    for batch in (1, 64):
        parts = extractors.extract(replace(extractor, batch=batch), images)
        np.testing.assert_allclose(parts, whole, rtol=0, atol=1e-4)
    assert not extractor.encode(torch.from_numpy(images[:1]).permute(0, 3, 1, 2)).requires_grad


def test_one_pixel_and_one_weight_are_seen(standin: Path) -> None:
    images = toy(3, 4).images
    features = extractors.extract(extractors.glyphcnn(standin), images)
    images[1, 5, 5] ^= 128
    changed = extractors.extract(extractors.glyphcnn(standin), images)
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
    found = scored(Fidelity(), toy(20, 6), ImageSet.load(tmp_path / "set"), context_for(standin))
    assert found["warnings"][0] == "real images are 32x32 px, generated ones 48x48 px; each is resized on its own"


def test_nothing_is_left_out_without_a_word(standin: Path) -> None:
    real, synthetic = toy(30, 0), toy(50, 1)
    everything = scored(Fidelity(images=0), real, synthetic, context_for(standin))
    assert everything["n_score"] == 50
    assert not any("are scored" in line for line in everything["warnings"])
    capped = scored(Fidelity(images=20), real, synthetic, context_for(standin))
    assert (capped["n_score"], sum(capped["details"]["synthetic_class_counts"])) == (20, 20)
    assert capped["warnings"][0] == "20 of 50 generated images are scored (fidelity:images=20), a seeded choice"
    assert capped == scored(Fidelity(images=20), real, synthetic, context_for(standin))
    assert capped["fd"] != scored(Fidelity(images=20), real, synthetic, context_for(standin, seed=8))["fd"]


def test_what_a_reader_is_warned_of(standin: Path) -> None:
    real = toy(40, 0)
    copies = toy(20, 1, classes=2)
    copies.images[:8] = copies.images[0]
    warnings = scored(Fidelity(), real, copies, context_for(standin))["warnings"]
    assert warnings == [
        "class 'owl' has 0 generated images",
        "N=20 < d=128: FD (glyphcnn-v1) is mostly sample-size bias; read kd and the real baseline too",
        "20 generated images against 40 real ones: perfect coverage is 0.885 at this ratio",
        "8 of 20 generated images have 5 or more exact copies: "
        "their balls are empty and count as a miss even where the match is perfect",
    ]


def test_equal_large_sets_need_no_warning(standin: Path) -> None:
    found = scored(Fidelity(), toy(130, 0), toy(130, 1), context_for(standin))
    assert found["warnings"] == []
    assert found["expected_coverage"] == pytest.approx(0.97, abs=0.01)


def test_too_few_images(standin: Path) -> None:
    with pytest.raises(BenchError) as caught:
        scored(Fidelity(), toy(20, 0), toy(5, 1), context_for(standin))
    assert str(caught.value) == "fidelity: synthetic set has 5 images; a k=5 neighbourhood needs at least 6"
    with pytest.raises(BenchError, match=r"^fidelity: real set has 0 images; a k=1 neighbourhood needs at least 2$"):
        scored(Fidelity(nearest_k=1), toy(0, 0), toy(5, 1), context_for(standin))


def test_features_that_are_not_numbers(standin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Network(num_classes=3, width=4)
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    weights["embed.bias"][0] = float("nan")
    content = save(weights)
    (standin / "model.safetensors").write_bytes(content)
    monkeypatch.setattr(extractors, "GLYPHCNN_SHA256", hashlib.sha256(content).hexdigest())
    with pytest.raises(BenchError) as caught:
        scored(Fidelity(), toy(9, 0), toy(8, 1), context_for(standin))
    assert str(caught.value) == ("fidelity: real features contain NaN or infinity in 9 of 9 rows (first: index 0)")


def test_other_weights_are_refused(standin: Path) -> None:
    pin = extractors.GLYPHCNN_SHA256
    path = standin / "model.safetensors"
    path.write_bytes(path.read_bytes() + b" ")
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(CorruptError) as caught:
        extractors.glyphcnn(standin)
    assert str(caught.value) == (
        f"glyph-cnn: model.safetensors is not the weights of glyphcnn-v1 "
        f"(SHA-256 {found[:8]}..., expected {pin[:8]}...); reinstall the package"
    )
    path.unlink()
    with pytest.raises(CorruptError) as caught:
        extractors.glyphcnn(standin)
    assert str(caught.value) == (
        "glyph-cnn: model.safetensors cannot be read (No such file or directory); reinstall the package"
    )


def test_the_shipped_weights_are_the_pinned_ones() -> None:
    folder = Foundation().folder()
    extractor = extractors.glyphcnn(folder)
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
    extractor = extractors.glyphcnn(Foundation().folder())

    def features(part: np.ndarray) -> np.ndarray:
        return extractors.extract(extractor, part)

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
    names = "glyphcnn-v1, inception, inception-legacy"
    with pytest.raises(UsageError, match=rf"^fidelity:extractor=incepton: must be one of {names} "):
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


def test_a_large_reference_is_a_seeded_choice_of_each_class_its_share(standin: Path, tmp_path: Path) -> None:
    rare = toy(200, 0)
    rare.labels[:] = 0
    rare.labels[:40], rare.labels[40:60] = 1, 2
    metric = Fidelity(reference_images=50)
    found = scored(metric, rare, toy(60, 1), context_for(standin))
    assert found["n_reference"] == 50
    assert found["details"]["real_class_counts"] == [35, 10, 5]
    told = (
        "50 of 200 real images are the reference (fidelity:reference_images=50; 0 for all), "
        "a seeded choice, of each class its share"
    )
    assert found["warnings"][0] == told
    assert found == scored(metric, rare, toy(60, 1), context_for(standin))
    assert found["fd"] != scored(metric, rare, toy(60, 1), context_for(standin, seed=8))["fd"]
    # Twice as many are kept for the distance of real images to real ones, which needs two disjoint parts.
    assert found["fd_real"] is None
    assert scored(metric, rare, toy(50, 1), context_for(standin))["fd_real"] > 0
    for most in (0, 200):
        everything = scored(Fidelity(reference_images=most), rare, toy(60, 1), context_for(standin))
        assert (everything["n_reference"], everything["details"]["real_class_counts"]) == (200, [140, 40, 20])
        assert not any("are the reference" in line for line in everything["warnings"])


def test_the_paper_takes_all_real_images() -> None:
    assert build(Fidelity, {}, subject="fidelity", preset="paper").reference_images == 0
    assert build(Fidelity, {}, subject="fidelity", preset="quick").reference_images == 10_000


@pytest.mark.parametrize("name", ["images", "reference_images"])
def test_a_cap_that_leaves_too_few_for_a_ball_is_refused_before_any_work(name: str) -> None:
    with pytest.raises(UsageError, match=rf"^fidelity: {name} must be 0 or more than nearest_k, which is 5$"):
        build(Fidelity, {name: "5"}, subject="fidelity")
    assert getattr(build(Fidelity, {name: "6"}, subject="fidelity"), name) == 6


def test_any_number_of_cores_gives_the_same_bytes(standin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "SIDE", 16)
    found = []
    for threads in (1, 2, 5):
        monkeypatch.setattr(reference, "cores", lambda threads=threads: threads)
        found.append(json.dumps(scored(Fidelity(), toy(90, 0), toy(70, 1), context_for(standin))))
    assert found == found[:1] * 3


def test_killed_anywhere_it_continues_with_the_same_bytes(
    standin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Features by parts, balls and kernel by rows of blocks: no kill loses what was there."""
    monkeypatch.setattr(reference, "SIDE", 16)
    monkeypatch.setattr(reference, "PART", 1)
    opened = replace(extractors.glyphcnn(standin), batch=8)
    monkeypatch.setattr(reference, "open_extractor", lambda metric, context: opened)
    called: list[str] = []
    for module, name in ((reference, "extract"), (prdc, "squared_distances")):
        real = getattr(module, name)
        spy = lambda *given, real=real, name=name: [called.append(name), real(*given)][1]  # noqa: E731
        monkeypatch.setattr(module, name, spy)
    folders = iter(range(10_000))

    def start(scratch: Path, kill_after: int | None = None) -> Probe:
        folder = tmp_path / f"{next(folders)}"
        folder.mkdir()
        context = context_for(standin)
        probe = Probe(context.seed, folder, scratch, context.info, kill_after=kill_after)
        Fidelity(reference_images=40).reference(toy(70, 0), probe)
        return probe

    whole = start(tmp_path / "in-one-go")
    assert whole.ticks == 9 + 3 + 3  # parts of 70 features, then rows of blocks of 40 real images, twice
    for kill_after in range(1, whole.ticks):
        with pytest.raises(Killed):
            start(tmp_path / f"killed-{kill_after}", kill_after)
        called.clear()
        assert folder_digest(start(tmp_path / f"killed-{kill_after}").folder) == folder_digest(whole.folder)
        # Items are counted when they are handed out, so the last one was not finished.
        assert called.count("extract") == max(0, 9 - kill_after)
        assert called.count("squared_distances") == sum(range(1, 1 + min(3, max(0, 12 - kill_after))))


def test_a_score_without_its_reference_is_refused(standin: Path) -> None:
    with pytest.raises(BenchError, match=r"^fidelity: score needs what reference wrote; give its folder as"):
        Fidelity().score(toy(20, 0), toy(20, 1), context_for(standin))


def test_it_keeps_the_promises_of_a_metric() -> None:
    conformance(Fidelity, strict=True)


def test_an_estimate_counts_pairs_of_images() -> None:
    """Measured: 13.7 and 9.4 CPU seconds with 20,000 real and 10,000 generated images, 2.6 and 1.5 with a quarter."""
    within = 1.5

    def guess(real: int, compared: int, metric: Fidelity, threads: int = 1) -> tuple[float, float]:
        info = replace(dataset_info(CLASSES, 32), class_counts=(real // 2, real // 2))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(fidelity, "cores", lambda: threads)
            return metric.seconds("reference", real, info), metric.seconds("score", real + compared, info)

    whole = Fidelity(reference_images=0)
    for sizes, measured in (((20_000, 10_000), (13.7, 9.4)), ((5_000, 2_500), (2.6, 1.5))):
        for planned, true in zip(guess(*sizes, whole), measured, strict=True):
            assert true / within < planned < true * within
    assert guess(1_280_000, 10_000, whole)[0] > 16_000
    assert guess(1_280_000, 10_000, whole, threads=16)[0] < 2_000
    assert guess(1_280_000, 10_000, Fidelity()) == pytest.approx(guess(20_000, 10_000, Fidelity()))
    assert guess(20_000, 10_000, Fidelity(extractor="inception"))[1] > 7_000
