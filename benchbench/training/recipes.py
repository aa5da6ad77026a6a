"""Training recipes: how many steps, which optimiser and the learning rate of each step."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

#: The schedule starts and ends at this share of the learning rate.
FLOOR = 0.001

OPTIMIZERS = ("sgd", "adamw")


@dataclass(frozen=True)
class Recipe:
    """How a classifier is trained; a function of steps alone, never of epochs.

    Attributes:
        steps: optimiser steps.
        batch_size: images per step, real and generated together; every batch is full.
        optimizer: ``"sgd"`` (no Nesterov) or ``"adamw"``.
        learning_rate: peak of the schedule.
        momentum: of SGD; AdamW keeps its usual betas.
        weight_decay: L2 for SGD, decoupled for AdamW.
        warmup_steps: steps of linear warm-up from ``FLOOR * learning_rate``.
        evaluations: evenly spaced scorings of the test set, the last one at the last step.
    """

    steps: int
    batch_size: int
    optimizer: str
    learning_rate: float
    momentum: float
    weight_decay: float
    warmup_steps: int
    evaluations: int

    def __post_init__(self) -> None:
        if self.optimizer not in OPTIMIZERS:
            raise ValueError(f"optimizer must be one of {', '.join(OPTIMIZERS)}; got {self.optimizer!r}")

    @property
    def evaluation_steps(self) -> frozenset[int]:
        """Numbers of finished steps at which the test set is scored, the last step left out."""
        return frozenset(self.steps * part // self.evaluations for part in range(1, self.evaluations)) - {0}


def learning_rates(recipe: Recipe) -> list[float]:
    """Return the learning rate of each step, and one more: where the schedule ends, ``steps + 1`` values in all.

    Linear warm-up chained with a cosine, both stepped once per optimiser step, as the authors of Diffusion Inversion
    (Zhou et al. 2023, appendix B.2) chain PyTorch's ``LinearLR`` and ``CosineAnnealingLR``. Both are recursions on
    the current rate, so that the chain is not the product of its parts: with a rate of 0.1, 50,000 steps and 1,000 of
    warm-up it gives 0.0001 at the start, 0.0999 after 1,000 steps, 0.0501 half-way and 0.0001 at the end.
    """
    peak, total, warmup = recipe.learning_rate, recipe.steps, recipe.warmup_steps
    floor = peak * FLOOR
    rate = floor if warmup > 0 else peak
    rates = [rate]
    for step in range(1, total + 1):
        if step <= warmup:
            rate *= 1 + (1 - FLOOR) / (warmup * FLOOR + (step - 1) * (1 - FLOOR))
        falling = (1 + math.cos(math.pi * step / total)) / (1 + math.cos(math.pi * (step - 1) / total))
        rate = floor + falling * (rate - floor)
        rates.append(rate)
    return rates


def make_optimizer(recipe: Recipe, weights: Iterable[torch.nn.Parameter]) -> torch.optim.Optimizer:
    """Return the recipe's optimiser over ``weights``, one fused pass per step."""
    import torch

    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(weights, lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True)
    return torch.optim.SGD(
        weights,
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        fused=True,
    )
