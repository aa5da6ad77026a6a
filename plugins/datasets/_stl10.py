"""STL-10's labelled images by torchvision's reader."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from benchbench.errors import UsageError

from ._arrays import blocks, checked
from ._decoded import Decoded, Source, decoded
from ._library import differences, file_digests, in_folder, reading
from ._published import Found, Release

#: Changes whenever the pixels, the labels or the facts do.
VERSION = 2
SIDE = 96
#: Bytes of one image: three channels, each column after column.
IMAGE = 3 * SIDE * SIDE


def checksum() -> str:
    """Return the archive's MD5 as torchvision gives it."""
    from torchvision.datasets import STL10

    return str(STL10.tgz_md5)


def decode(found: Found, release: Release, subject: str, remedy: str) -> Decoded:
    """Return the labelled parts of STL-10, the validation part empty, in the order of the published files.

    Raises:
        UsageError: a wrong checksum, files of odd sizes, labels out of range, other classes.
    """

    def read(scratch: Path) -> dict[str, Source]:
        from torchvision.datasets import STL10

        folder = in_folder(found, release, STL10.tgz_md5, scratch, subject, remedy)
        _check_files(folder, release, subject)
        if folder.name != STL10.base_folder:  # a renamed folder
            (scratch / STL10.base_folder).symlink_to(folder.absolute(), target_is_directory=True)
            folder = scratch / STL10.base_folder
        parts = {name: _part(folder.parent, name, subject) for name in ("train", "test")}
        return {**parts, "validation": Source(np.empty(0, np.int64), SIDE, ())}

    def check(parts: Any) -> dict[str, Any]:
        from torchvision.datasets import STL10

        known = dict([*STL10.train_list, *STL10.test_list])
        return checked(parts, release.info, differences(found, known, subject), subject, ("STL-10", 1))

    return decoded(["stl10", VERSION, file_digests(found, subject)], read, check)


def _part(root: Path, name: str, subject: str) -> Source:
    from torchvision.datasets import STL10

    class Reader(STL10):  # type: ignore[misc]
        """torchvision's reader for files whose checksums were compared here; unlabeled images are not needed."""

        train_list = [[file, None] for file, _ in STL10.train_list[:2]]
        test_list = [[file, None] for file, _ in STL10.test_list]

    with reading("torchvision", f"{name}_X.bin and {name}_y.bin", subject):
        found = Reader(str(root), split=name)
        labels = np.asarray(found.labels).astype(np.int64)
        labels[labels == 255] = -1  # the library counts from 0 in uint8, so that a label 0 in the file wraps around
        return Source(labels, SIDE, (block.transpose(0, 2, 3, 1) for block in blocks(found.data)))


def _check_files(folder: Path, release: Release, subject: str) -> None:
    """Compare sizes, which say more than a reader's failure to reshape, and class names."""
    for name in ("train", "test"):
        pixels, labels = (os.path.getsize(folder / f"{name}_{axis}.bin") for axis in "Xy")
        if pixels % IMAGE:
            raise UsageError(
                f"{subject}: {folder / f'{name}_X.bin'}: {pixels:,} bytes are not a whole number of 96 x 96 images "
                f"({IMAGE:,} bytes each): truncated; remove it and fetch it again"
            )
        if pixels // IMAGE != labels:
            raise UsageError(
                f"{subject}: {folder}: {name}_y.bin has {labels:,} labels for the {pixels // IMAGE:,} images in "
                f"{name}_X.bin; remove both and fetch them again"
            )
    names = folder / release.optional[0]
    if names.is_file() and tuple(names.read_text("utf-8", "replace").split()) != release.info.classes:
        raise UsageError(f"{subject}: {names}: does not name the 10 published classes in their order; fetch it again")
