"""Training images, on the device or left on disk, and the order in which batches take them.

The order is a pure function of seed and position: a training that is killed and continued sees the same batches
without any generator state, and every generator's images are visited by the same permutations.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..plugins.context import derive_seed
from .ahead import Ahead
from .pixels import OnDisk, Pixels, placed, set_bytes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..plugins import Task
    from ..plugins.images import ImageSet


class Source:
    """One pool of training images, real or generated, that batches draw a fixed share from.

    Attributes:
        name: ``"real"`` or ``"synthetic"``.
        images: uint8 ``(N, 3, R, R)`` on the device, or on disk.
        labels: int64 ``(N,)`` where the images are: on the device, or on the host for images on disk.
        original: how many images it began with; later ones were grown.
        rounds: how often it has grown.
    """

    def __init__(self, name: str, images: Pixels, labels: torch.Tensor, seed: int) -> None:
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
        """Return which ``count`` images stand from ``position`` on, int64 ``(count,)`` where the labels are.

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

    def add(self, grown: NDArray[np.uint8], labels: torch.Tensor, position: int, rounds: int) -> None:
        """Append images; from ``position`` on, fresh permutations cover the whole set.

        Args:
            grown: uint8 ``(M, 3, R, R)``, all that the set has grown by so far; the first may be in it already.
            labels: int64, of those that are not.
            position: images that batches have taken so far.
            rounds: how often the set has grown, with this time.
        """
        if isinstance(self.images, OnDisk):
            self.images = self.images.with_grown(grown)
        else:
            new = np.array(grown[len(self.labels) - self.original :])
            self.images = torch.cat([self.images, torch.from_numpy(new).to(self.images)])
        self.labels = torch.cat([self.labels, labels.to(self.labels)])
        self.rounds = rounds
        self._base = position
        self._epochs = {}

    def leave_on_disk(self, images: OnDisk) -> None:
        """Take the same images from disk from now on."""
        self.images, self.labels, self._epochs = images, self.labels.cpu(), {}

    def state(self) -> dict[str, object]:
        """Return what was grown but for the pixels, as tensors and numbers."""
        return {"labels": self.labels[self.original :].cpu(), "position": self._base, "rounds": self.rounds}


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
        self._buffer: torch.Tensor | None = None
        self._ahead: Ahead[Order] | None = None
        self._next: tuple[tuple[int, ...], Order] = ((), [])

    @property
    def on_disk(self) -> bool:
        """Whether images are read from disk; then those of every source are."""
        return isinstance(self.sources[0].images, OnDisk)

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
        if not self.on_disk:
            return self._order(step)
        rounds = [source.rounds for source in self.sources]  # a set that has grown meanwhile has another order
        mark, order = self._next
        if mark != (step, *rounds):
            order = self._order(step)
        self._next = (step + 1, *rounds), self._order(step + 1)
        return order

    def _order(self, step: int) -> Order:
        starts = (self.position(which, step) for which in range(len(self.sources)))
        stops = (self.position(which, step + 1) for which in range(len(self.sources)))
        pieces = zip(self.sources, starts, stops, strict=True)
        return [(source, source.order(start, stop - start)) for source, start, stop in pieces]

    def images(self, order: Order, part: range) -> torch.Tensor:
        """Return the images at the places ``part`` of a batch, uint8 ``(len(part), 3, R, R)`` on the device.

        They lie in a buffer that the next call overwrites.
        """
        images = self.sources[0].images
        if isinstance(images, OnDisk):
            if self._ahead is None:
                self._ahead = Ahead(_read, (self.size, *images.shape[1:]), images.device.type)
            return self._ahead.get(order, self._next[1])[part.start : part.stop]
        if self._buffer is None:
            self._buffer = images.new_empty((self.size, *images.shape[1:]))
        out, begin = self._buffer[: len(part)], 0
        for source, index in order:
            start, stop = max(begin, part.start), min(begin + len(index), part.stop)
            if start < stop:
                rows, target = index[start - begin : stop - begin], out[start - part.start : stop - part.start]
                _take(source.images, rows, target)  # type: ignore[arg-type]
            begin += len(index)
        return out

    def labels(self, order: Order) -> torch.Tensor:
        """Return the labels of a batch, int64 ``(size,)`` on the device."""
        labels, device = torch.cat([source.labels[index] for source, index in order]), self.sources[0].images.device
        if labels.device.type == device.type:
            return labels
        return labels.pin_memory().to(device, non_blocking=True)  # else the copy would wait for the step before


def _read(order: Order, out: NDArray[np.uint8]) -> int:
    """Overwrite ``out`` with the images of a batch, of sources on disk."""
    begin = 0
    for source, index in order:
        source.images.read(index.numpy(), out[begin : begin + len(index)])  # type: ignore[union-attr]
        begin += len(index)
    return begin


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


def make_batches(task: Task, resolution: int, size: int, seed: int, device: str, room: float = math.inf) -> Batches:
    """Put a task's training images on the device, or leave them on disk.

    Args:
        task: its ``real`` and ``synthetic`` sets; with both, ``mix`` says how they share a batch, and a part of 0
            leaves that source out.
        resolution: side in px at which they are trained on.
        size: images per batch.
        seed: decides the order; derive it from the training seed alone.
        device: where batches are wanted.
        room: bytes that the images of all sources may take on the device; if they need more, none is put there.
    """
    sets, sources = training_sets(task), []
    if sum(set_bytes(len(images), resolution) for images in sets.values()) > room:
        room = 0
    for name, images in sets.items():
        pixels = placed(images.images, resolution, device, room)
        labels = torch.from_numpy(np.array(images.labels))
        sources.append(Source(name, pixels, labels if isinstance(pixels, OnDisk) else labels.to(device), seed))
    return Batches(sources, size, task.mix)
