"""MedMNIST by the readers of its authors' package."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np

from benchbench.errors import UsageError

from ._archives import DAMAGED, check_zip, verify, what_is_wrong
from ._arrays import blocks, check_labels, checked
from ._decoded import Decoded, Source, decoded
from ._library import file_digests, reading
from ._published import Found, Release

#: Changes whenever the pixels, the labels or the facts do.
VERSION = 2
SIDE = 28
#: Bytes that a file may unpack to; PathMNIST, the largest here, takes 252 MB.
LIMIT = 2**30
#: Part of a dataset by the package's name for it.
PARTS = {"train": "train", "val": "validation", "test": "test"}


def checksum(flag: str) -> str:
    """Return the file's MD5 as medmnist gives it."""
    return str(_info(flag)["MD5"])


def decode(flag: str, found: Found, release: Release, subject: str, remedy: str) -> Decoded:
    """Return the three parts of a MedMNIST dataset, in the order of the published file.

    Args:
        flag: the package's name of the dataset, such as ``"pathmnist"``.
        found: the ``.npz`` file on this machine.
        release: the published facts.
        subject: the start of every message.
        remedy: what to do about a file that is not the published one.

    Raises:
        UsageError: a wrong checksum, missing arrays, Python objects, wrong shapes, labels out of range.
    """
    (file,) = found.files

    def read(scratch: Path) -> dict[str, Source]:
        import medmnist

        verify(file, checksum(flag), subject, remedy)
        _check_arrays(file, subject)
        root = scratch / "root"
        root.mkdir()
        (root / f"{flag}.npz").symlink_to(file.absolute())  # the package looks for this name
        library = getattr(medmnist, _info(flag)["python_class"])
        found = {ours: _part(library, theirs, file, root, subject) for theirs, ours in PARTS.items()}
        for name, part in found.items():
            check_labels(part.labels, name, len(release.info.classes), f"{subject}: {file}")
        return found

    return decoded(
        ["medmnist", VERSION, flag, file_digests(found, subject)[0][1]],
        read,
        lambda parts: checked(parts, release.info, [], subject),
    )


def _info(flag: str) -> Any:
    import medmnist

    return medmnist.INFO[flag]


def _part(library: Any, split: str, file: Path, root: Path, subject: str) -> Source:
    with reading("medmnist", f"the {split} part of {file}", subject):
        found = library(split=split, root=str(root), download=False)
        return Source(found.labels[:, 0], SIDE, blocks(found.imgs))


def _check_arrays(file: Path, subject: str) -> None:
    """Look at the names, types and shapes of a file's arrays before any is read; refuses Python objects."""
    try:
        with zipfile.ZipFile(file) as archive:
            check_zip(archive, file, subject, LIMIT)
            names = set(archive.namelist())
            for split in PARTS:
                found = []
                for what in ("images", "labels"):
                    name = f"{split}_{what}.npy"
                    if name not in names:
                        raise UsageError(f"{subject}: {file}: has no array {split}_{what}; fetch it again")
                    with archive.open(name) as stream:
                        found.append(_header(stream))
                if problem := _problem(*found):
                    raise UsageError(f"{subject}: {file}: {split}_{problem}; fetch it again")
    except DAMAGED as error:
        raise UsageError(f"{subject}: {file}: {what_is_wrong(error)}; remove it and fetch it again") from None


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(stream)
    return shape, dtype


def _problem(images: tuple[tuple[int, ...], np.dtype[Any]], labels: tuple[tuple[int, ...], np.dtype[Any]]) -> str:
    if images[1].hasobject or labels[1].hasobject:
        which = "images" if images[1].hasobject else "labels"
        return f"{which} holds Python objects, which are not read: loading them can run foreign code"
    if images[1] != np.uint8 or images[0][1:] != (SIDE, SIDE, 3):
        return f"images must be uint8 (N, 28, 28, 3); got {images[1]} {images[0]}"
    if labels[1].kind not in "iu" or labels[0] != (images[0][0], 1):
        return f"labels must be whole numbers ({images[0][0]}, 1); got {labels[1]} {labels[0]}"
    return ""
