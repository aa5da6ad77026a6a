"""The parts of EuroSAT: the published ones, or the same counts drawn again."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from benchbench.errors import UsageError

from ._archives import DAMAGED, check_zip, what_is_wrong
from ._images import listed
from ._listing import Item, Listing, class_folders, stratified, subfolders

#: Images of the complete dataset.
COMPLETE = 27000
#: The folder of the class folders, in the archive and beside it.
FOLDER = "2750"
#: Bytes that the archive may unpack to; it takes 9e7.
LIMIT = 2**30
#: What the record says of a split that is not the published one.
REGENERATED = "split regenerated, differs from split_zhou_EuroSAT.json"
#: Names of the parts in the published file.
PARTS = {"train": "train", "validation": "val", "test": "test"}


def list_eurosat(
    root: Path,
    files: Mapping[str, list[str]],
    split_file: Path | None,
    classes: Mapping[str, str],
    counts: Mapping[str, int],
    subject: str,
) -> Listing:
    """List the three parts.

    Args:
        root: the folder that names are relative to: ``2750``, or the archive that holds it.
        files: sorted names ``Class/file`` of each class folder, in the order of ``classes``.
        split_file: the published split, ``None`` to draw one with the same counts.
        classes: name of each class by its folder, sorted by folder.
        counts: published images of each part; a difference is noted.
        subject: the start of every message.

    Raises:
        UsageError: a damaged split file, a class that has no image to train on or to test with.
    """
    if split_file is None:
        parts, notes = _draw(files, subject)
    else:
        parts, notes = _published(files, split_file, subject)
    total = sum(len(members) for members in files.values())
    if total != COMPLETE:
        notes.append(f"{total:,} images here; the complete dataset has {COMPLETE:,}")
    other = [f"{part} {len(parts[part]):,} of {count:,}" for part, count in counts.items() if len(parts[part]) != count]
    if split_file is not None and other:
        notes.append(f"parts of {split_file.name} that differ from the published ones: {', '.join(other)}")
    return Listing(root, tuple(classes.values()), parts, tuple(notes))


def names_in_folder(images: Path, classes: Iterable[str], subject: str) -> dict[str, list[str]]:
    """Return the names ``Class/file`` of each class folder below ``images``.

    Raises:
        UsageError: other folders than ``classes``, one without images, the multispectral edition.
    """
    _check_folders(subfolders(images, subject), classes, images.name, subject)
    files = class_folders(images, sorted(classes), "", subject)
    if all(name.lower().endswith((".tif", ".tiff")) for members in files.values() for name in members):
        raise UsageError(
            f"{subject}: these are TIFF files, the multispectral edition (EuroSATallBands); the RGB edition is needed, "
            "JPEG files of 64 x 64 px"
        )
    return files


def names_in_archive(archive: Path, classes: Iterable[str], subject: str) -> dict[str, list[str]]:
    """Return the names ``Class/file`` below the folder ``2750`` of a zip archive, without unpacking it.

    Raises:
        UsageError: a member that must not be there, other class folders than ``classes``, a damaged archive.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            check_zip(opened, archive, subject, LIMIT)
            members = [PurePosixPath(item.filename).parts for item in opened.infolist() if not item.is_dir()]
    except DAMAGED as error:
        raise UsageError(f"{subject}: {archive}: {what_is_wrong(error)}; fetch it again") from None
    inside = [parts for parts in members if len(parts) == 3 and parts[0] == FOLDER]
    files: dict[str, list[str]] = {}
    for _, name, file in sorted(inside):
        if not file.startswith("."):
            files.setdefault(name, []).append(f"{name}/{file}")
    _check_folders(list(files), classes, f"{archive.name}/{FOLDER}", subject)
    return files


def _check_folders(found: Iterable[str], classes: Iterable[str], place: str, subject: str) -> None:
    missing, strange = sorted(set(classes) - set(found)), sorted(set(found) - set(classes))
    if missing or strange:
        what = [f"missing: {listed(missing)}"] * bool(missing) + [f"not expected: {listed(strange)}"] * bool(strange)
        raise UsageError(f"{subject}: the class folders in '{place}' are not EuroSAT's ten; {'; '.join(what)}")


def _draw(files: Mapping[str, list[str]], subject: str) -> tuple[dict[str, tuple[Item, ...]], list[str]]:
    """Split each class 50/20/30 %, which gives the published counts on the complete dataset."""
    parts: dict[str, list[Item]] = {part: [] for part in PARTS}
    for label, (name, members) in enumerate(files.items()):
        if len(members) < 2:
            raise UsageError(f"{subject}: class folder '{name}' has 1 image; a split needs at least 2")
        order = stratified(members, 0)
        train, validation = (len(members) + 1) // 2, len(members) // 5
        cut = {"train": order[:train], "validation": order[train : train + validation]}
        cut["test"] = order[train + validation :]
        for part, chosen in cut.items():
            parts[part] += [(file, label) for file in sorted(chosen)]
    return {part: tuple(items) for part, items in parts.items()}, [REGENERATED]


def _published(
    files: Mapping[str, list[str]], split_file: Path, subject: str
) -> tuple[dict[str, tuple[Item, ...]], list[str]]:
    """Read the published file: ``{"train": [[path, label, name], ...], "val": ..., "test": ...}``."""
    place = {file: label for label, members in enumerate(files.values()) for file in members}
    named = _read(split_file, subject)
    parts: dict[str, tuple[Item, ...]] = {}
    seen: dict[str, str] = {}
    for part, paths in named.items():
        for path in paths:
            if path in seen:
                raise UsageError(f"{subject}: {split_file.name} names '{path}' twice ({seen[path]} and {part})")
            seen[path] = part
        parts[part] = tuple(
            sorted(((path, place[path]) for path in paths if path in place), key=lambda i: (i[1], i[0]))
        )
    for part in ("train", "test"):
        held = {label for _, label in parts[part]}
        if lacking := [name for label, name in enumerate(files) if label not in held]:
            raise UsageError(f"{subject}: {split_file.name} gives no {part} images here to {listed(lacking)}")
    notes = [f"split of {split_file.name}"]
    if absent := sum(path not in place for path in seen):
        notes.append(f"images that {split_file.name} names and that are not here: {absent:,} of {len(seen):,}")
    if unused := sum(path not in seen for path in place):
        notes.append(f"images here that {split_file.name} does not name, not used: {unused:,}")
    return parts, notes


def _read(split_file: Path, subject: str) -> dict[str, list[str]]:
    """Return the paths of each part, relative to the class folders; labels and names in the file repeat the
    folder.
    """
    try:
        content: Any = json.loads(split_file.read_text("utf-8"))
        return {part: [str(row[0]).removeprefix("2750/") for row in content[name]] for part, name in PARTS.items()}
    except OSError as error:
        raise UsageError(f"{subject}: cannot read {split_file.name}: {error.strerror}") from None
    except (ValueError, TypeError, KeyError, IndexError):
        raise UsageError(
            f"{subject}: {split_file.name} is damaged: expected JSON with lists of [path, label, name] under "
            "train, val and test; fetch it again, or remove it to have a split drawn"
        ) from None
