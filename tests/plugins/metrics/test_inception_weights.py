"""The name FID is earned by one file: how it is found, checked, loaded, and what happens without it."""

from __future__ import annotations

import hashlib
import io
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from datasetinfos import dataset_info
from scored import scored

from benchbench.errors import MissingError, UsageError
from benchbench.plugins.context import Context
from benchbench.plugins.images import ImageSet
from benchbench.plugins.parameters import build
from benchbench.statistics.labels import heading, kernel_heading
from benchbench_plugins.metrics import extractors, fidelity
from benchbench_plugins.metrics.fidelity import Fidelity

FOUND_ELSEWHERE = (
    "weights-inception-2015-12-05-6726825d.pth of torch-fidelity's release v0.2.0 on GitHub; "
    "or give fidelity:weights=FILE or set BENCH_INCEPTION_WEIGHTS. "
    "fidelity:extractor=glyphcnn-v1 works now; its values are not comparable with published FID"
)


@pytest.fixture(autouse=True)
def torch_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, so that no test reads or writes the real one."""
    monkeypatch.delenv("BENCH_INCEPTION_WEIGHTS", raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path / "torch"


def context_for(folder: Path) -> Context:
    info = dataset_info(("a",), foundation="glyph-sd")
    return Context(7, folder, folder, info)


def toy(count: int, seed: int) -> ImageSet:
    images = np.random.default_rng(seed).integers(0, 256, (count, 16, 16, 3)).astype(np.uint8)
    return ImageSet(images, np.zeros(count, dtype=np.int64), ("a",))


def refuse_network(*args: object, **kwargs: object) -> None:
    raise AssertionError("the network must not be used")


def test_the_parameter_goes_before_the_variable_before_the_cache(
    torch_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_cache = torch_home / "hub" / "checkpoints" / "weights-inception-2015-12-05-6726825d.pth"
    metric = Fidelity(extractor="inception")
    assert metric.input_paths() == (in_cache,)
    monkeypatch.setenv("BENCH_INCEPTION_WEIGHTS", "/from/variable.pth")
    assert metric.input_paths() == (Path("/from/variable.pth"),)
    assert Fidelity(extractor="inception", weights="/from/parameter.pth").input_paths() == (
        Path("/from/parameter.pth"),
    )
    monkeypatch.delenv("BENCH_INCEPTION_WEIGHTS")
    monkeypatch.delenv("TORCH_HOME")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert fidelity.hub_path() == Path(torch.hub.get_dir()) / "checkpoints" / fidelity.FILE_NAME


def test_without_weights_there_is_an_error_and_no_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("urllib.request.urlopen", refuse_network)
    metric = Fidelity(extractor="inception")
    (need,) = metric.needs().files
    assert need.path == fidelity.hub_path()
    assert (need.what, need.source) == ("Inception weights of FID", FOUND_ELSEWHERE)
    with pytest.raises(MissingError) as caught:
        scored(metric, toy(8, 0), toy(8, 1), context_for(tmp_path))
    assert caught.value.exit_code == 2
    assert str(caught.value) == (
        f"fidelity:extractor=inception: Inception weights of FID not found at {need.path}; they are {FOUND_ELSEWHERE}"
    )


def test_random_weights_under_the_right_name_are_refused(torch_home: Path, tmp_path: Path) -> None:
    path = fidelity.hub_path()
    path.parent.mkdir(parents=True)
    torch.save({"fc.weight": torch.randn(3, 3)}, path)
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    metric = Fidelity(extractor="inception")
    for attempt in (metric.needs, lambda: scored(metric, toy(8, 0), toy(8, 1), context_for(tmp_path))):
        with pytest.raises(UsageError) as caught:
            attempt()
        assert str(caught.value) == (
            f"fidelity:weights={path}: not the Inception weights of FID (SHA-256 {found[:8]}..., "
            f"expected 6726825d...); replace it; the right file is {FOUND_ELSEWHERE}"
        )
        assert not isinstance(caught.value, MissingError)


def test_a_changed_file_is_hashed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(b"right")
    monkeypatch.setattr(fidelity, "SHA256", hashlib.sha256(b"right").hexdigest())
    assert fidelity.check_file(path) == fidelity.SHA256
    path.write_bytes(b"wrong!")
    with pytest.raises(UsageError, match=r"not the Inception weights of FID"):
        fidelity.check_file(path)
    with pytest.raises(UsageError, match=r"cannot be read"):
        fidelity.check_file(tmp_path)


class Payload:
    """Unpickling this would run code."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (exec, ("raise SystemExit('code of a weights file was run')",))


def test_a_weights_file_cannot_run_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"payload": Payload()}, path)
    monkeypatch.setattr(fidelity, "SHA256", hashlib.sha256(path.read_bytes()).hexdigest())
    with pytest.raises(pickle.UnpicklingError):
        extractors.inception(path)


