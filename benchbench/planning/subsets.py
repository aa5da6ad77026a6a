"""Which images: few-shot subsets of the training part, and equal samples for metrics.

Every choice is the first ``n`` of one fixed sequence. The sequence takes the classes in turn (first image of
each class, second image of each class, ...), so any prefix is as class-balanced as the data allow and a
smaller subset is contained in a larger one. Order comes from raw PCG64 output, whose stream NumPy never
changes.

The rule ``"groups"`` is that of Diffusion Inversion's experiment with fewer real images (Zhou et al. 2023,
figure 6): whole groups of consecutive images, drawn at random, whatever their classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError
from ..plugins.context import derive_seed

__all__ = ["balanced_sample", "check", "disjoint_halves", "in_rounds", "select"]

Indices = NDArray[np.int64]


def check(
    class_counts: Sequence[int],
    classes: Sequence[str],
    shots: int | None,
    n_real: int | None,
    subject: str,
    *,
    rule: str = "balanced",
    group_size: int | None = None,
) -> int:
    """Check ``--shots`` and ``--n-real`` against the number of training images, before anything is loaded.

    Args:
        class_counts: training images of each class, in label order.
        classes: class names, in label order.
        shots: images per class, ``None`` when not asked for.
        n_real: images in all, ``None`` when not asked for.
        subject: the dataset as the user wrote it, the start of every message.
        rule: ``"balanced"``, or ``"groups"`` for whole groups.
        group_size: images in a group, ``None`` when the dataset has no groups.

    Returns:
        The number of images that the subset will have.

    Raises:
        UsageError: more than there are (the smallest class is named), or fewer than one per class; with groups:
            shots, no or an impossible ``n_real``, a dataset without groups.
    """
    total = sum(class_counts)
    if rule == "groups":
        return _check_groups(total, shots, n_real, subject, group_size)
    if shots is not None:
        most, name = min(zip(class_counts, classes, strict=True), key=lambda pair: pair[0])
        if shots > most:
            raise UsageError(f"{subject}: --shots={shots}: class '{name}' has {_images(most)}; give at most {most}")
        return shots * len(classes)
    if n_real is not None:
        if n_real < len(classes):
            raise UsageError(f"{subject}: --n-real={n_real}: must be at least {len(classes)}, one image for each class")
        if n_real > total:
            raise UsageError(f"{subject}: --n-real={n_real}: there are {_images(total)}; give at most {total}")
        return n_real
    return total


def _check_groups(total: int, shots: int | None, n_real: int | None, subject: str, size: int | None) -> int:
    start = f"{subject}: --subset=groups"
    if size is None:
        raise UsageError(f"{start}: this dataset declares no groups; use --subset balanced")
    whole = total - total % size
    if not whole:
        raise UsageError(f"{start}: a group has {size} images and there are {_images(total)}; use --subset balanced")
    given = f"a multiple of {size} up to {whole}" + (f", or {total}" if total > whole else "")
    if shots is not None:
        raise UsageError(f"{start}: groups do not count images per class (--shots={shots}); give --n-real, {given}")
    if n_real is None:
        raise UsageError(f"{start}: give --n-real, {given}")
    if n_real != total and (n_real < size or n_real % size or n_real > whole):
        raise UsageError(f"{start}: --n-real={n_real}: groups have {size} images; give {given}")
    return n_real


def select(
    labels: Indices,
    classes: Sequence[str],
    shots: int | None,
    n_real: int | None,
    draw: int,
    dataset: str,
    *,
    rule: str = "balanced",
    group_size: int | None = None,
) -> Indices:
    """Return the indices of the training images that one draw uses, ascending.

    The choice depends on ``labels``, ``dataset`` and ``draw`` alone. Within a draw ``k`` shots are contained
    in ``k + 1`` shots, and ``--n-real=k*C`` equals ``--shots=k`` for ``C`` classes. When ``n_real`` is no
    multiple of the number of classes, the remainder goes to the classes that come first in a seeded order; a
    class with too few images gives all of them and the others fill up.

    With ``rule="groups"`` group ``k`` is the images ``[k*g, (k+1)*g)``, and the first ``n_real // g`` groups of a
    seeded order are taken, so that more images contain fewer. A rest of the training part that fills no group comes
    in only with all images. The authors let an incomplete group count as one; here ``n_real`` images are exactly that.
    Where the images lie in the order of their classes, in which a group would have a single one, groups are those of
    one shuffled order of the dataset, the same for every draw, as in the shuffled files that the authors read.

    Args:
        labels: int64 ``(N,)``, the labels of the whole training part in its fixed order.
        classes: class names, in label order.
        shots: images per class, or ``None``.
        n_real: images in all, or ``None``; both ``None`` selects everything.
        draw: number of the draw, from 0.
        dataset: name of the dataset: the start of messages, and part of the seed.
        rule: ``"balanced"``, or ``"groups"`` for whole groups.
        group_size: images in a group, ``None`` when the dataset has no groups.

    Returns:
        int64 ``(n,)``, ascending, without repetition.

    Raises:
        UsageError: as :func:`check`; or the groups of this draw hold no image of some class.
    """
    counts = [int(count) for count in np.bincount(labels, minlength=len(classes))]
    size = check(counts, classes, shots, n_real, dataset, rule=rule, group_size=group_size)
    if shots is None and n_real is None:
        return np.arange(len(labels), dtype=np.int64)
    if rule == "groups":
        in_class_order = bool((labels[1:] >= labels[:-1]).all())
        order = _shuffled(len(labels), derive_seed(dataset, "order")) if in_class_order else np.arange(len(labels))
        chosen = _groups(order, size, int(group_size or 0), derive_seed(dataset, draw))
        missing = np.flatnonzero(np.bincount(labels[chosen], minlength=len(classes)) == 0)
        if len(missing):
            raise UsageError(
                f"{dataset}: --subset=groups --n-real={size}: the groups of draw {draw + 1} hold no image of class"
                f" '{classes[int(missing[0])]}'; give a larger --n-real, or --subset balanced"
            )
        return chosen
    return np.sort(_in_turns(labels, derive_seed(dataset, draw))[:size])


def _groups(order: Indices, n: int, group_size: int, seed: int) -> Indices:
    if n == len(order):
        return np.sort(order)
    groups = _shuffled(len(order) // group_size, derive_seed(seed, "groups"))[: n // group_size]
    return np.sort(order[(groups[:, None] * group_size + np.arange(group_size)).ravel()])


def balanced_sample(labels: Indices, n: int, seed: int) -> Indices:
    """Return ``n`` indices into ``labels``, ascending, whose classes differ in number as little as possible.

    Args:
        labels: int64 ``(N,)``.
        n: how many, 0 to N.
        seed: in [0, 2**63); the same seed gives nested samples for growing ``n``.

    Raises:
        ValueError: ``n`` is negative or larger than N.
    """
    if not 0 <= n <= len(labels):
        raise ValueError(f"cannot choose {n} of {len(labels)} images")
    return np.sort(_in_turns(labels, seed)[:n])


def in_rounds(labels: Indices, n: int, seed: int) -> Indices:
    """Return ``n`` indices into ``labels``: whole rounds through all in order, then a :func:`balanced_sample`.

    Each is used equally often but for one, and the labels keep their proportions.
    """
    rounds, rest = divmod(n, len(labels))
    return np.concatenate(
        [np.tile(np.arange(len(labels), dtype=np.int64), rounds), balanced_sample(labels, rest, seed)]
    )


def disjoint_halves(labels: Indices, n: int, seed: int) -> tuple[Indices, Indices]:
    """Split ``labels`` into a :func:`balanced_sample` of ``n`` and the rest, both ascending int64 indices.

    The distance between the two parts is the real-against-real baseline of a metric.
    """
    chosen = balanced_sample(labels, n, seed)
    rest = np.ones(len(labels), dtype=bool)
    rest[chosen] = False
    return chosen, np.flatnonzero(rest).astype(np.int64)


def _in_turns(labels: Indices, seed: int) -> Indices:
    """Return all indices, the classes taking turns in a seeded order, each giving its images in a seeded
    order.
    """
    if not len(labels):
        return np.zeros(0, dtype=np.int64)
    turn_of_class = _shuffled(int(labels.max()) + 1, derive_seed(seed, "classes"))
    shuffled = _shuffled(len(labels), derive_seed(seed, "images"))
    # Stable, so that images keep their shuffled order within their class.
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    sizes = np.bincount(labels)
    starts = np.cumsum(sizes) - sizes
    round_of_image = np.arange(len(labels)) - starts[labels[by_class]]
    return by_class[np.lexsort((turn_of_class[labels[by_class]], round_of_image))]


def _shuffled(count: int, seed: int) -> Indices:
    """Return a permutation of ``range(count)`` that no NumPy version changes (``Generator.permutation``
    may).
    """
    keys = np.random.PCG64(seed).random_raw(count)
    return np.argsort(keys, kind="stable").astype(np.int64)


def _images(count: int) -> str:
    return f"{count} training image{'' if count == 1 else 's'}"
