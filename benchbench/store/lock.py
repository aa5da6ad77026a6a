"""Locks by name, between processes of one machine (or of one file system with working locks).

The kernel holds a lock for a process, by way of ``filelock``: it is free again the moment its holder dies, however it
dies, so a killed run never blocks the next one. A forked child (a data loader's worker) has no part in it. Beside the
lock lies a small file that says who holds it, for messages; it decides nothing. A thread of the holder touches it every
ten seconds, however long one call of a library takes: the process runs and is not stopped; whether it gets on, nobody
else can know.

The lock file is removed by its holder on release. A waiter may then get the lock of a file that no longer has the
name; it notices and starts over, so that no two processes ever hold one name.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import BenchError
from ..files import read_json

#: How the name of a lock's owner file ends.
OWNER = ".owner"
#: Seconds between two looks at a lock that another process holds, and between two signs of life.
_POLL_S, _BEAT_S = 0.1, 10.0


@dataclass(frozen=True)
class Owner:
    """Who holds a lock.

    Attributes:
        host: name of its machine.
        pid: its process there.
        seen: when it last showed a sign of life, seconds since the epoch by the clock of the file system.
    """

    host: str
    pid: int
    seen: float

    def __str__(self) -> str:
        place = "" if self.host == platform.node() else f" on {self.host}"
        return f"process {self.pid}{place}"

    @classmethod
    def of(cls, facts: Any) -> Owner | None:
        """Return the owner that a JSON object describes, as it was read from a file or an event; else ``None``."""
        try:
            host = "".join(letter for letter in str(facts["host"]) if letter.isprintable())
            owner = cls(host, int(facts["pid"]), float(facts["seen"]))
        except (KeyError, TypeError, ValueError, OverflowError):
            return None
        return owner if 0 <= owner.seen < 2**37 else None  # what a calendar can show


class _Removed(Exception):  # noqa: N818
    """The lock file that was just locked no longer has the name."""


class Lock:
    """An exclusive lock by the name of a file. Not reentrant, in no thread of any process."""

    def __init__(self, path: Path) -> None:
        """Name a lock; nothing is written before it is held."""
        self.path = path
        self._owner_file = path.with_name(path.name + OWNER)

    def try_hold(self) -> AbstractContextManager[bool]:
        """Return a context manager for a moment: it does not wait, and yields whether the lock is held."""
        return self._hold(0.0, beats=False)

    def hold(
        self, waiting: Callable[[Owner | None], None] | None = None, timeout: float | None = None
    ) -> AbstractContextManager[bool]:
        """Return a context manager that waits for the lock and holds it inside its block, with signs of life.

        It yields whether the lock is held, which is ``False`` only after a timeout.

        Args:
            waiting: called once if it has to wait for another process, with what is known about that.
            timeout: seconds to wait at most; ``None`` for as long as it takes.

        Raises:
            BenchError: (on entering) the file system has no locks, or the file cannot be made.
        """
        return self._hold(-1.0 if timeout is None else timeout, waiting)

    def owner(self) -> Owner | None:
        """Return who holds a lock that is held; ``None`` if it wrote nothing. A free lock may name its last holder."""
        try:
            return Owner.of(read_json(self._owner_file) | {"seen": self._owner_file.stat().st_mtime})
        except (OSError, ValueError, TypeError):
            return None

    @contextlib.contextmanager
    def _hold(
        self, timeout: float, waiting: Callable[[Owner | None], None] | None = None, *, beats: bool = True
    ) -> Iterator[bool]:
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
        over = threading.Event()
        if beats:
            threading.Thread(target=self._beat, args=(over,), daemon=True).start()
        try:
            yield True
        finally:
            over.set()
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

    def _beat(self, over: threading.Event) -> None:
        while not over.wait(_BEAT_S):
            with contextlib.suppress(OSError):
                os.utime(self._owner_file)

    def _sign(self) -> None:
        with contextlib.suppress(OSError):  # a full disk: the lock is held all the same
            self._owner_file.write_text(json.dumps({"host": platform.node(), "pid": os.getpid()}), "utf-8")
