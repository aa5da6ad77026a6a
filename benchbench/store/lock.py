"""Locks by name, between processes of one machine (or of one file system with working locks).

The kernel holds a lock for a process, by way of ``filelock``: it is free again the moment its holder dies, however it
dies, so a killed run never blocks the next one. A forked child (a data loader's worker) has no part in it. Beside the
lock lies a small file that says who holds it, for messages; it decides nothing.

The lock file is removed by its holder on release. A waiter may then get the lock of a file that no longer has the
name; it notices and starts over, so that no two processes ever hold one name.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import BenchError
from ..files import read_json

#: How the name of a lock's owner file ends.
OWNER = ".owner"
#: Seconds between two looks at a lock that another process holds, and between two heartbeats.
_POLL_S, _BEAT_S = 0.1, 10.0


@dataclass(frozen=True)
class Owner:
    """Who holds a lock.

    Attributes:
        host: name of its machine.
        pid: its process there.
        seen: when it last showed a sign of life, seconds since the epoch.
    """

    host: str
    pid: int
    seen: float

    def __str__(self) -> str:
        place = "" if self.host == platform.node() else f" on {self.host}"
        silent = time.time() - self.seen
        age = f" (no sign of life for {silent / 60:.0f} min)" if silent > 120 else ""
        return f"process {self.pid}{place}{age}"


class _Removed(Exception):  # noqa: N818
    """The lock file that was just locked no longer has the name."""


class Lock:
    """An exclusive lock by the name of a file. Not reentrant, in no thread of any process."""

    def __init__(self, path: Path) -> None:
        """Name a lock; nothing is written before it is held."""
        self.path = path
        self._owner_file = path.with_name(path.name + OWNER)
        self._beaten = 0.0

    def try_hold(self) -> AbstractContextManager[bool]:
        """Return a context manager like :meth:`hold`'s that does not wait: it yields whether the lock is held."""
        return self._hold(0.0)

    def hold(self, waiting: Callable[[Owner | None], None] | None = None) -> AbstractContextManager[bool]:
        """Return a context manager that waits for the lock and holds it inside its block; it yields ``True``.

        Args:
            waiting: called once if another process has the lock, with what is known about it.

        Raises:
            BenchError: (on entering) the file system has no locks, or the file cannot be made.
        """
        return self._hold(-1.0, waiting)

    def owner(self) -> Owner | None:
        """Return who holds a lock that is held; ``None`` if it wrote nothing. A free lock may name its last holder."""
        try:
            facts = read_json(self._owner_file)
            return Owner(str(facts["host"]), int(facts["pid"]), self._owner_file.stat().st_mtime)
        except (OSError, ValueError, KeyError, TypeError, OverflowError):
            return None

    def beat(self) -> None:
        """Show other processes that the holder is alive; cheap enough for every step of a loop."""
        if time.monotonic() - self._beaten > _BEAT_S:
            self._beaten = time.monotonic()
            with contextlib.suppress(OSError):
                os.utime(self._owner_file)

    @contextlib.contextmanager
    def _hold(self, timeout: float, waiting: Callable[[Owner | None], None] | None = None) -> Iterator[bool]:
        import filelock

        lock = filelock.FileLock(self.path, thread_local=False, fallback_to_soft=False, on_acquired=self._check_name)
        try:
            held = self._acquire(lock, 0.0)
            if not held and timeout:
                if waiting is not None:
                    waiting(self.owner())
                held = self._acquire(lock, timeout)
        except OSError as error:
            raise BenchError(f"{self.path}: cannot be locked: {error.strerror or error}") from None
        if not held:
            yield False
            return
        self._sign()
        try:
            yield True
        finally:
            if lock.is_locked:  # not in a forked child that leaves the block
                for file in (self._owner_file, self.path):
                    with contextlib.suppress(OSError):
                        file.unlink()
                lock.release()

    def _acquire(self, lock: Any, timeout: float) -> bool:
        from filelock import Timeout

        while True:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                lock.acquire(timeout, poll_interval=_POLL_S)
                return True
            except Timeout:
                return False
            except (_Removed, FileNotFoundError):
                continue  # released, or its folder cleaned up, in between

    def _check_name(self, descriptor: int) -> None:
        """Make sure that the open file is the one that others will find; a network file system keeps removed ones."""
        try:
            current = os.path.samestat(os.fstat(descriptor), os.stat(self.path))
        except FileNotFoundError:
            current = False
        if not current:
            raise _Removed

    def _sign(self) -> None:
        self._beaten = time.monotonic()
        with contextlib.suppress(OSError):  # a full disk: the lock is held all the same
            self._owner_file.write_text(json.dumps({"host": platform.node(), "pid": os.getpid()}), "utf-8")
