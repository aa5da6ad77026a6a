"""The store: finished work by its key, in folders that are complete or not there.

An artifact is written into a temporary folder, flushed, given its ``done.json`` (checksums and facts) last
and renamed into place; nothing in place is ever changed. So a kill or a full disk at any moment leaves either
the whole artifact or none, and a half-written one cannot be taken for a result::

    ROOT/ab/abcdef.../           one artifact: files, done.json; .verified.json remembers the last check
    ROOT/.tmp-KEY-PID-HOST-...   being written, or being deleted
    ROOT/.partial/KEY/           checkpoints of unfinished work; survive a kill
    ROOT/.locks/KEY              held while a process works on the key
    ROOT/.plans/HASH             keys that an unfinished run still wants

Trade-off: publishing flushes every file to the disk (some 10 ms each), which is the price of surviving a
power cut.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from ..errors import BenchError, UsageError
from ..results.folder import write_atomic
from .artifact import DONE, describe, find_problem, flush_folder, read_done, seal
from .lock import lease

_KEY = re.compile(r"[0-9a-f]{64}")
_TEMPORARY = re.compile(r"\.tmp-([0-9a-f]{64})-(\d+)-([0-9a-f]{8})-")
#: A temporary folder of another machine is taken for abandoned when nothing in it changed for this long.
_ABANDONED_S = 24 * 3600.0


class Store:
    """A folder of finished artifacts; safe to use from several processes at once."""

    def __init__(self, root: Path) -> None:
        """Open the store in ``root``, which need not exist yet; nothing is written before it has to be."""
        self.root = Path(root)

    # Reading

    def path(self, key: str) -> Path:
        """Return the folder of an artifact, there or not.

        Raises:
            ValueError: ``key`` is not 64 lower-case hex digits.
        """
        if not _KEY.fullmatch(key):
            raise ValueError(f"{key!r} is no key: a key is 64 hex digits")
        return self.root / key[:2] / key

    def has(self, key: str) -> bool:
        """Return whether the artifact was published; one look at the disk, no checksums."""
        return os.path.exists(self.path(key) / DONE)

    def meta(self, key: str) -> dict[str, Any]:
        """Return what was published with the artifact, plus the store's own facts under ``"store"``.

        Raises:
            CorruptError: ``done.json`` is missing or damaged.
        """
        return read_done(self.path(key), key)

    def check(self, key: str) -> str | None:
        """Return ``None`` if the artifact is intact, else one line that names the file and what differs.

        Checksums are computed once; afterwards an unchanged size, time and inode of every file is enough.
        """
        return find_problem(self.path(key), key, remembered=True)

    def keys(self) -> Iterator[str]:
        """Yield the keys of all published artifacts, sorted."""
        return (key for key in self._folders() if self.has(key))

    def size(self, key: str) -> int:
        """Return the bytes that an artifact takes, 0 when it is not there."""
        return _tree_size(self.path(key))

    def verify(self, progress: Callable[[int, int], None] | None = None) -> list[tuple[str, str]]:
        """Compute every checksum, whatever is remembered, and return ``(key, problem)`` of each damaged one.

        Args:
            progress: called with (artifacts done, artifacts in all).
        """
        found = []
        every = list(self._folders())
        for done, key in enumerate(every, start=1):
            problem = find_problem(self.path(key), key, remembered=False)
            if problem and self.path(key).exists():  # else another process removed it meanwhile
                found.append((key, problem))
            if progress:
                progress(done, len(every))
        return found

    # Writing

    def writable(self) -> None:
        """Make sure that results can be kept, before any work begins.

        Raises:
            UsageError: a file is in the way, permission is missing, the disk is full or read-only.
        """
        probe = self.root / f".probe-{os.getpid()}-{secrets.token_hex(4)}"
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            probe.mkdir()
            try:
                (probe / "probe").write_bytes(b"x")
            finally:
                shutil.rmtree(probe, ignore_errors=True)
        except OSError as error:
            reason = error.strerror or str(error)
            blocking = next((item for item in (self.root, *self.root.parents) if os.path.lexists(item)), None)
            if blocking is not None and not blocking.is_dir():
                reason = f"{blocking} is not a folder"
            message = f"results folder {self.root} cannot be written: {reason}; choose another with --results"
            raise UsageError(message) from None

    def temporary(self, key: str) -> Path:
        """Return a new empty folder on the store's file system, to be filled and published.

        What killed processes left of the same key is removed, so that killing a run often costs no space.
        """
        self.path(key)
        for left in self.root.glob(f".tmp-{key}-*"):
            match = _TEMPORARY.match(left.name)
            if match and _is_abandoned(left, pid=int(match[2]), host=match[3]):
                shutil.rmtree(left, ignore_errors=True)
        folder = self.root / f".tmp-{key}-{os.getpid()}-{_host()}-{secrets.token_hex(4)}"
        with self._explained("make a folder for", key):
            folder.mkdir(parents=True)
        return folder

    def scratch(self, key: str) -> Path:
        """Return the folder for checkpoints of unfinished work; publishing ``key`` removes it."""
        self.path(key)
        folder = self.root / ".partial" / key
        with self._explained("make a folder for", key):
            folder.mkdir(parents=True, exist_ok=True)
        return folder

    def begun(self, key: str) -> bool:
        """Return whether an earlier run left checkpoints of ``key`` to continue from."""
        folder = self.root / ".partial" / key
        return folder.is_dir() and any(folder.iterdir())

    def sweep(self, keys: Iterable[str]) -> None:
        """Remove the checkpoints of published ``keys``, which a kill between publishing and removing has left."""
        for key in keys:
            if self.begun(key) and self.has(key):
                self._drop_scratch(key)

    def publish(self, key: str, folder: Path, meta: dict[str, Any]) -> Path:
        """Move a finished folder into place in one step and return its new path.

        If an intact artifact of the key is there already, ``folder`` is removed and nothing else changes; a
        damaged one is replaced.

        Args:
            key: the artifact's key.
            folder: from :meth:`temporary`, filled; regular files and folders only.
            meta: JSON facts to be returned by :meth:`meta`; the name ``store`` is taken.

        Raises:
            BenchError: the disk is full or refuses; nothing was published and what was there is unharmed.
            TypeError, ValueError: ``meta`` is no JSON, or ``folder`` holds a reserved name or something that
            is not a file.
        """
        target = self.path(key)
        if self.has(key) and self.check(key) is None:
            shutil.rmtree(folder)
            self._drop_scratch(key)
            return target
        with self._explained("publish", key, folder):
            seal(folder, describe(folder, key, meta))
            target.parent.mkdir(parents=True, exist_ok=True)
            with lease(self.root / ".locks" / f"publish-{key[:2]}"):
                self._move_into_place(key, folder, target)
        self._drop_scratch(key)
        return target

    def _move_into_place(self, key: str, folder: Path, target: Path) -> None:
        if target.exists():
            if self.check(key) is None:  # another process was faster
                shutil.rmtree(folder)
                return
            self.discard(key)
        os.rename(folder, target)
        for changed in (target.parent, self.root):
            flush_folder(changed)

    def discard(self, key: str) -> None:
        """Remove an artifact, intact or damaged: it vanishes in one step and is deleted afterwards."""
        with self._explained("remove", key):
            away = self._move_away(key)
        if away is not None:
            shutil.rmtree(away, ignore_errors=True)

    def _move_away(self, key: str) -> Path | None:
        target = self.path(key)
        away = self.root / f".tmp-{key}-{os.getpid()}-{_host()}-{secrets.token_hex(4)}"
        try:
            os.rename(target, away)
        except FileNotFoundError:
            return None
        return away

    def _drop_scratch(self, key: str) -> None:
        shutil.rmtree(self.root / ".partial" / key, ignore_errors=True)

    def lease(self, key: str, wait: bool = True) -> AbstractContextManager[bool]:
        """Return a context manager that holds the right to work on ``key``; free when its holder dies.

        It yields whether the lease is held: always after waiting, and ``False`` without ``wait`` when another
        process has it. Ask :meth:`has` again once it is held: the other may have finished the work.
        """
        self.path(key)
        return lease(self.root / ".locks" / key, wait)

    # Plans that are not finished

    def remember_plan(self, keys: Iterable[str]) -> None:
        """Note the steps of a run before it begins, so that cleaning spares what it made until it is finished."""
        listed = sorted(keys)
        write_atomic(self._plan_file(listed), "\n".join(listed) + "\n")

    def forget_plan(self, keys: Iterable[str]) -> None:
        """Take the note away: its results are recorded now."""
        self._plan_file(sorted(keys)).unlink(missing_ok=True)

    def planned(self) -> set[str]:
        """Return the keys that unfinished runs still want."""
        notes = self._entries(self.root / ".plans")
        return {key for note in notes for key in note.read_text("utf-8").split() if _KEY.fullmatch(key)}

    def forget_plans(self) -> None:
        """Take all notes away: nothing unfinished is to be continued."""
        for note in self._entries(self.root / ".plans"):
            note.unlink(missing_ok=True)

    def _plan_file(self, keys: list[str]) -> Path:
        return self.root / ".plans" / hashlib.sha256("\n".join(keys).encode()).hexdigest()[:16]

    # Cleaning

    def gc(self, keep: set[str], dry_run: bool) -> list[tuple[str, int]]:
        """Remove what is not needed: artifacts outside ``keep`` and what dead processes left behind.

        Checkpoints of unfinished work are kept if their key is in ``keep``. Nothing that a process holds a
        lease on is touched.

        Args:
            keep: keys of artifacts and unfinished work to keep.
            dry_run: only say what would go.

        Returns:
            ``(key, bytes)`` of each artifact, abandoned folder and orphan of ``.partial``, in the order of
            removal.
        """
        gone: list[tuple[str, int]] = []
        for key in list(self._folders()):
            if key not in keep:
                gone += self._collect(key, self.path(key), dry_run)
        for folder in self._entries(self.root / ".partial"):
            if _KEY.fullmatch(folder.name) and (folder.name not in keep or self.has(folder.name)):
                gone += self._collect(folder.name, folder, dry_run)
        for folder in self._entries(self.root):
            match = _TEMPORARY.match(folder.name)
            if match and _is_abandoned(folder, pid=int(match[2]), host=match[3]):
                gone += self._collect(match[1], folder, dry_run)
        if not dry_run:
            for path in self._entries(self.root / ".locks"):
                with lease(path, wait=False):
                    pass  # releasing a lock removes its file
        return gone

    def _collect(self, key: str, folder: Path, dry_run: bool) -> list[tuple[str, int]]:
        with self.lease(key, wait=False) as held:
            if not held:
                return []
            entry = (key, _tree_size(folder))
            if dry_run:
                return [entry]
            if folder == self.path(key):
                self.discard(key)
            else:
                shutil.rmtree(folder, ignore_errors=True)
            return [entry]

    def _folders(self) -> Iterator[str]:
        """Yield every key that has a folder, also one without ``done.json``, which only damage can leave."""
        for group in self._entries(self.root):
            if re.fullmatch(r"[0-9a-f]{2}", group.name):
                for folder in self._entries(group):
                    if _KEY.fullmatch(folder.name) and folder.name.startswith(group.name):
                        yield folder.name

    @staticmethod
    def _entries(folder: Path) -> list[Path]:
        try:
            return sorted(folder.iterdir())
        except (FileNotFoundError, NotADirectoryError):
            return []

    @contextlib.contextmanager
    def _explained(self, doing: str, key: str, folder: Path | None = None) -> Iterator[None]:
        """Turn what the disk refuses into one line, and give back the space that ``folder`` takes."""
        try:
            yield
        except OSError as error:
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)
            reason = error.strerror or str(error)
            message = f"{self.root}: cannot {doing} artifact {key[:12]}: {reason}; finished work is kept"
            raise BenchError(message) from error


def _host() -> str:
    """Return eight hex digits for this machine: a process id says nothing on another one."""
    return hashlib.sha256(platform.node().encode()).hexdigest()[:8]


def _is_abandoned(folder: Path, pid: int, host: str) -> bool:
    """Return whether the process that made a temporary folder is gone."""
    if host == _host() and os.name == "posix":
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            pass
        return _is_zombie(pid)
    try:
        return time.time() - folder.stat().st_mtime > _ABANDONED_S
    except OSError:
        return False


def _is_zombie(pid: int) -> bool:
    """Return whether a process is dead and merely not collected yet, as far as the system can tell."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (OSError, IndexError):
        return False


def _tree_size(folder: Path) -> int:
    return sum((Path(top) / name).lstat().st_size for top, _, names in os.walk(folder) for name in names)
