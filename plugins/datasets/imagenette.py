"""``imagenette``: 13,394 photos of ten easily told classes of ImageNet, from the files that torchvision lays out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from benchbench.errors import MissingError
from benchbench.plugins import Context, Dataset, DatasetInfo, ImageSet, RequiredFile, Requirements, param

from ._place import Place

#: Class folders (WordNet IDs), sorted, and the first of the names that torchvision gives each.
CLASSES = {
    "n01440764": "tench",
    "n02102040": "English springer",
    "n02979186": "cassette player",
    "n03000684": "chain saw",
    "n03028079": "church",
    "n03394916": "French horn",
    "n03417042": "garbage truck",
    "n03425413": "gas pump",
    "n03445777": "golf ball",
    "n03888257": "parachute",
}
FOLDER = "imagenette2"
ARCHIVE = "imagenette2.tgz"
#: Where torchvision's Imagenette fetches the full edition, and its checksum.
URL = "https://s3.amazonaws.com/fast-ai-imageclas/imagenette2.tgz"
MD5 = "fe2fc210e6bb7c5664d602c3cd71e612"
SIDE = 256
#: Published images of each class.
TRAIN_COUNTS = (963, 955, 993, 858, 941, 956, 961, 931, 951, 960)
TEST_COUNTS = (387, 395, 357, 386, 409, 394, 389, 419, 399, 390)


@dataclass(frozen=True)
class Imagenette(Dataset):
    """Photos of ten classes of ImageNet, 256x256 RGB; 9,469 train, 3,925 test (the published ``val``).

    The full edition, version 2 (``imagenette2``). Photos come in many sizes: the centre square is cut out and resized
    to 256 px by Pillow's bicubic filter, the rule for every dataset here that is read from files (grey, CMYK and EXIF
    orientation included). The authors resized the same square by TensorFlow's area filter: the pixels differ slightly
    from theirs, the classes, parts and normalisation (Zhou et al. 2023) do not. Images are in the order of their
    class and then of their name, as torchvision lists them.

    The folder ``imagenette2`` is preferred to the archive; its images are counted, and a difference from the published
    counts is in the record. The archive has to have the published checksum; it is unpacked below the cache when its
    images are first needed. Decoded images are kept there too: 2.6 GB.
    """

    path: str | None = param(
        None,
        help="Folder with imagenette2 or imagenette2.tgz, or one of the two itself; by default 'imagenette' in the "
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
        where = images or self._place.found() or self._place.base / FOLDER
        what = "the ImageNette images (imagenette2, full size)"
        return Requirements(files=(RequiredFile(where, what, self._source()),))

    def external(self) -> tuple[Path, ...]:
        """Return the images or the archive; where neither is, where to look."""
        return (self._images() or self._place.found() or self._place.base,)

    def seconds(self, stage: str, images: int, info: DatasetInfo) -> float | None:
        """Estimate the CPU seconds of loading, as measured on photos of 500 x 375 px."""
        return 1.0 + 0.004 * images if stage == "data" else None

    def info(self) -> DatasetInfo:
        """Return the facts: of the folder, whose images are counted, or the published ones.

        Raises:
            UsageError: a part or a class that is missing, folders or files that do not belong there, an archive with
                another checksum than the published one.
        """
        images, archive = self._images(), self._place.found()
        if images is None:
            if archive is not None:
                self._verify(archive)
            return self._facts(TRAIN_COUNTS, TEST_COUNTS, ())
        from ._imagenette import list_imagenette

        listing = list_imagenette(images, CLASSES, self._subject)
        notes = list(listing.notes)
        train, test = listing.class_counts("train"), listing.class_counts("test")
        for part, here, published in (("training", train, TRAIN_COUNTS), ("test", test, TEST_COUNTS)):
            odd = [
                f"{name} {count:,} of {wanted:,}"
                for name, count, wanted in zip(listing.classes, here, published, strict=True)
                if count != wanted
            ]
            if odd:
                notes.append(f"{sum(here):,} {part} images here, {sum(published):,} published: {', '.join(odd)}")
        return self._facts(train, test, tuple(notes))

    def load(self, split: str, context: Context) -> ImageSet:
        """Return one part as uint8 ``(N, 256, 256, 3)``; ``source`` of an origin is the path below ``imagenette2``.

        Raises:
            MissingError: no images are there.
            UsageError: as :meth:`info`; a file that cannot be used as an image, named.
        """
        from ._imagenette import LIMIT, list_imagenette
        from ._load import load_items

        images, archive = self._images(), self._place.found()
        if images is not None:
            listing = list_imagenette(images, CLASSES, self._subject)
            return load_items(listing, split, SIDE, context, self._subject)
        if archive is None:
            base = self._place.base
            raise MissingError(
                f"{self._subject}: the ImageNette images are not here; looked for {base / FOLDER}, train/ and val/ in "
                f"{base} and {self._place.wanted()}; {self._source()}"
            )
        from ._archives import unpacked

        self._verify(archive)
        listing = list_imagenette(unpacked(archive, MD5, self._subject, LIMIT) / FOLDER, CLASSES, self._subject)
        return load_items(listing, split, SIDE, context, self._subject, content=MD5)

    def fetch(self) -> None:
        """Download the archive through torchvision's downloader, verified; does nothing where the images are here.

        Raises:
            MissingError: it cannot be downloaded; says what to fetch by hand, and where to put it.
            UsageError: ``path=`` names another file.
        """
        if self._images() is None:
            self._place.fetch(MD5)

    @staticmethod
    def _facts(train: tuple[int, ...], test: tuple[int, ...], notes: tuple[str, ...]) -> DatasetInfo:
        return DatasetInfo(
            name="imagenette",
            classes=tuple(CLASSES.values()),
            counts={"train": sum(train), "validation": 0, "test": sum(test)},
            class_counts=train,
            resolution=SIDE,
            classify_resolution=SIDE,
            generate_resolution=256,
            mean=(0.4608, 0.4570, 0.4233),
            std=(0.2838, 0.2789, 0.3012),
            flip_keeps_class=True,
            foundation="CompVis/stable-diffusion-v1-4",
            prompt="a photo of {}.",
            prompt_names=tuple(f"{'an' if name[0] in 'AEIOUaeiou' else 'a'} {name}" for name in CLASSES.values()),
            group_size=100,
            licence="ImageNet's terms: non-commercial research and education; fast.ai's selection Apache-2.0",
            source=f"ImageNette version 2, full size (fast.ai; ImageNet, Deng et al. 2009), {URL}",
            paper="Diffusion Inversion, Zhou et al. 2023, Fig. 6, Tables 6 and 7",
            notes=notes,
        )

    @property
    def _place(self) -> Place:
        return Place("imagenette", self.path, ARCHIVE, URL)

    @property
    def _subject(self) -> str:
        return self._place.subject

    def _images(self) -> Path | None:
        """Return the folder that holds the parts, or ``None``."""
        base = self._place.base
        if (base / FOLDER).is_dir():
            return base / FOLDER
        return base if any((base / part).is_dir() for part in ("train", "val")) else None

    def _verify(self, archive: Path) -> None:
        from ._archives import verify

        remedy = f"fetch {URL} again, or unpack the archive that you trust and give the folder"
        verify(archive, MD5, self._subject, remedy)

    def _source(self) -> str:
        return f"`bench fetch {self._subject}` gets them, or by hand {URL} as {self._place.wanted()}"
