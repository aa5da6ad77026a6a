"""ME-ADA: the training set grows by adversarial images that a classifier is wrong and unsure about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchbench.plugins import Augmentation, DatasetInfo, param

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class MEADA(Augmentation):
    """Maximum-entropy adversarial data augmentation: at some steps, every image gets an adversarial sibling.

    Zhao et al. 2020, algorithm 1 and their code for CIFAR, as Diffusion Inversion compares with it (Zhou et al. 2023,
    appendix B.2.3). Pixels ascend cross-entropy + eta * entropy of the prediction - gamma * squared distance of the
    penultimate features from those of the clean image; the result keeps its label and joins the training set. Each
    round starts from the whole set, adversarial images included: N, 2N, 4N. Real and generated images grow apart, so
    that a mix keeps its ratio. Their CIFAR runs start rounds after 10 and 20 of 100 epochs; neither paper gives a
    schedule in steps, so that rounds lie evenly apart here, after 1/4 and 1/2 of the training.
    """

    rounds: int = param(2, low=1, help="How often the set grows; a round that would start after the end is left out.")
    interval: int | None = param(None, low=1, help="Steps before and between rounds; none: steps / (rounds + 2).")
    ascent_steps: int = param(15, low=1, help="Gradient steps from an image to its adversarial sibling.")
    ascent_rate: float = param(20.0, above=0.0, help="Rate of these steps, for the mean of the loss over 128 images.")
    gamma: float = param(1.0, low=0.0, help="Weight of the distance of features from those of the clean image.")
    eta: float = param(10.0, low=0.0, help="Weight of the entropy; 10 is their script's value, 1 their code's default.")
    max_images: int | None = param(
        64,
        paper=100_000,
        low=1,
        help="Most images that a round adds to real or generated ones, a balanced choice; none: all, as published.",
    )

    def phases(self, steps: int) -> tuple[int, ...]:
        """Return the steps before which the set grows: ``interval`` apart, those within the training alone."""
        interval = max(1, steps // (self.rounds + 2)) if self.interval is None else self.interval
        return tuple(step for step in range(interval, interval * self.rounds + 1, interval) if step < steps)

    def grow(
        self,
        model: torch.nn.Module,
        images: torch.Tensor,
        labels: torch.Tensor,
        rng: torch.Generator,
        info: DatasetInfo,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return an adversarial sibling, uint8, of each image, or of ``max_images`` of them, with its label.

        Raises:
            BenchError: the ascent left the finite numbers.
        """
        from .adversarial import balanced_choice, siblings

        if self.max_images is not None and len(labels) > self.max_images:
            chosen = balanced_choice(labels, self.max_images, rng)
            images, labels = images[chosen], labels[chosen]
        return siblings(self, model, images, labels, info), labels.clone()
