"""Files and folders that are whole or not there, their signatures and digests, and where shared ones lie.

Two environment variables move the shared folders: ``BENCH_DATA`` and ``BENCH_CACHE``. Asking for a folder does not
create it, but for the one of a user without a home folder.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import mmap
import os
import re
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from .disk import full_disk
from .errors import BenchError, UsageError

__all__ = [
    "atomic_file",
    "cache_root",
    "data_root",
    "decoded_root",
    "drop_pages",
    "expanded",
    "flush",
    "flush_folder",
    "hash_file",
    "is_settled",
    "is_whole",
    "one_step_folder",
    "put",
    "read_json",
    "safe_name",
    "signature",
    "write_atomic",
]

#: A file must have been left alone for this long before its signature stands for its content.
SETTLED_NS = 2_000_000_000
#: How far the clock of a file server may be ahead.
SKEW_NS = 60_000_000_000
#: Files beyond which flushing the whole system takes less time than flushing each.
MANY_FILES = 64
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)

# Writing


@contextlib.contextmanager
def atomic_file(path: Path, *, durable: bool = True) -> Iterator[BinaryIO]:
    """Write a file as a stream: a reader, or a kill at any moment, meets the old content or the new one, whole.

    An error inside the block leaves the old content. Several processes may write the same path; the last one wins.

    Args:
        path: the file, in a folder that exists.
        durable: whether the content must survive a power cut, which costs some 10 ms. Without, a power cut may leave
            an empty or torn file; a kill of the process never does.

    Yields:
        A stream, open for binary writing. A library that only takes a path may write to its ``name``.

    Raises:
        OSError: the folder cannot be written.
    """
    draft = path.with_name(f".{path.name.lstrip('.')}.tmp-{secrets.token_hex(8)}")
    try:
        with draft.open("wb") as stream:
            yield stream
            if durable:
                stream.flush()
                flush(stream.fileno())
        os.replace(draft, path)
    finally:
        with contextlib.suppress(OSError):
            draft.unlink()


def write_atomic(path: Path, content: str | bytes, *, durable: bool = True) -> None:
    """Write a small file with :func:`atomic_file`, text as UTF-8; its folder is made when it is missing.

    Raises:
        BenchError: the folder cannot be written; one line that names the file.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path, durable=durable) as stream:
            stream.write(content.encode() if isinstance(content, str) else content)
    except OSError as error:
        why = full_disk(error, path.parent) or error.strerror
        raise BenchError(f"{path}: cannot be written ({why}); free or choose another --results") from None


def put(path: Path, content: bytes) -> Path:
    """Write a small file with :func:`write_atomic` unless it has this content already; returns ``path``."""
    if not path.is_file() or path.read_bytes() != content:
        write_atomic(path, content)
    return path


@contextlib.contextmanager
def one_step_folder(final: Path, *, sealed: bool = True) -> Iterator[Path]:
    """Fill a folder that appears under its name in one step, when the block ends without an error.

    A kill or a power cut leaves the old folder, the new one or none, never a part: everything is flushed to the disk
    before. One writer at a time: whoever may write ``final`` (it holds a lock, or works in a private folder) also owns
    the draft next to it, and removes what a killed one left.

    Args:
        final: the folder to make; an existing one is replaced.
        sealed: whether a file next to it notes size and sha256 of each file, for :func:`is_whole`.

    Yields:
        An empty folder next to ``final``, removed again if the block fails.

    Raises:
        OSError: the folder cannot be written.
    """
    draft, old = (final.with_name(f".tmp-{final.name}{ending}") for ending in ("", ".old"))
    for left in (draft, old):
        shutil.rmtree(left, ignore_errors=True)
    try:
        draft.mkdir(parents=True)
        yield draft
        _flush_below(draft)
        if sealed:
            with atomic_file(_seal(final)) as stream:
                stream.write(json.dumps({name: _sum(draft / name) for name in _names(draft)}).encode())
        with contextlib.suppress(FileNotFoundError):
            os.rename(final, old)
        os.rename(draft, final)
        flush_folder(final.parent)
    finally:
        for left in (draft, old):
            shutil.rmtree(left, ignore_errors=True)


def is_whole(folder: Path) -> bool:
    """Return whether a folder of :func:`one_step_folder` is there and each of its files is as it was written.

    A file that was not in it then does not count.
    """
    try:
        sums = read_json(_seal(folder))
        return folder.is_dir() and all(_sum(folder / name) == noted for name, noted in sums.items())
    except (OSError, ValueError, AttributeError):
        return False


def _seal(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.sums")


def _sum(file: Path) -> list[int | str]:
    return [file.stat().st_size, hash_file(file)]


def _names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def _flush_below(folder: Path) -> None:
    """Flush all files and folders below a folder, and itself; of many files, all that the system has to write."""
    paths = list(folder.rglob("*"))
    if len(paths) > MANY_FILES and hasattr(os, "sync"):
        os.sync()
        return
    for path in paths:
        if path.is_file():
            with path.open("rb") as stream:
                flush(stream.fileno())
    for path in (*(path for path in paths if path.is_dir()), folder):
        flush_folder(path)


def flush_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut; does nothing on systems that cannot (Windows)."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except (PermissionError, IsADirectoryError):
        return
    try:
        flush(descriptor)
    finally:
        os.close(descriptor)


def flush(descriptor: int) -> None:
    """Write an open file or folder to the disk; nothing is done on a file system that cannot, as some networked ones.

    Raises:
        OSError: the disk is full or broken.
    """
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EBADF):
            raise


