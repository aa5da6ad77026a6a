"""What the next step needs, read from disk while this one computes: a thread fills one of two buffers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import zip_longest
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np
import torch

from ..plugins.images import batches
from .pixels import OnDisk, Pixels

if TYPE_CHECKING:
    from numpy.typing import NDArray

T = TypeVar("T")


class Ahead(Generic[T]):
    """Batches of images that are on the device when they are asked for.

    Args:
        read: overwrites the beginning of an array with the images that its first argument names, and returns how many
            these are; called in a thread.
        shape: of the largest batch, ``(B, 3, R, R)``.
        device: where batches are wanted. On an accelerator they come through pinned memory, on a stream of their own.
    """

    def __init__(self, read: Callable[[T, NDArray[np.uint8]], int], shape: Sequence[int], device: str) -> None:
        self._read = read
        self._buffers = [_Buffer(shape, device), _Buffer(shape, device)]
        self._thread = ThreadPoolExecutor(1, "images")
        self._asked: tuple[T, Future[int], _Buffer] | None = None
        self._held: tuple[T, torch.Tensor] | None = None

    def get(self, wanted: T, then: T | None = None) -> torch.Tensor:
        """Return the images of ``wanted``, uint8 on the device, and begin to read those of ``then``.

        They lie in a buffer that the call for another batch may overwrite. What was begun is recognised as the same
        object; if something else was, these are read now.
        """
        if self._held is None or self._held[0] is not wanted:
            if self._asked is None or self._asked[0] is not wanted:
                self._ask(wanted)
            assert self._asked is not None
            _, count, buffer = self._asked
            self._held, self._asked = (wanted, buffer.arrived(count.result())), None
            if then is not None:
                self._ask(then)
        return self._held[1]

    def _ask(self, wanted: T) -> None:
        buffer = self._buffers[0]
        self._buffers.reverse()
        buffer.release()
        self._asked = wanted, self._thread.submit(self._fill, wanted, buffer), buffer

    def _fill(self, wanted: T, buffer: _Buffer) -> int:
        count = self._read(wanted, buffer.open())
        buffer.send(count)
        return count


class _Buffer:
    """One batch in host memory and on the device: ``release``, ``open``, ``send`` and ``arrived`` in turn."""

    def __init__(self, shape: Sequence[int], device: str) -> None:
        self._cuda = device != "cpu"
        with torch.inference_mode(False):  # else a thread, which is outside of it, could not write to them
            self._host = torch.empty(tuple(shape), dtype=torch.uint8, pin_memory=self._cuda)
            self._images = torch.empty_like(self._host, device=device) if self._cuda else self._host
        if self._cuda:
            self._stream = torch.cuda.Stream()
            self._images.record_stream(self._stream)
            self._free, self._sent = torch.cuda.Event(), torch.cuda.Event()

    def release(self) -> None:
        """Note that what the present stream has been given so far is the last that reads the images."""
        if self._cuda:
            self._free.record()

    def open(self) -> NDArray[np.uint8]:
        """Return the host's side, when the accelerator has taken what it holds."""
        if self._cuda:
            self._sent.synchronize()
        return self._host.numpy()

    def send(self, count: int) -> None:
        """Begin to copy the first images to the accelerator."""
        if self._cuda:
            with torch.cuda.stream(self._stream):
                self._stream.wait_event(self._free)
                self._images[:count].copy_(self._host[:count], non_blocking=True)
                self._sent.record()

    def arrived(self, count: int) -> torch.Tensor:
        """Return the first images; the present stream waits for them, this process does not."""
        if self._cuda:
            torch.cuda.current_stream().wait_event(self._sent)
        return self._images[:count]


def in_turn(images: Pixels, size: int) -> Iterator[torch.Tensor]:
    """Yield all images, uint8 ``(at most size, 3, R, R)`` on their device; the next may overwrite them."""
    if not isinstance(images, OnDisk):
        yield from images.split(size)
        return

    def read(part: range, out: NDArray[np.uint8]) -> int:
        images.read(np.arange(part.start, part.stop), out[: len(part)])
        return len(part)

    ahead = Ahead(read, (min(size, len(images)), *images.shape[1:]), images.device.type)
    parts = list(batches(len(images), size))
    for part, then in zip_longest(parts, parts[1:]):
        yield ahead.get(part, then)
