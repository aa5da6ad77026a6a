"""The work of ``fidelity``: features of the generated images, six numbers, and the sentences to read them by.

For the Inception extractor, torch-fidelity computes the two values that carry published names (FID, KID).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from benchbench.errors import BenchError
from benchbench.planning.subsets import disjoint_halves
from benchbench.plugins.context import derive_seed
from benchbench.plugins.images import ImageSet
from benchbench.statistics.checks import check_features
from benchbench.statistics.distances import kernel_distance
from benchbench.statistics.labels import INCEPTIONS, heading
from benchbench.statistics.prdc import PRDC, compute_prdc, expected_coverage

from .extractors import Extractor, Features, extract, open_extractor
from .reference import Fit, Reference, blocks_for, fit_for

if TYPE_CHECKING:
    from pathlib import Path

    from benchbench.plugins.context import Context

    from .fidelity import Fidelity

#: torch-fidelity's defaults, written out because they are part of what "KID" means here.
KID_SUBSETS = 100
KID_SUBSET_SIZE = 1000
KID_SEED = 2020


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


def score(metric: Fidelity, real: ImageSet, synthetic: ImageSet, folder: Path, context: Context) -> dict[str, Any]:
    """Score ``synthetic`` against the reference in ``folder``; keys and errors as :meth:`Fidelity.score` says."""
    k = metric.nearest_k
    if len(synthetic) <= k:  # said before a network is opened
        raise BenchError(
            f"fidelity: synthetic set has {len(synthetic)} images; a k={k} neighbourhood needs at least {k + 1}"
        )
    known = Reference.open(folder, len(real.classes))
    warnings = _warnings_of_sets(real, synthetic) + _warnings_of_reference(known)
    scored = _capped(metric.images, synthetic, context, warnings)
    extractor = open_extractor(metric, context)
    features = extract(extractor, scored.images, context, "features of generated images")
    fit, blocks = fit_for(extractor.id), blocks_for(context)
    try:
        # torch-fidelity looks at nothing, so both routes pass here first.
        check_features(features, "synthetic", minimum=max(2, k + 1))
        fd = fit.distance(known.gaussian, fit.of(features))
        if extractor.id in INCEPTIONS:
            size = min(KID_SUBSET_SIZE, len(known.features), len(scored))
            kd = kid(known.features, features, size)
            kernel = f"torch-fidelity kernel_inception_distance_mean, {KID_SUBSETS} x {size}, seed {KID_SEED}"
        else:
            kd, kernel = kernel_distance(known.features, features, within_real=known.within, **blocks), "poly3-U"
        shares = compute_prdc(known.features, features, nearest_k=k, balls=known.balls, **blocks)
        floor = _distance_of_real(fit, known, len(scored), context)
    except (ValueError, ArithmeticError) as error:
        raise BenchError(f"fidelity: {error}") from None
    expected = expected_coverage(shares.n_real, len(scored), k)
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
        "n_reference": shares.n_real,
        "warnings": warnings,
        "details": {
            "extractor": extractor.facts(),
            "fd_estimator": fit.name,
            "kd_estimator": kernel,
            "statistics_dtype": "float64",
            "nearest_k": k,
            "zero_radius_real": shares.zero_radius_real,
            "zero_radius_synthetic": shares.zero_radius_synthetic,
            "real_class_counts": known.counts.tolist(),
            "synthetic_class_counts": scored.counts.tolist(),
        },
    }


def _distance_of_real(fit: Fit, known: Reference, count: int, context: Context) -> float | None:
    """Return the Fréchet distance of ``count`` real images to others; ``None`` where that leaves too few.

    A distance grows as images get fewer, so a number means little without that of real images at its own count.
    """
    labels, features = known.pool
    if not 2 <= count <= len(labels) // 2:
        return None
    chosen, rest = disjoint_halves(labels, count, derive_seed(context.seed, "real at this count"))
    return fit.distance(fit.of(features[rest]), fit.of(features[chosen]))


def _warnings_of_reference(known: Reference) -> list[str]:
    count = len(known.features)
    if count == known.given:
        return []
    how = f"fidelity:reference_images={count}; 0 for all"
    return [f"{count} of {known.given} real images are the reference ({how}), a seeded choice, of each class its share"]


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
