"""Reads the image files of a dataset: every one once before any work begins, and a part at a time as an array.

What :func:`scan` returns is remembered below :func:`benchbench.files.cache_root`, one JSON file for each folder, and
holds for a file as long as its size, times and inode stay. Files that could not be used are not remembered. What a
dataset makes of it is remembered too (:func:`surveyed`), so that a folder in which nothing changed costs a walk and one
comparison. A cache that cannot be read or written costs time only.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from numpy.typing import NDArray

from benchbench.errors import UsageError
from benchbench.files import cache_root, hash_file, is_settled, read_json, signature
from benchbench.plugins import Context, ImageSet
from benchbench.plugins.context import derive_seed
from benchbench.plugins.origins import Origins

from . import _images
from ._cache import Source, decoded, hash_of, recalled, remember, unchanged
from ._images import ImageError, ImageFacts, in_threads, inspect, read
from ._listing import Listing, listed

#: Changes whenever what is remembered, or the rule that makes it, does.
VERSION = 6
#: Images whose mean and standard deviation stand for the whole training part.
SAMPLE = 500

Triple = tuple[float, float, float]
log = logging.getLogger("benchbench.datasets")


def leaks(listing: Listing, facts: Mapping[str, ImageFacts]) -> tuple[str, ...]:
    """Return what to say of test images whose files are training or validation files too, byte for byte.

    Equal pixels in other files are noticed where they are read at their final size: when a plan is carried out.
    """
    held = {facts[name].digest for part in ("train", "validation") for name, _ in listing.parts[part]}
    count = sum(facts[name].digest in held for name, _ in listing.parts["test"])
    what = f"{count:,} test image{' is' if count == 1 else 's are'}"
    return (f"{what} byte for byte among the training or validation images",) if count else ()


def surveyed(
    listing: Listing,
    question: list[Any],
    answer: Callable[[Mapping[str, ImageFacts]], Any],
    fits: Callable[[Any], bool],
) -> Any:
    """Return what ``answer`` makes of the facts of all files, from memory while the listing and no file has changed.

    Args:
        listing: the files of a dataset.
        question: JSON values that decide the answer beside the files; with another one the folder has another memory.
        answer: is given what :func:`scan` returns; gives a JSON value.
        fits: as :func:`recalled` takes it.

    Raises:
        UsageError: files that cannot be used, as :func:`scan` says.
    """
    begun = time.time_ns()
    stamps = _stamps(listing)
    place = json.dumps([str(listing.root.resolve()), question])
    if not all(is_settled(stamp, begun) for stamp in stamps.values() if stamp):
        return answer(scan(listing, stamps))
    state = hashlib.sha256(repr([listing.parts, stamps]).encode("utf-8", "surrogateescape")).hexdigest()
    return recalled("surveys", [VERSION, question, state], lambda: answer(scan(listing, stamps)), fits, place)


def scan(listing: Listing, stamps: Mapping[str, Sequence[int]]) -> dict[str, ImageFacts]:
    """Return size and hash of every listed file by its name; decode what is not remembered, and remember it.

    Args:
        listing: the files of a dataset.
        stamps: their signatures.

    Raises:
        UsageError: files that cannot be used: how many, and the first three with the reason.
    """
    memory = cache_root() / "scans" / f"{hashlib.sha256(os.fsencode(listing.root.resolve())).hexdigest()[:32]}.json"
    known = _remembered(memory)
    facts = {name: known[name][1] for name, stamp in stamps.items() if name in known and known[name][0] == stamp}
    fresh = [name for name in listing.names if name not in facts]
    if len(fresh) > 2000:
        log.info("%s: reading %d images, once", listing.root, len(fresh))
    problems = {}
    with contextlib.ExitStack() as watched:
        if fresh:
            with contextlib.suppress(UsageError):  # what cannot even be looked at is told below
                watched.enter_context(unchanged([listing.root]))
        for name, outcome in zip(fresh, in_threads(lambda name: _try(listing.root / name), fresh), strict=True):
            if isinstance(outcome, ImageFacts):
                facts[name] = outcome
            else:
                problems[name] = str(outcome)
    if fresh or len(known) != len(facts):
        rows = {name: [*stamps[name], *astuple(item)] for name, item in facts.items()}
        remember(memory, {"version": VERSION, "files": rows})
    if problems:
        few = ", ".join(f"'{name}' ({why})" for name, why in list(problems.items())[:3])
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        what = "1 image cannot be used" if len(problems) == 1 else f"{len(problems)} images cannot be used"
        it = "it" if len(problems) == 1 else "them"
        raise UsageError(f"{what}: {few}{more}; repair {it} or move {it} away")
    return facts


def moments(listing: Listing, facts: Mapping[str, ImageFacts], side: int) -> tuple[Triple, Triple]:
    """Return mean and standard deviation of each channel of the training images in [0, 1], four decimals.

    Taken over at most 500 images, chosen by a fixed seed, at ``side`` px; remembered. A channel without any
    variation gets a standard deviation of 1, so that dividing by it stays possible.
    """
    names = [name for name, _ in listing.parts["train"]]
    names = sorted(sorted(names, key=lambda name: derive_seed("moments", name))[:SAMPLE])
    content = "".join(facts[name].digest for name in names)

    def compute() -> list[float]:
        # Whole numbers, exact in any order: the sums of 500 squares at 1024 px stay below 2**53.
        total, squares = np.zeros(3, dtype=np.int64), np.zeros(3, dtype=np.int64)
        with unchanged([listing.root]):
            for pixels in load_files(listing.root, names, side):
                flat = pixels.reshape(-1, 3).astype(np.int64)
                total += flat.sum(axis=0)
                squares += (flat * flat).sum(axis=0)
        count = len(names) * side * side
        mean = total / count
        std = np.sqrt(np.maximum(squares / count - mean * mean, 0.0))
        row = [round(float(value) / 255, 4) for value in (*mean, *std)]
        return row[:3] + [value or 1.0 for value in row[3:]]

    row = recalled("moments", [VERSION, side, hashlib.sha256(content.encode()).hexdigest()], compute, are_moments)
    return (row[0], row[1], row[2]), (row[3], row[4], row[5])


def are_texts(row: Any) -> bool:
    """Return whether JSON is a list of texts."""
    return type(row) is list and all(type(item) is str for item in row)


def are_moments(row: Any) -> bool:
    """Return whether JSON is six numbers, a mean and a standard deviation of each channel."""
    return len(row) == 6 and all(type(value) is float and math.isfinite(value) for value in row)


def load_files(root: Path, names: Sequence[str], side: int) -> Iterator[NDArray[np.uint8]]:
    """Yield each file as uint8 ``(side, side, 3)``, in order.

    Raises:
        UsageError: a file that can no longer be used, named.
    """

    def one(name: str) -> NDArray[np.uint8]:
        try:
            return read(root / name, side)
        except ImageError as problem:
            raise UsageError(f"{listed([name])} cannot be used ({problem}); repair it or move it away") from None

    return in_threads(one, list(names))


def load_items(listing: Listing, split: str, side: int, context: Context, content: str | None = None) -> ImageSet:
    """Return one part of a listing, in its order; an origin's ``source`` is the path relative to its root.

    The pixels are decoded the first time only: they are kept under the content of the files, their order, ``side``
    and the code and library that decode them. A cache that cannot be written is done without.

    Args:
        listing: the files.
        split: the part.
        side: height and width in px.
        context: shows the progress.
        content: a hash that stands for the content of all files; by default those of the part are read and hashed,
            which is remembered for as long as their sizes, times and inodes stay.

    Raises:
        UsageError: a file that can no longer be used, named.
    """
    items = listing.parts[split]
    names = [name for name, _ in items]
    labels = np.array([label for _, label in items], dtype=np.int64)
    before = content or _content(listing.root, names)

    def blocks() -> Iterator[NDArray[np.uint8]]:
        files = load_files(listing.root, names, side)
        for pixels in context.progress(files, total=len(items), label=f"reading {split}", unit="img"):
            yield pixels[None]

    def watched() -> contextlib.AbstractContextManager[None]:
        if content is not None:
            return contextlib.nullcontext()
        return unchanged([listing.root], lambda: _content(listing.root, names), before)

    order = hashlib.sha256(json.dumps(items).encode()).hexdigest()
    # What decides the pixels of a file: the module of the rule itself, and the version of Pillow.
    rule = [hashlib.sha256(Path(_images.__file__).read_bytes()).hexdigest(), PIL.__version__]
    question = ["image files", rule, before, order, side]
    source = {split: Source(labels, side, blocks())}
    parts = decoded(question, lambda _: source, context.scratch, checked=True, watched=watched)
    images = parts[split].images
    return ImageSet(images, labels, listing.classes, Origins.of({"source": names}))


def _try(path: Path) -> ImageFacts | ImageError:
    try:
        return inspect(path)
    except ImageError as problem:
        return problem


def _stamps(listing: Listing) -> dict[str, tuple[int, ...]]:
    """Return what changes when a file does, also one of equal size whose times were set back: see :func:`signature`."""
    root = f"{listing.root}/"  # a Path for each costs more
    return {name: _stamp(root + name) for name in listing.names}


def _stamp(path: str) -> tuple[int, ...]:
    try:
        return signature(os.stat(path))
    except OSError:
        return ()


def _remembered(memory: Path) -> dict[str, tuple[tuple[int, ...], ImageFacts]]:
    """Return the stamp and the facts of each file that is remembered, none from a damaged memory.

    Two processes at once cost one of them its work, nothing else.
    """
    try:
        content = read_json(memory)
        rows = content["files"].items() if content["version"] == VERSION else ()
        sound = {name: row for name, row in rows if [*map(type, row)] == [*[int] * 6, str]}
        return {name: (tuple(row[:4]), ImageFacts(*row[4:])) for name, row in sound.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}


def _content(root: Path, names: Sequence[str]) -> str:
    """Return a hash of the files' bytes, in their order; changing the place or the times of a file changes nothing."""

    def read() -> str:
        tree = hashlib.sha256()
        with unchanged([root]):
            for name in names:
                tree.update(bytes.fromhex(hash_file(root / name)))
        return tree.hexdigest()

    try:
        return hash_of([f"{root}/{name}" for name in names], "contents", read)
    except OSError as error:
        name = os.path.relpath(error.filename or root, root)  # a disk's read error names no file
        if isinstance(error, FileNotFoundError):
            raise UsageError(f"{listed([name])} is no longer there; run again") from None
        raise UsageError(f"{listed([name])} cannot be read: {error.strerror}") from None
