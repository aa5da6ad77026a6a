"""Published archives: downloaded, verified against the publisher's checksum, checked member by member, unpacked.

Nothing is unpacked before every member was looked at. An archive may hold regular files and folders with relative
names below the folder it is unpacked into, and nothing else: no absolute names, no ``..``, no links (none of the
published archives has one, and a link is the usual way out of a folder), no devices, no more bytes than a limit.

Two ways to use one with the published checksum: :func:`unpacked` keeps it unpacked below the cache, for trees of
images; :func:`extract` unpacks members into a folder of the caller's own.
"""

from __future__ import annotations

import contextlib
import gzip
import lzma
import os
import re
import socket
import stat
import tarfile
import threading
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from benchbench.errors import BenchError, MissingError, UsageError
from benchbench.files import cache_root, one_step_folder
from benchbench.store.lock import Lock

from ._cache import digest_of, locked, unchanged

#: Seconds in which a host has to answer, its name lookup included.
ANSWER_S = 8.0
#: HTTP statuses by which a host that is there refuses the question and not necessarily the download.
NO_HEAD = (403, 405, 501)
#: Seconds without a byte after which a download is given up.
STALL_S = 60.0
#: Members that an archive may have.
MOST_MEMBERS = 2_000_000
#: What a damaged archive makes the standard library raise.
BROKEN = (tarfile.TarError, zipfile.BadZipFile, zlib.error, gzip.BadGzipFile, lzma.LZMAError, EOFError)
#: What other damage makes it raise.
DAMAGED = (ValueError, RuntimeError, NotImplementedError, OverflowError, UnicodeError)


def fetch_file(url: str, md5: str, target: Path, archive: str) -> None:
    """Download ``url`` to ``target``, unless it is there with the right checksum.

    The download lies in the target's folder under a hidden name until its checksum is the right one, and then takes the
    target's name in one step: whatever fails, what was there is still there, and no part of a file has its name. Of
    two processes that fetch the same file, the second waits for the first.

    Args:
        url: where the file is.
        md5: its checksum in hex.
        target: where it belongs.
        archive: the file's published name; a damaged file of this name is replaced, one of another name is not.

    Raises:
        MissingError: the host cannot be reached, or sent something else; one line that says what to do by hand.
        UsageError: something else is there that may be the user's own, or the folder cannot be written.
    """
    by_hand = f"fetch it by hand from {url} and put it at {target}"
    if _there(target, md5):
        return
    if os.path.lexists(target) and (target.name != archive or target.is_dir()):
        raise UsageError(f"{target} is there and is not the published archive; move it away or give a folder")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if not os.access(target.parent, os.W_OK):
            raise PermissionError(13, "Permission denied")
    except OSError as error:
        raise UsageError(f"{target.parent} cannot be written: {error.strerror or error}") from None
    if problem := _unreachable(url):
        raise MissingError(f"cannot reach {urllib.request.Request(url).host}: {problem}; {by_hand}")
    try:
        with locked(target.with_name(f".{target.name}.lock")):
            if not _there(target, md5):  # another process was not faster
                _download(url, md5, target)
    except BenchError:
        raise
    except Exception as error:  # the downloader passes on whatever its libraries raise
        raise MissingError(f"the download failed: {_reason(error)}; {by_hand}") from None


def unpacked(path: Path, digest: str, limit: int) -> Path:
    """Return the folder below the cache that holds an archive's content, unpacked the first time.

    It appears under its name in one step, so that a kill leaves nothing half; the next attempt removes the rest.

    Args:
        path: a verified archive.
        digest: its MD5, which names the folder.
        limit: bytes that it may unpack to.

    Raises:
        UsageError: a member that must not be there (named), a damaged archive, or one that changed meanwhile.
        BenchError: the cache cannot be written, or the disk is full.
    """
    root = cache_root() / "unpacked"
    target = root / digest
    if target.is_dir():
        return target
    with Lock(root / f".lock-{digest}").hold():
        if target.is_dir():  # another process was faster
            return target
        try:
            same = unchanged([path], lambda: digest_of(path), digest)
            with one_step_folder(target, sealed=False) as draft, same:  # its files are checked when they are decoded
                extract(path, draft, limit)
        except OSError as error:
            raise BenchError(f"cannot unpack {path.name} into {root}: {error.strerror or error}") from None
    return target


