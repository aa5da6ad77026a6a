"""Partners, shares and soft targets of augmentations that mix two images of a batch, and boxes at random places.

Everything is a tensor on the device: nothing waits for it, and no loop runs over images.
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


def box_mask(edges: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Return which pixels lie in each box, bool ``(N, height, width)``.

    Args:
        edges: integers ``(N, 4)``, top, bottom, left and right; bottom and right are exclusive. What lies outside
            the image is cut off.
        height: of the image in px.
        width: of the image in px.
    """
    rows = torch.arange(height, device=edges.device)
    columns = torch.arange(width, device=edges.device)
    top, bottom, left, right = edges[:, :, None].unbind(1)
    return ((rows >= top) & (rows < bottom))[:, :, None] & ((columns >= left) & (columns < right))[:, None, :]


def centred_box(shares: torch.Tensor, height: int, width: int, rng: torch.Generator) -> torch.Tensor:
    """Return CutMix's boxes: ``sqrt(1 - share)`` of each side, rounded down to even, around any pixel.

    Args:
        shares: ``(N,)`` in [0, 1], the area that is to be left.
        height: of the image in px.
        width: of the image in px.
        rng: draws the centres, two numbers per box.

    Returns:
        int64 ``(N, 4)``, top, bottom, left and right, not yet cut off at the border.
    """
    half = (1 - shares).sqrt() / 2
    edges = []
    for side in (height, width):
        reach = (half * side).long()
        centre = torch.randint(0, side, shares.shape, generator=rng, device=shares.device)
        edges += [centre - reach, centre + reach]
    return torch.stack(edges, dim=1)


def squares(side: int, count: int, height: int, width: int, inside: bool, rng: torch.Generator) -> torch.Tensor:
    """Return squares at places that are all equally likely.

    Args:
        side: of the squares in px.
        count: how many.
        height: of the image in px.
        width: of the image in px.
        inside: whether a square lies wholly in the image; otherwise its centre does, and the border cuts it off.
        rng: draws two numbers per square.

    Returns:
        int64 ``(count, 4)``, top, bottom, left and right, not yet cut off at the border.
    """
    edges = []
    for length in (height, width):
        places = max(1, length - side + 1) if inside else length
        first = torch.randint(0, places, (count,), generator=rng, device=rng.device) - (0 if inside else side // 2)
        edges += [first, first + side]
    return torch.stack(edges, dim=1)
