"""What augmentations make of images, for pictures: batches as the training loop makes them, and what a set grows by."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from ..errors import BenchError
from ..plugins import Augmentation, DatasetInfo, Learner, Task
from ..plugins.context import Context, derive_seed
from ..plugins.images import ImageSet
from ..training.grown import grown_pairs
from ..training.pixels import resized
from .gallery import Group, Tile

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: By how much the change of a grown image is magnified around grey.
MAGNIFIED = 4


class Growth(NamedTuple):
    """What a set grew by besides the images that are shown.

    Attributes:
        groups: for each round in which every shown image grew into one, the grown image and its change.
        unpaired: the steps before which the set grew otherwise, so that no grown image belongs to a shown one.
        steps: of the training.
    """

    groups: list[Group]
    unpaired: list[int]
    steps: int


def real_group(shown: ImageSet) -> Group:
    """Return the real images as the first group of a picture."""
    return Group("real", [[Tile(pixels)] for pixels in shown.images])


def as_classified(images: ImageSet, info: DatasetInfo) -> ImageSet:
    """Return images at the resolution that classifiers see them at."""
    pixels = resized(images.images, info.classify_resolution)
    return images.with_images(pixels.permute(0, 2, 3, 1).contiguous().numpy())


def augmented_group(
    chain: Sequence[Augmentation], shown: ImageSet, info: DatasetInfo, versions: int, seed: int
) -> Group:
    """Return versions of images; they are one batch, so that what mixes images mixes these.

    Args:
        chain: augmentations, in order.
        shown: images at the resolution of classifiers.
        info: the dataset.
        versions: how often the batch is augmented. The same seed gives every chain the same start of random numbers.
        seed: decides all of it.

    Raises:
        BenchError: an augmentation returned another number or size of images, or soft targets of another length.
    """
    images, labels = _tensors(shown)
    rows: list[list[Tile | None]] = [[] for _ in range(len(shown))]
    for version in range(versions):
        rng = torch.Generator().manual_seed(derive_seed(seed, "gallery", version))
        batch, targets = images, labels
        for link in chain:
            batch, targets = link.apply(batch, targets, rng, info)
        if batch.shape != images.shape or len(targets) != len(labels):
            got = f"{tuple(batch.shape)} and targets {tuple(targets.shape)}"
            raise BenchError(f"must return images {tuple(images.shape)} and a target for each; got {got}")
        if targets.ndim == 2 and targets.shape[1] != len(info.classes):
            raise BenchError(f"soft targets must be (B, {len(info.classes)}); got {tuple(targets.shape)}")
        for row, pixels, target, label in zip(rows, _pixels(batch), targets, labels.tolist(), strict=True):
            row.append(Tile(pixels, _parts(target, label, info.classes)))
    return Group("augmented", rows)


def grown_groups(
    learner: Learner,
    arch: str | None,
    chain: Sequence[Augmentation],
    train: ImageSet,
    shown: ImageSet,
    context: Context,
) -> Growth:
    """Train a classifier with a chain, and let what grows the set grow the shown images whenever it does so.

    A second round starts from what the first one made of an image. Each round becomes a group of two columns, the
    grown image and its change from the real one, magnified. A round that chose among the shown images, as one with a
    limit does, becomes none: which image grew from which is not known then.

    Args:
        learner: trains; it calls ``grow`` as in any training.
        arch: its architecture.
        chain: augmentations, in order.
        train: real images that are trained on.
        shown: images at the resolution of classifiers.
        context: of the training.
    """
    images, labels = _tensors(shown)
    watched = [_Watched(link, images, labels, context.seed) for link in chain]
    task = Task(
        real=train,
        synthetic=None,
        mix=None,
        validation=train.subset([]),
        test=shown.without_labels(),  # nothing is measured: the test images stay unseen
        info=context.info,
        arch=arch,
        augmentations=tuple(watched),
        preset=context.preset,
    )
    learner.train(task, context)
    growth = Growth([], [], max(step for link in watched for step in [0, *link.steps]))
    for link in watched:
        due = link.inner.phases(link.steps[-1]) if link.steps else ()
        for at, new in zip(due, link.rounds, strict=True):
            if new is None:
                growth.unpaired.append(at)
            else:
                growth.groups.append(_round(f"before step {at}", images, new))
    return growth


@dataclass(frozen=True)
class _Watched(Augmentation):
    """An augmentation that grows the set, and on the way also the images that are shown."""

    grows_from_disk = True
    inner: Augmentation
    shown: torch.Tensor
    labels: torch.Tensor
    seed: int
    rounds: list[torch.Tensor | None] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)

    def apply(
        self, images: torch.Tensor, targets: torch.Tensor, rng: torch.Generator, info: DatasetInfo
    ) -> tuple[torch.Tensor, torch.Tensor]:
        return self.inner.apply(images, targets, rng, info)

    def loss(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor | None:
        return self.inner.loss(logits, targets)

    def phases(self, steps: int) -> tuple[int, ...]:
        self.steps.append(steps)
        return self.inner.phases(steps)

    def grow(
        self,
        model: torch.nn.Module,
        images: torch.Tensor,
        labels: torch.Tensor,
        rng: torch.Generator,
        info: DatasetInfo,
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        now = next((made for made in reversed(self.rounds) if made is not None), self.shown)
        own = torch.Generator(device=rng.device).manual_seed(derive_seed(self.seed, "shown", len(self.rounds)))
        grown = grown_pairs(self.inner, model, now.to(images.device), self.labels.to(labels.device), own, info)
        pairs = [(new.cpu(), names.cpu()) for new, names in grown]
        made, names = map(torch.cat, zip((now[:0], self.labels[:0]), *pairs, strict=True))
        self.rounds.append(made if names.tolist() == self.labels.tolist() else None)
        return grown_pairs(self.inner, model, images, labels, rng, info)


def _round(heading: str, images: torch.Tensor, grown: torch.Tensor) -> Group:
    change = (128 + MAGNIFIED * (grown.float() - images.float())).clamp(0, 255)
    pairs = zip(_pixels(grown), _pixels(change), strict=True)
    return Group(heading, [[Tile(new), Tile(difference)] for new, difference in pairs])


def _tensors(images: ImageSet) -> tuple[torch.Tensor, torch.Tensor]:
    pixels = torch.from_numpy(np.ascontiguousarray(images.images.transpose(0, 3, 1, 2)))
    return pixels, torch.from_numpy(np.array(images.labels))


def _pixels(batch: torch.Tensor) -> NDArray[np.uint8]:
    """Return a batch uint8 or float ``(B, 3, H, W)`` as uint8 ``(B, H, W, 3)``."""
    whole = batch if batch.dtype == torch.uint8 else batch.round().clamp(0, 255).to(torch.uint8)
    return whole.permute(0, 2, 3, 1).contiguous().numpy()


def _parts(target: torch.Tensor, label: int, classes: Sequence[str]) -> tuple[tuple[str, float], ...]:
    """Return the classes of a soft target, largest share first; nothing for the hard label of the row."""
    if target.ndim == 0:
        return () if int(target) == label else ((classes[int(target)], 1.0),)
    shares = enumerate(target.tolist())
    return tuple((classes[index], share) for index, share in sorted(shares, key=lambda pair: (-pair[1], pair[0])))
