"""FID and KID by torch-fidelity on its Inception network, with the weights checked and loaded safely.

torch-fidelity supplies the network, its TensorFlow-1 resize and the two values that carry published names.
Its own loading is bypassed: it would accept any file of the right name and unpickle it.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchbench.statistics.labels import INCEPTION

from .extractors import Extractor
from .inception_file import SHA256, read_checked

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
    weights = torch.load(io.BytesIO(read_checked(path)), map_location="cpu", weights_only=True)
    model = build(weights).to(device)
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


def build(weights: dict[str, torch.Tensor]) -> torch.nn.Module:
    """Return torch-fidelity's Inception network holding ``weights``, frozen and in eval mode."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    # Its constructor takes weights from a file only, and unpickles: it is given tensors that are written
    # here.
    stream = io.BytesIO()
    torch.save(weights, stream)
    stream.seek(0)
    with torch.random.fork_rng(devices=[]):  # layers draw their initial weights from the global state
        model = FeatureExtractorInceptionV3("inception-v3-compat", [LAYER], feature_extractor_weights_path=stream)
    return model.requires_grad_(False).eval()


def fid(real: NDArray[np.float32], synthetic: NDArray[np.float32]) -> float:
    """Return torch-fidelity's FID of features ``(N, 2048)`` and ``(M, 2048)``, at least 2 rows each."""
    from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_features_to_statistics, fid_statistics_to_metric

    first = fid_features_to_statistics(torch.from_numpy(synthetic))
    second = fid_features_to_statistics(torch.from_numpy(real))
    return float(fid_statistics_to_metric(first, second, verbose=False)[KEY_METRIC_FID])


def kid(real: NDArray[np.float32], synthetic: NDArray[np.float32]) -> float:
    """Return torch-fidelity's KID: the mean over 100 seeded subsets of 1000, or of the smaller set's size."""
    from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, kid_features_to_metric

    values = kid_features_to_metric(
        torch.from_numpy(synthetic),
        torch.from_numpy(real),
        kid_subsets=KID_SUBSETS,
        kid_subset_size=kid_subset_size(len(real), len(synthetic)),
        rng_seed=KID_SEED,
        verbose=False,
    )
    return float(values[KEY_METRIC_KID_MEAN])


def kid_subset_size(n_real: int, n_synthetic: int) -> int:
    """Return the size of KID's subsets for two sets."""
    return min(KID_SUBSET_SIZE, n_real, n_synthetic)
