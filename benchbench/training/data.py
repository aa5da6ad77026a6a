"""Training images on the device and the order in which batches take them.

The order is a pure function of seed and position: a training that is killed and continued sees the same batches
without any generator state, and every generator's images are visited by the same permutations.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional as F

from ..plugins.context import derive_seed
from ..plugins.images import batches

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..plugins import Task
    from ..plugins.images import ImageSet

#: Pixels that are resized at once, so that a memory-mapped set is never in memory as a whole.
PIXELS_AT_ONCE = 1 << 22


def resized(images: NDArray[np.uint8], resolution: int) -> torch.Tensor:
    """Return images as classifiers see them: shorter side scaled to ``resolution``, centre cropped.

    Bicubic with antialiasing, rounded to uint8, on the CPU whatever the device, once for the whole set: training and
    test images, real and generated, go through the same arithmetic.

    Args:
        images: uint8 ``(N, H, W, 3)``.
        resolution: side of the result in px.

    Returns:
        uint8 ``(N, 3, resolution, resolution)``, contiguous.
    """
    count, height, width = images.shape[:3]
    out = torch.empty((count, 3, resolution, resolution), dtype=torch.uint8)
    scale = resolution / min(height, width)
    size = (max(resolution, round(height * scale)), max(resolution, round(width * scale)))
    top, left = (size[0] - resolution) // 2, (size[1] - resolution) // 2
    for part in batches(count, max(1, PIXELS_AT_ONCE // max(height * width, resolution**2))):
        block = torch.from_numpy(np.array(images[part.start : part.stop])).permute(0, 3, 1, 2)
        if size != (height, width):
            block = F.interpolate(block, size=size, mode="bicubic", antialias=True, align_corners=False)
        out[part.start : part.stop] = block[:, :, top : top + resolution, left : left + resolution]
    return out


class Source:
    """One pool of training images, real or generated, that batches draw a fixed share from.

    Attributes:
        name: ``"real"`` or ``"synthetic"``.
        images: uint8 ``(N, 3, R, R)`` on the device.
        labels: int64 ``(N,)`` on the device.
        original: how many images it began with; later ones were grown.
        rounds: how often it has grown.
    """

    def __init__(self, name: str, images: torch.Tensor, labels: torch.Tensor, seed: int) -> None:
        if not len(labels):
            raise ValueError("a training set needs at least one image")
        self.name = name
        self.images = images
        self.labels = labels
        self.original = len(labels)
        self.rounds = 0
        self._seed = seed
        self._base = 0
        self._epochs: dict[int, torch.Tensor] = {}

    def order(self, position: int, count: int) -> torch.Tensor:
        """Return which ``count`` images stand from ``position`` on, int64 ``(count,)`` on the device.

        One permutation follows the other, so that every batch is full. Not to be written to.
        """
        position -= self._base
        pieces, end = [], position + count
        while position < end:
            epoch, offset = divmod(position, len(self.labels))
            stop = min(len(self.labels), offset + end - position)
            pieces.append(self._permutation(epoch)[offset:stop])
            position += stop - offset
        if len(pieces) == 1:
            return pieces[0]
        return torch.cat(pieces) if pieces else self.labels[:0]

    def _permutation(self, epoch: int) -> torch.Tensor:
        if epoch not in self._epochs:
            seed = derive_seed(self._seed, "order", self.name, self.rounds, epoch)
            order = torch.randperm(len(self.labels), generator=torch.Generator().manual_seed(seed))
            self._epochs = {epoch: order.to(self.labels.device)}  # one epoch in memory, moved once and not per batch
        return self._epochs[epoch]

    def add(self, images: torch.Tensor, labels: torch.Tensor, position: int, rounds: int) -> None:
        """Append images; from ``position`` on, fresh permutations cover the whole set."""
        self.images = torch.cat([self.images, images.to(self.images)])
        self.labels = torch.cat([self.labels, labels.to(self.labels)])
        self.rounds = rounds
        self._base = position
        self._epochs = {}

    def state(self) -> dict[str, object]:
        """Return what was grown, as tensors and numbers."""
        return {
            "images": self.images[self.original :].cpu(),
            "labels": self.labels[self.original :].cpu(),
            "position": self._base,
            "rounds": self.rounds,
        }

    def restore(self, state: dict) -> None:
        """Take over what :meth:`state` returned, into a source as it was made."""
        if state["rounds"]:
            self.add(state["images"], state["labels"], state["position"], state["rounds"])


#: What a batch takes from each source: indices into its images, int64, in the order of the batch's places.
Order = list[tuple[Source, torch.Tensor]]


class Batches:
    """Full batches of ``size`` images in which real and generated images keep the ratio of ``--mix``.

    A ratio that does not divide the batch is kept on average, within one image at every step: 1:2 of 32 gives 10, 11
    and 11 real images in turn.
    """

    def __init__(self, sources: list[Source], size: int, mix: tuple[int, int] | None) -> None:
        if len(sources) == 2 and mix is None:
            raise ValueError("real and generated images together need a mix")
        self.sources = sources
        self.size = size
        #: Parts per group, one for each source.
        self.parts = tuple(mix) if len(sources) == 2 and mix is not None else (1,)
        images = sources[0].images
        self._images = images.new_empty((size, *images.shape[1:]))

    @property
    def mix(self) -> dict[str, int]:
        """The parts of each source in a batch, as ``--mix`` gives them."""
        return dict(zip((source.name for source in self.sources), self.parts, strict=True))

    @property
    def counts(self) -> dict[str, int]:
        """How many training images each source has."""
        return {source.name: len(source.labels) for source in self.sources}

    def position(self, which: int, step: int) -> int:
        """Return how many images of source ``which`` the first ``step`` batches hold."""
        first = step * self.size * self.parts[0] // sum(self.parts)
        return first if which == 0 else step * self.size - first

    def batch(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return batch number ``step``: uint8 ``(size, 3, R, R)`` and int64 ``(size,)`` on the device.

        The images lie in a buffer that the next batch overwrites.
        """
        order = self.order(step)
        return self.images(order, range(self.size)), self.labels(order)

    def order(self, step: int) -> Order:
        """Return what batch number ``step`` takes from each source, in the order of its places."""
        starts = (self.position(which, step) for which in range(len(self.sources)))
        stops = (self.position(which, step + 1) for which in range(len(self.sources)))
        pieces = zip(self.sources, starts, stops, strict=True)
        return [(source, source.order(start, stop - start)) for source, start, stop in pieces]

    def images(self, order: Order, part: range) -> torch.Tensor:
        """Return the images at the places ``part`` of a batch, uint8 ``(len(part), 3, R, R)`` on the device.

        They lie in a buffer that the next call overwrites.
        """
        out, begin = self._images[: len(part)], 0
        for source, index in order:
            start, stop = max(begin, part.start), min(begin + len(index), part.stop)
            if start < stop:
                _take(source.images, index[start - begin : stop - begin], out[start - part.start : stop - part.start])
            begin += len(index)
        return out

    def labels(self, order: Order) -> torch.Tensor:
        """Return the labels of a batch, int64 ``(size,)`` on the device."""
        return torch.cat([source.labels[index] for source, index in order])


