"""Some images of a set, copied; a copy that is too large for memory lies in a file without a name."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..files import drop_pages
from ..machine import training_room
from ..plugins.images import ImageSet, batches, npy_header

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Images and bytes that are read at once. The system may map 2 MiB around each image.
_IMAGES, _BYTES = 256, 1 << 24


def part_of(given: ImageSet, chosen: NDArray[np.int64], scratch: Path) -> ImageSet:
    """Return ``given.subset(chosen)`` without the pages of ``given`` staying in memory.

    A copy of which two would not fit into :func:`benchbench.machine.training_room` (a training holds its images, and
    what it is given) is written to ``scratch`` and memory-mapped. Its file goes with this process.

    Args:
        given: the set, memory-mapped if it is large.
        chosen: int64 ``(n,)``.
        scratch: a folder that need not exist.

    Raises:
        OSError: the disk is full.
    """
    shape = (len(chosen), *given.images.shape[1:])
    if 2 * math.prod(shape) > training_room("cpu"):
        images = _written(given.images, chosen, scratch / ".part-of-set.npy")
    else:
        images, at = np.empty(shape, np.uint8), 0
        for block in _blocks(given.images, chosen):
            images[at : at + len(block)] = block
            at += len(block)
    bare = np.broadcast_to(np.zeros(3, np.uint8), (len(given), 1, 1, 3))
    return given.with_images(bare).subset(chosen).with_images(images)


def joined(first: NDArray[np.uint8], second: NDArray[np.uint8], file: Path) -> NDArray[np.uint8]:
    """Return the images of two sets of one size behind each other, memory-mapped from ``file``, which is removed.

    Raises:
        OSError: the disk is full.
    """
    shape = (len(first) + len(second), *first.shape[1:])
    every = (block for images in (first, second) for block in _blocks(images, np.arange(len(images))))
    return _on_disk(shape, every, file)


def _written(images: NDArray[np.uint8], chosen: NDArray[np.int64], file: Path) -> NDArray[np.uint8]:
    return _on_disk((len(chosen), *images.shape[1:]), _blocks(images, chosen), file)


def _on_disk(shape: tuple[int, ...], blocks: Iterable[NDArray[np.uint8]], file: Path) -> NDArray[np.uint8]:
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        with file.open("wb") as stream:  # plain writes: a full disk is an error and no SIGBUS
            stream.write(npy_header(shape))
            for block in blocks:
                stream.write(block.data)
        written: NDArray[np.uint8] = np.load(file, mmap_mode="r", allow_pickle=False)
        return written
    finally:
        with contextlib.suppress(OSError):  # where an open file cannot be removed, it goes with the folder
            file.unlink()


def _blocks(images: NDArray[np.uint8], chosen: NDArray[np.int64]) -> Iterator[NDArray[np.uint8]]:
    size = max(1, math.prod(images.shape[1:]))
    for part in batches(len(chosen), max(1, min(_IMAGES, _BYTES // size))):
        yield np.ascontiguousarray(images[chosen[part.start : part.stop]])
        drop_pages(images)
