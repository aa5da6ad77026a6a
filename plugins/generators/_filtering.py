"""Which images a CLIP filter keeps: those whose probability of their own class is above a threshold.

He et al. 2023 (section 3.1, CLIP filter) and the comparison in Diffusion Inversion (Zhou et al. 2023, appendix B.2):
an image is kept if the probability is strictly greater than the threshold. He et al. refill a class that falls short
with its best-scoring images; so does ``min_per_class``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchbench.errors import UsageError
from benchbench.plugins.context import Context
from benchbench.plugins.images import ImageSet

#: Images per yielded set.
CHUNK = 500


@dataclass(frozen=True)
class Selection:
    """What a filter keeps.

    Attributes:
        kept: int64, indices of the kept images, classes taking turns.
        passed: int64 ``(C,)``, images above the threshold in each class.
        rescued: int64 ``(C,)``, images of each class that are kept below the threshold.
        candidates: int64 ``(C,)``, images to choose from in each class.
    """

    kept: NDArray[np.int64]
    passed: NDArray[np.int64]
    rescued: NDArray[np.int64]
    candidates: NDArray[np.int64]

    def facts(self, scores: NDArray[np.float32], labels: NDArray[np.int64], classes: tuple[str, ...]) -> dict[str, Any]:
        """Return JSON facts about the selection for ``Context.report``; classes in label order."""
        kept = np.bincount(labels[self.kept], minlength=len(classes))
        return {
            "candidates": int(self.candidates.sum()),
            "passed": int(self.passed.sum()),
            "kept": len(self.kept),
            "mean_clip_score": _rounded(scores.mean()),
            "mean_clip_score_kept": _rounded(scores[self.kept].mean()),
            "passed_per_class": self.passed.tolist(),
            "kept_per_class": kept.tolist(),
            "below_threshold_per_class": self.rescued.tolist(),
        }


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
    chosen = select(
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
        context.report(**{subject.partition(":")[2]: threshold}, **chosen.facts(scores, labels, classes))
    for chunk in context.chunks(len(chosen.kept), CHUNK, label="filtering"):
        rows = chosen.kept[chunk.start : chunk.stop]
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
) -> Selection:
    """Choose at most ``n_syn`` images, the classes as even as what passed allows.

    In each class those with ``score > threshold`` pass; where fewer than ``min_per_class`` do, the best-scoring ones
    up to that number count as well. Where more are there than are wanted, a class gives a random part of them, or
    with ``best_first`` those that score best.

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

    Raises:
        UsageError: nothing is left of a class that has candidates.
    """
    count = len(classes)
    passes = scores.astype(np.float64) > threshold
    pools, rescued = [], np.zeros(count, np.int64)
    for label in range(count):
        own = np.flatnonzero(labels == label)
        pool = own[passes[own]]
        if len(pool) < min_per_class:
            best = own[np.argsort(-scores[own], kind="stable")]
            rescued[label] = min(min_per_class, len(own)) - len(pool)
            pool = best[: len(pool) + rescued[label]]
        if len(own) and not len(pool):
            raise UsageError(
                f"{subject}={threshold:g}: leaves no image of class '{classes[label]}' "
                f"({len(own)} candidates, best score {scores[own].max():.3f}); lower it or set min_per_class=1"
            )
        pools.append(pool)
    shares = even_shares(np.array([len(pool) for pool in pools]), n_syn)
    chosen = []
    for pool, share in zip(pools, shares, strict=True):
        order = np.argsort(-scores[pool], kind="stable") if best_first else rng.permutation(len(pool))
        chosen.append(np.sort(pool[order[:share]]))
    below = [int((~passes[part]).sum()) for part in chosen]
    passed = np.bincount(labels[passes], minlength=count)
    return Selection(_in_turns(chosen), passed, np.array(below), np.bincount(labels, minlength=count))


def even_shares(available: NDArray[np.int64], wanted: int) -> NDArray[np.int64]:
    """Share ``wanted`` images out among classes with ``available`` each, as evenly as these allow, int64 ``(C,)``.

    No two classes differ by more than one unless the smaller gives all it has; the first classes get the odd ones.
    """
    shares = np.zeros(len(available), np.int64)
    left = min(wanted, int(available.sum()))
    while left:
        open_classes = np.flatnonzero(available > shares)
        if left < len(open_classes):
            shares[open_classes[:left]] += 1
            break
        step = min(left // len(open_classes), int((available - shares)[open_classes].min()))
        shares[open_classes] += step
        left -= step * len(open_classes)
    return shares


def _in_turns(parts: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Return the members of all parts, the first of each, then the second of each, ..."""
    members = np.concatenate(parts) if parts else np.zeros(0, np.int64)
    turn = np.concatenate([np.arange(len(part)) for part in parts])
    return members[np.argsort(turn, kind="stable")].astype(np.int64)


def _rounded(value: np.floating[Any]) -> float:
    return round(float(value), 4)
