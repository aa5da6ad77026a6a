"""The augmentation of every row in the paper: random crop and horizontal flip."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from benchbench.errors import UsageError
from benchbench.plugins import Augmentation, DatasetInfo, param

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from benchbench.plugins import ImageChange


@dataclass(frozen=True)
class CropFlip(Augmentation):
    """Random crop after zero padding of an eighth of the side, and a horizontal flip where it keeps the class.

    Diffusion Inversion, Zhou et al. 2023, appendix B.2.3. The flip follows ``DatasetInfo.flip_keeps_class``: digits
    and letters are not mirrored.
    """

    is_base: ClassVar[bool] = True

    padding: int | None = param(None, low=0, help="Zeros added on each side, in px; none: an eighth of the side.")

    def check_resolution(self, side: int) -> None:
        """Refuse a padding that shifts images of ``side`` px out of sight.

        Raises:
            UsageError: ``padding`` is the images' whole side or more.
        """
        if self.padding is not None and self.padding >= side:
            raise UsageError(
                f"default:padding={self.padding}: shifts images of {side} px out of sight; make it smaller"
            )

    def imagewise(self, shape: Sequence[int], rng: torch.Generator, info: DatasetInfo) -> ImageChange:
        """Return what shifts and mirrors images and keeps their dtype.

        Each offset in ``-padding..padding`` is equally likely, rows and columns apart, and where the class allows it an
        image is mirrored with probability one half. Three numbers per image are drawn whether it does or not.

        Raises:
            UsageError: ``padding`` is the images' whole side or more.
        """
        import torch

        from .crops import crop

        self.check_resolution(min(shape[-2:]))
        padding = shape[-1] // 8 if self.padding is None else self.padding
        corners = torch.randint(0, 2 * padding + 1, (shape[0], 2), generator=rng, device=rng.device)
        mirrored = torch.rand(shape[0], generator=rng, device=rng.device) < (0.5 if info.flip_keeps_class else 0.0)
        return lambda images, part: crop(images, corners[part], mirrored[part], padding)
