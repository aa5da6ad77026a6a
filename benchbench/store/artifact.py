"""One artifact on disk: its files, and the ``done.json`` that says what they must be.

``done.json`` holds the facts that were published with the artifact and, under ``"store"``, the size and
SHA-256 of every file and a checksum over the whole document, so that damage to the document itself is seen
too.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ..errors import CorruptError
from ..files import atomic_file, flush, flush_folder, hash_file, is_settled, read_json, signature
from ..safetext import on_a_line

DONE = "done.json"
VERIFIED = ".verified.json"
_SCHEMA = 1
#: Bytes that are read at once.
_BLOCK = 1 << 22
#: What the harness publishes of every step, where an artifact has it, and what it is.
_FACTS: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("stage", "label", "environment", "device"), (str,)),
    **dict.fromkeys(("body", "facts"), (dict,)),
    **dict.fromkeys(("seconds", "peak_memory_mib"), (int, float)),
    "images": (int,),
}
#: Files that desktops and network file systems leave in any folder.
_STRANGERS = re.compile(r"\.DS_Store|\._.*|\.nfs.*|Thumbs\.db|desktop\.ini")


def checksums(folder: Path, report: Callable[[int, int], None] = lambda done, total: None) -> dict[str, Any]:
    """Flush every file of a folder to the disk and return ``{"size", "sha256"}`` by name.

    Args:
        folder: what is to be published.
        report: called with bytes done and bytes in all.

    Raises:
        OSError: a file cannot be read or flushed.
        ValueError: a file has a reserved name; something is neither a file nor a folder.
    """
    files: dict[str, Path] = {}
    folders = [folder]
    for name, path in _walk(folder):
        mode = path.lstat().st_mode
        if stat.S_ISDIR(mode):
            folders.append(path)
            continue
        if _STRANGERS.fullmatch(path.name):  # it may be gone tomorrow
            continue
        if not stat.S_ISREG(mode):
            raise ValueError(f"{path} is neither a file nor a folder")
        if name == DONE or name.startswith(VERIFIED):
            raise ValueError(f"{name} is a reserved name")
        files[name] = path
    done, total = 0, sum(path.stat().st_size for path in files.values())
    facts = {}
    for name, path in files.items():
        digest = hashlib.sha256()
        with path.open("rb") as stream:
            while block := stream.read(_BLOCK):
                digest.update(block)
                done += len(block)
                report(done, total)
            flush(stream.fileno())
        facts[name] = {"size": path.stat().st_size, "sha256": digest.hexdigest()}
    for item in reversed(folders):
        flush_folder(item)
    return facts


def describe(files: dict[str, Any], key: str, meta: dict[str, Any]) -> dict[str, Any]:
    """Return the ``done.json`` of files with these :func:`checksums`.

    Raises:
        TypeError, ValueError: ``meta`` is no JSON or uses the name ``store``.
    """
    if "store" in meta:
        raise ValueError("'store' in meta is the store's own")
    meta = json.loads(json.dumps(meta, allow_nan=False))  # as it will be read: names are text
    done = {**meta, "store": {"schema": _SCHEMA, "key": key, "files": files}}
    done["store"]["checksum"] = _checksum(done)
    return done


def seal(folder: Path, done: dict[str, Any]) -> None:
    """Write ``done.json`` as the last file of a folder and flush both; on failure the folder has none."""
    with atomic_file(folder / DONE) as stream:
        stream.write(f"{json.dumps(done, indent=1, sort_keys=True, allow_nan=False)}\n".encode())
    flush_folder(folder)


def read_done(folder: Path, key: str) -> dict[str, Any]:
    """Return the content of ``done.json``.

    Raises:
        CorruptError: it is missing, damaged, or of another key.
    """
    subject = f"artifact {key[:12]}: {DONE}"
    try:
        done = read_json(folder / DONE)
        store = done.get("store") if isinstance(done, dict) else None
        differs = not isinstance(store, dict) or store.get("checksum") != _checksum(done)
    except FileNotFoundError:
        raise CorruptError(f"{subject}: missing") from None
    except (OSError, ValueError, RecursionError) as error:
        raise CorruptError(f"{subject}: unreadable: {error}") from None
    if store is None or differs:
        raise CorruptError(f"{subject}: its own checksum differs")
    if flaw := _flaw(done):
        raise CorruptError(f"{subject}: {flaw}")
    if store.get("key") != key:
        other = store.get("key")
        raise CorruptError(f"{subject}: belongs to artifact {on_a_line(other[:12]) if isinstance(other, str) else '?'}")
    return done


def _flaw(done: dict[str, Any]) -> str | None:
    """Return what no store wrote in a document whose checksum is right, ``None`` where there is nothing."""
    for name, kinds in _FACTS.items():
        value = done.get(name, kinds[0]())
        if type(value) not in kinds or (int in kinds and not 0 <= value < 2**63):
            return f"{name} is no {kinds[-1].__name__}"
    try:
        sums = [(file["size"], file["sha256"]) for file in done["store"]["files"].values()]
    except (AttributeError, KeyError, TypeError):
        return "its list of files is none"
    sound = all(type(size) is int and type(digest) is str and len(digest) == 64 for size, digest in sums)
    return None if sound else "its list of files is none"


def find_problem(folder: Path, key: str, *, remembered: bool) -> str | None:
    """Return what is wrong with an artifact in one line, ``None`` when nothing is.

    Args:
        folder: where it lies.
        key: its key.
        remembered: whether files that have not been touched since they were last verified count as intact.
    """
    problem = _find_problem(folder, key, remembered)
    return None if problem is None else on_a_line(problem)


def _find_problem(folder: Path, key: str, remembered: bool) -> str | None:
    try:
        done = read_done(folder, key)
    except CorruptError as error:
        return str(error).partition(": ")[2]
    expected = done["store"]["files"]
    read_ns = time.time_ns()
    try:
        marks = {}  # of what was published: what a desktop or a network file system leaves beside it does not count
        for name in sorted(expected):
            try:
                status = (folder / name).lstat()
            except (FileNotFoundError, NotADirectoryError):
                return f"{name}: missing"
            if not stat.S_ISREG(status.st_mode):  # reading a pipe or a device may never end
                return f"{name}: is no file"
            marks[name] = signature(status)
            if marks[name][0] != expected[name]["size"]:
                return f"{name}: {marks[name][0]:,} bytes, {expected[name]['size']:,} expected"
        stamp = {
            "checksum": done["store"]["checksum"],
            "files": {name: [*mark] for name, mark in marks.items()},
        }
        if remembered and _recall(folder) == stamp:
            return None
        for name in sorted(expected):
            digest = hash_file(folder / name)
            if digest != expected[name]["sha256"]:
                return f"{name}: checksum {digest[:12]}, {expected[name]['sha256'][:12]} expected"
    except ValueError as error:  # a name that no file can have
        return f"{DONE}: unreadable: {error}"
    except OSError as error:
        return f"{Path(error.filename or DONE).name}: unreadable: {error.strerror or error}"
    if all(is_settled(mark, read_ns) for mark in marks.values()):
        _remember(folder, stamp)
    return None


def _walk(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield the relative POSIX name and the path of everything below a folder, links not followed."""
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda item: item.name):
            yield entry.name, Path(entry.path)
            if entry.is_dir(follow_symlinks=False):
                for name, path in _walk(Path(entry.path)):
                    yield f"{entry.name}/{name}", path


def _checksum(done: dict[str, Any]) -> str:
    content = {**done, "store": {name: value for name, value in done["store"].items() if name != "checksum"}}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _recall(folder: Path) -> Any:
    try:
        return read_json(folder / VERIFIED)
    except (OSError, ValueError):
        return None


def _remember(folder: Path, stamp: dict[str, Any]) -> None:
    """Note that files with these signatures were intact; a read-only store is verified each time."""
    with contextlib.suppress(OSError), atomic_file(folder / VERIFIED, durable=False) as stream:
        stream.write(json.dumps(stamp).encode())
