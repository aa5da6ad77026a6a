"""The real side of ``fidelity``: what it knows of the real images alone, made once and used by every generator."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.lib.format import write_array_header_1_0
from numpy.typing import NDArray

from benchbench.errors import BenchError
from benchbench.machine import cores
from benchbench.plugins.images import ImageSet
from benchbench.statistics.checks import check_features
from benchbench.statistics.distances import Gaussian, gaussian, gaussian_distance, mean_kernel
from benchbench.statistics.labels import INCEPTIONS
from benchbench.statistics.pairs import SIDE, Compute
from benchbench.statistics.prdc import Balls, balls_of

from .extractors import Extractor, Features, extract, open_extractor

if TYPE_CHECKING:
    from benchbench.plugins.context import Context

    from .fidelity import Fidelity

#: Batches whose features a killed run does not compute again.
PART = 16


@dataclass(frozen=True)
class Fit:
    """A Gaussian fitted to features, and the Fréchet distance of two: ours, or torch-fidelity's for FID.

    Attributes:
        of: features ``(N, d)`` to a mean and a matrix.
        distance: of the real images' and the generated ones'.
        name: the estimator, for the record.
    """

    of: Callable[[Features], Gaussian]
    distance: Callable[[Gaussian, Gaussian], float]
    name: str


def fit_for(extractor: str) -> Fit:
    """Return the estimator of the Fréchet distance on an extractor's features."""
    if extractor in INCEPTIONS:
        return Fit(_fid_statistics, _fid, "torch-fidelity frechet_inception_distance")
    return Fit(gaussian, gaussian_distance, "gaussian-w2")


def _fid_statistics(features: Features) -> Gaussian:
    from torch_fidelity.metric_fid import fid_features_to_statistics

    found = fid_features_to_statistics(torch.from_numpy(features))
    return found["mu"], found["sigma"]


def _fid(real: Gaussian, synthetic: Gaussian) -> float:
    from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_statistics_to_metric

    first, second = ({"mu": mu, "sigma": sigma} for mu, sigma in (synthetic, real))
    return float(fid_statistics_to_metric(first, second, verbose=False)[KEY_METRIC_FID])


def blocks_for(context: Context) -> dict[str, Any]:
    """Return ``compute`` and ``chunk`` of the measures: every core, or the accelerator; a kill loses seconds."""
    steps = partial(context.resume, unit="block")
    if context.device != "cpu":
        return {"compute": Compute(context.device, 1, steps), "chunk": 8 * SIDE}
    return {"compute": Compute("cpu", cores(), steps), "chunk": SIDE}


@dataclass(frozen=True)
class Reference:
    """The real images that generated ones are compared with, as :func:`write` left them.

    Attributes:
        features: float32 ``(N, d)`` of the reference.
        gaussian: fitted to them.
        balls: around them.
        within: mean kernel among them; ``None`` for KID, which takes subsets of its own.
        given: real images that there are, at least N.
        counts: images of the reference by class.
        pool: the labels and features of twice as many real images where there are more, else of the reference: two
            disjoint parts of them give the distance of real images to real ones.
    """

    features: Features
    gaussian: Gaussian
    balls: Balls
    within: float | None
    given: int
    counts: NDArray[np.int64]
    pool: tuple[NDArray[np.int64], Features]

    @staticmethod
    def open(folder: Path, classes: int) -> Reference:
        """Read what :func:`write` left."""
        kept = {path.stem: np.load(path, allow_pickle=False) for path in folder.glob("*.npy") if path.stem != "pool"}
        facts = json.loads((folder / "facts.json").read_text("utf-8"))
        pool = np.load(folder / "pool.npy", mmap_mode="c", allow_pickle=False)
        labels, chosen = kept["labels"], kept["chosen"]
        whole = len(chosen) == len(pool)
        return Reference(
            features=pool if whole else pool[chosen],
            gaussian=(kept["mean"], kept["matrix"]),
            balls=Balls(kept["balls"], kept["centre"]),
            within=facts["within"],
            given=facts["given"],
            counts=np.bincount(labels[chosen], minlength=classes).astype(np.int64),
            pool=(labels, pool),
        )


def write(metric: Fidelity, real: ImageSet, context: Context) -> None:
    """Write the reference into ``context.folder``; errors as :meth:`Fidelity.score` says."""
    k, most = metric.nearest_k, metric.reference_images
    if len(real) <= k:  # said before a network is opened
        raise BenchError(f"fidelity: real set has {len(real)} images; a k={k} neighbourhood needs at least {k + 1}")
    rows = _in_proportion(real.labels, 2 * most, context)
    chosen = _in_proportion(real.labels[rows], most, context)
    extractor = open_extractor(metric, context)
    pool = _features(extractor, real, rows, context)
    features = pool if len(chosen) == len(pool) else pool[chosen]
    try:
        check_features(pool, "real", minimum=max(2, k + 1))
        mean, matrix = fit_for(extractor.id).of(features)
        balls = balls_of(features, nearest_k=k, **blocks_for(context))
        within = None if extractor.id in INCEPTIONS else mean_kernel(features, **blocks_for(context))
    except (ValueError, ArithmeticError) as error:
        raise BenchError(f"fidelity: {error}") from None
    arrays = {"labels": real.labels[rows], "chosen": chosen, "mean": mean, "matrix": matrix}
    for name, array in (arrays | {"balls": balls.squared, "centre": balls.centre}).items():
        np.save(context.folder / f"{name}.npy", array, allow_pickle=False)
    facts = {"within": within, "given": len(real)}
    (context.folder / "facts.json").write_text(json.dumps(facts) + "\n", "utf-8")


def _in_proportion(labels: NDArray[np.int64], most: int, context: Context) -> NDArray[np.int64]:
    """Return ``most`` indices, ascending, seeded, of each class its share; all where there are no more, or for 0."""
    if most == 0 or len(labels) <= most:
        return np.arange(len(labels), dtype=np.int64)
    shuffled_by_class = np.lexsort((context.rng("fidelity", "reference", most).random(len(labels)), labels))
    return np.sort(shuffled_by_class[np.arange(most) * len(labels) // most])


def _features(extractor: Extractor, real: ImageSet, rows: NDArray[np.int64], context: Context) -> Features:
    """Return the features of some real images, which are on disk in ``context.folder``; a kill loses one part."""
    size = PART * extractor.batch
    parts = [rows[start : start + size] for start in range(0, len(rows), size)]

    def make(part: NDArray[np.int64], folder: Path) -> None:
        np.save(folder / "features.npy", extract(extractor, real.images[part]), allow_pickle=False)

    folders = context.resume_parts(parts, make, label="features of real images")
    header = {"descr": np.dtype(np.float32).str, "fortran_order": False, "shape": (len(rows), extractor.width)}
    with (context.folder / "pool.npy").open("wb") as stream:  # no memory map, which a full disk turns into a crash
        write_array_header_1_0(stream, header)
        for folder in folders:
            stream.write(np.load(folder / "features.npy", allow_pickle=False).data)
    pool: Features = np.load(context.folder / "pool.npy", mmap_mode="c", allow_pickle=False)  # torch wants to write
    return pool
