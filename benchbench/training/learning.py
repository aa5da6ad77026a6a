"""How far a network has learned its own training images, on a fixed grid of steps.

Test accuracy does not tell whether a training was long enough: nothing is chosen on it, and it costs as much as the
test part is large. Accuracy on the training images does, cheaply: a row that has not learned them ranks how fast
networks start, not what images are worth.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from .data import Source
    from .recipes import Recipe

#: Points of the grid, evenly spaced, the last one at the last step.
POINTS = 8
#: Training images that a point looks at: at most the first number; at least the second, if there are as many; and
#: between them as many as take about 4 % of the training, a share of all images processed.
MOST, LEAST, SHARE = 512, 32, 1 / 40
#: From this accuracy on a network has learned its training images; what it has risen by over the second half of the
#: steps, at least, where it is still rising.
LEARNED, RISE = 0.99, 0.05


def grid(steps: int) -> frozenset[int]:
    """Return the numbers of finished steps at which points lie."""
    return frozenset(max(1, steps * point // POINTS) for point in range(1, POINTS + 1))


def drawn(total: int, most: int, seed: int) -> torch.Tensor:
    """Return which of ``total`` training images are looked at, int64, ascending: all, or ``most`` drawn at random."""
    return torch.randperm(total, generator=torch.Generator().manual_seed(seed))[:most].sort().values


def looked_at(sources: Sequence[Source], recipe: Recipe, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the images that a training looks at, uint8 ``(N, 3, R, R)``, and their labels, both on the device.

    Args:
        sources: real images, generated ones or both, as they began; each image is as likely as every other one.
        recipe: how the network is trained, which decides how many images cost little.
        seed: decides which images, where there are too many.
    """
    affordable = max(LEAST, int(recipe.steps * recipe.batch_size * SHARE))
    rows = drawn(sum(source.original for source in sources), min(MOST, affordable), seed)
    images, labels, start = [], [], 0
    for source in sources:
        mine = rows[(rows >= start) & (rows < start + source.original)] - start
        mine = mine.to(source.labels.device)
        images.append(source.images[mine])
        labels.append(source.labels[mine].to(images[-1].device))
        start += source.original
    return torch.cat(images), torch.cat(labels)


class Learning:
    """Accuracy of a classifier on images that it trains on, as they are: without augmentation, none that was grown.

    Attributes:
        steps: numbers of finished steps at which to take a point.
        curve: ``(step, share of hits)``, ascending; a checkpoint keeps it.
    """

    def __init__(self, labels: torch.Tensor, steps: int) -> None:
        """Begin, with the labels of the images, int64 ``(N,)`` on the device, and the steps of the training."""
        self.labels, self.steps = labels, grid(steps)
        self.curve: list[tuple[int, float]] = []
        self._pending: list[tuple[int, torch.Tensor]] = []

    def note(self, step: int, logits: torch.Tensor) -> None:
        """Take a point, from the logits ``(N, classes)`` of the images; an accelerator is not waited for."""
        self._pending.append((step, (logits.argmax(1) == self.labels).double().mean()))

    def settle(self) -> None:
        """Read the points that were taken; waits for the device."""
        self.curve += [(step, float(share)) for step, share in self._pending]
        self._pending.clear()

    def details(self) -> dict[str, Any]:
        """Return what records keep, when the training is over.

        ``train_accuracy`` is the share of hits after the last step, ``curve`` lists ``[step, share]``, ``images`` is
        how many were looked at, and ``rising`` is :func:`rising`.
        """
        self.settle()
        return {
            "train_accuracy": self.curve[-1][1],
            "curve": [list(point) for point in self.curve],
            "rising": rising(self.curve),
            "images": len(self.labels),
        }


def rising(curve: Sequence[tuple[int, float]]) -> bool:
    """Return whether a longer training would have learned the training images better.

    That is so where the share of hits at the end is below ``LEARNED``, and at least ``RISE`` above that at half of the
    steps. Over the last steps nothing rises, since the learning rate has gone.

    Args:
        curve: ``(step, share)`` on the grid, ascending.
    """
    steps, last = curve[-1]
    before = [share for step, share in curve if 2 * step <= steps]
    return last < LEARNED and last - (before[-1] if before else 0.0) >= RISE
