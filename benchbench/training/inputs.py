"""From the number of a step to what the network takes: gather, augment, normalise.

On a CPU a batch of larger images comes in parts where every augmentation treats images by themselves: a part is
gathered, changed and normalised while a core's caches hold it, and only the floats of the whole batch pile up.
The random numbers are drawn for the whole batch first, so that the parts do not show.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from ..plugins import Augmentation
from ..plugins.images import batches
from .data import Batches, Order
from .evaluate import Normalise

if TYPE_CHECKING:
    from ..plugins import DatasetInfo, ImageChange

    _Change = tuple[Augmentation, ImageChange]

#: Bytes of uint8 images in a part, the fastest of 1/4 to 2 MiB on a core with 1 MiB of second-level cache.
PART_BYTES = 1 << 20


class Inputs:
    """Makes the normalised batch of each step.

    Args:
        batches: the training images, on the device.
        augmentations: the chain, in order.
        info: the dataset, for its normalisation and number of classes.
    """

    def __init__(self, batches: Batches, augmentations: Sequence[Augmentation], info: DatasetInfo) -> None:
        self.batches = batches
        self.augmentations = tuple(augmentations)
        self.info = info
        images = batches.sources[0].images
        self.shape, device = torch.Size((batches.size, *images.shape[1:])), str(images.device)
        self.normalise = Normalise(info, device)
        #: Images per part.
        self.part = self.shape[0]
        if device == "cpu":
            self.part = -(-self.part // -(-self.shape.numel() // PART_BYTES))  # parts of one size, as far as it goes

    def __call__(self, step: int, rng: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Return batch number ``step``; the next one may overwrite it.

        Args:
            step: from 0.
            rng: the only source of randomness, seeded for the step.

        Returns:
            float32 ``(B, 3, R, R)``, normalised; targets int64 ``(B,)`` or soft float ``(B, classes)``.

        Raises:
            ValueError: an augmentation lost an image, changed its size or returned soft targets of another length.
            BenchError: an augmentation's parameters do not suit the size of the images.
        """
        order = self.batches.order(step)
        targets = self.batches.labels(order)
        changes, rest = self._drawn(rng)
        if not rest and self.part < self.shape[0]:
            pixels = self.normalise.room(self.shape)
            for part in batches(self.shape[0], self.part):
                self.normalise.fill(pixels[part.start : part.stop], self._changed(order, part, changes))
            return pixels, targets
        images = self._changed(order, range(self.shape[0]), changes)
        for link in rest:
            if _wants_whole_batches(link):
                images, targets = self._applied(link, images, targets, rng)
            else:
                change = link.imagewise(images.shape, rng, self.info)
                images = images if change is None else _change(link, change, images, slice(0, len(images)))
        return self.normalise(images), targets

    def _drawn(self, rng: torch.Generator) -> tuple[list[_Change], tuple[Augmentation, ...]]:
        """Return what the chain begins to change image by image, and the links from the first that wants a batch."""
        changes: list[_Change] = []
        for place, link in enumerate(self.augmentations):
            if _wants_whole_batches(link):
                return changes, self.augmentations[place:]
            change = link.imagewise(self.shape, rng, self.info)
            if change is not None:
                changes.append((link, change))
        return changes, ()

    def _changed(self, order: Order, part: range, changes: Sequence[_Change]) -> torch.Tensor:
        images = self.batches.images(order, part)
        for link, change in changes:
            images = _change(link, change, images, slice(part.start, part.stop))
        return images

    def _applied(
        self, link: Augmentation, images: torch.Tensor, targets: torch.Tensor, rng: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Apply a link to a whole batch, and refuse what would train silently on nonsense."""
        made = link.apply(images, targets, rng, self.info)
        name, classes = f"{type(link).__name__}.apply", len(self.info.classes)
        if not (isinstance(made, tuple) and len(made) == 2 and all(isinstance(item, torch.Tensor) for item in made)):
            raise ValueError(f"{name} must return images and targets, two tensors; got {type(made).__name__}")
        images, targets = made
        if images.shape[1:] != self.shape[1:] or len(images) != len(targets) or not len(images):
            wanted = ", ".join(str(side) for side in self.shape)
            got = f"{tuple(images.shape)} and targets {tuple(targets.shape)}"
            raise ValueError(f"{name} must return images ({wanted}); got {got}")
        if targets.ndim == 2 and targets.shape[1] != classes:
            raise ValueError(f"{name} must return soft targets (B, {classes}); got {tuple(targets.shape)}")
        return images, targets


def _wants_whole_batches(link: Augmentation) -> bool:
    """Return whether a link has its own ``apply``; an ``imagewise`` that it inherits does not count then."""
    return type(link).apply is not Augmentation.apply


def _change(link: Augmentation, change: ImageChange, images: torch.Tensor, part: slice) -> torch.Tensor:
    """Change images, and refuse a lost one at once: the next link might broadcast what is left over the part."""
    changed = change(images, part)
    if changed.shape != images.shape:
        wanted, got = tuple(images.shape), tuple(changed.shape)
        raise ValueError(f"{type(link).__name__}.imagewise must return images {wanted}; got {got}")
    return changed
