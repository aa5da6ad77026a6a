"""Published archives: found, verified against the publisher's checksum, checked member by member, unpacked.

Nothing is unpacked before every member was looked at. An archive may hold regular files and folders with relative
names below the folder it is unpacked into, and nothing else: no absolute names, no ``..``, no links (none of the
published archives has one, and a link is the usual way out of a folder), no devices, no more bytes than a limit.

Two ways to use one, for an archive that :func:`verify` has passed::

    digest = verify(archive, CHECKSUM, subject, remedy="fetch it again from URL")
    folder = unpacked(archive, digest, subject, limit=2**32)      # stays below the cache, for trees of images
    extract(archive, scratch, subject, limit=2**32, only=wanted)  # into a folder of the caller's own
"""

from __future__ import annotations

import contextlib
import gzip
import lzma
import os
import re
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from benchbench.errors import BenchError, UsageError
from benchbench.files import cache_root
from benchbench.store.lock import Lock

from ._memo import digest_of

#: Bytes that an archive may unpack to when the caller says nothing: STL-10, the largest here, takes 3.1e9.
LIMIT = 8 * 2**30
#: Members that an archive may have.
MOST_MEMBERS = 2_000_000
#: What a damaged archive makes the standard library raise.
BROKEN = (tarfile.TarError, zipfile.BadZipFile, zlib.error, gzip.BadGzipFile, lzma.LZMAError, EOFError)
DAMAGED = (*BROKEN, ValueError, RuntimeError, NotImplementedError, OverflowError, UnicodeError)

#: Whether a member of this name is wanted; it is checked in any case.
Only = Callable[[str], bool]


def find(base: Path, names: Sequence[str]) -> Path | None:
    """Return the first of the files or folders ``names`` that lies below ``base``, or ``base`` if it is one itself.

    Args:
        base: what the user gave: the data folder, or directly the archive or the unpacked folder.
        names: relative names, the preferred one first.
    """
    for name in names:
        if (base / name).exists():
            return base / name
    return next((base for name in names if base.name == PurePosixPath(name).name and base.exists()), None)


def verify(path: Path, expected: str, subject: str, remedy: str, algorithm: str = "md5") -> str:
    """Compare an archive with its published checksum, and return the checksum.

    What was computed is remembered by the file's size, times and inode, so that the second time takes milliseconds.

    Args:
        path: the archive.
        expected: the published digest in hex.
        subject: the start of the message.
        remedy: what to do when they differ, such as ``"remove it and fetch it again: URL"``.
        algorithm: ``"md5"`` or ``"sha256"``.

    Raises:
        UsageError: the checksum differs, or the file cannot be read.
    """
    found = digest_of(path, algorithm, subject)
    if found != expected.lower():
        raise UsageError(
            f"{subject}: {path}: wrong checksum: {algorithm} {expected.lower()} is published, this file "
            f"({path.stat().st_size:,} bytes) has {found}; {remedy}"
        )
    return found


def unpacked(path: Path, digest: str, subject: str, limit: int = LIMIT, only: Only | None = None) -> Path:
    """Return the folder below the cache that holds an archive's content, unpacked the first time.

    It appears under its name in one step, so that a kill leaves nothing half; the next attempt removes the rest.

    Args:
        path: a verified archive.
        digest: its digest, which names the folder.
        subject: the start of every message.
        limit: bytes that it may unpack to.
        only: which members are wanted; must always be the same for one archive.

    Raises:
        UsageError: a member that must not be there (named), or a damaged archive.
        BenchError: the cache cannot be written, or the disk is full.
    """
    root = cache_root() / "unpacked"
    target = root / digest
    if target.is_dir():
        return target
    with Lock(root / f".lock-{digest}").hold():
        if target.is_dir():  # another process was faster
            return target
        draft = root / f".tmp-{digest}"  # whoever holds the lock owns it; what is there was left by a kill
        shutil.rmtree(draft, ignore_errors=True)
        try:
            draft.mkdir(parents=True)
            extract(path, draft, subject, limit, only)
            os.rename(draft, target)
        except OSError as error:
            raise BenchError(f"{subject}: cannot unpack {path.name} into {root}: {error.strerror or error}") from None
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    return target


