"""The work of ``fidelity``: features of both sets, six numbers, and the sentences to read them by.

Feature extractors: images in, features out, with everything that makes two sets of features comparable. An extractor
is named by its id, the hash of its weights and the id of its preprocessing. All three are pinned or computed here, none
is taken on trust, and there is no extractor with random weights.

For the Inception extractor, torch-fidelity supplies the network, its TensorFlow-1 resize and the two values that carry
published names (FID, KID). Its own loading is bypassed: it would accept any file of the right name and unpickle it.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchbench.errors import BenchError, CorruptError
from benchbench.files import drop_pages
from benchbench.planning.subsets import disjoint_halves
from benchbench.plugins.context import derive_seed
from benchbench.plugins.images import ImageSet, batches
from benchbench.statistics.checks import check_pair
from benchbench.statistics.distances import frechet_distance, kernel_distance
from benchbench.statistics.labels import INCEPTION, heading
from benchbench.statistics.prdc import PRDC, compute_prdc, expected_coverage

from ..foundations.glyph_cnn_model import SIDE, at_its_side, open_glyph_cnn
from .fidelity import SHA256, read_checked, weights_path

if TYPE_CHECKING:
    from benchbench.plugins.context import Context

    from .fidelity import Fidelity

Features = NDArray[np.float32]
#: Of the features of real images and of generated ones.
Distance = Callable[[Features, Features], float]

GLYPHCNN = "glyphcnn-v1"
#: The weights that the id ``glyphcnn-v1`` stands for. Other weights need another id.
GLYPHCNN_SHA256 = "c9658f3138345185d9af6118bd676e0e6d85edfbd7225d9115d043889824909e"


@dataclass(frozen=True)
class Extractor:
    """A network that turns images into features.

    Attributes:
        id: name and version, as in tables and records.
        sha256: hash of the weights file.
        layer: which features.
        width: d.
        preprocess: id of resize, range and colour rule; a new rule is a new id.
        batch: images per pass, fixed, since it moves features by rounding.
        encode: uint8 ``(B, 3, H, W)`` on ``device`` to float32 ``(B, d)``.
        device: where the network is.
    """

    id: str
    sha256: str
    layer: str
    width: int
    preprocess: str
    batch: int
    encode: Callable[[torch.Tensor], torch.Tensor]
    device: str = "cpu"


def extract(extractor: Extractor, images: NDArray[np.uint8], context: Context, label: str) -> Features:
    """Return features float32 ``(N, d)`` of images uint8 ``(N, H, W, 3)``, which may be memory-mapped.

    Images are read one batch at a time. The global random state is neither read nor moved.
    """
    features = np.empty((len(images), extractor.width), dtype=np.float32)
    parts = list(batches(len(images), extractor.batch))
    with torch.inference_mode(), _exact_convolutions():
        for part in context.progress(parts, label=label, unit="batch"):
            rows = slice(part.start, part.stop)
            pixels = torch.from_numpy(np.array(images[rows])).permute(0, 3, 1, 2)
            features[rows] = extractor.encode(pixels.to(extractor.device)).float().cpu().numpy()
            drop_pages(images)
    return features


def glyphcnn(folder: Path, device: str = "cpu") -> Extractor:
    """Open the embedded extractor from the folder of the foundation ``glyph-cnn``.

    Raises:
        CorruptError: its weights are missing or are not the pinned ones.
    """
    from safetensors.torch import load

    path = folder / "model.safetensors"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CorruptError(f"glyph-cnn: {path.name} cannot be read ({error.strerror}); reinstall the package") from None
    digest = hashlib.sha256(content).hexdigest()
    if digest != GLYPHCNN_SHA256:
        raise CorruptError(
            f"glyph-cnn: {path.name} is not the weights of {GLYPHCNN} (SHA-256 {digest[:8]}..., "
            f"expected {GLYPHCNN_SHA256[:8]}...); reinstall the package"
        )
    model = open_glyph_cnn(load(content)).to(device)
    return Extractor(
        id=GLYPHCNN,
        sha256=digest,
        layer="embed",
        width=model.embed.out_features,
        preprocess=f"rgb-0to1-bilinear-antialias-{SIDE}-v1",
        batch=256,
        encode=lambda pixels: model.features(at_its_side(pixels.to(torch.float32) / 255)),
        device=device,
    )


@contextlib.contextmanager
def _exact_convolutions() -> Iterator[None]:
    """Full float32 and fixed algorithms on an accelerator: TF32 and autotuning move features."""
    matmul = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    try:
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
            yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = matmul


LAYER = "2048"
#: torch-fidelity's defaults, written out because they are part of what "KID" means here.
KID_SUBSETS = 100
KID_SUBSET_SIZE = 1000
KID_SEED = 2020


def inception(path: Path, device: str = "cpu") -> Extractor:
    """Open the Inception network of FID from a weights file.

    Raises:
        MissingError: there is no such file.
        UsageError: the file is not the Inception weights of FID.
    """
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    weights = torch.load(io.BytesIO(read_checked(path)), map_location="cpu", weights_only=True)
    # The network's constructor takes weights from a file only, and unpickles: it is given tensors that are written
    # here.
    stream = io.BytesIO()
    torch.save(weights, stream)
    stream.seek(0)
    with torch.random.fork_rng(devices=[]):  # layers draw their initial weights from the global state
        network = FeatureExtractorInceptionV3("inception-v3-compat", [LAYER], feature_extractor_weights_path=stream)
    model = network.requires_grad_(False).eval().to(device)
    return Extractor(
        id=INCEPTION,
        sha256=SHA256,
        layer=LAYER,
        width=2048,
        preprocess="rgb-128-bilinear-tf1-299",
        batch=32,
        encode=lambda pixels: model(pixels)[0],
        device=device,
    )


def fid(real: Features, synthetic: Features) -> float:
    """Return torch-fidelity's FID of features ``(N, 2048)`` and ``(M, 2048)``, at least 2 rows each."""
    from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_features_to_statistics, fid_statistics_to_metric

    first = fid_features_to_statistics(torch.from_numpy(synthetic))
    second = fid_features_to_statistics(torch.from_numpy(real))
    return float(fid_statistics_to_metric(first, second, verbose=False)[KEY_METRIC_FID])


