"""Feature extractors of ``fidelity``: images in, features out, with everything that makes two sets comparable.

An extractor is named by its id, the hash of its weights and the id of its preprocessing. All three are pinned or
computed here, none is taken on trust, and there is no extractor with random weights.

For the Inception extractors, torch-fidelity supplies the network, and for one of them its TensorFlow-1 resize. Its
own loading is bypassed: it would accept any file of the right name and unpickle it.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchbench.errors import CorruptError
from benchbench.files import drop_pages
from benchbench.plugins.images import batches
from benchbench.statistics.labels import INCEPTIONS

from ..foundations.glyph_cnn_model import SIDE, at_its_side, open_glyph_cnn
from .fidelity import SHA256, read_checked, weights_path

if TYPE_CHECKING:
    from benchbench.plugins.context import Context

    from .fidelity import Fidelity

Features = NDArray[np.float32]

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

    def facts(self) -> dict[str, Any]:
        """Return what makes two sets of features comparable, as JSON."""
        names = ("id", "sha256", "layer", "width", "preprocess")
        return {**{name: getattr(self, name) for name in names}, "dtype": "float32"}


def open_extractor(metric: Fidelity, context: Context) -> Extractor:
    """Open the extractor that the metric names; errors as :func:`glyphcnn` and :func:`inception`."""
    if metric.extractor in INCEPTIONS:
        return inception(weights_path(metric.weights), context.device, metric.extractor)
    return glyphcnn(context.foundation("glyph-cnn"), context.device)


def extract(
    extractor: Extractor, images: NDArray[np.uint8], context: Context | None = None, label: str = ""
) -> Features:
    """Return features float32 ``(N, d)`` of images uint8 ``(N, H, W, 3)``, which may be memory-mapped.

    Images are read one batch at a time; progress is reported to ``context``, if given. The global random state is
    neither read nor moved.
    """
    features = np.empty((len(images), extractor.width), dtype=np.float32)
    parts = list(batches(len(images), extractor.batch))
    with torch.inference_mode(), _exact_convolutions():
        for part in context.progress(parts, label=label, unit="batch") if context else parts:
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


LAYER, INCEPTION_SIDE = "2048", 299


def legacy_input(pixels: torch.Tensor) -> torch.Tensor:
    """Return what StudioGAN's ``legacy`` resize gives Inception: float32 ``(B, 3, 299, 299)`` in [-1, 1].

    Bilinear without antialiasing and without rounding, clipped to 0..255, then ``(x / 255 - 0.5) / 0.5`` (StudioGAN,
    ``src/metrics/preparation.py`` and ``src/utils/resize.py``).

    Args:
        pixels: uint8 ``(B, 3, H, W)``.
    """
    side = (INCEPTION_SIDE, INCEPTION_SIDE)
    large = torch.nn.functional.interpolate(pixels.float(), size=side, mode="bilinear", align_corners=False)
    return (large.clamp(0, 255) / 255 - 0.5) / 0.5


def inception(path: Path, device: str = "cpu", name: str = "inception") -> Extractor:
    """Open the Inception network of FID from a weights file.

    Args:
        path: the weights.
        device: where it runs.
        name: ``"inception"`` behind torch-fidelity's TensorFlow-1 resize, ``"inception-legacy"`` behind StudioGAN's.

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
    legacy = name == "inception-legacy"
    layers = [layer for part, layer in model.named_children() if part != "fc"]  # in the order of its own forward

    def encode(pixels: torch.Tensor) -> torch.Tensor:
        if not legacy:
            return model(pixels)[0]
        return functools.reduce(lambda found, layer: layer(found), layers, legacy_input(pixels)).flatten(1)

    return Extractor(
        id=name,
        sha256=SHA256,
        layer=LAYER,
        width=2048,
        preprocess="rgb-pm1-bilinear-studiogan-legacy-299" if legacy else "rgb-128-bilinear-tf1-299",
        batch=32,
        encode=encode,
        device=device,
    )
