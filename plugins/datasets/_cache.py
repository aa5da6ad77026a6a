"""The cache of what takes long to compute from a dataset's files: digests, facts, decoded images.

:func:`recalled` keeps one small JSON file for each answer, written in one step. :func:`decoded` keeps the images as
uint8 arrays that are opened memory-mapped ever after. An entry of it is named by what decides its content: the digests
of the files (or their stamps) and the rule that turned them into pixels, with its version. It appears in one step, so
that a kill leaves nothing half, and nothing in place is changed afterwards. Both lie below
:func:`benchbench.files.cache_root`::

    CACHE/decoded/KEY/train/images.npy   uint8 (N, R, R, 3)
    CACHE/decoded/KEY/train/labels.npy   int64 (N,)

``ImageSet.save`` links a whole ``images.npy`` instead of copying it where the file system is the same, so that an
entry takes its space once. Anything can be deleted at any time; a cache that cannot be read or written costs time and
space only: the arrays are then made anew, in memory or in a folder of the caller's own.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import logging
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import write_array_header_1_0
from numpy.typing import NDArray

from benchbench.disk import full_disk
from benchbench.errors import BenchError, UsageError
from benchbench.files import (
    cache_root,
    decoded_root,
    is_settled,
    is_whole,
    one_step_folder,
    read_json,
    signature,
    write_atomic,
)
from benchbench.keys.content import look, may_have_been_swapped
from benchbench.store.lock import Lock

log = logging.getLogger("benchbench.datasets")


@dataclass(frozen=True)
class Source:
    """One part as a reader hands it over.

    Attributes:
        labels: ``(N,)`` whole numbers.
        side: height and width in px.
        blocks: uint8 ``(n, side, side, 3)`` arrays, N images in all, in the order of the labels; read once.
    """

    labels: NDArray[Any]
    side: int
    blocks: Iterable[NDArray[np.uint8]]

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Shape of all its images."""
        return len(self.labels), self.side, self.side, 3


