"""The two steps of ``memorisation``: distances among the real images, and from generated ones to them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchbench.errors import BenchError
from benchbench.machine import cores
from benchbench.planning.subsets import disjoint_halves
from benchbench.plugins.context import derive_seed
from benchbench.plugins.images import ImageSet
from benchbench.statistics.checks import check_features
from benchbench.statistics.nearest import limit, nearest, share_within
from benchbench.statistics.pairs import Compute
from benchbench.statistics.prdc import balls_of

from .extractors import Features, extract, open_extractor
from .reference import features_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from benchbench.plugins.context import Context

    from .fidelity import Fidelity, Memorisation

#: Pairs of a generated and a real image that a record lists.
CLOSEST = 20


def write(metric: Memorisation, network: Fidelity, real: ImageSet, context: Context) -> None:
    """Write into ``context.folder`` the features of the real images and how near they are to each other."""
    if len(real) < 4:
        raise BenchError(f"memorisation: real set has {len(real)} images; two halves of at least 2 are needed")
    features = features_of(open_extractor(network, context), real, np.arange(len(real)), context)
    try:
        check_features(features, "real")
        held, rest = disjoint_halves(real.labels, len(real) // 2, derive_seed(context.seed, "held out"))
        known = features[rest]
        least, _ = limit(_left_out(known, context), metric.share)
        facts = {"held_out": share_within(nearest(features[held], known, compute=_compute(context))[1], least)}
        np.save(context.folder / "left-out.npy", _left_out(features, context), allow_pickle=False)
    except ValueError as error:
        raise BenchError(f"memorisation: {error}") from None
    (context.folder / "facts.json").write_text(json.dumps(facts) + "\n", "utf-8")


def score(
    metric: Memorisation, network: Fidelity, synthetic: ImageSet, folder: Path, context: Context
) -> dict[str, Any]:
    """Compare generated images with what :func:`write` left in ``folder``."""
    if not len(synthetic):
        raise BenchError("memorisation: synthetic set is empty: there are no images to score")
    real = np.load(folder / "pool.npy", mmap_mode="c", allow_pickle=False)
    left_out = np.load(folder / "left-out.npy", allow_pickle=False)
    extractor = open_extractor(network, context)
    features = extract(extractor, synthetic.images, context, "features of generated images")
    try:
        index, distances = nearest(features, real, compute=_compute(context))
    except ValueError as error:
        raise BenchError(f"memorisation: {error}") from None
    least, expected = limit(left_out, metric.share)
    usual = float(np.median(left_out))
    closest = np.argsort(distances, kind="stable")[:CLOSEST]
    return {
        "memorised": share_within(distances, least),
        "memorised_real": json.loads((folder / "facts.json").read_text("utf-8"))["held_out"],
        "memorised_expected": expected,
        "nearest_ratio": float(np.median(distances)) / usual if usual else None,
        "extractor": extractor.id,
        "n_score": len(synthetic),
        "n_reference": len(real),
        "warnings": _warnings(metric, left_out, expected),
        "details": {
            "extractor": extractor.facts(),
            "limit": least,
            "closest": [[int(at), int(index[at]), float(distances[at])] for at in closest],
        },
    }


def _left_out(features: Features, context: Context) -> NDArray[np.float64]:
    """Return the distance of each real image to the nearest other one."""
    return np.sqrt(balls_of(features, nearest_k=1, compute=_compute(context)).squared)


def _compute(context: Context) -> Compute:
    return Compute(context.device, 1 if context.device != "cpu" else cores())


def _warnings(metric: Memorisation, left_out: NDArray[np.float64], expected: float) -> list[str]:
    warnings, twins = [], int((left_out == 0).sum())
    if expected > metric.share:
        warnings.append(
            f"{len(left_out)} real images are too few for a share of {metric.share:g}: {expected:.4f} is expected"
        )
    if twins:
        warnings.append(f"{twins} of {len(left_out)} real images have an exact copy among the others")
    return warnings
