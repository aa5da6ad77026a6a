"""Which images of an ImageNette folder belong to which class and part."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from benchbench.errors import UsageError

from ._images import listed
from ._listing import Item, Listing, class_folders, subfolders

#: Folder of each part; the published ``val`` is what everyone tests on.
PARTS = {"train": "train", "test": "val"}
#: Bytes that the archive may unpack to; it takes 1.6e9.
LIMIT = 2**32
#: What the smaller editions are called.
REDUCED = {"imagenette2-160": 160, "imagenette2-320": 320}


def list_imagenette(root: Path, classes: Mapping[str, str], subject: str) -> Listing:
    """List the parts below ``root``, which holds ``train`` and ``val``.

    Only ``.JPEG`` files count, in whatever case, as for ``torchvision.datasets.Imagenette``; hidden ones do not, which
    some operating systems leave beside every image. Labels are the places of the folders in ``classes`` and never
    depend on which folders are there.

    Args:
        root: the folder called ``imagenette2`` in the archive.
        classes: name of each class by its folder (a WordNet ID), sorted by folder.
        subject: the start of every message.

    Raises:
        UsageError: a part or a class that is missing, folders or files that do not belong there.
    """
    parts: dict[str, tuple[Item, ...]] = {"train": (), "validation": (), "test": ()}
    unused: list[str] = []
    for part, folder in PARTS.items():
        if not (root / folder).is_dir():
            raise UsageError(f"{subject}: {root} has no folder '{folder}'; ImageNette has train/ and val/")
        found = set(subfolders(root / folder, subject))
        if wrong := _wrong(found, classes):
            raise UsageError(f"{subject}: the class folders in '{folder}' are not ImageNette's ten; {wrong}")
        files = class_folders(root, list(classes), f"{folder}/", subject)
        items = [(name, label) for label, wnid in enumerate(classes) for name in files[wnid]]
        unused += [name for name, _ in items if not _counts(name)]
        parts[part] = tuple(item for item in items if _counts(item[0]))
        if empty := sorted(set(range(len(classes))) - {label for _, label in parts[part]}):
            names = listed(tuple(classes)[label] for label in empty)
            raise UsageError(f"{subject}: '{folder}' has no .JPEG images of {names}")
    notes = [f"images that do not end in .JPEG, not used: {len(unused):,}"] if unused else []
    if root.name in REDUCED:
        notes.append(f"the edition reduced to a shorter side of {REDUCED[root.name]} px, not the full one")
    return Listing(root, tuple(classes.values()), parts, tuple(notes))


def _counts(name: str) -> bool:
    return name.lower().endswith(".jpeg")


def _wrong(found: set[str], classes: Mapping[str, str]) -> str:
    missing = [f"{wnid} ({name})" for wnid, name in classes.items() if wnid not in found]
    strange = sorted(found - set(classes))
    what = [f"missing: {listed(missing)}"] * bool(missing) + [f"not expected: {listed(strange)}"] * bool(strange)
    return "; ".join(what)
