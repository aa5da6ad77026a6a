"""The cache of what takes long to compute from a dataset's files: digests, facts, decoded images.

:func:`recalled` keeps one small JSON file for each answer, written in one step. :func:`decoded` keeps the images as
uint8 arrays that are opened memory-mapped ever after. An entry of it is named by what decides its content: the digests
of the files (or their stamps) and the rule that turned them into pixels, with its version. It appears in one step, so
that a kill leaves nothing half, and nothing in place is changed afterwards. Both lie below
:func:`benchbench.files.cache_root`::

    CACHE/decoded/KEY/train/images.npy   uint8 (N, R, R, 3)
    CACHE/decoded/KEY/train/labels.npy   int64 (N,)
    CACHE/decoded/KEY/facts.json         what the check returned

``ImageSet.save`` links a whole ``images.npy`` instead of copying it where the file system is the same, so that an
entry takes its space once. Anything can be deleted at any time; a cache that cannot be read or written costs time and
memory only: the arrays are then made anew, in memory.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import logging
import math
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import write_array_header_1_0
from numpy.typing import NDArray

from benchbench.errors import BenchError, UsageError
from benchbench.files import cache_root, is_settled, one_step_folder, signature, write_atomic
from benchbench.store.lock import Lock

#: Bytes of one part that are held in memory at most where there is a folder to spill to.
IN_MEMORY = 2**29
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


@dataclass(frozen=True)
class Part:
    """One decoded part: uint8 ``(N, R, R, 3)``, read-only, and int64 labels ``(N,)``."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class Decoded:
    """An entry: its parts by name, and the JSON facts that the check returned."""

    parts: Mapping[str, Part]
    facts: Mapping[str, Any] = field(default_factory=dict)


#: Reads the parts; is given an empty folder, which is removed afterwards.
Reader = Callable[[Path], Mapping[str, Source]]
#: Looks at the decoded parts before they are kept: raises ``UsageError``, or returns JSON facts.
Check = Callable[[Mapping[str, Part]], Mapping[str, Any]]


def decoded(question: Sequence[Any], read: Reader, check: Check | None = None, spill: Path | None = None) -> Decoded:
    """Return the decoded parts of a dataset, or of one part of it; the reader is called the first time only.

    Args:
        question: JSON values that decide the content completely: name and version of the rule, digests (or sizes and
            modification times) of the files.
        read: the reader. What it raises is passed on, and nothing is kept.
        check: looks at the arrays once, before they are kept.
        spill: a folder of the caller's own for parts above ``IN_MEMORY`` bytes that the cache cannot keep; without it
            they are held in memory.
    """
    name = hashlib.sha256(json.dumps(list(question)).encode()).hexdigest()
    root = cache_root() / "decoded"
    if (entry := _open(root / name)) is not None:
        return entry
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(Lock(root / f".lock-{name}").hold())
        except BenchError as error:  # cannot be written
            log.debug("%s: %s", root, error)
            return _not_kept(read, check, spill)
        if (entry := _open(root / name)) is None:  # another process was not faster
            entry = _make(root, name, read, check)
    return entry if entry is not None else _not_kept(read, check, spill)


def _make(root: Path, name: str, read: Reader, check: Check | None) -> Decoded | None:
    """Write and open an entry, in place of a damaged one; ``None`` when the disk refuses. The caller holds the lock."""
    try:
        with one_step_folder(root / name) as draft:
            scratch = draft / ".scratch"
            scratch.mkdir()
            for part, source in read(scratch).items():
                (draft / part).mkdir()
                _write(draft / part / "images.npy", source)
                np.save(draft / part / "labels.npy", source.labels.astype(np.int64), allow_pickle=False)
            shutil.rmtree(scratch)
            facts = dict(check(_parts(draft)) if check else {})
            (draft / "facts.json").write_text(json.dumps(facts), "utf-8")
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT):
            raise
        log.warning("%s: decoded images are not kept: %s", root, error.strerror)
        return None
    return _open(root / name)