@dataclass(frozen=True)
class Part:
    """One decoded part: uint8 ``(N, R, R, 3)``, read-only, and int64 labels ``(N,)``."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]


#: Reads the parts; is given an empty folder, which is removed afterwards.
Reader = Callable[[Path], Mapping[str, Source]]


@contextlib.contextmanager
def unchanged(paths: Iterable[Path], content: Callable[[], Any] = lambda: None, expected: Any = None) -> Iterator[None]:
    """Make sure that files keep their content while a block reads them.

    Args:
        paths: the files, or the folders that hold them.
        content: finds what stands for their content now, where that was asked for before the block.
        expected: what it was then.

    Raises:
        UsageError: they changed, or were touched and may have been others meanwhile; raised when the block has ended.
    """
    before = [(path, look(path)) for path in paths]
    yield
    # The content first: what the second look finds untouched since the first one had it all the time.
    if content() != expected or any(may_have_been_swapped(old, look(path)) for path, old in before):
        raise UsageError("its files changed while they were read; run again when they are complete")


def decoded(
    question: Sequence[Any],
    read: Reader,
    spill: Path | None = None,
    *,
    checked: bool = False,
    watched: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext,
) -> dict[str, Part]:
    """Return the decoded parts of a dataset, or of one part of it, by name; the reader is called the first time only.

    Args:
        question: JSON values that decide the content completely: name and version of the rule, digests (or sizes and
            modification times) of the files.
        read: the reader. What it or the blocks of its parts raise is passed on, and nothing is kept.
        spill: a folder of the caller's own for parts that the cache cannot keep; without it they are held in memory.
        checked: whether to compare an entry with its checksums, and make a damaged one anew, before results rest on it.
        watched: entered while the reader and its blocks are read, and left before anything is kept: :func:`unchanged`.
    """
    name = hashlib.sha256(json.dumps(list(question)).encode()).hexdigest()
    root = decoded_root()
    if parts := _open(root / name, checked):
        return parts
    with locked(root / f".lock-{name}") as alone:
        parts = _open(root / name, checked)  # another process may have been faster
        if not parts and alone:
            try:
                parts = _make(root / name, read, watched)
            except OSError as error:
                full = full_disk(error, root)
                if not full and error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
                    raise
                log.warning("%s: decoded images are not kept: %s", root, full or error.strerror)
    if parts:
        return parts
    if spill is not None:
        return _make(spill / name, read, watched)
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch, watched():
        for part, source in read(Path(scratch)).items():
            images = np.concatenate([np.empty((0, *source.shape[1:]), np.uint8), *_blocks(source)])
            parts[part] = Part(images, source.labels.astype(np.int64))
    return parts


@contextlib.contextmanager
def locked(path: Path) -> Iterator[bool]:
    """Keep other processes that lock ``path`` waiting; yields whether it is so, as some file systems have no locks."""
    with contextlib.ExitStack() as stack:
        try:
            held = stack.enter_context(Lock(path).hold())
        except BenchError as error:
            log.debug("%s", error)
            held = False
        yield held


def _make(
    folder: Path, read: Reader, watched: Callable[[], contextlib.AbstractContextManager[None]]
) -> dict[str, Part]:
    """Write and open an entry, in place of a damaged one; nobody else may write it meanwhile."""
    with one_step_folder(folder) as draft, watched():
        scratch = draft / ".scratch"
        scratch.mkdir()
        for part, source in read(scratch).items():
            (draft / part).mkdir()
            _write(draft / part / "images.npy", source)
            np.save(draft / part / "labels.npy", source.labels.astype(np.int64), allow_pickle=False)
        shutil.rmtree(scratch)
    return _open(folder)


def _open(folder: Path, checked: bool = False) -> dict[str, Part]:
    """Return the parts of an entry, none when it is not there or somebody damaged it."""
    parts: dict[str, Part] = {}
    if checked and not is_whole(folder):
        return parts
    try:
        for part in sorted(item for item in folder.iterdir() if item.is_dir()):
            labels = np.load(part / "labels.npy", allow_pickle=False)
            images = np.load(part / "images.npy", mmap_mode="r" if len(labels) else None, allow_pickle=False)
            if len(images) != len(labels):
                return {}
            parts[part.name] = Part(images, labels)
    except (OSError, ValueError, EOFError):
        return {}
    return parts


def _write(file: Path, source: Source) -> None:
    """Write ``images.npy`` piece by piece; not through a memory map, which a full disk turns into a crash."""
    with file.open("wb") as out:
        write_array_header_1_0(out, {"descr": "|u1", "fortran_order": False, "shape": source.shape})
        for block in _blocks(source):
            out.write(np.ascontiguousarray(block).data)


def _blocks(source: Source) -> Iterator[NDArray[np.uint8]]:
    """Yield the blocks, and insist on what the reader promised: a mistake here would shift labels."""
    at = 0
    for block in source.blocks:
        at += len(block)
        if block.dtype != np.uint8 or block.shape[1:] != source.shape[1:] or at > source.shape[0]:
            raise ValueError(f"a reader gave {block.dtype} {block.shape} up to image {at} of uint8 {source.shape}")
        yield block
    if at != source.shape[0]:
        raise ValueError(f"a reader gave {at} images for {source.shape[0]} labels")


def recalled(
    topic: str,
    question: list[Any],
    answer: Callable[[], Any],
    fits: Callable[[Any], bool],
    place: str | None = None,
) -> Any:
    """Return the answer to a question, from memory if it was asked before.

    Args:
        topic: folder below the cache that holds answers of this sort.
        question: JSON values that decide the answer completely.
        answer: finds it; a JSON value. What it raises is passed on and not remembered.
        fits: whether JSON that somebody may have changed is an answer at all; any other is found again.
        place: what the question is about, for a memory that keeps the last answer about it and no other.
    """
    name = hashlib.sha256((place or json.dumps(question)).encode()).hexdigest()[:32]
    file = cache_root() / topic / name[:2] / f"{name}.json"
    with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
        known = read_json(file)
        if known["question"] == json.loads(json.dumps(question)) and fits(known["answer"]):
            return known["answer"]
    value = answer()
    remember(file, {"question": question, "answer": value})
    return value


def remember(file: Path, content: Any) -> None:
    """Write JSON content to a file of the cache in one step, where the cache can be written."""
    try:
        write_atomic(file, json.dumps(content))
    except BenchError as error:
        log.debug("not remembered: %s", error)


def hash_of(files: Sequence[str], topic: str, read: Callable[[], str]) -> str:
    """Return a hash of files' bytes, remembered for as long as their sizes, times and inodes stay.

    With a file that was changed within the last two seconds it is not remembered, as on a coarse clock the same
    signature may then stand for other bytes.

    Args:
        files: paths, in an order that counts.
        topic: folder below the cache that holds hashes of this sort.
        read: computes it.

    Raises:
        OSError: a file is not there.
    """
    begun = time.time_ns()
    marks = [signature(os.stat(file)) for file in files]
    if not all(is_settled(mark, begun) for mark in marks):
        return read()
    question = [hashlib.sha256(json.dumps([*files, *marks]).encode()).hexdigest()]
    return str(recalled(topic, question, read, lambda found: bool(re.fullmatch("([0-9a-f]{2})+", found))))


def digest_of(path: Path) -> str:
    """Return the MD5 of a file's bytes in hex, remembered as :func:`hash_of` does.

    Raises:
        UsageError: the file cannot be read.
    """
    try:
        return hash_of([str(path)], "digests", lambda: _md5(path))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror or error}") from None


def _md5(path: Path) -> str:
    with unchanged([path]), path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
