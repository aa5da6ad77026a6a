"""Which image files a folder holds, in which class and which part; reads names, never pixels.

Two layouts: ``train/`` with ``test/`` and/or ``val/``, each of class folders, or class folders alone, which
are split by a seed. Classes are in the order of their names, images in the order of their path; hidden files
do not count.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchbench.errors import UsageError
from benchbench.plugins.context import derive_seed

from ._images import EXTENSIONS, listed

#: Spellings of the parts of a dataset, whatever their case.
PARTS = {
    "train": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}
#: What operating systems leave behind.
LITTER = ("thumbs.db", "desktop.ini", "__macosx")
#: The end of every message about a layout.
LAYOUT = "expected train/ and test/ (or val/) with a folder for each class, or a folder for each class alone"

Item = tuple[str, int]


@dataclass(frozen=True)
class Listing:
    """The files of a dataset.

    Attributes:
        root: the folder that names are relative to.
        classes: class names, sorted.
        parts: ``train``, ``validation`` (may be empty) and ``test``: pairs of relative POSIX path and label, in order.
        notes: facts for the record.
    """

    root: Path
    classes: tuple[str, ...]
    parts: Mapping[str, tuple[Item, ...]]
    notes: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        """Relative paths of all files, part after part."""
        return [name for part in self.parts.values() for name, _ in part]

    @property
    def train_counts(self) -> tuple[int, ...]:
        """Training images of each class."""
        return self.class_counts("train")

    def class_counts(self, part: str) -> tuple[int, ...]:
        """Return the images of each class in a part."""
        counts = Counter(label for _, label in self.parts[part])
        return tuple(counts[label] for label in range(len(self.classes)))


def list_dataset(root: Path, subject: str, test_fraction: float, split_seed: int) -> Listing:
    """Find the layout of ``root`` and list its files.

    Args:
        root: a folder that exists.
        subject: the start of every message, as the user wrote the dataset.
        test_fraction: share of each class that tests, in (0, 1), when there are class folders alone.
        split_seed: which images these are.

    Raises:
        UsageError: no layout is found, fewer than two classes, a class without images, a test class that train lacks.
    """
    folders, images = _entries(root, "", subject)
    if not folders and not images and not any(root.iterdir()):
        raise UsageError(f"{subject}: the folder is empty; {LAYOUT}")
    if images:
        raise UsageError(f"{subject}: images outside of a class folder ({listed(images)}); {LAYOUT}")
    if not folders:
        raise UsageError(f"{subject}: no class folders; {LAYOUT}")
    places = _parts(root, folders, subject)
    if places:
        extra = [name for name in folders if name not in places.values()]
        return _from_parts(root, places, subject, extra)
    classes = class_folders(root, folders, "", subject)
    _check_two(list(classes), subject)
    return _split(root, classes, subject, test_fraction, split_seed)


def class_folders(root: Path, names: list[str], prefix: str, subject: str) -> dict[str, list[str]]:
    """Return the sorted image files of each class folder ``prefix + name`` below ``root``, as relative paths.

    Raises:
        UsageError: a class without images, a file that is no image, a link in a circle.
    """
    found = {}
    for name in sorted(names):
        files = sorted(_files(root, prefix + name, subject, {_identity(root)}))
        if not files:
            raise UsageError(
                f"{subject}: class folder '{prefix + name}' has no images (looked for {' '.join(EXTENSIONS)})"
            )
        found[name] = files
    return found


def subfolders(folder: Path, subject: str) -> list[str]:
    """Return the names of the folders in a folder, sorted, hidden ones and litter left out."""
    return _entries(folder, "", subject)[0]


def stratified(names: list[str], seed: int) -> list[str]:
    """Return the names in an order that depends on each name and the seed alone.

    An image keeps its place relative to the others when more are added, and no library version moves it.
    """
    return sorted(names, key=lambda name: (derive_seed("split", seed, name), name))


def _parts(root: Path, folders: list[str], subject: str) -> dict[str, str]:
    """Return the folder of each part, or nothing where ``root`` holds class folders alone."""
    places: dict[str, str] = {}
    sure = False
    for name in folders:
        part = PARTS.get(name.lower())
        if part is None:
            continue
        if part in places:
            raise UsageError(f"{subject}: both '{places[part]}' and '{name}' could be the {part} part; rename one")
        places[part] = name
        inner, images = _entries(root / name, name + "/", subject)
        sure = sure or bool(inner) or not images
    # A class may be called "train": it holds images, and no other part is there.
    if not sure and not ("train" in places and len(places) > 1):
        return {}
    if "train" not in places:
        raise UsageError(f"{subject}: has '{next(iter(places.values()))}' but no train/; {LAYOUT}")
    if len(places) == 1:
        raise UsageError(
            f"{subject}: has '{places['train']}' but neither test/ nor val/; add one, or give the path of "
            f"'{places['train']}' itself to have it split"
        )
    if "test" not in places:
        places["test"] = places.pop("validation")
    return places


def _from_parts(root: Path, places: dict[str, str], subject: str, extra: list[str]) -> Listing:
    found: dict[str, dict[str, list[str]]] = {}
    for part in ("train", "validation", "test"):
        if part not in places:
            continue
        name = places[part]
        folders, images = _entries(root / name, name + "/", subject)
        if images:
            raise UsageError(f"{subject}: images outside of a class folder ({listed(images)}); {LAYOUT}")
        if not folders:
            raise UsageError(f"{subject}: '{name}' has no class folders; {LAYOUT}")
        if part == "train":
            _check_two(folders, subject)
        elif lacking := sorted(set(folders) - set(found["train"])):
            what = "a class" if len(lacking) == 1 else f"{len(lacking)} classes"
            raise UsageError(
                f"{subject}: '{name}' has {what} that '{places['train']}' lacks: {listed(lacking)}; "
                f"add training images or remove {'it' if len(lacking) == 1 else 'them'}"
            )
        found[part] = class_folders(root, folders, name + "/", subject)
    classes = tuple(found["train"])
    notes = []
    if PARTS[places["test"].lower()] == "validation":
        notes.append(f"'{places['test']}' is the test part: there is no test/")
    if absent := [name for name in classes if name not in found["test"]]:
        notes.append(f"the test part has no images of {listed(absent)}")
    if extra:
        notes.append(f"not used: {listed(sorted(extra))}")
    parts = {
        part: tuple((name, label) for label, cls in enumerate(classes) for name in found.get(part, {}).get(cls, []))
        for part in ("train", "validation", "test")
    }
    return Listing(root, classes, parts, tuple(notes))


def _check_two(classes: list[str], subject: str) -> None:
    if len(classes) == 1:
        raise UsageError(f"{subject}: only one class ('{classes[0]}'); a classifier needs at least two")


def _split(root: Path, classes: dict[str, list[str]], subject: str, test_fraction: float, seed: int) -> Listing:
    parts: dict[str, list[Item]] = {"train": [], "validation": [], "test": []}
    for label, (name, files) in enumerate(classes.items()):
        if len(files) < 2:
            raise UsageError(f"{subject}: class '{name}' has 1 image; a split into train and test needs at least 2")
        test = set(stratified(files, seed)[: min(max(1, round(test_fraction * len(files))), len(files) - 1)])
        parts["train"] += [(file, label) for file in files if file not in test]
        parts["test"] += [(file, label) for file in files if file in test]
    notes = (f"split by seed {seed}: {test_fraction:.0%} of each class test",)
    return Listing(root, tuple(classes), {part: tuple(items) for part, items in parts.items()}, notes)


def _entries(folder: Path, prefix: str, subject: str) -> tuple[list[str], list[str]]:
    """Return the names of the folders and the prefixed names of the image files in a folder, both sorted."""
    folders, images = [], []
    for entry in _scandir(folder, prefix.rstrip("/") or ".", subject):
        if _is_folder(entry):
            folders.append(entry.name)
        elif entry.name.lower().endswith(EXTENSIONS):
            images.append(prefix + entry.name)
    return folders, images


def _files(root: Path, folder: str, subject: str, above: set[tuple[int, int]]) -> list[str]:
    """Return the image files below a class folder; ``above`` are the folders that lead to it."""
    here = _identity(root / folder)
    if here in above:
        raise UsageError(f"{subject}: '{folder}' is a link to a folder that holds it; remove the link")
    found, others = [], []
    for entry in _scandir(root / folder, folder, subject):
        name = f"{folder}/{entry.name}"
        if _is_folder(entry):
            found += _files(root, name, subject, above | {here})
        elif entry.name.lower().endswith(EXTENSIONS):
            found.append(name)
        else:
            others.append(name)
    if others:
        raise UsageError(f"{subject}: not an image file: {listed(others)}; a class folder holds {' '.join(EXTENSIONS)}")
    return found


def _scandir(folder: Path, shown: str, subject: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            kept = [e for e in entries if not e.name.startswith(".") and e.name.lower() not in LITTER]
    except OSError as error:
        raise UsageError(f"{subject}: cannot list '{shown}': {error.strerror}") from None
    for entry in kept:
        if re.search(r"[\x00-\x1f\x7f\ud800-\udfff]", entry.name):  # a line break, or bytes that are not UTF-8
            raise UsageError(f"{subject}: the name {entry.name!a} in '{shown}' is not plain text; rename it")
    return sorted(kept, key=lambda entry: entry.name)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself; reading it as a file says what is wrong
        return False


def _identity(folder: Path) -> tuple[int, int]:
    found = folder.stat()
    return found.st_dev, found.st_ino