def _open(folder: Path) -> Decoded | None:
    """Return an entry, or ``None`` when it is not there or somebody damaged it."""
    try:
        return Decoded(_parts(folder), json.loads((folder / "facts.json").read_bytes()))
    except (OSError, ValueError, EOFError):
        return None


def _parts(folder: Path) -> dict[str, Part]:
    parts = {}
    for part in sorted(item for item in folder.iterdir() if item.is_dir()):
        labels = np.load(part / "labels.npy", allow_pickle=False)
        images = np.load(part / "images.npy", mmap_mode="r" if len(labels) else None, allow_pickle=False)
        if len(images) != len(labels):
            raise ValueError(f"{part}: {len(images)} images and {len(labels)} labels")
        parts[part.name] = Part(images, labels)
    return parts


def _not_kept(read: Reader, check: Check | None, spill: Path | None) -> Decoded:
    parts = {}
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        for part, source in read(Path(scratch)).items():
            if spill is not None and math.prod(_shape(source)) > IN_MEMORY:
                spill.mkdir(parents=True, exist_ok=True)
                _write(spill / f"{part}.npy", source)
                images = np.load(spill / f"{part}.npy", mmap_mode="r", allow_pickle=False)
            else:
                images = np.empty(_shape(source), np.uint8)
                _fill(images, source)
            parts[part] = Part(images, source.labels.astype(np.int64))
    return Decoded(parts, dict(check(parts) if check else {}))


def _write(file: Path, source: Source) -> None:
    """Write ``images.npy`` piece by piece; not through a memory map, which a full disk turns into a crash."""
    shape = _shape(source)
    with file.open("wb") as out:
        write_array_header_1_0(out, {"descr": "|u1", "fortran_order": False, "shape": shape})
        for block in _blocks(source):
            out.write(np.ascontiguousarray(block).data)


def _fill(images: NDArray[np.uint8], source: Source) -> None:
    at = 0
    for block in _blocks(source):
        images[at : at + len(block)] = block
        at += len(block)


def _shape(source: Source) -> tuple[int, int, int, int]:
    return len(source.labels), source.side, source.side, 3


def _blocks(source: Source) -> Iterator[NDArray[np.uint8]]:
    """Yield the blocks, and insist on what the reader promised: a mistake here would shift labels."""
    wanted = _shape(source)
    at = 0
    for block in source.blocks:
        at += len(block)
        if block.dtype != np.uint8 or block.shape[1:] != wanted[1:] or at > wanted[0]:
            raise ValueError(f"a reader gave {block.dtype} {block.shape} up to image {at} of uint8 {wanted}")
        yield block
    if at != wanted[0]:
        raise ValueError(f"a reader gave {at} images for {wanted[0]} labels")


def recalled(topic: str, question: list[Any], answer: Callable[[], Any]) -> Any:
    """Return the answer to a question, from memory if it was asked before.

    Args:
        topic: folder below the cache that holds answers of this sort.
        question: JSON values that decide the answer completely.
        answer: finds it; a JSON value. What it raises is passed on and not remembered.
    """
    name = hashlib.sha256(json.dumps(question).encode()).hexdigest()[:32]
    file = cache_root() / topic / name[:2] / f"{name}.json"
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        known = json.loads(file.read_bytes())
        if known["question"] == json.loads(json.dumps(question)):
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


def digest_of(path: Path, subject: str) -> str:
    """Return the MD5 of a file's bytes in hex, remembered for as long as its size, times and inode stay.

    A file that was changed within the last two seconds is hashed and not remembered, as on a coarse clock the
    same signature may then stand for other bytes.

    Args:
        path: a file.
        subject: the start of every message.

    Raises:
        UsageError: the file cannot be read.
    """
    try:
        begun = time.time_ns()
        mark = signature(path.stat())
        question = [str(path.absolute()), list(mark), "md5"]
        if is_settled(mark, begun):
            return str(recalled("digests", question, lambda: _md5(path)))
        return _md5(path)
    except OSError as error:
        raise UsageError(f"{subject}: {path}: cannot be read: {error.strerror or error}") from None


def _md5(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
