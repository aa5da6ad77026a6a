"""Reads every image of a folder once, before any work begins, and remembers what it found.

What is remembered lies below :func:`benchbench.files.cache_root`, one JSON file for each folder, and holds
for a file as long as its size and modification time do. Files that could not be used are not remembered. A
cache that cannot be read or written costs time only.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import statistics
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchbench.errors import UsageError
from benchbench.files import cache_root
from benchbench.plugins.context import derive_seed

from ._images import ImageError, ImageFacts, in_threads, inspect, listed, read
from ._listing import Listing

#: Changes whenever what is remembered, or the rule behind it, does.
VERSION = 4
#: Images whose mean and standard deviation stand for the whole training part.
SAMPLE = 500

Triple = tuple[float, float, float]
log = logging.getLogger("benchbench.datasets")


@dataclass(frozen=True)
class FolderScan:
    """What a complete reading of a dataset's files found; every file can be used.

    Attributes:
        listing: the files.
        facts: size and hash of each file, by its relative path.
    """

    listing: Listing
    facts: Mapping[str, ImageFacts]

    @property
    def short_side(self) -> int:
        """Lower median of the shorter side of the training images, in px."""
        sides = (self.facts[name] for name, _ in self.listing.parts["train"])
        return statistics.median_low(min(item.width, item.height) for item in sides)

    @property
    def leaks(self) -> tuple[str, ...]:
        """What to say of test images whose files are training or validation files too, byte for byte.

        Equal pixels in other files are found where they are read at their final size: when a plan is carried out.
        """
        held = {self.facts[name].digest for part in ("train", "validation") for name, _ in self.listing.parts[part]}
        count = sum(self.facts[name].digest in held for name, _ in self.listing.parts["test"])
        what = f"{count:,} test image{' is' if count == 1 else 's are'}"
        return (f"{what} byte for byte among the training or validation images",) if count else ()


def scan(listing: Listing, subject: str) -> FolderScan:
    """Decode every listed file that is not remembered, and remember it.

    Args:
        listing: the files of a dataset.
        subject: the start of every message.

    Raises:
        UsageError: files that cannot be used: how many, and the first three with the reason.
    """
    known = _remembered(listing.root)["files"]
    facts: dict[str, ImageFacts] = {}
    stamps: dict[str, list[int]] = {}
    for name in listing.names:
        stamps[name] = _stamp(f"{listing.root}/{name}")  # a Path for each costs more than asking the file system
        row = known.get(name)
        if isinstance(row, list) and _usable(row) and row[:2] == stamps[name]:
            facts[name] = ImageFacts(row[2], row[3], row[4])
    fresh = [name for name in listing.names if name not in facts]
    if len(fresh) > 2000:
        log.info("%s: reading %d images, once", subject, len(fresh))
    problems = {}
    for name, found in zip(fresh, in_threads(lambda name: _try(listing.root / name), fresh), strict=True):
        if isinstance(found, ImageFacts):
            facts[name] = found
        else:
            problems[name] = str(found)
    if fresh or len(known) != len(facts):
        rows = {name: [*stamps[name], *astuple(item)] for name, item in facts.items()}
        _remember(listing.root, "files", rows)
    if problems:
        few = ", ".join(f"'{name}' ({why})" for name, why in list(problems.items())[:3])
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        what = "1 image cannot be used" if len(problems) == 1 else f"{len(problems)} images cannot be used"
        raise UsageError(f"{subject}: {what}: {few}{more}; repair or remove {'it' if len(problems) == 1 else 'them'}")
    return FolderScan(listing, facts)


def moments(found: FolderScan, side: int, subject: str) -> tuple[Triple, Triple]:
    """Return mean and standard deviation of each channel of the training images in [0, 1], four decimals.

    Taken over at most 500 images, chosen by a fixed seed, at ``side`` px; remembered. A channel without any
    variation gets a standard deviation of 1, so that dividing by it stays possible.
    """
    names = [name for name, _ in found.listing.parts["train"]]
    names = sorted(sorted(names, key=lambda name: derive_seed("moments", name))[:SAMPLE])
    content = "".join(found.facts[name].digest for name in names)
    key = hashlib.sha256(f"{side} {content}".encode()).hexdigest()[:32]
    row = _remembered(found.listing.root)["moments"].get(key)
    if isinstance(row, list) and len(row) == 6 and all(isinstance(value, float) for value in row):
        return (row[0], row[1], row[2]), (row[3], row[4], row[5])
    # Whole numbers, exact in any order: the sums of 500 squares at 1024 px stay below 2**53.
    total, squares = np.zeros(3, dtype=np.int64), np.zeros(3, dtype=np.int64)
    for pixels in load_files(found.listing.root, names, side, subject):
        flat = pixels.reshape(-1, 3).astype(np.int64)
        total += flat.sum(axis=0)
        squares += (flat * flat).sum(axis=0)
    count = len(names) * side * side
    mean = total / count
    std = np.sqrt(np.maximum(squares / count - mean * mean, 0.0))
    row = [round(float(value) / 255, 4) for value in (*mean, *std)]
    row[3:] = [value or 1.0 for value in row[3:]]
    _remember(found.listing.root, "moments", {key: row})
    return (row[0], row[1], row[2]), (row[3], row[4], row[5])


def load_files(root: Path, names: Sequence[str], side: int, subject: str) -> Iterator[NDArray[np.uint8]]:
    """Yield each file as uint8 ``(side, side, 3)``, in order.

    Raises:
        UsageError: a file that can no longer be used, named.
    """

    def one(name: str) -> NDArray[np.uint8]:
        try:
            return read(root / name, side)
        except ImageError as problem:
            raise UsageError(f"{subject}: {listed([name])} cannot be used ({problem}); repair or remove it") from None

    return in_threads(one, list(names))


def _try(path: Path) -> ImageFacts | ImageError:
    try:
        return inspect(path)
    except ImageError as problem:
        return problem


def _stamp(path: str) -> list[int]:
    try:
        found = os.stat(path)
    except OSError:  # said when it is read
        return [-1, -1]
    return [found.st_size, found.st_mtime_ns]


def _usable(row: list[Any]) -> bool:
    return [type(value) for value in row] == [int, int, int, int, str]


def _file(root: Path) -> Path:
    return cache_root() / "scans" / (hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:32] + ".json")


def _remembered(root: Path) -> dict[str, dict[str, Any]]:
    try:
        found = json.loads(_file(root).read_text("utf-8"))
    except (OSError, ValueError):
        found = None
    if not isinstance(found, dict) or found.get("version") != VERSION:
        found = {}
    return {name: found[name] if isinstance(found.get(name), dict) else {} for name in ("files", "moments")}


def _remember(root: Path, what: str, rows: dict[str, Any]) -> None:
    """Replace one section of what is remembered; two processes at once cost one of them its work, nothing
    else.
    """
    target = _file(root)
    content = {"version": VERSION, **_remembered(root), what: rows}
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=".tmp-")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as out:
                json.dump(content, out)
            os.replace(temporary, target)
        except OSError:
            os.unlink(temporary)
            raise
    except OSError as error:
        log.debug("%s: not remembered: %s", target, error)
