"""Images that a set has grown by, in a file beside the checkpoint, which holds their number and digest alone."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..files import flush

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from ..plugins import Augmentation, DatasetInfo
    from .pixels import Pixels

#: Bytes of a file that are read at once to compute its digest.
_BLOCK = 1 << 22


class GrownFile:
    """Images of one shape, written one after the other.

    Attributes:
        path: the file; there is none before the first image.
        count: how many images are in it.
        shape: of each, ``(3, R, R)``.
    """

    def __init__(self, path: Path, shape: Sequence[int]) -> None:
        """Begin without images; what a killed training has left is written over, or taken up by :meth:`restore`.

        Args:
            path: of the file, in a folder that need not exist.
            shape: of an image, ``(3, R, R)``.
        """
        self.path = path
        self.count = 0
        self.shape = tuple(shape)
        self._size = int(np.prod(self.shape))
        self._digest = hashlib.blake2b()

    def append(self, images: torch.Tensor) -> None:
        """Write images, uint8 ``(n, 3, R, R)``, behind those that are there."""
        block = np.ascontiguousarray(images.cpu().numpy())
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("r+b" if self.count else "wb") as stream:
            stream.truncate(self.count * self._size)
            stream.seek(0, 2)
            stream.write(block.data)
        self._digest.update(block.data)
        self.count += len(block)

    def images(self, start: int = 0) -> NDArray[np.uint8]:
        """Return the images from number ``start`` on, uint8 ``(n, 3, R, R)``, memory-mapped."""
        if start >= self.count:
            return np.empty((0, *self.shape), np.uint8)
        shape = (self.count - start, *self.shape)
        return np.memmap(self.path, np.uint8, mode="r", offset=start * self._size, shape=shape)

    def state(self) -> dict[str, object]:
        """Return what finds the images again; they have reached the disk."""
        if self.count:
            with self.path.open("r+b") as stream:
                flush(stream.fileno())
        return {"count": self.count, "digest": self._digest.hexdigest()}

    def restore(self, state: dict) -> bool:
        """Take up the images that :meth:`state` spoke of; ``False`` if they are not there as they were."""
        digest, left = hashlib.blake2b(), int(state["count"]) * self._size
        try:
            with self.path.open("rb") as stream:
                while left and (block := stream.read(min(left, _BLOCK))):
                    digest.update(block)
                    left -= len(block)
        except OSError:  # it is not there, or cannot be read
            pass
        if left or digest.hexdigest() != state["digest"]:
            return False
        self.count, self._digest = int(state["count"]), digest
        return True


def grown_pairs(
    augmentation: Augmentation,
    model: torch.nn.Module,
    images: Pixels,
    labels: torch.Tensor,
    rng: torch.Generator,
    info: DatasetInfo,
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield what ``augmentation.grow`` gives, one pair of images and labels or several.

    A set on disk becomes a tensor for an augmentation that does not say that it takes one.
    """
    given: Any = images if augmentation.grows_from_disk else images[:]
    grown: Any = augmentation.grow(model, given, labels, rng, info)
    if isinstance(grown, tuple | list):
        grown = (grown,)
    yield from grown
