"""The inner maximisation of ME-ADA: from an image to one that the model is wrong and unsure about."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

from benchbench.errors import BenchError
from benchbench.planning.subsets import balanced_sample
from benchbench.plugins import DatasetInfo
from benchbench.plugins.images import batches
from benchbench.training.evaluate import Normalise

if TYPE_CHECKING:
    from .meada import MEADA

#: Images in a batch of Zhao et al., over which their loss is a mean; it scales the step of each image, not our batches.
PUBLISHED_BATCH = 128


def siblings(
    meada: MEADA, model: torch.nn.Module, images: torch.Tensor, labels: torch.Tensor, info: DatasetInfo
) -> torch.Tensor:
    """Return the adversarial sibling of each image, uint8 of the same shape and device.

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
    normalise = Normalise(info, images.device.type)
    made = torch.empty_like(images)
    for part in batches(len(images), _batch_size(images)):
        clean, right = images[part.start : part.stop], labels[part.start : part.stop]
        pixels = normalise(clean).clone()
        with torch.no_grad():
            anchor = model.features(pixels).flatten(1)  # type: ignore[operator]
        for _ in range(meada.ascent_steps):
            pixels.requires_grad_(True)
            with torch.enable_grad():
                ascended = objective(meada, *logits_and_features(model, pixels), right, anchor).sum()
            (slope,) = torch.autograd.grad(ascended, pixels)
            pixels = pixels.detach() + meada.ascent_rate / PUBLISHED_BATCH * slope
        if not bool(torch.isfinite(pixels).all()):
            raise BenchError(
                f"meada:ascent_rate={meada.ascent_rate:g}: adversarial pixels are no longer finite; lower ascent_rate, "
                "or the learning rate if the training itself diverges"
            )
        made[part.start : part.stop] = quantised(pixels, normalise)
    return made


def objective(
    meada: MEADA, logits: torch.Tensor, features: torch.Tensor, labels: torch.Tensor, anchor: torch.Tensor
) -> torch.Tensor:
    """Return what each image ascends, ``(B,)``: cross-entropy + eta * entropy - gamma * distance.

    The distance is the mean of squared differences over the features, as in the authors' code (``MSELoss``).
    """
    log_p = F.log_softmax(logits, dim=1)
    wrongness = F.nll_loss(log_p, labels, reduction="none")
    entropy = -(log_p.exp() * log_p).sum(dim=1)
    distance = (features - anchor).square().mean(dim=1)
    return wrongness + meada.eta * entropy - meada.gamma * distance


def quantised(pixels: torch.Tensor, normalise: Normalise) -> torch.Tensor:
    """Return normalised pixels as uint8: denormalised, clamped to what an image can hold, rounded.

    Rounding gives an image that was not moved back as it was, which cutting the fraction off would not.
    """
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
    seed = int(torch.randint(0, 2**62, (), generator=rng, device=rng.device))
    chosen = balanced_sample(labels.cpu().numpy(), count, seed)
    return torch.from_numpy(chosen).to(labels.device)


def _batch_size(images: torch.Tensor) -> int:
    """Return how many images ascend at once: few enough for the activations of a large network in memory."""
    pixels = 1 << (17 if images.device.type == "cpu" else 21)
    return max(16, min(1024, pixels // (images.shape[-2] * images.shape[-1])))
