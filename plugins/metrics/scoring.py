"""The work of ``fidelity``: features of both sets, six numbers, and the sentences to read them by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchbench.errors import BenchError
from benchbench.planning.subsets import disjoint_halves
from benchbench.plugins.context import derive_seed
from benchbench.plugins.images import ImageSet
from benchbench.statistics.checks import check_pair
from benchbench.statistics.distances import frechet_distance, kernel_distance
from benchbench.statistics.labels import INCEPTION, heading
from benchbench.statistics.prdc import PRDC, compute_prdc, expected_coverage

from .extractors import KID_SEED, KID_SUBSETS, Extractor, extract, fid, glyphcnn, inception, kid, kid_subset_size
from .fidelity import weights_path

if TYPE_CHECKING:
    from benchbench.plugins.context import Context

    from .fidelity import Fidelity

FloatFeatures = NDArray[np.float32]


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

    extractor = _open(metric, context)
    real_features = extract(extractor, real.images, context, "features of real images")
    synthetic_features = extract(extractor, scored.images, context, "features of generated images")
    try:
        # torch-fidelity looks at nothing, so both routes pass here first.
        check_pair(real_features, synthetic_features, minimum=max(2, k + 1))
        distances = _distances(extractor, real_features, synthetic_features)
        shares = compute_prdc(real_features, synthetic_features, nearest_k=k)
        floor = _distance_of_real(extractor, real, real_features, len(scored), context)
    except (ValueError, ArithmeticError) as error:
        raise BenchError(f"fidelity: {error}") from None
    expected = expected_coverage(len(real), len(scored), k)
    warnings += _warnings_of_numbers(extractor, shares, expected)
    return {
        "fd": distances["fd"],
        "kd": distances["kd"],
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
            "extractor": extractor.describe(),
            "fd_estimator": distances["fd_estimator"],
            "kd_estimator": distances["kd_estimator"],
            "statistics_dtype": "float64",
            "nearest_k": k,
            "zero_radius_real": shares.zero_radius_real,
            "zero_radius_synthetic": shares.zero_radius_synthetic,
            "real_class_counts": real.counts.tolist(),
            "synthetic_class_counts": scored.counts.tolist(),
        },
    }


def _open(metric: Fidelity, context: Context) -> Extractor:
    if metric.extractor == INCEPTION:
        return inception(weights_path(metric.weights), context.device)
    return glyphcnn(context.foundation("glyph-cnn"), context.device)


def _frechet(extractor: Extractor, real: FloatFeatures, synthetic: FloatFeatures) -> float:
    return fid(real, synthetic) if extractor.id == INCEPTION else frechet_distance(real, synthetic)


def _distances(extractor: Extractor, real: FloatFeatures, synthetic: FloatFeatures) -> dict[str, Any]:
    if extractor.id == INCEPTION:
        size = kid_subset_size(len(real), len(synthetic))
        return {
            "fd": _frechet(extractor, real, synthetic),
            "kd": kid(real, synthetic),
            "fd_estimator": "torch-fidelity frechet_inception_distance",
            "kd_estimator": (f"torch-fidelity kernel_inception_distance_mean, {KID_SUBSETS} x {size}, seed {KID_SEED}"),
        }
    return {
        "fd": _frechet(extractor, real, synthetic),
        "kd": kernel_distance(real, synthetic),
        "fd_estimator": "gaussian-w2",
        "kd_estimator": "poly3-U",
    }


def _distance_of_real(
    extractor: Extractor, real: ImageSet, features: FloatFeatures, count: int, context: Context
) -> float | None:
    """Return the Fréchet distance of ``count`` real images to the others; ``None`` where that leaves too few.

    A distance grows as images get fewer, so a number means little without that of real images at its own count.
    """
    if not 2 <= count <= len(real) // 2:
        return None
    chosen, rest = disjoint_halves(real.labels, count, derive_seed(context.seed, "real at this count"))
    return _frechet(extractor, features[rest], features[chosen])


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
    for name in absent[:5]:
        warnings.append(f"class {name!r} has 0 generated images")
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
