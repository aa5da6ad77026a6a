"""From listed files to an :class:`ImageSet`, decoded once."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from numpy.typing import NDArray

from benchbench.errors import UsageError
from benchbench.keys.content import hash_file, is_settled, signature
from benchbench.plugins import Context, ImageSet

from . import _images
from ._decoded import Part, Source, decoded
from ._images import listed
from ._listing import Listing
from ._memo import recalled
from ._scan import load_files


def load_items(
    listing: Listing, split: str, side: int, context: Context, subject: str, content: str | None = None
) -> ImageSet:
    """Return one part of a listing, in its order; an origin's ``source`` is the path relative to its root.

    The pixels are decoded the first time only: they are kept under the content of the files, their order, ``side``
    and the code and library that decode them. A cache that cannot be written is done without.

    Args:
        listing: the files.
        split: the part.
        side: height and width in px.
        context: is told the progress.
        subject: the start of every message.
        content: a hash that stands for the content of all files; by default those of the part are read and hashed,
            which is remembered for as long as their sizes, times and inodes stay.

    Raises:
        UsageError: a file that can no longer be used, named.
    """
    items = listing.parts[split]
    labels = np.array([label for _, label in items], dtype=np.int64)

    def blocks() -> Iterator[NDArray[np.uint8]]:
        files = load_files(listing.root, names, side, subject)
        for pixels in context.progress(files, total=len(items), label=f"reading {split}", unit="img"):
            yield pixels[None]

    def read(scratch: Path) -> dict[str, Source]:
        return {split: Source(labels, side, blocks())}

    names = [name for name, _ in items]
    before = content or _content(listing.root, names, subject)

    def check(parts: Mapping[str, Part]) -> dict[str, Any]:
        if content is None and _content(listing.root, names, subject) != before:
            raise UsageError(f"{subject}: its files changed while they were read; run again when they are complete")
        return {}

    order = hashlib.sha256(json.dumps(items).encode()).hexdigest()
    found = decoded(["image files", _rule(), before, order, side], read, check, context.scratch)
    images = found.parts[split].images
    return ImageSet(images, labels, listing.classes, [{"source": name} for name in names])


def _content(root: Path, names: Sequence[str], subject: str) -> str:
    """Return a hash of the files' bytes, in their order; changing the place or the times of a file changes nothing."""
    begun = time.time_ns()
    marks = []
    for name in names:
        try:
            marks.append(signature(os.stat(f"{root}/{name}")))  # a Path for each costs more than the question
        except OSError:
            raise UsageError(f"{subject}: {listed([name])} is no longer there; run again") from None

    def read() -> str:
        tree = hashlib.sha256()
        for name in names:
            try:
                tree.update(bytes.fromhex(hash_file(root / name)))
            except OSError as error:
                raise UsageError(f"{subject}: {listed([name])} cannot be read: {error.strerror}") from None
        return tree.hexdigest()

    if not all(is_settled(mark, begun) for mark in marks):
        return read()
    return str(recalled("contents", [hashlib.sha256(json.dumps(marks).encode()).hexdigest()], read))


def _rule() -> list[str]:
    """Return what decides the pixels of a file: the module of the rule itself, and the version of Pillow."""
    return [hashlib.sha256(Path(_images.__file__).read_bytes()).hexdigest(), PIL.__version__]
