"""Batches of a task's training images as row numbers, so that images stay on disk until a batch takes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from benchbench.training.data import Batches, Source

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from benchbench.plugins import ImageSet, Task


class Pool:
    """The training images of a task, real ones before generated ones, numbered from 0.

    Attributes:
        names: of the sources, ``"real"`` and ``"synthetic"``, those that are trained on.
        sets: their images.
        labels: int64 ``(N,)`` of all.
        batch_size: images per batch: as asked, or all where there are fewer.
    """

    def __init__(self, task: Task, batch_size: int, seed: int) -> None:
        """Order the images.

        Args:
            task: with both sources, its ``mix`` says how they share a batch, and a part of 0 leaves one out.
            batch_size: images per batch at most.
            seed: decides the order, as in every training: the permutations of two generators are the same.
        """
        both = task.real is not None and task.synthetic is not None
        mix = task.mix if both else None
        self.names: list[str] = []
        self.sets: list[ImageSet] = []
        sources, start = [], 0
        for which, (name, images) in enumerate((("real", task.real), ("synthetic", task.synthetic))):
            if images is None or not len(images) or (mix is not None and mix[which] == 0):
                continue
            rows = torch.arange(start, start + len(images))
            sources.append(Source(name, rows, torch.from_numpy(np.array(images.labels)), seed))
            self.names.append(name)
            self.sets.append(images)
            start += len(images)
        if not sources:
            raise ValueError("a training needs at least one image")
        self.labels = torch.cat([source.labels for source in sources])
        self.batch_size = min(batch_size, start)
        self._batches = Batches(sources, self.batch_size, mix)
        self._starts = np.cumsum([0, *(len(images) for images in self.sets)])

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def parts(self) -> dict[str, int]:
        """The parts of each source in a batch, as ``--mix`` gives them."""
        return dict(zip(self.names, self._batches.parts, strict=True))

    @property
    def sizes(self) -> dict[str, int]:
        """How many training images each source has."""
        return {name: len(images) for name, images in zip(self.names, self.sets, strict=True)}

    def batch(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return row numbers and labels of batch ``step``, both int64 ``(batch_size,)`` on the CPU."""
        return self._batches.batch(step)

    def images(self, rows: torch.Tensor) -> NDArray[np.uint8]:
        """Return the images of rows, uint8 ``(B, H, W, 3)``, in their order."""
        numbers = rows.numpy()
        out = np.empty((len(numbers), *self.sets[0].images.shape[1:]), np.uint8)
        for images, start in zip(self.sets, self._starts, strict=False):
            mine = (numbers >= start) & (numbers < start + len(images))
            out[mine] = images.images[numbers[mine] - start]
        return out
