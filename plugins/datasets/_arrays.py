"""Decoded arrays of a published dataset: checked, compared with what is published, handed out as images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchbench.errors import UsageError
from benchbench.plugins import DatasetInfo, ImageSet

from ._decoded import Decoded, Part
from ._images import listed

PARTS = ("train", "validation", "test")
#: Images that are converted at a time.
BLOCK = 1000


def blocks(images: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    """Yield consecutive pieces of at most 1,000 images."""
    for start in range(0, len(images), BLOCK):
        yield images[start : start + BLOCK]


def image_set(found: Decoded, split: str, classes: tuple[str, ...], subject: str) -> ImageSet:
    """Return one part; ``source`` of an origin is the image's index in the published order.

    Raises:
        UsageError: there is no such split.
    """
    if split not in found.parts:
        raise UsageError(f"{subject}: no split '{split}'; it has {', '.join(PARTS)}")
    part = found.parts[split]
    return ImageSet(part.images, part.labels, classes, [{"source": index} for index in range(len(part.labels))])


def check_labels(
    labels: NDArray[Any], name: str, classes: int, subject: str, counted: tuple[str, int] = ("", 0)
) -> None:
    """Check the labels of one part; before they are converted to int64, as larger ones would wrap around.

    Args:
        labels: ``(N,)`` whole numbers of any type.
        name: the part.
        classes: how many there are.
        subject: the start of every message.
        counted: name of a dataset whose files count from another number than 0, and that number; ``labels`` count
            from 0, the message tells what the file holds.

    Raises:
        UsageError: a label that is not in ``0..classes - 1``: how many, the first, and its image.
    """
    wrong = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(wrong):
        title, first = counted
        how = f"{title} counts from {first} to {first + classes - 1}" if title else _range(classes)
        many = "1 {} label is" if len(wrong) == 1 else f"{len(wrong):,} {{}} labels are"
        raise UsageError(
            f"{subject}: {many.format(name)} out of range, the first is label {int(labels[wrong[0]]) + first} of image "
            f"{wrong[0]}; {how}; fetch it again"
        )


def _range(classes: int) -> str:
    return f"{classes} classes have the labels 0 to {classes - 1}"


def checked(
    parts: Mapping[str, Part],
    info: DatasetInfo,
    notes: Sequence[str],
    subject: str,
    counted: tuple[str, int] = ("", 0),
) -> dict[str, Any]:
    """Check the parts of a dataset and compare them with what is published.

    Args:
        parts: ``train``, ``validation`` and ``test``.
        info: the published facts.
        notes: what is known already, first among the notes.
        subject: the start of every message.
        counted: as of :func:`check_labels`.

    Returns:
        JSON facts: ``counts`` by part, ``class_counts`` of train, ``notes``.

    Raises:
        UsageError: an empty train or test part, labels out of range, a class without train or test images.
    """
    for name in PARTS:
        labels = parts[name].labels
        if not len(labels):
            if name != "validation":
                raise UsageError(f"{subject}: the {name} part is empty; fetch it again")
            continue
        check_labels(labels, name, len(info.classes), subject, counted)
        held = np.bincount(labels, minlength=len(info.classes))
        if name != "validation" and not held.all():
            lacking = [info.classes[label] for label in np.flatnonzero(held == 0)]
            raise UsageError(f"{subject}: no {name} images of {listed(lacking)}; every class needs at least one")
    counts = {name: len(parts[name].labels) for name in PARTS}
    per_class = [int(count) for count in np.bincount(parts["train"].labels, minlength=len(info.classes))]
    told = [*notes]
    if other := [f"{name} {counts[name]:,} of {info.counts[name]:,}" for name in PARTS if _differs(name, counts, info)]:
        told.append(f"images here of those published: {', '.join(other)}")
    elif tuple(per_class) != tuple(info.class_counts):
        told.append("the training images of each class are not as many as published")
    return {"counts": counts, "class_counts": per_class, "notes": told}


def _differs(name: str, counts: Mapping[str, int], info: DatasetInfo) -> bool:
    return counts[name] != info.counts[name]
