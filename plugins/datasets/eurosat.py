"""``eurosat``: 27,000 Sentinel-2 images of land use, from the files that torchvision lays out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from benchbench.errors import MissingError
from benchbench.plugins import Context, Dataset, DatasetInfo, ImageSet, RequiredFile, Requirements, param

from ._place import Place

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
ARCHIVE = "EuroSAT.zip"
#: Where torchvision's EuroSAT fetches the archive, and its checksum.
URL = "https://huggingface.co/datasets/torchgeo/eurosat/resolve/c877bcd43f099cd0196738f714544e355477f3fd/EuroSAT.zip"
MD5 = "c8fa014336c82ac7804f0398fcb19387"
SIDE = 64
#: The parts of the complete dataset, published or drawn again.
COUNTS = {"train": 13500, "validation": 5400, "test": 8100}
TRAIN_COUNTS = (1500, 1500, 1500, 1250, 1250, 1000, 1250, 1500, 1250, 1500)


@dataclass(frozen=True)
class EuroSAT(Dataset):
    """Satellite images of ten kinds of land use, 64x64 RGB; 13,500 train, 5,400 validation, 8,100 test.

    The parts are those of ``split_zhou_EuroSAT.json`` (Zhou et al. 2022, CoOp) where that file lies beside
    the folder ``2750`` or beside the archive; it names files, and an image belongs to the class of its folder.
    Without it, each class is split 50/20/30 % by a hash of the file names: the same counts, other images, and the
    record says so. Other counts than the published ones, of the images or of the parts, are noted. Images are in the
    order of their class and then of their path.

    The folder ``2750`` is preferred to the archive. An archive has to have the published checksum; it is unpacked
    below the cache when its images are first needed. Decoded images are kept there too.
    """

    path: str | None = param(
        None,
        help="Folder with eurosat/2750, 2750 or EuroSAT.zip, or one of the two itself; by default 'eurosat' in the "
        "data folder.",
    )

    def needs(self) -> Requirements:
        """Return the folder of images, or the archive.

        Raises:
            UsageError: a folder has the archive's name, and nothing else is there.
        """
        images = self._images()
        if images is None:
            self._place.check()
        where = images or self._place.found() or self._place.base / "2750"
        what = "the EuroSAT images (RGB, ten class folders)"
        return Requirements(files=(RequiredFile(where, what, self._source()),))

    def external(self) -> tuple[Path, ...]:
        """Return the images or the archive, and the split file if there is one; where nothing is, where to look."""
        held = self._images() or self._place.found()
        if held is None:
            return (self._place.base,)
        split = self._split_file(held)
        return (held,) if split is None else (held, split)

    def seconds(self, stage: str, images: int, info: DatasetInfo) -> float | None:
        """Estimate the CPU seconds of loading, as measured on 64x64 JPEG files."""
        return 1.0 + 0.0003 * images if stage == "data" else None

    def info(self) -> DatasetInfo:
        """Return the facts, the published ones where no files are; reads every image of a folder the first time.

        Raises:
            UsageError: other folders than the ten classes, a damaged split file, files that are no images, an
                archive with another checksum than the published one.
        """
        listing = self._listing()
        if listing is None:
            from ._eurosat import REGENERATED

            return self._facts(COUNTS, TRAIN_COUNTS, (f"without {SPLIT_FILE} beside the images: {REGENERATED}",))
        notes = list(listing.notes)
        if listing.root.is_dir():  # of an archive with the right checksum the images are known
            from ._scan import scan

            found = scan(listing, self._subject)
            if odd := sum((item.width, item.height) != (SIDE, SIDE) for item in found.facts.values()):
                notes.append(f"images of another size, cropped and resized to 64 x 64 px: {odd:,}")
            notes += found.leaks
        counts = {part: len(items) for part, items in listing.parts.items()}
        return self._facts(counts, listing.train_counts, tuple(notes))

    def load(self, split: str, context: Context) -> ImageSet:
        """Return one part as uint8 ``(N, 64, 64, 3)``; ``source`` of an origin is the path below ``2750``.

        Raises:
            MissingError: no images are there.
            UsageError: as :meth:`info`, for what has changed since.
        """
        from ._load import load_items

        listing = self._listing()
        if listing is None:
            given = self._place.base
            raise MissingError(
                f"{self._subject}: the EuroSAT images are not here; looked for {given / 'eurosat' / '2750'}, "
                f"{given / '2750'}, the ten class folders in {given} and {self._place.wanted()}; {self._source()}"
            )
        if listing.root.is_dir():
            return load_items(listing, split, SIDE, context, self._subject)
        from ._archives import unpacked
        from ._eurosat import FOLDER, LIMIT

        images = unpacked(listing.root, MD5, self._subject, LIMIT) / FOLDER
        return load_items(replace(listing, root=images), split, SIDE, context, self._subject, content=MD5)

    def fetch(self) -> None:
        """Download the archive through torchvision's downloader, verified; does nothing where the images are here.

        Raises:
            MissingError: it cannot be downloaded; says what to fetch by hand, and where to put it.
            UsageError: ``path=`` names another file.
        """
        if self._images() is None:
            self._place.fetch(MD5)

    @staticmethod
    def _facts(counts: Mapping[str, int], train_counts: tuple[int, ...], notes: tuple[str, ...]) -> DatasetInfo:
        return DatasetInfo(
            name="eurosat",
            classes=tuple(CLASSES.values()),
            counts=dict(counts),
            class_counts=train_counts,
            resolution=SIDE,
            classify_resolution=SIDE,
            generate_resolution=256,
            mean=(0.0, 0.0, 0.0),  # the authors normalise EuroSAT by nothing
            std=(1.0, 1.0, 1.0),
            flip_keeps_class=True,
            foundation="CompVis/stable-diffusion-v1-4",
            prompt="a centered satellite photo of {}.",
            prompt_names=tuple(CLASSES.values()),
            licence="MIT",
            source=f"EuroSAT RGB (Helber et al. 2019), {URL}",
            paper="Diffusion Inversion, Zhou et al. 2023, Fig. 7a",
            notes=notes,
        )

    @property
    def _place(self) -> Place:
        return Place("eurosat", self.path, ARCHIVE, URL, ("eurosat", ""))

    @property
    def _subject(self) -> str:
        return self._place.subject

    def _images(self) -> Path | None:
        """Return the folder of the class folders, or ``None``."""
        base = self._place.base
        for folder in (base / "eurosat" / "2750", base / "2750"):
            if folder.is_dir():
                return folder
        return base if any((base / name).is_dir() for name in CLASSES) else None

    def _split_file(self, held: Path) -> Path | None:
        places = (held.parent / SPLIT_FILE, self._place.base / SPLIT_FILE)
        return next((place for place in places if place.is_file()), None)

    def _source(self) -> str:
        root = self._place.base if self.path else self._place.base.parent
        return (
            f"`bench fetch {self._subject}` or torchvision.datasets.EuroSAT('{root}', download=True) gets them, or by "
            f"hand {URL} as {self._place.wanted()}"
        )

    def _listing(self) -> Listing | None:
        """Return what is here, by names alone; ``root`` is the folder ``2750`` or the archive, ``None`` for nothing."""
        images, archive = self._images(), self._place.found()
        if images is None and archive is None:
            return None
        from ._archives import verify
        from ._eurosat import list_eurosat, names_in_archive, names_in_folder

        if images is not None:
            files = names_in_folder(images, CLASSES, self._subject)
            return list_eurosat(images, files, self._split_file(images), CLASSES, COUNTS, self._subject)
        assert archive is not None
        remedy = f"fetch {URL} again, or unpack the archive that you trust and give the folder"
        verify(archive, MD5, self._subject, remedy)
        files = names_in_archive(archive, CLASSES, self._subject)
        return list_eurosat(archive, files, self._split_file(archive), CLASSES, COUNTS, self._subject)
