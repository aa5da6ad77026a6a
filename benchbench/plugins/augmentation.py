"""The page of an augmentation's author."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, TypeAlias

from .base import Plugin

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from .dataset import DatasetInfo


#: Changes images ``(n, 3, H, W)`` that are a slice of a batch.
ImageChange: TypeAlias = "Callable[[torch.Tensor, slice], torch.Tensor]"


@dataclass(frozen=True)
class Augmentation(Plugin):
    """Changes batches on the device while a classifier trains."""

    kind: ClassVar[str] = "augmentation"
    #: Whether it is what every chain starts with: a chain without such a link gets the installed one in front.
    is_base: ClassVar[bool] = False
    #: Whether ``grow`` takes a set that is no tensor but gives one for an index; else it gets all images in memory.
    grows_from_disk: ClassVar[bool] = False

    def check_resolution(self, side: int) -> None:
        """Refuse at plan time what images of ``side`` px cannot take; by default nothing is refused.

        Raises:
            UsageError: a parameter that does not fit, as ``name:key=value: why; what to do``.
        """

    def apply(
        self, images: torch.Tensor, targets: torch.Tensor, rng: torch.Generator, info: DatasetInfo
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return an augmented batch; by default the batch as it is, for what only changes the loss or grows the set.

        Args:
            images: uint8 ``(B, 3, H, W)`` on the device of ``rng``, not yet normalised; the next batch overwrites
                them, so that nothing may be kept or changed in place.
            targets: int64 ``(B,)``, or float ``(B, C)`` from an augmentation earlier in the chain.
            rng: the only source of randomness.
            info: the dataset (``flip_keeps_class``, number of classes).

        Returns:
            Images (uint8, or float in [0, 255]); targets, hard as given or soft float ``(B, C)`` rows summing to 1.
        """
        change = self.imagewise(images.shape, rng, info)
        return (images if change is None else change(images, slice(0, len(images)))), targets

    def imagewise(self, shape: Sequence[int], rng: torch.Generator, info: DatasetInfo) -> ImageChange | None:
        """Draw for a whole batch, and return what changes any part of it; ``None``, the default: nothing changes.

        Offer this in place of ``apply`` where each image is changed by itself and targets are kept. A batch may then
        come in parts that stay in a processor's cache from the gather to the normalisation. It is not asked where the
        class, or one between it and the one that offers this, has its own ``apply``.

        Args:
            shape: of the batch, ``(B, 3, H, W)``.
            rng: the only source of randomness; draw all of it here.
            info: as for ``apply``.

        Returns:
            A function of images, uint8 or float ``(n, 3, H, W)``, and the slice of the batch that they are. It returns
            new images of that shape and does not depend on how a batch is cut.
        """
        return None

    def loss(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor | None:
        """Return the loss to minimise in place of cross-entropy, a scalar, or ``None`` for cross-entropy."""
        return None

    def phases(self, steps: int) -> tuple[int, ...]:
        """Return the steps before which ``grow`` is called, ascending, each in 1..steps-1."""
        return ()

    def grow(
        self,
        model: torch.nn.Module,
        images: torch.Tensor,
        labels: torch.Tensor,
        rng: torch.Generator,
        info: DatasetInfo,
    ) -> tuple[torch.Tensor, torch.Tensor] | Iterable[tuple[torch.Tensor, torch.Tensor]]:
        """Return images to add to the training set and their labels, or yield such pairs (ME-ADA).

        Args:
            model: in eval mode, takes normalised float batches; ``model.features(images)`` gives penultimate features
                ``(B, D)``, and ``model.logits_and_features(images)``, which a model may offer, both in one pass.
            images: the training set, uint8 ``(N, 3, H, W)`` on the device. With ``grows_from_disk`` a set too large
                for memory is no tensor, but gives one for an index, ``images[rows]``, and has its ``shape``, ``dtype``,
                ``device`` and length.
            labels: int64 ``(N,)`` on the device.
            rng: the only source of randomness.
            info: the dataset.

        Returns:
            uint8 ``(M, 3, H, W)`` and int64 ``(M,)``, on any device. Pairs that are yielded are joined on disk, so
            that one needs memory at a time.
        """
        raise NotImplementedError
