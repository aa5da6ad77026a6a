"""``eurosat``: 27,000 Sentinel-2 images of land use, from the files that torchvision lays out."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchbench.errors import MissingError
from benchbench.paths import data_root
from benchbench.plugins import Context, Dataset, DatasetInfo, FileNeed, ImageSet, Needs, param

if TYPE_CHECKING:
    from ._listing import Listing

#: Class folders, sorted, and the names that the published split gives the classes.
CLASSES = {
    "AnnualCrop": "Annual Crop Land",
    "Forest": "Forest",
    "HerbaceousVegetation": "Herbaceous Vegetation Land",
    "Highway": "Highway or Road",
    "Industrial": "Industrial Buildings",
    "Pasture": "Pasture Land",
    "PermanentCrop": "Permanent Crop Land",
    "Residential": "Residential Buildings",
    "River": "River",
    "SeaLake": "Sea or Lake",
}
SPLIT_FILE = "split_zhou_EuroSAT.json"
SIDE = 64


@dataclass(frozen=True)
class EuroSAT(Dataset):
    """Satellite images of ten kinds of land use, 64x64 RGB; 13,500 train, 5,400 validation, 8,100 test.

    The parts are those of ``split_zhou_EuroSAT.json`` (Zhou et al. 2022, CoOp) where that file lies beside
    the folder ``2750``; it names files, and an image belongs to the class of its folder. Without it, each
    class is split 50/20/30 % by a hash of the file names: the same counts, other images, and the record says
    so. A folder with fewer images works the same way and is noted. Images are in the order of their class and
    then of their path.
    """

    path: str | None = param(
        None,
        help="Folder with eurosat/2750 or 2750, or 2750 itself; by default 'eurosat' in the data folder.",
    )

    def needs(self) -> Needs:
        """Return the folder of images."""
        where = self._images() or self._given / "2750"
        return Needs(files=(FileNeed(where, "the EuroSAT images (RGB, ten class folders)", self._source()),))

    def external(self) -> tuple[Path, ...]:
        """Return the folder that the user gave, or the images and the split file."""
        images = self._images()
        base = self._given if self.path or images is None else images
        split = self._split_file(images) if images else None
        return (base,) if split is None or split.is_relative_to(base) else (base, split)

    def seconds(self, stage: str, images: int, info: DatasetInfo) -> float | None:
        """Estimate the CPU seconds of loading, as measured on 64x64 JPEG files."""
        return 1.0 + 0.0003 * images if stage == "data" else None

    def info(self) -> DatasetInfo:
        """Return the facts; reads every image the first time.

        Raises:
            MissingError: no images are there; found out in milliseconds, without any network access.
            UsageError: other folders than the ten classes, a damaged split file, files that are no images.
        """
        listing = self._listing()
        from ._scan import scan

        found = scan(listing, self._subject)
        notes = list(listing.notes)
        if odd := sum((item.width, item.height) != (SIDE, SIDE) for item in found.facts.values()):
            notes.append(f"images of another size, cropped and resized to 64 x 64 px: {odd:,}")
        return DatasetInfo(
            name="eurosat",
            classes=listing.classes,
            counts={part: len(items) for part, items in listing.parts.items()},
            class_counts=listing.train_counts,
            resolution=SIDE,
            classify_resolution=SIDE,
            generate_resolution=256,
            mean=(0.0, 0.0, 0.0),  # the authors normalise EuroSAT by nothing
            std=(1.0, 1.0, 1.0),
            flip_keeps_class=True,
            foundation="CompVis/stable-diffusion-v1-4",
            prompt="a centered satellite photo of {}.",
            prompt_names=listing.classes,
            licence="MIT",
            source="EuroSAT RGB (Helber et al. 2019), EuroSAT.zip as torchvision.datasets.EuroSAT fetches it",
            paper="Diffusion Inversion, Zhou et al. 2023, Fig. 7a",
            notes=tuple(notes),
        )

    def load(self, split: str, context: Context) -> ImageSet:
        """Return one part as uint8 ``(N, 64, 64, 3)``; ``source`` of an origin is the path below ``2750``.

        Raises:
            UsageError: as :meth:`info`, for what has changed since.
        """
        from ._load import load_items

        listing = self._listing()
        return load_items(listing.root, listing.parts[split], listing.classes, SIDE, split, context, self._subject)

    @property
    def _subject(self) -> str:
        return f"eurosat:path={self.path}" if self.path else "eurosat"

    @property
    def _given(self) -> Path:
        given = Path(self.path).expanduser() if self.path else data_root() / "eurosat"
        return Path(os.path.abspath(given))  # "." has no parent to look for the split file in

    def _images(self) -> Path | None:
        """Return the folder of the class folders, or ``None``."""
        for folder in (self._given / "eurosat" / "2750", self._given / "2750"):
            if folder.is_dir():
                return folder
        return self._given if any((self._given / name).is_dir() for name in CLASSES) else None

    def _split_file(self, images: Path) -> Path | None:
        places = (images.parent / SPLIT_FILE, self._given / SPLIT_FILE)
        return next((place for place in places if place.is_file()), None)

    def _source(self) -> str:
        root = self._given if self.path else self._given.parent
        return (
            f"python -c \"import torchvision; torchvision.datasets.EuroSAT('{root}', download=True)\", or "
            f"unpack EuroSAT.zip (RGB) of the Hugging Face dataset torchgeo/eurosat into {self._given}"
        )

    def _listing(self) -> Listing:
        images = self._images()
        if images is None:
            given = self._given
            raise MissingError(
                f"{self._subject}: the EuroSAT images are not here; looked for {given / 'eurosat' / '2750'}, "
                f"{given / '2750'} and the ten class folders in {given}; get them by {self._source()}"
            )
        from ._eurosat import list_eurosat

        return list_eurosat(images, self._split_file(images), CLASSES, self._subject)
