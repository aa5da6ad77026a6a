"""AugMix: an image mixed with chains of random operators on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchbench.plugins import Augmentation, DatasetInfo, param

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from ._plan import Plan

#: Magnitude bins; severity counts how many of the lowest are drawn from.
BINS = 10


@dataclass(frozen=True)
class AugMix(Augmentation):
    """The image, mixed in random proportion with chains of one to three random operators on it; labels stay.

    Hendrycks et al. 2020, with the ranges and defaults of torchvision's transform: bilinear, black from outside.
    Diffusion Inversion (Zhou et al. 2023, appendix B.2.3) uses the default parameters, which mix three chains, though
    its text speaks of one (``mixture_width=1``). The Jensen-Shannon loss of Hendrycks et al. is left out, as there.
    Images come back as uint8 values in the dtype that they came in.
    """

    severity: int = param(3, low=1, high=10, help="Magnitudes are drawn from so many lowest bins of ten.")
    mixture_width: int = param(3, low=1, high=10, help="Chains that are mixed; the text of the paper says 1.")
    chain_depth: int = param(-1, low=-1, high=10, help="Operators in a chain; -1: 1, 2 or 3 for each chain.")
    alpha: float = param(1.0, low=0.01, high=100.0, help="Of the Beta and Dirichlet distributions of the weights.")
    all_ops: bool = param(True, help="Whether brightness, colour, contrast and sharpness are among the operators.")

    def __post_init__(self) -> None:
        """Raise ``ValueError`` for chains of no operators."""
        if self.chain_depth == 0:
            raise ValueError("chain_depth=0 must be at least 1, or -1 for a random depth of 1, 2 or 3")

    def apply(
        self, images: torch.Tensor, targets: torch.Tensor, rng: torch.Generator, info: DatasetInfo
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return augmented images of the same dtype; float values are rounded first. Targets unchanged."""
        from ._plan import as_uint8, host_rng

        host = host_rng(rng)
        plan = self.plan(len(images), images.shape[-2], images.shape[-1], host)
        return mixed(as_uint8(images), plan, self.weights(len(images), host)).to(images.dtype), targets

    def plan(self, count: int, height: int, width: int, rng: np.random.Generator) -> Plan:
        """Draw the chains of ``count`` images: rows ``chain * count + image``, shorter chains filled up by identity."""
        import numpy as np

        from ._plan import AUGMIX, AUGMIX_ALL, IDENTITY, Plan, augmix_space

        space = augmix_space(AUGMIX_ALL if self.all_ops else AUGMIX, BINS, height, width)
        rows = count * self.mixture_width
        links = 3 if self.chain_depth < 0 else self.chain_depth
        depths = rng.integers(1, 4, size=rows) if self.chain_depth < 0 else np.full(rows, links)
        which = rng.integers(len(space.operators), size=(rows, links))
        operators, magnitudes = space.draw(which, rng.integers(self.severity, size=which.shape), rng)
        applied = np.arange(links) < depths[:, None]
        return Plan(np.where(applied, operators, IDENTITY), np.where(applied, magnitudes, 0.0))

    def weights(self, count: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """Draw the weights of each image and its chains, ``(count, 1 + mixture_width)``, rows summing to 1."""
        import numpy as np

        chains = rng.dirichlet([self.alpha] * self.mixture_width, size=count)
        share = rng.beta(self.alpha, self.alpha, size=(count, 1))
        return np.concatenate([1.0 - share, share * chains], axis=1)


def mixed(images: torch.Tensor, plan: Plan, weights: NDArray[np.float64]) -> torch.Tensor:
    """Return the weighted sums of images and chains, fractions dropped as torchvision does.

    Args:
        images: uint8 ``(n, 3, H, W)``.
        plan: for ``chains * n`` images, as :meth:`AugMix.plan` lays it out.
        weights: ``(n, 1 + chains)``.
    """
    import numpy as np
    import torch

    from ._plan import perform, pieces

    count, width = len(images), weights.shape[1] - 1
    chains = perform(images.repeat(width, 1, 1, 1), plan, "bilinear").view(width, *images.shape)
    factors = torch.from_numpy(weights.T.astype(np.float32)).to(images.device)[:, :, None, None, None]
    out = torch.empty_like(images)
    for piece in pieces(images, 0, count):
        total = factors[0, piece] * images[piece]
        for chain in range(width):
            total += factors[1 + chain, piece] * chains[chain, piece]
        out[piece] = total.clamp_(0, 255).to(torch.uint8)
    return out
