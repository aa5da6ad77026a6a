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

from benchbench.errors import MissingError, UsageError

from ._memo import digest_of

#: Seconds in which a host has to answer, its name lookup included.
ANSWER_S = 8.0
#: Seconds without a byte after which a download is given up.
STALL_S = 60.0


def fetch_file(url: str, md5: str | Callable[[], str], target: Path, subject: str) -> None:
    """Download ``url`` to ``target``, unless it is there with the right checksum.

    Args:
        url: where the file is.
        md5: its checksum in hex, or a function that returns it, called only once the host has answered: finding it
            out may take the import of a large library.
        target: where it belongs.
        subject: the start of every message.

    Raises:
        MissingError: the host cannot be reached, or sent something else; one line that says what to do by hand.
        UsageError: the folder cannot be written.
    """
    by_hand = f"fetch it by hand from {url} and put it at {target}"
    if target.is_file() and digest_of(target, "md5", subject) == _text(md5):
        return
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if not os.access(target.parent, os.W_OK):
            raise PermissionError(13, "Permission denied")
    except OSError as error:
        raise UsageError(f"{subject}: {target.parent} cannot be written: {error.strerror or error}") from None
    if problem := _unreachable(url):
        raise MissingError(f"{subject}: cannot reach {urllib.request.Request(url).host}: {problem}; {by_hand}")
    # Imported late: on a busy machine torch takes longer than a host that does not answer.
    from torchvision.datasets.utils import check_integrity, download_url

    expected = _text(md5)
    try:
        with _timeout(STALL_S):
            download_url(url, str(target.parent), target.name, expected)
    except Exception as error:  # the downloader passes on whatever its libraries raise
        with contextlib.suppress(OSError):
            if not check_integrity(target, expected):
                target.unlink(missing_ok=True)  # a part of it would be taken for the file
        raise MissingError(f"{subject}: the download failed: {_reason(error)}; {by_hand}") from None


def _text(md5: str | Callable[[], str]) -> str:
    return md5 if isinstance(md5, str) else md5()


def _unreachable(url: str) -> str:
    """Return why a host does not answer, or ``""``; asked in a thread, as a name lookup has no timeout of its own."""
    answer: list[str] = []

    def ask() -> None:
        try:
            request = urllib.request.Request(url, method="HEAD", headers={"User-Agent": "pytorch/vision"})
            with urllib.request.urlopen(request, timeout=ANSWER_S):
                answer.append("")
        except Exception as error:  # whatever it is, it is the reason
            answer.append(_reason(error))

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
