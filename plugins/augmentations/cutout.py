"""CutOut: a square of every image painted over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchbench.errors import UsageError
from benchbench.plugins import Augmentation, DatasetInfo, param

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from benchbench.plugins import ImageChange


@dataclass(frozen=True)
class CutOut(Augmentation):
    """Paints a random square of each image in the mean colour of the dataset, which is 0 after normalisation.

    DeVries and Taylor 2017, as Diffusion Inversion compares with it (Zhou et al. 2023, appendix B.2.3): a square "1/8
    of the input image". That is read as an eighth of the side (12 px of 96); ``eighth=area`` reads it as an eighth of
    the area (34 px of 96). Every place inside the image is equally likely; DeVries and Taylor put the centre anywhere
    and let the border cut the square off, ``inside=false``.
    """

    size: int | None = param(None, low=1, help="Side of the square in px, below the image's; none: see eighth.")
    eighth: str = param("side", choices=("side", "area"), help="Of what the square is an eighth, without size.")
    inside: bool = param(True, help="Whether the whole square lies in the image; otherwise its centre does.")
    probability: float = param(1.0, low=0.0, high=1.0, help="Chance of an image to be painted on.")

    def check_resolution(self, side: int) -> None:
        """Refuse a square that leaves nothing of images of ``side`` px.

        Raises:
            UsageError: ``size`` is the images' whole side or more.
        """
        if self.size is not None and self.size >= side:
            raise UsageError(f"cutout:size={self.size}: leaves nothing of images of {side} px; make it smaller")

    def imagewise(self, shape: Sequence[int], rng: torch.Generator, info: DatasetInfo) -> ImageChange:
        """Return what paints a square of each image and keeps its dtype."""
        import torch

        from ._mixing import box_mask, squares

        count, height, width = shape[0], *shape[-2:]
        edges = squares(self.side(height, width), count, height, width, self.inside, rng)
        painted = torch.rand(count, generator=rng, device=rng.device) < self.probability
        mask = box_mask(edges, height, width) & painted[:, None, None]

        def paint(images: torch.Tensor, part: slice) -> torch.Tensor:
            levels = [255 * mean for mean in info.mean]
            if not images.is_floating_point():
                levels = [round(level) for level in levels]
            # A scalar at a time: a tensor made of a list would be copied to the device, and the copy waits for it.
            colour = torch.stack([images.new_full((), level) for level in levels])
            return torch.where(mask[part, None], colour[:, None, None], images)

        return paint

    def side(self, height: int, width: int) -> int:
        """Return the side of the square in px for images of ``height`` by ``width`` px, at least 1.

        Raises:
            UsageError: ``size`` is the images' whole side or more.
        """
        shorter = min(height, width)
        self.check_resolution(shorter)
        if self.size is not None:
            return self.size
        return max(1, shorter // 8 if self.eighth == "side" else round((height * width / 8) ** 0.5))
