"""The store: finished work by its key, in folders that are complete or not there.

An artifact is written into a temporary folder, flushed, given its ``done.json`` (checksums and facts) last
and renamed into place; nothing in place is ever changed. So a kill or a full disk at any moment leaves either
the whole artifact or none, and a half-written one cannot be taken for a result::

    ROOT/ab/abcdef.../           one artifact: files, done.json; .verified.json remembers the last check
    ROOT/.tmp-KEY...             being written, or being deleted, by the process that holds the key's lock
    ROOT/.partial/KEY/           checkpoints of unfinished work; survive a kill
    ROOT/.locks/KEY              held while a process works on the key; KEY.owner says which one
    ROOT/.plans/HASH             keys that an unfinished run still wants

One lock for each key: whoever holds it (:meth:`Store.lock`) may write the key's folders, and what another one left in
them is garbage.

Trade-off: publishing flushes every file to the disk (some 10 ms each), which is the price of surviving a
power cut.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from ..errors import BenchError, UsageError
from ..files import flush_folder, write_atomic
from .artifact import DONE, checksums, describe, find_problem, read_done, seal
from .lock import OWNER, Lock

_KEY = re.compile(r"[0-9a-f]{64}")
_TEMPORARY = re.compile(r"\.tmp-([0-9a-f]{64})(-.*)?")


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
        return (key for key in self.folders() if self.has(key))

    def size(self, key: str) -> int:
        """Return the bytes that an artifact takes, 0 when it is not there."""
        return tree_size(self.path(key))

    def verify(self, key: str) -> str | None:
        """Return what :meth:`check` does, from every checksum computed again; ``None`` also if it was removed."""
        problem = find_problem(self.path(key), key, remembered=False)
        return problem if self.path(key).exists() else None

    # Writing

    def writable(self) -> None:
        """Make sure that results can be kept, before any work begins.

        Raises:
            UsageError: a file is in the way, permission is missing, the disk is full or read-only.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".probe-", dir=self.root) as probe:
                Path(probe, "probe").write_bytes(b"x")
        except OSError as error:
            reason = error.strerror or str(error)
            blocking = next((item for item in (self.root, *self.root.parents) if os.path.lexists(item)), None)
            if blocking is not None and not blocking.is_dir():
                reason = f"{blocking} is not a folder"
            message = f"results folder {self.root} cannot be written: {reason}; choose another with --results"
            raise UsageError(message) from None
        for inner in (self.root / name for name in (".locks", ".partial", ".plans")):
            if os.path.lexists(inner) and not inner.is_dir():
                raise UsageError(f"results folder {self.root} cannot be written: {inner} is not a folder; move it away")
        try:
            with Lock(self.root / ".probe").try_hold():
                pass
        except BenchError as error:
            raise UsageError(f"results folder {self.root}: {error}; put --results on a local disk") from None

    def temporary(self, key: str) -> Path:
        """Return a new empty folder on the store's file system, to be filled and published; hold the key's lock.

        What killed processes left of the same key is removed, so that killing a run often costs no space.
        """
        self.path(key)
        for left in self.root.glob(f".tmp-{key}*"):
            shutil.rmtree(left, ignore_errors=True)
        folder = self.root / f".tmp-{key}"
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

    def begun_size(self, key: str) -> int:
        """Return the bytes of the checkpoints of unfinished work on ``key``."""
        return tree_size(self.root / ".partial" / key)

    def sweep(self, keys: Iterable[str]) -> None:
        """Remove the checkpoints of published ``keys``, which a kill between publishing and removing has left."""
        for key in keys:
            if self.begun(key) and self.has(key):
                self._drop_scratch(key)

    def flushed(self, key: str, folder: Path, report: Callable[[int, int], None]) -> dict[str, Any]:
        """Flush a folder from :meth:`temporary` to the disk and return its checksums, for :meth:`publish`.

        Args:
            key: the artifact's key.
            folder: filled; regular files and folders only.
            report: called with bytes done and bytes in all.

        Raises:
            BenchError: the disk is full or refuses.
            ValueError: ``folder`` holds a reserved name or something that is not a file.
        """
        with self._explained("publish", key, folder):
            return checksums(folder, report)

    def publish(self, key: str, folder: Path, meta: dict[str, Any], files: dict[str, Any] | None = None) -> Path:
        """Move a finished folder into place in one step and return its new path; hold the key's lock.

        If an intact artifact of the key is there already, ``folder`` is removed and nothing else changes; a
        damaged one is replaced.

        Args:
            key: the artifact's key.
            folder: from :meth:`temporary`, filled; regular files and folders only.
            meta: JSON facts to be returned by :meth:`meta`; the name ``store`` is taken.
            files: what :meth:`flushed` returned; made here if left out.

        Raises:
            BenchError: the disk is full or refuses; nothing was published and what was there is unharmed.
            TypeError, ValueError: ``meta`` is no JSON, or ``folder`` holds a reserved name or something that
            is not a file.
        """
        target = self.path(key)
        if self.check(key) is None:
            shutil.rmtree(folder)
            self._drop_scratch(key)
            return target
        with self._explained("publish", key, folder):
            seal(folder, describe(checksums(folder) if files is None else files, key, meta))
            target.parent.mkdir(parents=True, exist_ok=True)
            self._remove(key)  # a damaged one
            os.rename(folder, target)
            for changed in (target.parent, self.root):
                flush_folder(changed)
        self._drop_scratch(key)
        return target

    def discard(self, key: str, *, only_damaged: bool = False) -> None:
        """Remove an artifact in one step, intact or damaged, unless another process is at work on it."""
        with self.lock(key).try_hold() as held:
            if held and not (only_damaged and self.check(key) is None):
                with self._explained("remove", key):
                    self._remove(key)

    def _remove(self, key: str) -> None:
        away = self.root / f".tmp-{key}-old"
        shutil.rmtree(away, ignore_errors=True)
        with contextlib.suppress(FileNotFoundError):
            os.rename(self.path(key), away)
        shutil.rmtree(away, ignore_errors=True)

    def _drop_scratch(self, key: str) -> None:
        shutil.rmtree(self.root / ".partial" / key, ignore_errors=True)

    def lock(self, key: str) -> Lock:
        """Return the lock of ``key``: hold it to work on the key; it is free when its holder dies.

        Look at :meth:`check` again once it is held: another process may have finished the work.
        """
        self.path(key)
        return Lock(self.root / ".locks" / key)

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
        lines = (line for note in self._notes() for line in note.read_text("utf-8", "replace").split())
        return {key for key in lines if _KEY.fullmatch(key)}

    def forget_plans(self) -> None:
        """Take all notes away: nothing unfinished is to be continued."""
        for note in self._notes():
            note.unlink(missing_ok=True)

    def _notes(self) -> list[Path]:
        return [note for note in self._entries(self.root / ".plans") if note.is_file()]

    def _plan_file(self, keys: list[str]) -> Path:
        return self.root / ".plans" / hashlib.sha256("\n".join(keys).encode()).hexdigest()[:16]

    # Cleaning

    def gc(self, keep: set[str], dry_run: bool) -> list[tuple[str, int]]:
        """Remove what is not needed: artifacts outside ``keep`` and what dead processes left.

        Checkpoints of unfinished work are kept if their key is in ``keep``. Nothing of a key whose lock is held is
        touched.

        Args:
            keep: keys of artifacts and unfinished work to keep.
            dry_run: only say what would go.

        Returns:
            ``(key, bytes)`` of each artifact, abandoned folder and orphan of ``.partial``, in the order of
            removal.
        """
        gone: list[tuple[str, int]] = []
        for key in list(self.folders()):
            if key not in keep:
                gone += self._collect(key, self.path(key), dry_run)
        for folder in self._entries(self.root / ".partial"):
            if _KEY.fullmatch(folder.name) and (folder.name not in keep or self.has(folder.name)):
                gone += self._collect(folder.name, folder, dry_run)
        for folder in self._entries(self.root):
            if match := _TEMPORARY.fullmatch(folder.name):
                gone += self._collect(match[1], folder, dry_run)
        if not dry_run:
            for path in self._entries(self.root / ".locks"):
                with Lock(path.with_name(path.name.removesuffix(OWNER))).try_hold():
                    pass  # releasing a lock removes its files
        return gone

    def _collect(self, key: str, folder: Path, dry_run: bool) -> list[tuple[str, int]]:
        with self.lock(key).try_hold() as held:
            if not held:
                return []
            entry = (key, tree_size(folder))
            if not dry_run and folder == self.path(key):
                with self._explained("remove", key):
                    self._remove(key)
            elif not dry_run:
                shutil.rmtree(folder, ignore_errors=True)
            return [entry]

    def folders(self) -> Iterator[str]:
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


def tree_size(folder: Path) -> int:
    """Return the bytes of the files below a folder, 0 when it is not there; others may be at work in it."""
    size = 0
    for top, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                size += os.lstat(os.path.join(top, name)).st_size
    return size
