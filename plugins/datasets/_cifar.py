"""CIFAR-10 and CIFAR-100 by torchvision's readers, whose pickles are looked through first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchbench.errors import UsageError

from ._arrays import blocks, checked
from ._decoded import Decoded, Source, decoded
from ._library import differences, file_digests, in_folder, reading
from ._pickles import plain
from ._published import Found, Release

#: Changes whenever the pixels, the labels or the facts do.
VERSION = 2
SIDE = 32


def checksum(kind: str) -> str:
    """Return the archive's MD5 as torchvision gives it, for ``"CIFAR10"`` or ``"CIFAR100"``."""
    return str(_library(kind).tgz_md5)


def decode(kind: str, found: Found, release: Release, subject: str, remedy: str) -> Decoded:
    """Return the parts of CIFAR, the validation part empty, in the order of the published files.

    Args:
        kind: torchvision's class, ``"CIFAR10"`` or ``"CIFAR100"``.
        found: the files on this machine.
        release: the published facts.
        subject: the start of every message.
        remedy: what to do about an archive that is not the published one.

    Raises:
        UsageError: a wrong checksum, a pickle that asks for more than arrays, wrong shapes, labels or classes.
    """

    def read(scratch: Path) -> dict[str, Source]:
        library = _library(kind)
        folder = in_folder(found, release, library.tgz_md5, scratch, subject, remedy)
        _copy_checked(folder, scratch / "checked" / library.base_folder, library, release, subject)
        parts = {name: _part(library, scratch / "checked", name == "train", subject) for name in ("train", "test")}
        return {**parts, "validation": Source(np.empty(0, np.int64), SIDE, ())}

    def check(parts: Any) -> dict[str, Any]:
        library = _library(kind)
        known = dict([*library.train_list, *library.test_list, (library.meta["filename"], library.meta["md5"])])
        return checked(parts, release.info, differences(found, known, subject), subject)

    return decoded(["cifar", VERSION, release.info.name, file_digests(found, subject)], read, check)


def _library(kind: str) -> Any:
    from torchvision import datasets

    return getattr(datasets, kind)


def _part(library: Any, root: Path, train: bool, subject: str) -> Source:
    class Reader(library):  # type: ignore[misc]
        """torchvision's reader for files whose checksums were compared here."""

        train_list = [[name, None] for name, _ in library.train_list]
        test_list = [[name, None] for name, _ in library.test_list]
        meta = {**library.meta, "md5": None}

    with reading("torchvision", "the train batches" if train else "the test batch", subject):
        found = Reader(str(root), train=train)
        return Source(np.asarray(found.targets, dtype=np.int64), SIDE, blocks(found.data))


def _copy_checked(folder: Path, target: Path, library: Any, release: Release, subject: str) -> None:
    """Copy the files whose pickles hold plain arrays of the right shape: the library reads these very bytes."""
    target.mkdir(parents=True)
    for name in release.files:
        content, held = plain(folder / name, subject)
        if name == library.meta["filename"]:
            problem = _problem_of_meta(held, library.meta["key"], release.info.classes)
        else:
            problem = _problem_of_batch(held, len(release.info.classes))
        if problem:
            raise UsageError(f"{subject}: {folder / name}: {problem}; remove it and fetch it again")
        (target / name).write_bytes(content)


def _problem_of_batch(held: Any, classes: int) -> str:
    if not isinstance(held, dict):
        return f"holds no batch but a {type(held).__name__}"
    data = held.get("data")
    if not (isinstance(data, np.ndarray) and data.dtype == np.uint8 and data.ndim == 2 and data.shape[1] == 3072):
        got = f"{data.dtype} {data.shape}" if isinstance(data, np.ndarray) else type(data).__name__
        return f"the pixels must be uint8 (N, 3072); got {got}"
    labels = held.get("labels", held.get("fine_labels"))
    if not (isinstance(labels, list) and all(type(label) is int for label in labels)):
        return "has no list of labels"
    if len(labels) != len(data):
        return f"has {len(labels):,} label{'s' * (len(labels) != 1)} for {len(data):,} image{'s' * (len(data) != 1)}"
    wrong = [index for index, label in enumerate(labels) if not 0 <= label < classes]
    if wrong:
        first = labels[wrong[0]]
        shown = str(first) if first.bit_length() < 64 else f"a number of {first.bit_length():,} bits"
        many = "1 label is" if len(wrong) == 1 else f"{len(wrong):,} labels are"
        return f"{many} out of range, the first is {shown} of image {wrong[0]}; they go from 0 to {classes - 1}"
    return ""


def _problem_of_meta(held: Any, key: str, classes: tuple[str, ...]) -> str:
    names = held.get(key) if isinstance(held, dict) else None
    if not isinstance(names, list) or tuple(names) != classes:
        return f"does not name the {len(classes)} published classes in their order"
    return ""