def _take(store: torch.Tensor, index: torch.Tensor, out: torch.Tensor) -> None:
    """Overwrite ``out`` with the rows of ``store`` that ``index`` names."""
    if store.device.type == "cpu":  # NumPy copies whole images where torch goes through an iterator for each
        np.take(store.numpy(), index.numpy(), axis=0, out=out.numpy(), mode="clip")
    else:
        torch.index_select(store, 0, index, out=out)


def training_sets(task: Task) -> dict[str, ImageSet]:
    """Return the images to train on, under ``"real"`` and ``"synthetic"``; with both, a part of 0 leaves one out."""
    sets = {"real": task.real, "synthetic": task.synthetic}
    there = {name: images for name, images in sets.items() if images is not None}
    if len(there) == 2 and task.mix is not None:
        return {name: there[name] for name, part in zip(there, task.mix, strict=True) if part}
    return there


def make_batches(task: Task, resolution: int, size: int, seed: int, device: str) -> Batches:
    """Put a task's training images on the device.

    Args:
        task: its ``real`` and ``synthetic`` sets; with both, ``mix`` says how they share a batch, and a part of 0
            leaves that source out.
        resolution: side in px at which they are trained on.
        size: images per batch.
        seed: decides the order; derive it from the training seed alone.
        device: where the uint8 images live.
    """
    sources = []
    for name, images in training_sets(task).items():
        labels = torch.from_numpy(np.array(images.labels))
        sources.append(Source(name, resized(images.images, resolution).to(device), labels.to(device), seed))
    return Batches(sources, size, task.mix)
