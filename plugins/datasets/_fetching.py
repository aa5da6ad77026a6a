"""Downloads of published archives by torchvision's downloader, with a host that does not answer said at once."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

from benchbench.errors import BenchError, MissingError, UsageError
from benchbench.store.lock import Lock

from ._memo import digest_of

#: Seconds in which a host has to answer, its name lookup included.
ANSWER_S = 8.0
#: HTTP statuses by which a host that is there refuses the question and not necessarily the download.
NO_HEAD = (403, 405, 501)
#: Seconds without a byte after which a download is given up.
STALL_S = 60.0


def fetch_file(url: str, md5: str | Callable[[], str], target: Path, archive: str, subject: str) -> None:
    """Download ``url`` to ``target``, unless it is there with the right checksum.

    The download lies beside the target under a hidden name until its checksum is the right one, and then takes the
    target's name in one step: whatever fails, what was there is still there, and no part of a file has its name. Of
    two processes that fetch the same file, the second waits for the first.

    Args:
        url: where the file is.
        md5: its checksum in hex, or a function that returns it, called only once the host has answered: finding it
            out may take the import of a large library.
        target: where it belongs.
        archive: the file's published name; a damaged file of this name is replaced, one of another name is not.
        subject: the start of every message.

    Raises:
        MissingError: the host cannot be reached, or sent something else; one line that says what to do by hand.
        UsageError: something else is there that may be the user's own, or the folder cannot be written.
    """
    by_hand = f"fetch it by hand from {url} and put it at {target}"
    if _there(target, md5, subject):
        return
    if os.path.lexists(target) and (target.name != archive or target.is_dir()):
        raise UsageError(f"{subject}: {target} is there and is not the published archive; remove it or give a folder")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if not os.access(target.parent, os.W_OK):
            raise PermissionError(13, "Permission denied")
    except OSError as error:
        raise UsageError(f"{subject}: {target.parent} cannot be written: {error.strerror or error}") from None
    if problem := _unreachable(url):
        raise MissingError(f"{subject}: cannot reach {urllib.request.Request(url).host}: {problem}; {by_hand}")
    try:
        with _alone(target):
            if not _there(target, md5, subject):  # another process was not faster
                _download(url, _text(md5), target)
    except BenchError:
        raise
    except Exception as error:  # the downloader passes on whatever its libraries raise
        raise MissingError(f"{subject}: the download failed: {_reason(error)}; {by_hand}") from None


def _there(target: Path, md5: str | Callable[[], str], subject: str) -> bool:
    return target.is_file() and digest_of(target, "md5", subject) == _text(md5)


def _download(url: str, md5: str, target: Path) -> None:
    # Imported late: on a busy machine torch takes longer than a host that does not answer.
    from torchvision.datasets.utils import download_url

    part = target.with_name(f".{target.name}.part")
    try:
        with _timeout(STALL_S):
            download_url(url, str(part.parent), part.name, md5)  # raises when the checksum is another one
        os.replace(part, target)
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


@contextlib.contextmanager
def _alone(target: Path) -> Iterator[None]:
    """Keep other processes from downloading the same file, where the file system has locks."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(BenchError):
            stack.enter_context(Lock(target.with_name(f".{target.name}.lock")).hold())
        yield


def _text(md5: str | Callable[[], str]) -> str:
    return md5 if isinstance(md5, str) else md5()


def _unreachable(url: str) -> str:
    """Return why a host does not answer, or ``""``; asked in a thread, as a name lookup has no timeout of its own.

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


@contextlib.contextmanager
def _timeout(seconds: float) -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
