"""From listed files to an :class:`ImageSet`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from benchbench.plugins import Context, ImageSet

from ._listing import Item
from ._scan import load_files

#: Bytes that are held in memory at most; larger sets go to the step's scratch folder as they are read.
IN_MEMORY = 2**29


def load_items(
    root: Path,
    items: tuple[Item, ...],
    classes: tuple[str, ...],
    side: int,
    split: str,
    context: Context,
    subject: str,
) -> ImageSet:
    """Read ``items`` in their order; an origin's ``source`` is the path relative to ``root``.

    Raises:
        UsageError: a file that can no longer be used, named.
    """
    names = [name for name, _ in items]
    shape = (len(items), side, side, 3)
    images: NDArray[np.uint8]
    if len(items) * side * side * 3 > IN_MEMORY:
        context.scratch.mkdir(parents=True, exist_ok=True)
        images = open_memmap(context.scratch / f"{split}.npy", mode="w+", dtype=np.uint8, shape=shape)
    else:
        images = np.empty(shape, dtype=np.uint8)
    decoded = load_files(root, names, side, subject)
    for at, pixels in enumerate(context.progress(decoded, total=len(items), label=f"reading {split}", unit="img")):
        images[at] = pixels
    labels = np.array([label for _, label in items], dtype=np.int64)
    return ImageSet(images, labels, classes, [{"source": name} for name in names])
