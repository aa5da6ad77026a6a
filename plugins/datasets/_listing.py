"""Lists the image files of a folder by class; reads names, never pixels.

Classes are in the order of their names, images in the order of their path; hidden files do not count.
"""

from __future__ import annotations

import functools
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

from benchbench.errors import BenchError, UsageError
from benchbench.plugins.context import derive_seed

#: Endings of file names that count as images.
EXTENSIONS = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
#: Names of files that operating systems create.
LITTER = ("thumbs.db", "desktop.ini", "__macosx")
#: The parts of a dataset.
PARTS = ("train", "validation", "test")
Item = tuple[str, int]
_ODD = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
Method = TypeVar("Method", bound=Callable[..., Any])


@dataclass(frozen=True)
class Listing:
    """The files of a dataset.

    Attributes:
        root: the folder that names are relative to.
        classes: class names, sorted.
        parts: ``train``, ``validation`` (may be empty) and ``test``: pairs of relative POSIX path and label, in order.
        notes: facts for the record.
        is_cut: whether a seed cut the parts out of one folder.
    """

    root: Path
    classes: tuple[str, ...]
    parts: Mapping[str, tuple[Item, ...]]
    notes: tuple[str, ...] = ()
    is_cut: bool = False

    @property
    def names(self) -> list[str]:
        """Relative paths of all files, part after part."""
        return [name for part in self.parts.values() for name, _ in part]

    @property
    def counts(self) -> dict[str, int]:
        """Images of each part."""
        return {part: len(items) for part, items in self.parts.items()}

    def class_counts(self, part: str) -> tuple[int, ...]:
        """Return the images of each class in a part."""
        counts = Counter(label for _, label in self.parts[part])
        return tuple(counts[label] for label in range(len(self.classes)))


def subject_first(method: Method) -> Method:
    """Let each error of a dataset's method start with its ``_subject``, the dataset as the user wrote it."""

    @functools.wraps(method)
    def named(self: Any, *arguments: Any, **options: Any) -> Any:
        try:
            return method(self, *arguments, **options)
        except BenchError as error:
            raise type(error)(f"{self._subject}: {error}") from None

    return cast(Method, named)


def listed(names: Iterable[str], shown: int = 3) -> str:
    """Return ``'a', 'b', 'c' and 4 more``."""
    every = list(names)
    text = ", ".join(f"'{name}'" for name in every[:shown])
    return text + (f" and {len(every) - shown} more" if len(every) > shown else "")


def class_folders(root: Path, names: list[str], prefix: str) -> dict[str, list[str]]:
    """Return the sorted image files of each class folder ``prefix + name`` below ``root``, as relative paths.

    Raises:
        UsageError: a class without images, a file that is no image, a link in a circle.
    """
    by_class = {}
    for name in sorted(names):
        files = sorted(_files(root, prefix + name, {os.path.realpath(root)}))
        if not files:
            raise UsageError(f"class folder '{prefix + name}' has no images (looked for {' '.join(EXTENSIONS)})")
        by_class[name] = files
    return by_class


def entries(folder: Path, prefix: str) -> tuple[list[str], list[str], list[str]]:
    """Return the names of the folders in a folder, and the prefixed names of the image and of the other files, sorted.

    Raises:
        UsageError: the folder cannot be listed, or a name is not plain text.
    """
    shown = prefix.rstrip("/") or "."
    try:
        with os.scandir(folder) as listing:
            kept = [e for e in listing if not e.name.startswith(".") and e.name.lower() not in LITTER]
    except OSError as error:
        raise UsageError(f"cannot list '{shown}': {error.strerror}") from None
    folders, images, others = [], [], []
    for entry in sorted(kept, key=lambda entry: entry.name):
        if not entry.name.isprintable() and _ODD.search(entry.name):  # a line break, or bytes that are not UTF-8
            raise UsageError(f"the name {entry.name!a} in '{shown}' is not plain text; rename it")
        if _is_folder(entry):
            folders.append(entry.name)
        elif entry.name.lower().endswith(EXTENSIONS):
            images.append(prefix + entry.name)
        else:
            others.append(prefix + entry.name)
    return folders, images, others


def cut(
    classes: Mapping[str, list[str]],
    seed: int,
    sizes: Callable[[int], Mapping[str, int]],
    group_of: Callable[[str], str] = str,
) -> dict[str, tuple[Item, ...]]:
    """Cut each class into parts, in an order that depends on the name of each image and the seed alone.

    An image keeps its place relative to the others when more are added, and no library version moves it. Images of a
    group are in one part, also those of several classes: a part takes groups until it has its size in each class.

    Args:
        classes: the images of each class, in the order of the labels.
        seed: which images go into which part.
        sizes: returns how many images of a class of so many go into each part; the last part gets the rest.
        group_of: returns the group of an image; by default each is one of its own.

    Raises:
        UsageError: a class of one image, or one whose groups leave a part without images.
    """
    part_of: dict[str, str] = {}
    for name, images in classes.items():
        if len(images) < 2:
            raise UsageError(f"class '{name}' has 1 image; a split into train and test needs at least 2")
        members = Counter(map(group_of, images))
        free = sorted(members.keys() - part_of.keys(), key=lambda group: (derive_seed("split", seed, group), group))
        free.reverse()  # taken from the end
        wanted = sizes(len(images))
        last = [*wanted][-1]
        least = 0 if any(part_of.get(group) == last for group in members) else 1  # groups to leave for the last part
        for part, size in wanted.items():
            have = sum(count for group, count in members.items() if part_of.get(group) == part)
            while free and (part == last or (have < size and (not have or len(free) > least))):
                group = free.pop()
                part_of[group] = part
                have += members[group]
            if size and not have:
                groups = f"{len(members)} group{'' if len(members) == 1 else 's'} of images"
                raise UsageError(f"class '{name}': a split of its {groups} leaves none for {part}")
    parts: dict[str, list[Item]] = {part: [] for part in PARTS}
    for label, images in enumerate(classes.values()):
        for image in sorted(images):
            parts[part_of[group_of(image)]].append((image, label))
    return {part: tuple(items) for part, items in parts.items()}


def _files(root: Path, folder: str, above: set[str]) -> list[str]:
    """Return the image files below a class folder; ``above`` are the folders that lead to it."""
    here = os.path.realpath(root / folder)
    if here in above:
        raise UsageError(f"'{folder}' is a link to a folder that holds it; move the link away")
    folders, images, others = entries(root / folder, f"{folder}/")
    if others:
        raise UsageError(f"not an image file: {listed(others)}; a class folder holds {' '.join(EXTENSIONS)}")
    for name in folders:
        images += _files(root, f"{folder}/{name}", above | {here})
    return images


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself; reading it as a file says what is wrong
        return False
