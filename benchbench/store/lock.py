"""Leases: who may work on what, between processes of one machine (or of one file system with working locks).

A lease is a lock that the kernel holds for a process: it is free again the moment its holder dies, however it
dies, so a killed run never blocks the next one. The lock file is removed on release; a waiter that then finds
itself with the lock of a removed file starts over, so that no two processes ever hold the same name.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from ..errors import BenchError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


@contextlib.contextmanager
def lease(path: Path, wait: bool = True) -> Iterator[bool]:
    """Hold an exclusive lock of the name ``path`` inside a ``with`` block.

    Not reentrant: a thread that asks again for what it holds waits for itself.

    Args:
        path: the lock file; its folder is made when it is missing.
        wait: whether to wait for another holder; else the block runs with ``False`` when there is one.

    Yields:
        Whether the lock is held.

    Raises:
        BenchError: the file system has no locks, or the file cannot be made.
    """
    if fcntl is None:
        with _portable(path, wait) as held:
            yield held
        return
    try:
        held_file = _acquire(path, wait)
    except OSError as error:
        raise BenchError(f"{path}: cannot be locked: {error.strerror or error}") from None
    if held_file is None:
        yield False
        return
    try:
        yield True
    finally:
        if held_file.process == os.getpid():  # not in a forked child that leaves the block
            with contextlib.suppress(OSError):
                path.unlink()  # while still holding it
            held_file.close()


class _LockFile:
    """A lock file that this process has open."""

    def __init__(self, path: Path) -> None:
        self.process = os.getpid()
        self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        _OPEN.add(self)

    def close(self) -> None:
        """Give the lock back."""
        _OPEN.discard(self)
        os.close(self.descriptor)


#: What this process has open. A forked child (a data loader's worker) inherits the files and would keep the
#: lock of a parent that was killed, so it closes them first.
_OPEN: set[_LockFile] = set()


def _forget_in_child() -> None:
    for item in list(_OPEN):
        item.close()
    _OPEN.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)


def _acquire(path: Path, wait: bool) -> _LockFile | None:
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            item = _LockFile(path)
        except FileNotFoundError:
            continue  # the folder was cleaned up in between
        held = False
        try:
            fcntl.flock(item.descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            held = _is_current(item.descriptor, path)
        except OSError as error:
            if wait or error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise
            return None
        finally:
            if not held:  # also when the user pressed Ctrl-C while waiting
                item.close()
        if held:
            return item


def _is_current(descriptor: int, path: Path) -> bool:
    """Return whether the open lock file is still the one that others will find under its name."""
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    mine = os.fstat(descriptor)
    return (there.st_dev, there.st_ino) == (mine.st_dev, mine.st_ino)


@contextlib.contextmanager
def _portable(path: Path, wait: bool) -> Iterator[bool]:
    """Hold the lock by way of ``filelock``, where there is no ``flock``; its files are left behind."""
    import filelock

    path.parent.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(path, timeout=-1 if wait else 0)
    try:
        lock.acquire()
    except filelock.Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()
