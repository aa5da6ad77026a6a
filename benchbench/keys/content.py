"""Hashes of files and folders that lie outside the store: images, model folders, data files.

A path is a name, and names lie: a folder that kept its name while its images were swapped must be a new key.
So content is hashed, and since it may be many gigabytes the hash is remembered under the signature of every
file (size, modification and change time, inode). The signature of a file that was changed less than two
seconds before it was read proves nothing on a file system with a coarse clock; such a hash is not remembered.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import BenchError, UsageError
from ..files import hash_file, is_settled, read_json, signature, write_atomic

_SCHEMA = 1


def content_hash(path: Path, memory: Path | None = None) -> str:
    """Return the SHA-256 (64 hex digits) of a file's bytes, or of a folder's tree.

    A folder's hash covers the sorted POSIX names of its files relative to it, and their content. Hidden
    files, ``__pycache__`` and empty folders do not count; symbolic links count as what they point to (as the
    folders of a model hub need). Where the folder lies and what it is called does not enter.

    Args:
        path: a file or a folder.
        memory: a JSON file that remembers hashes between runs. A damaged one is begun anew; one that cannot
            be written is done without.

    Raises:
        UsageError: the path or something below it is missing, a pipe or a device, or cannot be read; the message names
            it.
    """
    path = Path(path)
    read_ns = time.time_ns()
    files = list(_files(path))
    marks = [(name, signature(_status(file))) for name, file in files]
    if memory is None:
        return _combined(path, files)
    stamp = hashlib.sha256(json.dumps(marks).encode()).hexdigest()
    known = _load(memory)
    place = os.path.abspath(path)
    entry = known.get(place)
    if isinstance(entry, list) and len(entry) == 2 and entry[0] == stamp and _is_hash(entry[1]):
        return str(entry[1])
    digest = _combined(path, files)
    unchanged = marks == [(name, signature(_status(file))) for name, file in files]
    if unchanged and all(is_settled(mark, read_ns) for _, mark in marks):
        _save(memory, _load(memory) | {place: [stamp, digest]})
    return digest


def _combined(path: Path, files: list[tuple[str, Path]]) -> str:
    try:
        if files and files[0][0] == "":
            return hash_file(path)
        tree = hashlib.sha256(b"tree\0")
        for name, file in files:
            tree.update(os.fsencode(name) + b"\0" + hash_file(file).encode() + b"\n")
        return tree.hexdigest()
    except OSError as error:
        raise UsageError(f"{error.filename or path}: cannot be read: {error.strerror or error}") from None


def _files(root: Path) -> Iterator[tuple[str, Path]]:
    """Yield relative POSIX name (``""`` for ``root`` itself) and place of every file that counts."""
    if not os.path.isdir(root):
        yield "", root
        return
    files: list[tuple[str, Path]] = []
    stack: list[tuple[str, Path, tuple[str, ...]]] = [("", root, (os.path.realpath(root),))]
    while stack:
        prefix, folder, above = stack.pop()
        try:
            entries = list(os.scandir(folder))
        except OSError as error:
            raise UsageError(f"{folder}: cannot be read: {error.strerror or error}") from None
        for entry in entries:
            if entry.name.startswith(".") or entry.name == "__pycache__":
                continue
            if not entry.is_dir():
                files.append((prefix + entry.name, Path(entry.path)))
                continue
            real = os.path.realpath(entry.path)
            if real in above:
                raise UsageError(f"{entry.path}: a link to a folder that contains it")
            stack.append((f"{prefix}{entry.name}/", Path(entry.path), (*above, real)))
    yield from sorted(files, key=lambda item: os.fsencode(item[0]))


def _status(path: Path) -> os.stat_result:
    try:
        status = path.stat()
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror or error}") from None
    if not stat.S_ISREG(status.st_mode):  # reading a pipe or a device may never end
        raise UsageError(f"{path}: is neither a file nor a folder")
    return status


def _is_hash(value: Any) -> bool:
    return isinstance(value, str) and len(value) == 64


def _load(memory: Path) -> dict[str, list[str]]:
    """Return stamp and hash by place; what is not of this form is forgotten."""
    try:
        data = read_json(memory)
        if data["schema"] == _SCHEMA and isinstance(data["known"], dict):
            known = data["known"].items()
            return {place: entry for place, entry in known if [_is_hash(item) for item in entry] == [True, True]}
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return {}


def _save(memory: Path, known: dict[str, list[str]]) -> None:
    """Rewrite the memory in one step; two processes may lose each other's entry, which costs one hash."""
    with contextlib.suppress(BenchError):
        write_atomic(memory, json.dumps({"schema": _SCHEMA, "known": known}, sort_keys=True), durable=False)