class Listed(torch.utils.data.Dataset[torch.Tensor]):
    """Images in memory, as torch-fidelity wants them."""

    def __init__(self, items: list[torch.Tensor]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.items[index]


@pytest.fixture(scope="module")
def random_network() -> dict[str, torch.Tensor]:
    """Random weights in the right shape; with its checks in place no user can get this far."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    class Unloaded(FeatureExtractorInceptionV3):
        def load_state_dict(self, *args: object, **kwargs: object) -> None:  # type: ignore[override]
            pass

    stream = io.BytesIO()
    torch.save({}, stream)
    stream.seek(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        weights = Unloaded("random", ["2048"], feature_extractor_weights_path=stream).state_dict()
    # Default initial weights let activations vanish: every image would have the same features.
    return {name: value * 3 if name.endswith("conv.weight") else value for name, value in weights.items()}


def test_the_values_are_those_of_torch_fidelity(
    random_network: dict[str, torch.Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("urllib.request.urlopen", refuse_network)
    path = tmp_path / "weights.pth"
    torch.save(random_network, path)
    pin = hashlib.sha256(path.read_bytes()).hexdigest()
    for module in (fidelity, extractors):
        monkeypatch.setattr(module, "SHA256", pin)
    real, synthetic = toy(4, 0), toy(3, 1)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    metric = Fidelity(extractor="inception", nearest_k=1, weights=str(path))
    found = scored(metric, real, synthetic, context_for(tmp_path))
    assert torch.equal(torch.get_rng_state(), before)
    assert (heading(found["extractor"]), kernel_heading(found["extractor"])) == (
        "FID (torch-fidelity)",
        "KID (torch-fidelity)",
    )
    assert found["details"]["extractor"]["sha256"] == pin
    assert found["details"]["kd_estimator"].endswith("100 x 3, seed 2020")
    assert (
        found["warnings"][0]
        == "N=3 < d=2048: FID (torch-fidelity) is mostly sample-size bias; read kd and the real baseline too"
    )

    from torch_fidelity import calculate_metrics

    pixels = [list(torch.from_numpy(part.images).permute(0, 3, 1, 2)) for part in (synthetic, real)]
    expected = calculate_metrics(
        input1=Listed(pixels[0]),
        input2=Listed(pixels[1]),
        fid=True,
        kid=True,
        kid_subset_size=3,
        feature_extractor_weights_path=str(path),
        cuda=False,
        save_cpu_ram=True,
        verbose=False,
    )
    assert found["fd"] > 1e-3  # the images do differ in these features
    assert found["fd"] == pytest.approx(expected["frechet_inception_distance"], rel=1e-4)
    assert found["kd"] == pytest.approx(expected["kernel_inception_distance_mean"], rel=1e-4, abs=1e-6)


def test_the_legacy_resize_is_studiogans_and_the_network_is_the_same(
    random_network: dict[str, torch.Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "weights.pth"
    torch.save(random_network, path)
    pin = hashlib.sha256(path.read_bytes()).hexdigest()
    for module in (fidelity, extractors):
        monkeypatch.setattr(module, "SHA256", pin)
    pixels = torch.from_numpy(toy(3, 0).images).permute(0, 3, 1, 2)
    # Another form of bilinear sampling without antialiasing: a grid of pixel centres, the border repeated.
    at = torch.arange(299).add(0.5).mul(2 / 299).sub(1)
    grid = torch.stack([at.expand(299, 299), at[:, None].expand(299, 299)], dim=2).expand(len(pixels), -1, -1, -1)
    large = torch.nn.functional.grid_sample(pixels.float(), grid, padding_mode="border", align_corners=False)
    torch.testing.assert_close(extractors.legacy_input(pixels), large / 127.5 - 1, atol=1e-3, rtol=0)

    legacy = extractors.open_extractor(Fidelity(extractor="inception-legacy", weights=str(path)), context_for(tmp_path))
    plain = extractors.open_extractor(Fidelity(extractor="inception", weights=str(path)), context_for(tmp_path))
    assert (legacy.id, plain.id) == ("inception-legacy", "inception")
    assert legacy.preprocess != plain.preprocess
    assert legacy.sha256 == plain.sha256 == pin
    # Images of 299 px are not resized by either, so that one network's two scalings are all that differs.
    whole = torch.randint(0, 256, (2, 3, 299, 299), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        theirs, ours = plain.encode(whole), legacy.encode(whole)
        small = plain.encode(pixels), legacy.encode(pixels)
    assert ours.shape == (2, 2048)
    torch.testing.assert_close(ours, theirs, rtol=0.1, atol=0.02 * float(theirs.abs().max()))
    assert float((small[0] - small[1]).abs().max()) > 1e-3


def test_the_papers_preset_compares_every_image_behind_the_resize_of_its_metrics() -> None:
    published = build(Fidelity, {}, subject="fidelity", preset="paper")
    assert (published.extractor, published.images, published.reference_images) == ("inception-legacy", 0, 0)
    assert published.compares_all()
    assert not build(Fidelity, {}, subject="fidelity", preset="quick").compares_all()
    assert not build(Fidelity, {"images": "100"}, subject="fidelity", preset="paper").compares_all()