def kid(real: Features, synthetic: Features, size: int) -> float:
    """Return torch-fidelity's KID: the mean over 100 seeded subsets of ``size`` images."""
    from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, kid_features_to_metric

    values = kid_features_to_metric(
        torch.from_numpy(synthetic),
        torch.from_numpy(real),
        kid_subsets=KID_SUBSETS,
        kid_subset_size=size,
        rng_seed=KID_SEED,
        verbose=False,
    )
    return float(values[KEY_METRIC_KID_MEAN])


def score(metric: Fidelity, real: ImageSet, synthetic: ImageSet, context: Context) -> dict[str, Any]:
    """Score ``synthetic`` against ``real``; keys and errors as :meth:`Fidelity.score` says."""
    k = metric.nearest_k
    for images, name in ((real, "real"), (synthetic, "synthetic")):
        if len(images) <= k:  # said before a network is opened
            raise BenchError(
                f"fidelity: {name} set has {len(images)} images; a k={k} neighbourhood needs at least {k + 1}"
            )
    warnings = _warnings_of_sets(real, synthetic)
    scored = _capped(metric.images, synthetic, context, warnings)

    if metric.extractor == INCEPTION:
        extractor = inception(weights_path(metric.weights), context.device)
        size = min(KID_SUBSET_SIZE, len(real), len(scored))
        frechet: Distance = fid
        kernel: Distance = partial(kid, size=size)
        estimators = (
            "torch-fidelity frechet_inception_distance",
            f"torch-fidelity kernel_inception_distance_mean, {KID_SUBSETS} x {size}, seed {KID_SEED}",
        )
    else:
        extractor = glyphcnn(context.foundation("glyph-cnn"), context.device)
        frechet, kernel, estimators = frechet_distance, kernel_distance, ("gaussian-w2", "poly3-U")
    real_features = extract(extractor, real.images, context, "features of real images")
    synthetic_features = extract(extractor, scored.images, context, "features of generated images")
    try:
        # torch-fidelity looks at nothing, so both routes pass here first.
        check_pair(real_features, synthetic_features, minimum=max(2, k + 1))
        fd = frechet(real_features, synthetic_features)
        kd = kernel(real_features, synthetic_features)
        shares = compute_prdc(real_features, synthetic_features, nearest_k=k)
        floor = _distance_of_real(frechet, real, real_features, len(scored), context)
    except (ValueError, ArithmeticError) as error:
        raise BenchError(f"fidelity: {error}") from None
    expected = expected_coverage(len(real), len(scored), k)
    warnings += _warnings_of_numbers(extractor, shares, expected)
    return {
        "fd": fd,
        "kd": kd,
        "fd_real": floor,
        "precision": shares.precision,
        "recall": shares.recall,
        "density": shares.density,
        "coverage": shares.coverage,
        "expected_coverage": expected,
        "extractor": extractor.id,
        "n_score": len(scored),
        "n_reference": len(real),
        "warnings": warnings,
        "details": {
            "extractor": {
                **{name: getattr(extractor, name) for name in ("id", "sha256", "layer", "width", "preprocess")},
                "dtype": "float32",
            },
            "fd_estimator": estimators[0],
            "kd_estimator": estimators[1],
            "statistics_dtype": "float64",
            "nearest_k": k,
            "zero_radius_real": shares.zero_radius_real,
            "zero_radius_synthetic": shares.zero_radius_synthetic,
            "real_class_counts": real.counts.tolist(),
            "synthetic_class_counts": scored.counts.tolist(),
        },
    }


