"""ME-ADA: the training set grows by adversarial images that a classifier is wrong and unsure about."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchbench.errors import BenchError
from benchbench.plugins import Augmentation, DatasetInfo, param

if TYPE_CHECKING:
    import torch

    from benchbench.training.evaluate import Normalise

#: Images in a batch of Zhao et al., over which their loss is a mean; it scales the step of each image, not our batches.
PUBLISHED_BATCH = 128


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

    grows_from_disk = True

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
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield an adversarial sibling, uint8, of each image, or of ``max_images`` of them, with its label.

        Raises:
            BenchError: the ascent left the finite numbers.
        """
        import torch

        chosen = torch.arange(len(labels), device=labels.device)
        if self.max_images is not None and len(labels) > self.max_images:
            chosen = balanced_choice(labels, self.max_images, rng)
        for rows in chosen.split(_batch_size(images)):
            yield siblings(self, model, images[rows], labels[rows], info), labels[rows]


def siblings(
    meada: MEADA, model: torch.nn.Module, images: torch.Tensor, labels: torch.Tensor, info: DatasetInfo
) -> torch.Tensor:
    """Return the adversarial sibling of each image of a batch, uint8 of the same shape and device.

    Plain gradient ascent on normalised pixels, without projection, as in the code of Zhao et al. 2020.
    Images are ascended apart from each other: with a model in eval mode the sizes of batches change nothing but
    the last bits of floating point. Weights and their gradients stay as they are.

    Args:
        meada: the number of gradient steps, their rate on the mean of the objective over ``PUBLISHED_BATCH`` images,
            and the weights of the objective.
        model: in eval mode, normalised float32 ``(B, 3, H, W)`` to logits; ``model.features`` gives ``(B, D)``,
            ``model.logits_and_features``, where there is one, both in one pass.
        images: uint8 ``(N, 3, H, W)``.
        labels: int64 ``(N,)``.
        info: the dataset, for the normalisation.

    Raises:
        BenchError: pixels left the finite numbers.
    """
    import torch

    from benchbench.training.evaluate import Normalise

    normalise = Normalise(info, images.device.type)
    pixels = normalise(images).clone()
    with torch.no_grad():
        anchor = model.features(pixels).flatten(1)  # type: ignore[operator]
    for _ in range(meada.ascent_steps):
        pixels.requires_grad_(True)
        with torch.enable_grad():
            ascended = objective(meada, *logits_and_features(model, pixels), labels, anchor).sum()
        (slope,) = torch.autograd.grad(ascended, pixels)
        pixels = pixels.detach() + meada.ascent_rate / PUBLISHED_BATCH * slope
    if not bool(torch.isfinite(pixels).all()):
        raise BenchError(
            f"meada:ascent_rate={meada.ascent_rate:g}: adversarial pixels are no longer finite; lower ascent_rate, "
            "or the learning rate if the training itself diverges"
        )
    return quantised(pixels, normalise)


def objective(
    meada: MEADA, logits: torch.Tensor, features: torch.Tensor, labels: torch.Tensor, anchor: torch.Tensor
) -> torch.Tensor:
    """Return what each image ascends, ``(B,)``: cross-entropy + eta * entropy - gamma * distance.

    The distance is the mean of squared differences over the features, as in the authors' code (``MSELoss``).
    """
    from torch.nn import functional as F

    log_p = F.log_softmax(logits, dim=1)
    wrongness = F.nll_loss(log_p, labels, reduction="none")
    entropy = -(log_p.exp() * log_p).sum(dim=1)
    distance = (features - anchor).square().mean(dim=1)
    return wrongness + meada.eta * entropy - meada.gamma * distance


def quantised(pixels: torch.Tensor, normalise: Normalise) -> torch.Tensor:
    """Return normalised pixels as uint8: denormalised, clamped to what an image can hold, rounded.

    Rounding gives an image that was not moved back as it was, which cutting the fraction off would not.
    """
    import torch

    return ((pixels - normalise.shift) / normalise.scale).round().clamp(0, 255).to(torch.uint8)


def logits_and_features(model: torch.nn.Module, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return logits ``(B, C)`` and penultimate features ``(B, D)`` of normalised images.

    In one pass where the model offers ``logits_and_features``, in two otherwise.
    """
    both = getattr(model, "logits_and_features", None)
    logits, features = (model(pixels), model.features(pixels)) if both is None else both(pixels)  # type: ignore[operator]
    return logits, features.flatten(1)


def balanced_choice(labels: torch.Tensor, count: int, rng: torch.Generator) -> torch.Tensor:
    """Return ``count`` indices into ``labels``, ascending, drawn at random with the classes as even as they can be."""
    import torch

    from benchbench.planning.subsets import balanced_sample

    seed = int(torch.randint(0, 2**62, (), generator=rng, device=rng.device))
    chosen = balanced_sample(labels.cpu().numpy(), count, seed)
    return torch.from_numpy(chosen).to(labels.device)


def _batch_size(images: torch.Tensor) -> int:
    """Return how many images ascend at once: few enough for the activations of a large network in memory."""
    pixels = 1 << (17 if images.device.type == "cpu" else 21)
    return max(16, min(1024, pixels // (images.shape[-2] * images.shape[-1])))