def extract(path: Path, folder: Path, limit: int, only: Callable[[str], bool] | None = None) -> None:
    """Unpack a tar (plain, gz, bz2, xz) or zip archive into an empty folder, after every member was checked.

    With ``only``, the members whose names it wants are unpacked.

    Raises:
        UsageError: a member that must not be there (named), or a damaged archive.
        OSError: the folder cannot be written.
    """
    with path.open("rb") as stream:
        is_zip = stream.read(2) == b"PK"
    if is_zip:
        with opened_zip(path, limit) as packed:
            packed.extractall(folder, [item for item in packed.infolist() if only is None or only(item.filename)])
        return
    with _explained(path), tarfile.open(path, "r:*") as archive:
        _check(path, ((item.name, max(item.size, 0), _odd_tar(item)) for item in archive), limit)
        # Python 3.11.0 to 3.11.3 has no filters; members were checked by the rules of this module.
        archive.extraction_filter = getattr(tarfile, "data_filter", None)
        for member in archive:
            if only is None or member.isdir() or only(member.name):
                archive.extract(member, folder, set_attrs=False)


@contextlib.contextmanager
def opened_zip(path: Path, limit: int) -> Iterator[zipfile.ZipFile]:
    """Open a zip archive after every member was checked, and say in one line what is wrong with a damaged one.

    Raises:
        UsageError: a member that must not be there (named), or a damaged archive, also while it is read.
    """
    with _explained(path), zipfile.ZipFile(path) as archive:
        _check(path, ((item.filename, item.file_size, _odd_zip(item)) for item in archive.infolist()), limit)
        yield archive


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn what a damaged archive makes the standard library raise into one line."""
    try:
        yield
    except BROKEN:  # the libraries' own words say nothing more
        raise UsageError(f"{path}: is not an archive, or damaged; fetch it again") from None
    except DAMAGED as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UsageError(f"{path}: damaged ({reason}); fetch it again") from None


def _odd_tar(member: tarfile.TarInfo) -> str:
    """Return what a member is that must not be there, or ``""``."""
    if member.issym() or member.islnk():
        return f"is a link to {member.linkname!r}"
    return "" if member.isreg() or member.isdir() else "is a device or another special file"


def _odd_zip(member: zipfile.ZipInfo) -> str:
    kind = stat.S_IFMT(member.external_attr >> 16)
    if kind == stat.S_IFLNK:
        return "is a link"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a device or another special file"
    return "is encrypted" if member.flag_bits & 1 else ""


def _check(path: Path, members: Iterable[tuple[str, int, str]], limit: int) -> None:
    """Refuse an archive with a member that must not be there; ``members`` are names, bytes, and what is odd."""
    sizes = 0
    for count, (name, size, what) in enumerate(members, 1):
        sizes += size
        if not name or "\0" in name:
            what = "has no usable name"
        elif name.startswith(("/", "\\")) or re.match(r"[A-Za-z]:", name):
            what = "has an absolute name"
        elif ".." in re.split(r"[/\\]", name):
            what = "would be unpacked outside of the folder"
        elif sizes > limit:
            what = f"makes it unpack to more than {limit / 2**30:.3g} GiB"
        elif count > MOST_MEMBERS:
            what = f"is one of more than {MOST_MEMBERS:,} members"
        if what:
            raise UsageError(f"{path}: member {name!r} {what}; nothing was unpacked; fetch the archive again")


def _there(target: Path, md5: str) -> bool:
    return target.is_file() and digest_of(target) == md5


def _download(url: str, md5: str, target: Path) -> None:
    # Imported late: on a busy machine torch takes longer than a host that does not answer.
    from torchvision.datasets.utils import download_url

    part, timeout = target.with_name(f".{target.name}.part"), socket.getdefaulttimeout()
    socket.setdefaulttimeout(STALL_S)
    try:
        download_url(url, str(part.parent), part.name, md5)  # raises when the checksum is another one
        os.replace(part, target)
    finally:
        socket.setdefaulttimeout(timeout)
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def _unreachable(url: str) -> str:
    """Return why a host does not answer, or ``""``; asked in a thread, as a name lookup takes no timeout.

    A host that refuses to be asked (HEAD) has answered: the download decides.
    """
    answer: list[str] = []

    def ask() -> None:
        try:
            request = urllib.request.Request(url, method="HEAD", headers={"User-Agent": "pytorch/vision"})
            with urllib.request.urlopen(request, timeout=ANSWER_S):
                answer.append("")
        except Exception as error:  # whatever it is, it is the reason
            refused = isinstance(error, urllib.error.HTTPError) and error.code in NO_HEAD
            answer.append("" if refused else _reason(error))

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(ANSWER_S)
    return answer[0] if answer else f"no answer in {ANSWER_S:.0f} s"


def _reason(error: Exception) -> str:
    inner = getattr(error, "reason", error)
    text = getattr(inner, "strerror", None) or str(inner) or type(inner).__name__
    if isinstance(error, urllib.error.HTTPError):
        text = f"HTTP {error.code} {error.reason}"
    return " ".join(str(text).split())