def _distance_of_real(
    frechet: Distance, real: ImageSet, features: Features, count: int, context: Context
) -> float | None:
    """Return the Fréchet distance of ``count`` real images to the others; ``None`` where that leaves too few.

    A distance grows as images get fewer, so a number means little without that of real images at its own count.
    """
    if not 2 <= count <= len(real) // 2:
        return None
    chosen, rest = disjoint_halves(real.labels, count, derive_seed(context.seed, "real at this count"))
    return frechet(features[rest], features[chosen])


def _capped(cap: int, synthetic: ImageSet, context: Context, warnings: list[str]) -> ImageSet:
    given = len(synthetic)
    if cap == 0 or given <= cap:
        return synthetic
    chosen = np.sort(context.rng("fidelity", "images").choice(given, cap, replace=False))
    warnings.append(f"{cap} of {given} generated images are scored (fidelity:images={cap}), a seeded choice")
    return synthetic.subset(chosen)


def _warnings_of_sets(real: ImageSet, synthetic: ImageSet) -> list[str]:
    warnings = []
    if real.images.shape[1:3] != synthetic.images.shape[1:3]:
        sizes = ["x".join(str(side) for side in part.images.shape[2:0:-1]) for part in (real, synthetic)]
        warnings.append(f"real images are {sizes[0]} px, generated ones {sizes[1]} px; each is resized on its own")
    absent = [synthetic.classes[i] for i in np.flatnonzero((synthetic.counts == 0) & (real.counts > 0))]
    warnings += [f"class {name!r} has 0 generated images" for name in absent[:5]]
    if len(absent) > 5:
        warnings.append(f"{len(absent) - 5} more classes have 0 generated images")
    return warnings


def _warnings_of_numbers(extractor: Extractor, shares: PRDC, expected: float) -> list[str]:
    warnings = []
    N, M, d = shares.n_real, shares.n_synthetic, extractor.width
    if min(N, M) < d:
        name = heading(extractor.id)
        warnings.append(f"N={min(N, M)} < d={d}: {name} is mostly sample-size bias; read kd and the real baseline too")
    if N != M:
        warnings.append(f"{M} generated images against {N} real ones: perfect coverage is {expected:.3f} at this ratio")
    for count, of, name in (
        (shares.zero_radius_real, N, "real"),
        (shares.zero_radius_synthetic, M, "generated"),
    ):
        if count:
            warnings.append(
                f"{count} of {of} {name} images have {shares.nearest_k} or more exact copies: "
                "their balls are empty and count as a miss even where the match is perfect"
            )
    return warnings
