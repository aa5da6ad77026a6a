"""Which images a CLIP filter keeps: those whose probability of their own class is above a threshold.

He et al. 2023 (section 3.1, CLIP filter) and the comparison in Diffusion Inversion (Zhou et al. 2023, appendix B.2):
an image is kept if the probability is strictly greater than the threshold. He et al. refill a class that falls short
with its best-scoring images; so does ``min_per_class``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchbench.errors import UsageError
from benchbench.plugins.context import Context
from benchbench.plugins.images import ImageSet

#: Images per yielded set.
CHUNK = 500


def filtered(
    context: Context,
    labels: NDArray[np.int64],
    classes: tuple[str, ...],
    take: Callable[[NDArray[np.int64]], ImageSet],
    *,
    threshold: float,
    min_per_class: int,
    keep: str,
    subject: str,
) -> Iterator[ImageSet]:
    """Yield at most ``context.n_syn`` images above the threshold, classes taking turns, and report the counts.

    Args:
        context: with the folders in which ``fit`` left ``probabilities.npy``, float32 ``(n, C)``. Without these files
            every image passes; with them the origins get a ``clip_score``.
        labels: of all images, int64 ``(N,)``.
        classes: class names in label order.
        take: returns the images of some rows, int64 ``(n,)``.
        threshold: of the probability of an image's label.
        min_per_class: how many to keep of a class at least, the best ones where too few pass.
        keep: ``"random"`` or ``"best"`` of those that pass, if they are more than ``context.n_syn``.
        subject: the plugin with its parameter, the start of messages: ``"lecf:clip_threshold"``.

    Raises:
        UsageError: nothing is left of a class that has images.
    """
    scores = _own_scores(context.fitted, labels)
    kept = select(
        np.ones(len(labels), np.float32) if scores is None else scores,
        labels,
        classes,
        n_syn=context.n_syn,
        threshold=0.0 if scores is None else threshold,
        min_per_class=min_per_class,
        best_first=keep == "best",
        rng=context.rng("selection"),
        subject=subject,
    )
    if scores is not None:
        context.report(**{subject.partition(":")[2]: threshold}, **facts(kept, scores, labels, len(classes), threshold))
    for chunk in context.chunks(len(kept), CHUNK, label="filtering"):
        rows = kept[chunk.start : chunk.stop]
        part = take(rows)
        if scores is not None:
            pairs = zip(part.origins or [{} for _ in rows], scores[rows], strict=True)
            part = replace(part, origins=[{**o, "clip_score": round(float(score), 6)} for o, score in pairs])
        yield part


def _own_scores(folders: tuple[Path, ...], labels: NDArray[np.int64]) -> NDArray[np.float32] | None:
    """Return the probability of each image's own class, float32 ``(N,)``; ``None`` if nothing was scored."""
    files = [folder / "probabilities.npy" for folder in folders]
    if not all(file.exists() for file in files):
        return None
    table = np.concatenate([np.load(file, allow_pickle=False) for file in files])
    return np.ascontiguousarray(table[np.arange(len(labels)), labels])


def select(
    scores: NDArray[np.float32],
    labels: NDArray[np.int64],
    classes: tuple[str, ...],
    *,
    n_syn: int,
    threshold: float,
    min_per_class: int,
    best_first: bool,
    rng: np.random.Generator,
    subject: str,
) -> NDArray[np.int64]:
    """Choose at most ``n_syn`` images, the classes as even as what passed allows.

    In each class those with ``score > threshold`` pass; where fewer than ``min_per_class`` do, the best-scoring ones
    up to that number count as well. Where more are there than are wanted, a class gives a random part of them, or
    with ``best_first`` those that score best; the first classes give the odd ones.

    Args:
        scores: float32 ``(N,)``, probability of each image's own class.
        labels: int64 ``(N,)``.
        classes: class names in label order.
        n_syn: most images to keep, from 1.
        threshold: in [0, 1].
        min_per_class: from 0.
        best_first: keep the best rather than random ones.
        rng: what random choices are drawn from.
        subject: the plugin with the parameter, the start of messages: ``"lecf:clip_threshold"``.

    Returns:
        Indices of the kept images, classes taking turns.

    Raises:
        UsageError: nothing is left of a class that has candidates.
    """
    passes = _passes(scores, threshold)
    orders = []
    for label, name in enumerate(classes):
        own = np.flatnonzero(labels == label)
        pool = own[passes[own]]
        if len(pool) < min_per_class:
            pool = _best(own, scores)[:min_per_class]
        if len(own) and not len(pool):
            raise UsageError(
                f"{subject}={threshold:g}: leaves no image of class '{name}' "
                f"({len(own)} candidates, best score {scores[own].max():.3f}); lower it or set min_per_class=1"
            )
        orders.append(_best(pool, scores) if best_first else pool[rng.permutation(len(pool))])
    kept = _in_turns(orders)[:n_syn]
    return _in_turns([np.sort(kept[labels[kept] == label]) for label in range(len(classes))])


def facts(
    kept: NDArray[np.int64], scores: NDArray[np.float32], labels: NDArray[np.int64], classes: int, threshold: float
) -> dict[str, Any]:
    """Return JSON facts about a selection for ``Context.report``; classes in label order."""
    passes = _passes(scores, threshold)

    def per_class(rows: NDArray[Any]) -> list[int]:
        counts: list[int] = np.bincount(labels[rows], minlength=classes).tolist()
        return counts

    return {
        "candidates": len(labels),
        "passed": int(passes.sum()),
        "kept": len(kept),
        "mean_clip_score": round(float(scores.mean()), 4),
        "mean_clip_score_kept": round(float(scores[kept].mean()), 4),
        "passed_per_class": per_class(passes),
        "kept_per_class": per_class(kept),
        "below_threshold_per_class": per_class(kept[~passes[kept]]),
    }


def _passes(scores: NDArray[np.float32], threshold: float) -> NDArray[np.bool_]:
    return scores.astype(np.float64) > threshold


def _best(rows: NDArray[np.int64], scores: NDArray[np.float32]) -> NDArray[np.int64]:
    return rows[np.argsort(-scores[rows], kind="stable")]


def _in_turns(parts: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Return the members of all parts, the first of each, then the second of each, ..."""
    turn = np.concatenate([np.arange(len(part)) for part in parts])
    return np.concatenate(parts)[np.argsort(turn, kind="stable")]
