"""``folder``: the user's own images, one folder for each class.

Two layouts: ``train/`` with ``test/`` and/or ``val/``, each of class folders, or class folders alone, which are split
by a seed.
"""

from __future__ import annotations

import math
import os
import re
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchbench.errors import MissingError, UsageError, nearest
from benchbench.files import expanded
from benchbench.plugins import Context, Dataset, DatasetInfo, ImageSet, param

from ._listing import PARTS, Listing, class_folders, cut, entries, listed, subject_first

if TYPE_CHECKING:
    from ._images import ImageFacts

#: Spellings of the parts of a dataset, whatever their case.
SPELLINGS = {
    "train": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}
#: The end of every message about a layout.
LAYOUT = "expected train/ and test/ (or val/) with a folder for each class, or a folder for each class alone"


@dataclass(frozen=True)
class Folder(Dataset):
    """Images in class folders: train/ with test/ and/or val/, or class folders alone, split by a seed.

    Class folders alone are split anew for each draw: draw d, counted from 1, is the split of ``split_seed`` + d - 1,
    with a test part of its own. Each class keeps its share, and images of one ``group`` stay together.

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
    split_seed: int = param(0, low=0, help="Which images these are; each further draw takes the next seed.")
    group: str = param(
        "", help="What images of one subject share in their path, as a regular expression: a split keeps them together."
    )
    flip: bool = param(True, help="Whether a horizontal flip keeps the class.")
    prompt: str = param("a photo of a {}.", help="Prompt for text-to-image models; {} is the class.")

    def __post_init__(self) -> None:
        around = self.prompt.split("{}")
        if len(around) != 2 or any(brace in text for text in around for brace in "{}"):
            raise ValueError(f"prompt='{self.prompt}' must hold {{}} once, for the class")
        try:
            re.compile(self.group)
        except re.error as error:
            raise ValueError(f"group='{self.group}' is no regular expression ({error})") from None

    def input_paths(self) -> tuple[Path, ...]:
        """Return the folder: its content, not its place, decides results."""
        return (expanded(self.path),) if self.path else ()

    @subject_first
    def info(self) -> DatasetInfo:
        """Return the facts; reads every image the first time.

        Raises:
            MissingError: the folder is not there.
            UsageError: it has no usable layout, fewer than two classes, a class without images, a class in test
                that train lacks, or files that cannot be used as images.
        """
        from ._scan import are_moments, are_texts, leaks, moments, surveyed

        listing = self._listing()

        def survey(facts: Mapping[str, ImageFacts]) -> list[Any]:
            side = self._side([facts[name] for name, _ in listing.parts["train"]])
            return [side, *moments(listing, facts, side), leaks(listing, facts)]

        def fits(row: Any) -> bool:
            return len(row) == 4 and type(row[0]) is int and are_moments([*row[1], *row[2]]) and are_texts(row[3])

        question = ["folder", self.resolution, *([self.split_seed] if listing.is_cut else [])]
        side, mean, std, leaked = surveyed(listing, question, survey, fits)
        return DatasetInfo(
            name="folder",
            classes=listing.classes,
            counts=listing.counts,
            class_counts=listing.class_counts("train"),
            resolution=side,
            classify_resolution=side,
            generate_resolution=128 if side <= 48 else 256,
            mean=tuple(mean),
            std=tuple(std),
            flip_keeps_class=self.flip,
            foundation="CompVis/stable-diffusion-v1-4",
            prompt=self.prompt,
            prompt_names=tuple(name.replace("_", " ") for name in listing.classes),
            source=f"the folder '{listing.root.resolve().name}'",
            notes=(*listing.notes, *leaked),
        )

    @subject_first
    def of_draw(self, draw: int, info: DatasetInfo) -> Folder:
        """Return the folder split by another seed, at the same resolution; itself where it has a test part.

        Raises:
            UsageError: a class has too few images for so many different test parts.
        """
        if not draw or not (listing := self._listing()).is_cut:
            return self
        most, scarce = min((self._test_parts(listing, label), label) for label in range(len(listing.classes)))
        if draw >= most:
            what = "groups of images" if self.group else "images"
            raise UsageError(
                f"--draws: class '{listing.classes[scarce]}' has so few {what} that there are {most} different test "
                f"parts; give at most --draws {most}, or add images"
            )
        return replace(self, split_seed=self.split_seed + draw, resolution=info.resolution)

    @subject_first
    def load(self, split: str, context: Context) -> ImageSet:
        """Return one part at ``context.info.resolution``; ``source`` of an origin is the path below the
        folder.

        Raises:
            UsageError: as :meth:`info`, for what has changed since.
        """
        from ._scan import load_items

        return load_items(self._listing(), split, context.info.resolution, context)

    @property
    def _subject(self) -> str:
        return f"folder:path={self.path}" if self.path else "folder"

    def _group(self, image: str) -> str:
        """Return what the images of one subject share; an image without it is alone."""
        found = re.search(self.group, image) if self.group else None
        return found[found.lastindex or 0] if found else image

    def _test_parts(self, listing: Listing, label: int) -> int:
        """Return in how many ways the groups of a class that test can be chosen."""
        test, every = (
            {self._group(name) for part in parts for name, its in listing.parts[part] if its == label}
            for parts in (("test",), PARTS)
        )
        return math.comb(len(every), len(test))

    def _side(self, facts: Iterable[ImageFacts]) -> int:
        """Return the resolution: the one asked for, else by the lower median of the shorter sides."""
        if self.resolution is not None:
            return self.resolution
        short_side = statistics.median_low(min(item.width, item.height) for item in facts)
        return 28 if short_side == 28 else min(max(short_side // 16 * 16, 16), 256)

    def _listing(self) -> Listing:
        """Find the layout of the folder and list its files.

        Raises:
            MissingError: the folder is not there.
            UsageError: there is no path or no folder, no layout is found, fewer than two classes, a class without
                images, a test class that train lacks.
        """
        if not self.path:
            raise UsageError(f"path is missing: folder:path=FOLDER; {LAYOUT}")
        root = expanded(self.path)
        if not os.path.lexists(root):
            try:
                siblings = sorted(os.listdir(root.parent))
            except OSError:
                siblings = []
            raise MissingError(f"no such folder{nearest(root.name, siblings)}; {LAYOUT}")
        if not os.path.isdir(root):
            raise UsageError(f"not a folder; {LAYOUT}")
        folders, images, others = entries(root, "")
        if not (folders or images or others or any(root.iterdir())):
            raise UsageError(f"the folder is empty; {LAYOUT}")
        _check_folders(folders, images, "no class folders")
        if places := _parts(root, folders):
            if self.group:
                raise UsageError(f"group={self.group}: has a test part, so that nothing is split; leave group out")
            return _from_parts(root, places, [name for name in folders if name not in places.values()])
        classes = class_folders(root, folders, "")
        _check_two(folders)

        def sizes(count: int) -> dict[str, int]:
            test = min(max(1, round(self.test_fraction * count)), count - 1)
            return {"test": test, "train": count - test}

        notes = [f"{self.test_fraction:.0%} of each class test, chosen by split_seed, anew for each draw"]
        if self.group:
            if not any(re.search(self.group, name) for images in classes.values() for name in images):
                example = next(iter(classes.values()))[0]
                raise UsageError(f"group={self.group}: is in no path of an image, such as '{example}'")
            notes.append(f"images that share '{self.group}' in their path are in one part")
        parts = cut(classes, self.split_seed, sizes, self._group)
        return Listing(root, tuple(classes), parts, tuple(notes), is_cut=True)


def _parts(root: Path, folders: list[str]) -> dict[str, str]:
    """Return the folder of each part, or nothing where ``root`` holds class folders alone."""
    places: dict[str, str] = {}
    sure = False
    for name in folders:
        part = SPELLINGS.get(name.lower())
        if part is None:
            continue
        if part in places:
            raise UsageError(f"both '{places[part]}' and '{name}' could be the {part} part; rename one")
        places[part] = name
        inner, images, _ = entries(root / name, name + "/")
        sure = sure or bool(inner) or not images
    # A class may be called "train": it holds images, and no other part is there.
    if not sure and not ("train" in places and len(places) > 1):
        return {}
    if "train" not in places:
        raise UsageError(f"has '{next(iter(places.values()))}' but no train/; {LAYOUT}")
    if len(places) == 1:
        raise UsageError(
            f"has '{places['train']}' but neither test/ nor val/; add one, or give the path of "
            f"'{places['train']}' itself to have it split"
        )
    if "test" not in places:
        places["test"] = places.pop("validation")
    return places


def _from_parts(root: Path, places: dict[str, str], extra: list[str]) -> Listing:
    held: dict[str, dict[str, list[str]]] = {}
    for part in PARTS:
        if part not in places:
            continue
        name = places[part]
        folders, images, _ = entries(root / name, name + "/")
        _check_folders(folders, images, f"'{name}' has no class folders")
        if part == "train":
            _check_two(folders)
        elif lacking := sorted(set(folders) - set(held["train"])):
            what = "a class" if len(lacking) == 1 else f"{len(lacking)} classes"
            raise UsageError(
                f"'{name}' has {what} that '{places['train']}' lacks: {listed(lacking)}; "
                f"add training images or move {'it' if len(lacking) == 1 else 'them'} away"
            )
        held[part] = class_folders(root, folders, name + "/")
    classes = tuple(held["train"])
    notes = []
    if SPELLINGS[places["test"].lower()] == "validation":
        notes.append(f"'{places['test']}' is the test part: there is no test/")
    if absent := [name for name in classes if name not in held["test"]]:
        notes.append(f"the test part has no images of {listed(absent)}")
    if extra:
        notes.append(f"not used: {listed(sorted(extra))}")
    parts = {
        part: tuple((name, label) for label, cls in enumerate(classes) for name in held.get(part, {}).get(cls, []))
        for part in PARTS
    }
    return Listing(root, classes, parts, tuple(notes))


def _check_folders(folders: list[str], images: list[str], lacking: str) -> None:
    if images:
        raise UsageError(f"images outside of a class folder ({listed(images)}); {LAYOUT}")
    if not folders:
        raise UsageError(f"{lacking}; {LAYOUT}")


def _check_two(classes: list[str]) -> None:
    if len(classes) == 1:
        raise UsageError(f"only one class ('{classes[0]}'); a classifier needs at least two")
