"""Images as classifiers see them: resized, in tensors ``(N, 3, R, R)``, or left on disk until some are asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch
from torch.nn import functional as F

from ..files import drop_pages
from ..plugins.images import batches

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Pixels that are resized at once, so that a memory-mapped set is never in memory as a whole.
PIXELS_AT_ONCE = 1 << 22
#: Images that are read from a map at once, and after which what is mapped is given back. The system may map 2 MiB
#: around each of them; giving back after every batch would cost a small network 2 % of its step.
READ_AT_ONCE, DROP_AFTER = 256, 512
#: Pixels that are read from a map at once, so that a core's cache holds them until they are turned.
READ_PIXELS = 1 << 20


def classified(images: NDArray[np.uint8], resolution: int) -> torch.Tensor:
    """Return images as classifiers see them: shorter side scaled to ``resolution``, centre cropped.

    Bicubic with antialiasing, rounded to uint8, on the CPU whatever the device: training and test images, real and
    generated, go through the same arithmetic, each by itself.

    Args:
        images: uint8 ``(N, H, W, 3)``, writable.
        resolution: side of the result in px.

    Returns:
        uint8 ``(N, 3, resolution, resolution)``, maybe a view of ``images``.
    """
    height, width = images.shape[1:3]
    scale = resolution / min(height, width)
    size = (max(resolution, round(height * scale)), max(resolution, round(width * scale)))
    top, left = (size[0] - resolution) // 2, (size[1] - resolution) // 2
    block = torch.from_numpy(images).permute(0, 3, 1, 2)
    if size != (height, width):
        block = F.interpolate(block, size=size, mode="bicubic", antialias=True, align_corners=False)
    return block[:, :, top : top + resolution, left : left + resolution]


def resized(images: NDArray[np.uint8], resolution: int, device: str = "cpu") -> torch.Tensor:
    """Return a whole set as :func:`classified` makes it, on ``device``; no second copy of it is in memory meanwhile.

    Args:
        images: uint8 ``(N, H, W, 3)``, maybe memory-mapped.
        resolution: side of the result in px.
        device: where the result lies.

    Returns:
        uint8 ``(N, 3, resolution, resolution)``, contiguous.
    """
    count, height, width = images.shape[:3]
    out = torch.empty((count, 3, resolution, resolution), dtype=torch.uint8, device=device)
    for part in batches(count, max(1, PIXELS_AT_ONCE // max(height * width, resolution**2))):
        out[part.start : part.stop] = classified(np.array(images[part.start : part.stop]), resolution)
        drop_pages(images)
    return out


class OnDisk:
    """A set that stays where it lies, and looks like the tensor uint8 ``(N, 3, R, R)`` that it would be in memory.

    An index gives a tensor of these images alone. What has grown follows the images of the set.

    Attributes:
        shape: ``(N, 3, R, R)``.
        dtype: ``torch.uint8``.
        device: where what an index gives lies.
    """

    dtype = torch.uint8

    def __init__(
        self, images: NDArray[np.uint8], resolution: int, device: str, grown: NDArray[np.uint8] | None = None
    ) -> None:
        """Take a set, memory-mapped if it is large.

        Args:
            images: uint8 ``(N, H, W, 3)``.
            resolution: R, in px.
            device: of what an index gives.
            grown: uint8 ``(M, 3, R, R)``, images that follow.
        """
        self._images = np.asarray(images)
        self._grown = np.empty((0, 3, resolution, resolution), np.uint8) if grown is None else np.asarray(grown)
        self._resolution = resolution
        self._mapped = 0  # images read since pages were given back
        self.device = torch.device(device)
        self.shape = torch.Size((len(self._images) + len(self._grown), *self._grown.shape[1:]))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: int | slice | torch.Tensor) -> torch.Tensor:
        """Return the images of rows, uint8 on the device: of a number, a slice, int64 indices or a bool mask."""
        chosen = np.arange(len(self))[rows.cpu().numpy() if isinstance(rows, torch.Tensor) else rows]
        out = np.empty((chosen.size, *self.shape[1:]), np.uint8)
        self.read(np.atleast_1d(chosen), out)
        found = torch.from_numpy(out).to(self.device)
        return found if chosen.ndim else found[0]

    def with_grown(self, grown: NDArray[np.uint8]) -> OnDisk:
        """Return the set with these images, uint8 ``(M, 3, R, R)``, in place of those that it has grown by."""
        return OnDisk(self._images, self._resolution, str(self.device), grown)

    def read(self, rows: NDArray[np.int64], out: NDArray[np.uint8]) -> None:
        """Overwrite ``out``, uint8 ``(n, 3, R, R)``, with the images of rows ``(n,)``, each in 0..N-1.

        The memory that their pages take is given back after every ``DROP_AFTER`` images.
        """
        area = self._images.shape[1] * self._images.shape[2]
        for part in batches(len(rows), max(1, min(READ_AT_ONCE, READ_PIXELS // max(1, area)))):
            these, target = rows[part.start : part.stop], out[part.start : part.stop]
            grown = these >= len(self._images)
            if grown.any():
                target[grown] = self._grown[these[grown] - len(self._images)]
                target[~grown] = classified(self._images[these[~grown]], self._resolution).numpy()
            else:
                np.copyto(target, classified(self._images[these], self._resolution).numpy())
            self._mapped += len(part)
            if self._mapped >= DROP_AFTER:
                drop_pages(self._images)
                drop_pages(self._grown)
                self._mapped = 0


#: A set in memory or on disk; both take an index.
Pixels: TypeAlias = "torch.Tensor | OnDisk"


def placed(images: NDArray[np.uint8], resolution: int, device: str, room: float) -> Pixels:
    """Return a set at ``resolution`` on the device, or left on disk if it takes more than ``room`` bytes there."""
    if set_bytes(len(images), resolution) > room:
        return OnDisk(images, resolution, device)
    return resized(images, resolution, device)


def set_bytes(count: int, resolution: int) -> int:
    """Return the bytes that images take on a device."""
    return count * 3 * resolution**2