def drop_pages(array: Any) -> None:
    """Give back the memory in which a system holds what was read of a read-only memory-mapped array.

    What is asked for again is read again. Any other array is left as it is. Without, the pages of a file that is read
    once count as this process's memory until the system needs them.
    """
    while array is not None and not isinstance(array, mmap.mmap):
        if getattr(array, "mode", "r") != "r":  # pages may hold changes that are nowhere else
            return
        array = getattr(array, "base", None)
    if array is not None and hasattr(mmap, "MADV_DONTNEED"):
        array.madvise(mmap.MADV_DONTNEED)


def safe_name(text: str, limit: int = 60) -> str:
    """Return a text as a file name of at most ``limit`` characters, ASCII letters, digits and ``._=+-``."""
    name = re.sub(r"[^A-Za-z0-9._=+-]+", "_", text).strip("._") or "-"
    if _RESERVED.match(name):
        name = f"_{name}"
    if len(name) > limit:
        name = f"{name[: limit - 9]}-{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"
    return name


# Reading


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes (64 hex digits), read in pieces."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def read_json(path: Path, largest: int | None = None) -> Any:
    """Return what a JSON file holds, whoever wrote it.

    Args:
        path: the file, UTF-8.
        largest: most bytes that are read.

    Raises:
        OSError: it is missing, cannot be read, or is no file: reading a pipe or a device may never end.
        ValueError: it is no JSON, too large or nested too deep.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "is no file", str(path))
    if largest is not None and status.st_size > largest:
        raise ValueError(f"larger than {largest:,} bytes")
    try:
        return json.loads(path.read_bytes().decode("utf-8-sig"))
    except RecursionError:
        raise ValueError("nested too deep") from None


def signature(status: os.stat_result) -> tuple[int, ...]:
    """Return what changes when a file does: size in bytes, modification and change time in ns, inode."""
    return (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


def is_settled(mark: tuple[int, ...], read_ns: int) -> bool:
    """Return whether a file with signature ``mark`` was old enough when it was read at ``read_ns``.

    The signature of a file that was changed less than two seconds before it was read proves nothing on a file system
    with a coarse clock. A time up to a minute in the future may be that of a file server whose clock is ahead. One
    further ahead was set by hand, or by a clock that was wrong: whoever changes the file now leaves another one.
    """
    return all(not -SKEW_NS <= read_ns - at <= SETTLED_NS for at in mark[1:3])


# Places


def cache_root() -> Path:
    """Return the folder for what can be computed again; it may not exist and may not be writable.

    ``$BENCH_CACHE``, else ``$XDG_CACHE_HOME/benchbench``, else ``~/.cache/benchbench``. Empty and relative
    values of ``XDG_CACHE_HOME`` are ignored, as the XDG base directory specification asks. For a user without a home
    folder, ``~`` is ``benchbench-UID`` below the temporary folder, which is made, for this user alone.

    Raises:
        UsageError: there is no home folder, and that other one is not this user's alone, or a variable names the home
            of a user whom the system does not know.
    """
    if chosen := os.environ.get("BENCH_CACHE"):
        return _expand(chosen, "BENCH_CACHE")
    shared = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(shared):
        return Path(shared) / "benchbench"
    return _expand("~/.cache/benchbench", "HOME")


def data_root() -> Path:
    """Return the folder in which datasets lie when no ``path=`` is given: one folder for each dataset.

    ``$BENCH_DATA``, else ``data`` below :func:`cache_root`.
    """
    if chosen := os.environ.get("BENCH_DATA"):
        return _expand(chosen, "BENCH_DATA")
    return cache_root() / "data"


def decoded_root() -> Path:
    """Return the folder for the images of datasets as arrays, which the store links: ``decoded`` in the cache."""
    return cache_root() / "decoded"


def expanded(path: str | Path) -> Path:
    """Return a path with ``~`` spelled out; one of a user whom the system does not know stays as it is."""
    return Path(os.path.expanduser(path))


def _expand(text: str, variable: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError:  # a user without a home folder, as in some containers
        if (owner := Path(text).parts[0]) != "~":
            raise UsageError(f"{variable}={text}: there is no home folder {owner}; give a folder by its path") from None
        return _own_folder() / text.lstrip("~/")


def _own_folder() -> Path:
    """Return what stands for the home of a user without one: a folder below the temporary one, made for them alone.

    Its name can be guessed, and whoever owns it or may write to it decides what is trained on: such a one is refused.

    Raises:
        UsageError: it cannot be made, or is not this user's alone to write to.
    """
    user = os.getuid() if hasattr(os, "getuid") else None
    advice = "this user has no home folder; set BENCH_CACHE to a folder of their own"
    try:
        folder = Path(tempfile.gettempdir()) / f"benchbench-{user or 0}"
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        status = folder.lstat()
    except OSError as error:
        raise UsageError(
            f"{error.filename or 'temporary folder'}: cannot be used ({error.strerror}); {advice}"
        ) from None
    theirs = user is not None and (status.st_uid != user or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH))
    if theirs or not stat.S_ISDIR(status.st_mode):
        raise UsageError(f"{folder}: is not a folder that this user alone may write to; {advice}")
    return folder
