"""``imagenette``: 13,394 photos of ten easy classes of ImageNet, from the files that torchvision lays out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from benchbench.errors import UsageError
from benchbench.plugins import DatasetInfo, param

from ._listing import Item, Listing, class_folders, entries, listed, subject_first
from ._published import PublishedImages, Release, check_folders, with_article

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
#: Folder of each part; the published ``val`` is what everyone tests on.
PARTS = {"train": "train", "test": "val"}
#: What the smaller editions are called.
REDUCED = {"imagenette2-160": 160, "imagenette2-320": 320}
#: Where torchvision's Imagenette fetches the full edition.
URL = "https://s3.amazonaws.com/fast-ai-imageclas/imagenette2.tgz"
#: Published images of each class.
TRAIN_COUNTS = (963, 955, 993, 858, 941, 956, 961, 931, 951, 960)
TEST_COUNTS = (387, 395, 357, 386, 409, 394, 389, 419, 399, 390)


@dataclass(frozen=True)
class Imagenette(PublishedImages):
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

    release: ClassVar[Release] = Release(
        info=DatasetInfo(
            name="imagenette",
            classes=tuple(CLASSES.values()),
            counts={"train": sum(TRAIN_COUNTS), "validation": 0, "test": sum(TEST_COUNTS)},
            class_counts=TRAIN_COUNTS,
            resolution=256,
            classify_resolution=256,
            generate_resolution=256,
            mean=(0.4608, 0.4570, 0.4233),
            std=(0.2838, 0.2789, 0.3012),
            flip_keeps_class=True,
            foundation="CompVis/stable-diffusion-v1-4",
            prompt="a photo of {}.",
            prompt_names=tuple(with_article(name) for name in CLASSES.values()),
            group_size=100,
            licence="ImageNet's terms: non-commercial research and education; fast.ai's selection Apache-2.0",
            source=f"ImageNette version 2, full size (fast.ai; ImageNet, Deng et al. 2009), {URL}",
            paper="Diffusion Inversion, Zhou et al. 2023, Fig. 6, Tables 6 and 7",
        ),
        title="the ImageNette images (imagenette2, full size)",
        url=URL,
        archive="imagenette2.tgz",
        folder=FOLDER,
        md5="fe2fc210e6bb7c5664d602c3cd71e612",
        limit=2**32,  # it takes 1.6e9
        held=tuple(PARTS.values()),
        held_text="train/ and val/",
    )

    path: str | None = param(
        None,
        help="Folder with imagenette2 or imagenette2.tgz, or one of the two itself; by default 'imagenette' in the "
        "data folder.",
    )

    @subject_first
    def info(self) -> DatasetInfo:
        """Return the facts: of the folder, whose images are counted, or the published ones.

        Raises:
            UsageError: a part or a class that is missing, folders or files that do not belong there, an archive with
                another checksum than the published one.
        """
        published, here = self.release.info, self._here()
        if here is None or not here.is_dir():
            if here is not None:
                self._verify(here)
            return published
        listing = self._listing(here)
        notes = list(listing.notes)
        train, test = listing.class_counts("train"), listing.class_counts("test")
        for part, held, known in (("training", train, TRAIN_COUNTS), ("test", test, TEST_COUNTS)):
            odd = [
                f"{name} {count:,} of {wanted:,}"
                for name, count, wanted in zip(listing.classes, held, known, strict=True)
                if count != wanted
            ]
            if odd:
                notes.append(f"{sum(held):,} {part} images here, {sum(known):,} published: {', '.join(odd)}")
        return replace(published, counts=listing.counts, class_counts=train, notes=tuple(notes))

    def _listing(self, root: Path) -> Listing:
        """List the parts below ``root``, the folder called ``imagenette2`` in the archive.

        Only ``.JPEG`` files count, in whatever case, as for ``torchvision.datasets.Imagenette``; hidden ones do not,
        which some operating systems create for every image. Labels are the places of the folders in ``CLASSES`` and
        never depend on which folders are there.

        Raises:
            UsageError: a part or a class that is missing, folders or files that do not belong there.
        """
        parts: dict[str, tuple[Item, ...]] = {"train": (), "validation": (), "test": ()}
        unused = 0
        expected = {wnid: f"{wnid} ({name})" for wnid, name in CLASSES.items()}
        for part, folder in PARTS.items():
            if not (root / folder).is_dir():
                raise UsageError(f"{root} has no folder '{folder}'; ImageNette has train/ and val/")
            check_folders(entries(root / folder, f"{folder}/")[0], expected, folder, "ImageNette")
            files = class_folders(root, list(CLASSES), f"{folder}/")
            items = [(name, label) for label, wnid in enumerate(CLASSES) for name in files[wnid]]
            parts[part] = tuple(item for item in items if item[0].lower().endswith(".jpeg"))
            unused += len(items) - len(parts[part])
            if empty := sorted(set(range(len(CLASSES))) - {label for _, label in parts[part]}):
                names = listed(tuple(CLASSES)[label] for label in empty)
                raise UsageError(f"'{folder}' has no .JPEG images of {names}")
        notes = [f"images that do not end in .JPEG, not used: {unused:,}"] if unused else []
        if root.name in REDUCED:
            notes.append(f"the edition reduced to a shorter side of {REDUCED[root.name]} px, not the full one")
        return Listing(root, tuple(CLASSES.values()), parts, tuple(notes))
