"""``folder``: the user's own images, one folder for each class."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchbench.errors import MissingError, UsageError, nearest
from benchbench.plugins import Context, Dataset, DatasetInfo, ImageSet, param

if TYPE_CHECKING:
    from ._listing import Listing


@dataclass(frozen=True)
class Folder(Dataset):
    """Images in class folders: train/ with test/ and/or val/, or class folders alone, split by a seed.

    With train/ and val/ but no test/, val/ is the test part; with all three, val/ is the validation part. The
    module ``_images`` says how a file becomes uint8 RGB: EXIF orientation, grey, 16-bit, transparency on
    white, CMYK, centre square, bicubic.

    Without ``resolution``, images are as large as the median of their shorter sides, rounded down to a
    multiple of 16 (28 stays 28), at least 16 and at most 256. Mean and standard deviation come from at most
    500 training images. ``info`` decodes every file once and remembers it by size and modification time, so
    that a damaged image is found before any work begins; test images whose files train too, byte for byte, are
    counted in the notes. Decoded images are kept below the cache. Images are in the order of their class and then
    of their path.
    """

    path: str = param("", help="Folder with train/ and test/ (or val/) class folders, or with class folders alone.")
    resolution: int | None = param(
        None, low=8, high=1024, help="Side in px of the images; by default the median of their shorter sides."
    )
    test_fraction: float = param(
        0.2, above=0.0, high=0.9, help="Share of each class that tests, without test/ or val/."
    )
    split_seed: int = param(0, low=0, help="Which images these are.")
    flip: bool = param(True, help="Whether a horizontal flip keeps the class.")
    prompt: str = param("a photo of a {}.", help="Prompt for text-to-image models; {} is the class.")

    def __post_init__(self) -> None:
        around = self.prompt.split("{}")
        if len(around) != 2 or any(brace in text for text in around for brace in "{}"):
            raise ValueError(f"prompt='{self.prompt}' must hold {{}} once, for the class")

    def external(self) -> tuple[Path, ...]:
        """Return the folder: its content, not its place, decides results."""
        return (Path(self.path).expanduser(),) if self.path else ()

    def seconds(self, stage: str, images: int, info: DatasetInfo) -> float | None:
        """Estimate the CPU seconds of loading, as measured on photos of 500 x 375 px."""
        return 1.0 + 0.004 * images if stage == "data" else None

    def info(self) -> DatasetInfo:
        """Return the facts; reads every image the first time.

        Raises:
            MissingError: the folder is not there.
            UsageError: it has no usable layout, fewer than two classes, a class without images, a class in test
                that train lacks, or files that cannot be used as images.
        """
        from ._scan import moments, scan

        listing = self._listing()
        found = scan(listing, self._subject)
        side = self._side(found.short_side)
        mean, std = moments(found, side, self._subject)
        return DatasetInfo(
            name="folder",
            classes=listing.classes,
            counts={part: len(items) for part, items in listing.parts.items()},
            class_counts=listing.train_counts,
            resolution=side,
            classify_resolution=side,
            generate_resolution=128 if side <= 48 else 256,
            mean=mean,
            std=std,
            flip_keeps_class=self.flip,
            foundation="CompVis/stable-diffusion-v1-4",
            prompt=self.prompt,
            prompt_names=tuple(name.replace("_", " ") for name in listing.classes),
            source=f"the folder '{listing.root.resolve().name}'",
            notes=(*listing.notes, *found.leaks),
        )

    def load(self, split: str, context: Context) -> ImageSet:
        """Return one part at ``context.info.resolution``; ``source`` of an origin is the path below the
        folder.

        Raises:
            UsageError: as :meth:`info`, for what has changed since.
        """
        from ._load import load_items

        return load_items(self._listing(), split, context.info.resolution, context, self._subject)

    @property
    def _subject(self) -> str:
        return f"folder:path={self.path}"

    def _listing(self) -> Listing:
        from ._listing import LAYOUT, list_dataset

        if not self.path:
            raise UsageError(f"folder: path is missing: folder:path=FOLDER; {LAYOUT}")
        root = Path(self.path).expanduser()
        if not os.path.lexists(root):
            try:
                beside = sorted(os.listdir(root.parent))
            except OSError:
                beside = []
            raise MissingError(f"{self._subject}: no such folder{nearest(root.name, beside)}; {LAYOUT}")
        if not os.path.isdir(root):
            raise UsageError(f"{self._subject}: not a folder; {LAYOUT}")
        return list_dataset(root, self._subject, self.test_fraction, self.split_seed)

    def _side(self, short_side: int) -> int:
        if self.resolution is not None:
            return self.resolution
        return 28 if short_side == 28 else min(max(short_side // 16 * 16, 16), 256)
