"""Hashes of files and folders that lie outside the store: images, model folders, data files.

A path is a name, and names lie: a folder that kept its name while its images were swapped must be a new key.
So content is hashed, and since it may be many gigabytes the hash is remembered under the signature of every
file (size, modification and change time, inode). The signature of a file that was changed less than two
seconds before it was read proves nothing on a file system with a coarse clock; such a hash is not remembered.

A hash says what is there now. What was there between two looks, :func:`look` and :func:`may_have_been_swapped` say.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
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
    files = _files(path)
    if memory is None:
        return _combined(path, files)
    marks = [(name, mark) for name, _, mark in files]
    stamp = hashlib.sha256(json.dumps(marks).encode()).hexdigest()
    known = _load(memory)
    place = os.path.abspath(path)
    entry = known.get(place)
    if isinstance(entry, list) and len(entry) == 2 and entry[0] == stamp and _is_hash(entry[1]):
        return str(entry[1])
    before = look(path)
    digest = _combined(path, files)
    unchanged = all(mark == signature(_status(file)) for _, file, mark in files)
    unchanged = unchanged and not may_have_been_swapped(before, look(path))
    if unchanged and all(is_settled(mark, read_ns) for _, mark in marks):
        _save(memory, _load(memory) | {place: [stamp, digest]})
    return digest


@dataclass(frozen=True)
class Look:
    """The signatures of a file, or of a folder's tree, at one moment; two are equal when nothing was touched between.

    Attributes:
        folders: of each folder by its place: modification time, change times (its own and that of a link to it), inode,
            a number that stands for names, sizes, modification times and inodes of its files, one for their change
            times.
        above: modification time of the folder in which the path lies.
        settled: whether each file was old enough for its signature to stand for its content.
    """

    folders: dict[str, tuple[int, tuple[int, ...], int, int, int]]
    above: int
    settled: bool


def look(path: Path) -> Look:
    """Return the signatures of what counts for :func:`content_hash`; costs a walk and no reading.

    Raises:
        UsageError: as :func:`content_hash`.
    """
    place, now, settled = os.fspath(path), time.time_ns(), True
    folders: dict[str, tuple[int, tuple[int, ...], int, int, int]] = {}
    for folder, _, status, files in _folders(place):
        files.sort()
        settled = settled and all(is_settled(mark, now) for _, _, mark, _ in files)
        held = hash(tuple((name, mark[0], mark[1], mark[3], link[3:]) for name, _, mark, link in files))
        times = hash(tuple((mark[2], link[2:3]) for _, _, mark, link in files))
        own = os.lstat(folder)
        changed = (status.st_ctime_ns, own.st_ctime_ns, own.st_ino)
        folders[folder] = (status.st_mtime_ns, changed, status.st_ino, held, times)
    return Look(folders, _status(os.path.dirname(os.path.abspath(place)), stat.S_ISDIR).st_mtime_ns, settled)


def may_have_been_swapped(before: Look, after: Look) -> bool:
    """Return whether another content may have been there between two looks at one path whose content is the same.

    It may if a file has another size, modification time or inode now. A change time alone is changed by a new
    permission or a hard link, and also by a rename, of a file or a folder, away and back; but a rename changes the
    modification time of the folder around it too.
    """
    if before.folders.keys() != after.folders.keys():
        return True
    for place, (modified, changed, inode, files, file_times) in after.folders.items():
        old = before.folders[place]
        around = after.folders.get(os.path.dirname(place), (after.above,))[0]
        around_before = before.folders.get(os.path.dirname(place), (before.above,))[0]
        renamed = changed != old[1] and modified == old[0] and around != around_before
        if inode != old[2] or files != old[3] or renamed or (file_times != old[4] and modified != old[0]):
            return True
    return False


def _combined(path: Path, files: list[tuple[str, str, tuple[int, ...]]]) -> str:
    try:
        if files and files[0][0] == "":
            return hash_file(path)
        tree = hashlib.sha256(b"tree\0")
        for name, file, _ in files:
            tree.update(os.fsencode(name) + b"\0" + hash_file(Path(file)).encode() + b"\n")
        return tree.hexdigest()
    except OSError as error:
        raise UsageError(f"{error.filename or path}: cannot be read: {error.strerror or error}") from None


def _files(root: Path) -> list[tuple[str, str, tuple[int, ...]]]:
    """Return POSIX name (``""`` for ``root`` itself), place and signature of every file that counts, by name."""
    found = [
        (prefix + name, place, mark)
        for _, prefix, _, files in _folders(os.fspath(root))
        for name, place, mark, _ in files
    ]
    return sorted(found, key=lambda item: os.fsencode(item[0]))


#: Name, place and signature of a file, and the signature of the link that leads to it, if it is one.
_File = tuple[str, str, tuple[int, ...], tuple[int, ...]]


def _folders(root: str) -> Iterator[tuple[str, str, os.stat_result, list[_File]]]:
    """Yield place, prefix, status and the files that count of each folder; for a file, of the one around it."""
    if not os.path.isdir(root):
        link = signature(os.lstat(root)) if os.path.islink(root) else ()
        mark = signature(_status(root))
        around = os.path.dirname(os.path.abspath(root))
        yield around, "", _status(around, stat.S_ISDIR), [("", root, mark, link)]
        return
    stack: list[tuple[str, str, tuple[str, ...]]] = [("", root, (os.path.realpath(root),))]
    while stack:
        prefix, folder, above = stack.pop()
        status = _status(folder, stat.S_ISDIR)
        try:
            entries = list(os.scandir(folder))
        except OSError as error:
            raise UsageError(f"{folder}: cannot be read: {error.strerror or error}") from None
        files: list[_File] = []
        for entry in entries:
            if entry.name.startswith(".") or entry.name == "__pycache__":
                continue
            if not entry.is_dir():
                link = signature(entry.stat(follow_symlinks=False)) if entry.is_symlink() else ()
                files.append((entry.name, entry.path, signature(_status(entry.path)), link))
                continue
            real = os.path.realpath(entry.path) if entry.is_symlink() else os.path.join(above[-1], entry.name)
            if real in above:
                raise UsageError(f"{entry.path}: a link to a folder that contains it")
            stack.append((f"{prefix}{entry.name}/", entry.path, (*above, real)))
        yield folder, prefix, status, files


def _status(path: str, wanted: Callable[[int], bool] = stat.S_ISREG) -> os.stat_result:
    try:
        status = os.stat(path)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror or error}") from None
    if not wanted(status.st_mode):  # reading a pipe or a device may never end
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
