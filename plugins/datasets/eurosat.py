"""``eurosat``: 27,000 Sentinel-2 images of land use, from the files that torchvision lays out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

from benchbench.errors import UsageError
from benchbench.plugins import DatasetInfo, param

from ._listing import Item, Listing, class_folders, cut, entries, listed, subject_first
from ._published import PublishedImages, Release, check_folders

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
#: The folder of the class folders, in the archive and next to it.
FOLDER = "2750"
SPLIT_FILE = "split_zhou_EuroSAT.json"
#: Names of the parts in the published file.
PARTS = {"train": "train", "validation": "val", "test": "test"}
#: What the record says of a split that is not the published one.
REGENERATED = f"split regenerated, differs from {SPLIT_FILE}"
#: The parts of the complete dataset, published or drawn again.
COUNTS = {"train": 13500, "validation": 5400, "test": 8100}
#: Where torchvision's EuroSAT fetches the archive.
URL = "https://huggingface.co/datasets/torchgeo/eurosat/resolve/c877bcd43f099cd0196738f714544e355477f3fd/EuroSAT.zip"
SIDE = 64


@dataclass(frozen=True)
class EuroSAT(PublishedImages):
    """Satellite images of ten kinds of land use, 64x64 RGB; 13,500 train, 5,400 validation, 8,100 test.

    The parts are those of ``split_zhou_EuroSAT.json`` (Zhou et al. 2022, CoOp) where that file lies next
    to the folder ``2750`` or to the archive; it names files, and an image belongs to the class of its folder.
    Without it, each class is split 50/20/30 % by a hash of the file names: the same counts, other images, and the
    record says so. Other counts than the published ones, of the images or of the parts, are noted. Images are in the
    order of their class and then of their path.

    The folder ``2750`` is preferred to the archive. An archive has to have the published checksum; it is unpacked
    below the cache when its images are first needed. Decoded images are kept there too.
    """

    release: ClassVar[Release] = Release(
        info=DatasetInfo(
            name="eurosat",
            classes=tuple(CLASSES.values()),
            counts=COUNTS,
            class_counts=(1500, 1500, 1500, 1250, 1250, 1000, 1250, 1500, 1250, 1500),
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
        ),
        title="the EuroSAT images (RGB, ten class folders)",
        url=URL,
        archive="EuroSAT.zip",
        folder=FOLDER,
        md5="c8fa014336c82ac7804f0398fcb19387",
        limit=2**30,  # it takes 9e7
        inside=("eurosat", ""),
        held=tuple(CLASSES),
        held_text="the ten class folders",
    )

    path: str | None = param(
        None,
        help="Folder with eurosat/2750, 2750 or EuroSAT.zip, or one of the two itself; by default 'eurosat' in the "
        "data folder.",
    )

    def input_paths(self) -> tuple[Path, ...]:
        """Return the images or the archive, and the split file if there is one; where nothing is, where to look."""
        split = self._split_file()
        return super().input_paths() if split is None else (*super().input_paths(), split)

    @subject_first
    def info(self) -> DatasetInfo:
        """Return the facts, the published ones where no files are; reads every image of a folder the first time.

        Raises:
            UsageError: other folders than the ten classes, a damaged split file, files that are no images, an
                archive with another checksum than the published one.
        """
        published, here = self.release.info, self._here()
        if here is None:
            return replace(published, notes=(f"without {SPLIT_FILE} beside the images: {REGENERATED}",))
        if not here.is_dir():
            self._verify(here)
        listing = self._listing(here)
        notes = list(listing.notes)
        if here.is_dir():  # of an archive with the right checksum the images are known
            from ._scan import are_texts, leaks, surveyed

            odd, leaked = surveyed(
                listing,
                ["eurosat"],
                lambda facts: [
                    sum((item.width, item.height) != (SIDE, SIDE) for item in facts.values()),
                    leaks(listing, facts),
                ],
                lambda row: len(row) == 2 and type(row[0]) is int and are_texts(row[1]),
            )
            if odd:
                notes.append(f"images of another size, cropped and resized to 64 x 64 px: {odd:,}")
            notes += leaked
        per_class = listing.class_counts("train")
        return replace(published, counts=listing.counts, class_counts=per_class, notes=tuple(notes))

    def _listing(self, root: Path) -> Listing:
        """List the three parts by names alone; ``root`` is the folder ``2750``, or the archive that holds it.

        Raises:
            UsageError: other class folders, a damaged split file, a class without images to train on or to test with.
        """
        files, split_file = (names_in_folder if root.is_dir() else names_in_archive)(root), self._split_file()
        if split_file is None:
            parts, notes = cut(files, 0, shares), [REGENERATED]
        else:
            parts, notes = _published(files, split_file)
        total, complete = sum(map(len, files.values())), sum(COUNTS.values())
        if total != complete:
            notes.append(f"{total:,} images here; the complete dataset has {complete:,}")
        other = [f"{part} {len(parts[part]):,} of {n:,}" for part, n in COUNTS.items() if len(parts[part]) != n]
        if split_file is not None and other:
            notes.append(f"parts of {SPLIT_FILE} that differ from the published ones: {', '.join(other)}")
        return Listing(root, tuple(CLASSES.values()), parts, tuple(notes))

    def _split_file(self) -> Path | None:
        here = self._here()
        places = (here.parent / SPLIT_FILE, self._base / SPLIT_FILE) if here else ()
        return next((place for place in places if place.is_file()), None)

    def _source(self) -> str:
        root = self._base if self.path else self._base.parent
        return (
            f"`bench fetch {self._subject}` or torchvision.datasets.EuroSAT('{root}', download=True) gets them, or by "
            f"hand {self.release.url} as {self._wanted}"
        )


def names_in_folder(images: Path) -> dict[str, list[str]]:
    """Return the names ``Class/file`` of each class folder below ``images``.

    Raises:
        UsageError: other folders than the ten classes, one without images, the multispectral edition.
    """
    check_folders(entries(images, "")[0], {name: name for name in CLASSES}, images.name, "EuroSAT")
    files = class_folders(images, list(CLASSES), "")
    if all(name.lower().endswith((".tif", ".tiff")) for members in files.values() for name in members):
        raise UsageError(
            "these are TIFF files, the multispectral edition (EuroSATallBands); the RGB edition is needed, "
            "JPEG files of 64 x 64 px"
        )
    return files


def names_in_archive(archive: Path) -> dict[str, list[str]]:
    """Return the names ``Class/file`` below the folder ``2750`` of a zip archive, without unpacking it.

    Raises:
        UsageError: a member that must not be there, other class folders than the ten, a damaged archive.
    """
    from ._archives import opened_zip

    with opened_zip(archive, EuroSAT.release.limit) as opened:
        members = [PurePosixPath(item.filename).parts for item in opened.infolist() if not item.is_dir()]
    files: dict[str, list[str]] = {}
    for _, name, file in sorted(parts for parts in members if len(parts) == 3 and parts[0] == FOLDER):
        if not file.startswith("."):
            files.setdefault(name, []).append(f"{name}/{file}")
    check_folders(files, {name: name for name in CLASSES}, f"{archive.name}/{FOLDER}", "EuroSAT")
    return files


def shares(count: int) -> dict[str, int]:
    """Return 50/20/30 % of a class, which gives the published counts on the complete dataset."""
    train, validation = (count + 1) // 2, count // 5
    return {"train": train, "validation": validation, "test": count - train - validation}


def _published(files: Mapping[str, list[str]], split_file: Path) -> tuple[dict[str, tuple[Item, ...]], list[str]]:
    """Read the published file: ``{"train": [[path, label, name], ...], "val": ..., "test": ...}``."""
    here = [(file, label) for label, members in enumerate(files.values()) for file in members]
    parts: dict[str, tuple[Item, ...]] = {}
    seen: dict[str, str] = {}
    for part, paths in _read(split_file).items():
        for path in paths:
            if path in seen:
                raise UsageError(f"{SPLIT_FILE} names '{path}' twice ({seen[path]} and {part})")
            seen[path] = part
        parts[part] = tuple(item for item in here if seen.get(item[0]) == part)
    for part in ("train", "test"):
        held = {label for _, label in parts[part]}
        if lacking := [name for label, name in enumerate(files) if label not in held]:
            raise UsageError(f"{SPLIT_FILE} gives no {part} images here to {listed(lacking)}")
    notes = [f"split of {SPLIT_FILE}"]
    used = sum(map(len, parts.values()))
    if absent := len(seen) - used:
        notes.append(f"images that {SPLIT_FILE} names and that are not here: {absent:,} of {len(seen):,}")
    if unused := len(here) - used:
        notes.append(f"images here that {SPLIT_FILE} does not name, not used: {unused:,}")
    return parts, notes


def _read(split_file: Path) -> dict[str, list[str]]:
    """Return the paths of each part, relative to the class folders; labels and names in the file repeat the
    folder.
    """
    try:
        content: Any = json.loads(split_file.read_text("utf-8"))
        return {part: [str(row[0]).removeprefix("2750/") for row in content[name]] for part, name in PARTS.items()}
    except OSError as error:
        raise UsageError(f"cannot read {SPLIT_FILE}: {error.strerror}") from None
    except (ValueError, TypeError, KeyError, IndexError):
        raise UsageError(
            f"{SPLIT_FILE} is damaged: expected JSON with lists of [path, label, name] under "
            "train, val and test; fetch it again, or move it away to have a split drawn"
        ) from None