def extract(path: Path, folder: Path, subject: str, limit: int = LIMIT, only: Only | None = None) -> None:
    """Unpack a tar (plain, gz, bz2, xz) or zip archive into an empty folder, after every member was checked.

    Raises:
        UsageError: a member that must not be there (named), or a damaged archive.
        OSError: the folder cannot be written.
    """
    try:
        if _starts_like_zip(path):
            with zipfile.ZipFile(path) as archive:
                check_zip(archive, path, subject, limit)
                archive.extractall(folder, [item for item in archive.infolist() if only is None or only(item.filename)])
            return
        with _tar(path) as first:
            check_tar(first, path, subject, limit)
        with _tar(path) as second:
            wanted = (item for item in second if only is None or item.isdir() or only(item.name))
            for member in wanted:
                _extract_member(second, member, folder)
    except DAMAGED as error:
        raise UsageError(f"{subject}: {path}: {what_is_wrong(error)}; fetch it again") from None


def check_tar(archive: tarfile.TarFile, path: Path, subject: str, limit: int = LIMIT) -> None:
    """Look at every member of a tar archive; raises ``UsageError`` that names the first that must not be there."""
    sizes = 0
    for count, member in enumerate(archive, 1):
        what = None
        if member.issym() or member.islnk():
            what = f"is a link to {member.linkname!r}"
        elif not (member.isreg() or member.isdir()):
            what = "is a device or another special file"
        sizes += max(member.size, 0)
        _check_member(member.name, what, count, sizes, path, subject, limit)


def check_zip(archive: zipfile.ZipFile, path: Path, subject: str, limit: int = LIMIT) -> None:
    """Look at every member of a zip archive; raises ``UsageError`` that names the first that must not be there."""
    sizes = 0
    for count, member in enumerate(archive.infolist(), 1):
        kind = stat.S_IFMT(member.external_attr >> 16)
        what = None
        if kind == stat.S_IFLNK:
            what = "is a link"
        elif kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            what = "is a device or another special file"
        elif member.flag_bits & 1:
            what = "is encrypted"
        sizes += member.file_size
        _check_member(member.filename, what, count, sizes, path, subject, limit)


def _check_member(name: str, what: str | None, count: int, sizes: int, path: Path, subject: str, limit: int) -> None:
    parts = re.split(r"[/\\]", name)
    if not name or "\0" in name:
        what = "has no usable name"
    elif name.startswith(("/", "\\")) or re.match(r"[A-Za-z]:", name):
        what = "has an absolute name"
    elif ".." in parts:
        what = "would be unpacked outside of the folder"
    elif sizes > limit:
        what = f"makes it unpack to more than {limit / 2**30:.3g} GiB"
    elif count > MOST_MEMBERS:
        what = f"is one of more than {MOST_MEMBERS:,} members"
    if what:
        raise UsageError(f"{subject}: {path}: member {name!r} {what}; nothing was unpacked; fetch the archive again")


def what_is_wrong(error: Exception) -> str:
    """Return what to say of one of ``DAMAGED``; of broken bytes the libraries' own words say nothing more."""
    if isinstance(error, BROKEN):
        return "is not an archive, or damaged"
    return f"damaged ({' '.join(str(error).split()) or type(error).__name__})"


def _starts_like_zip(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(2) == b"PK"


@contextlib.contextmanager
def _tar(path: Path) -> Iterator[tarfile.TarFile]:
    with tarfile.open(path, "r:*") as archive:
        yield archive


def _extract_member(archive: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> None:
    if hasattr(tarfile, "data_filter"):
        archive.extract(member, folder, set_attrs=False, filter="data")
    else:  # Python 3.11.0 to 3.11.3; members were checked by the rules of this module
        archive.extract(member, folder, set_attrs=False)
