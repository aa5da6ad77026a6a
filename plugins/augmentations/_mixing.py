"""What augmentations that mix two images of a batch share: partners, shares, soft targets. Nothing waits for the
device.
"""

from __future__ import annotations

import torch


def soft_targets(targets: torch.Tensor, classes: int) -> torch.Tensor:
    """Return targets as probabilities, float32 ``(B, classes)``: labels one-hot, soft targets as they are."""
    if targets.ndim == 1:
        return torch.nn.functional.one_hot(targets, classes).float()
    return targets.float()


def partners(count: int, rng: torch.Generator) -> torch.Tensor:
    """Return a random permutation of ``range(count)``: with whom each image is mixed, now and then with itself."""
    return torch.randperm(count, generator=rng, device=rng.device)


def beta_shares(alpha: float, count: int, probability: float, rng: torch.Generator) -> torch.Tensor:
    """Draw from Beta(alpha, alpha), or 1 (nothing is mixed in) with probability ``1 - probability``.

    Beta is the first coordinate of a Dirichlet draw, which is how ``torch.distributions.Beta`` samples too; that class
    takes no generator.

    Args:
        alpha: above 0; 1 is uniform.
        count: how many shares.
        probability: chance of each share to be drawn at all.
        rng: draws two gamma variables and a number per share, whatever ``probability`` is.

    Returns:
        float64 ``(count,)`` in [0, 1], on the device of ``rng``.
    """
    both = torch.full((count, 2), alpha, dtype=torch.float64, device=rng.device)
    shares = torch._sample_dirichlet(both, generator=rng)[:, 0]
    kept = torch.rand(count, generator=rng, device=rng.device, dtype=torch.float64) < probability
    return torch.where(kept, shares, 1.0)


def blend(first: torch.Tensor, second: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
    """Return ``shares * first + (1 - shares) * second`` in float32.

    Args:
        first: ``(B, ...)``.
        second: of the same shape.
        shares: ``(B,)``, or ``(1,)`` for the whole batch, in [0, 1].
    """
    weight = shares.float().reshape(-1, *[1] * (first.ndim - 1))
    return torch.lerp(second.float(), first.float(), weight)
