"""One HTTP request to one address that was judged before, within limits of time and size.

Why not a session of a larger library: the connection has to go to the very address that was judged (a name that is
resolved again may answer differently the second time), every single wait has to end by a deadline (their time limits
are for one silence: a server that sends a byte a minute holds them for ever), and the body has to stop at a limit
whatever the headers say. The standard library's HTTP client does the protocol; this module gives it the socket.

Proxies are not used and their environment variables are not read: a proxy resolves names itself, and nothing of the
above would hold.
"""

from __future__ import annotations

import http.client
import io
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

from .address import Link, judge, resolve

#: Bytes asked of a socket at once.
_PIECE = 65536


class RequestError(Exception):
    """A request that came to nothing.

    Attributes:
        reason: a few words from a closed vocabulary (``"timeout"``, ``"refused address (loopback)"``, ...).
        again: whether another attempt may do better.
        reply: the answer, where one came that is of no use.
    """

    def __init__(self, reason: str, again: bool = False, reply: Reply | None = None) -> None:
        super().__init__(reason)
        self.reason, self.again, self.reply = reason, again, reply


@dataclass(frozen=True)
class Limits:
    """What one request may take.

    Attributes:
        silence_s: longest wait for a connection or for the next byte, in seconds.
        deadline_s: longest time from the first step to the last byte, in seconds.
        max_bytes: longest body.
        judge: says why an address is refused, or ``None``; ``None`` for an address that the user gave, unjudged.
        accept: is shown status and headers (names in lower case) and raises :class:`RequestError` when the body is not
            worth reading.
    """

    silence_s: float
    deadline_s: float
    max_bytes: int
    judge: Callable[[str], str | None] | None = judge
    accept: Callable[[int, Mapping[str, str]], None] | None = None


@dataclass(frozen=True)
class Reply:
    """An answer: its status, its headers with names in lower case, its body (empty for a redirect or an error)."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class _Reader(io.RawIOBase):
    """Reads a socket so that each wait ends by the deadline, in headers as in bodies."""

    def __init__(self, timed: _Timed) -> None:
        self.timed = timed

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self.timed.arm()
        return self.timed.socket.recv_into(buffer)


class _Timed:
    """What :mod:`http.client` takes for a socket. Closing it is left to whoever opened the socket."""

    def __init__(self, connected: socket.socket, silence_s: float, end: float) -> None:
        self.socket, self.silence_s, self.end = connected, silence_s, end

    def arm(self) -> None:
        left = self.end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self.socket.settimeout(min(self.silence_s, left))

    def sendall(self, content: bytes) -> None:
        self.arm()
        self.socket.sendall(content)

    def makefile(self, mode: str, *_: Any) -> io.BufferedReader:
        return io.BufferedReader(_Reader(self), _PIECE)

    def close(self) -> None:
        pass


@cache
def _tls() -> ssl.SSLContext:
    """Certificates and host names are checked, by the system's authorities and certifi's where it is installed."""
    context = ssl.create_default_context()
    try:
        import certifi
    except ImportError:
        return context
    context.load_verify_locations(certifi.where())
    return context


def addresses_of(link: Link, limits: Limits, end: float) -> list[str]:
    """Return the addresses that may be connected to, resolved once.

    Raises:
        RequestError: the host is unknown, or one of its addresses is refused: a name that stands for an allowed and for
            a forbidden address at once is a trick.
    """
    try:
        found = resolve(link.host, link.port, min(limits.silence_s, end - time.monotonic()))
    except TimeoutError:
        raise RequestError("timeout", again=True) from None
    except OSError as error:
        raise RequestError("unknown host", again=getattr(error, "errno", None) == socket.EAI_AGAIN) from None
    for address in found:
        refused = limits.judge(address) if limits.judge is not None else None
        if refused:
            raise RequestError(f"refused address ({refused})")
    return found


def request(
    link: Link, limits: Limits, headers: Mapping[str, str], method: str = "GET", content: bytes | None = None
) -> Reply:
    """Send one request and read the answer; redirects are answers like others.

    Raises:
        RequestError: whatever else than an answer came.
    """
    end = time.monotonic() + limits.deadline_s
    addresses = addresses_of(link, limits, end)
    with _translated(), _connected(link, addresses, limits, end) as connection:
        connection.request(method, link.target, content, {"Host": link.authority, "Connection": "close", **headers})
        answer = connection.getresponse()
        found: dict[str, str] = {}
        for name, value in answer.getheaders():
            found[name.lower()] = f"{found[name.lower()]}, {value}" if name.lower() in found else value
        if limits.accept is not None:
            limits.accept(answer.status, found)
        if answer.status != 200:
            return Reply(answer.status, found, b"")
        if found.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
            raise RequestError("compressed answer")  # it was not asked for, and may unfold into anything
        return Reply(answer.status, found, _body(answer, limits.max_bytes))


@contextmanager
def _connected(link: Link, addresses: list[str], limits: Limits, end: float) -> Iterator[http.client.HTTPConnection]:
    """Connect to the first address that answers; host names play no part any more but in TLS."""
    failure: OSError | None = None
    for address in addresses[:4]:
        left = end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        try:
            opened = socket.create_connection((address, link.port), timeout=min(limits.silence_s, left))
        except OSError as error:
            failure = error
            continue
        try:
            if link.scheme == "https":
                opened = _tls().wrap_socket(opened, server_hostname=link.host)
            connection = http.client.HTTPConnection(link.host, link.port)
            connection.sock = _Timed(opened, limits.silence_s, end)  # type: ignore[assignment]
            yield connection
            return
        finally:
            opened.close()
    raise failure or OSError("no address")


def _body(answer: http.client.HTTPResponse, max_bytes: int) -> bytes:
    """Read to the end of the answer or to the limit, whichever comes first; a stated length is not believed."""
    stated = answer.length  # None for a body in chunks or to the end of the connection
    if stated is not None and stated > max_bytes:
        raise RequestError("too large")
    pieces, size = [], 0
    while size != stated and (piece := answer.read1(_PIECE)):
        size += len(piece)
        if size > max_bytes:
            raise RequestError("too large")
        pieces.append(piece)
    if stated is not None and size < stated:
        raise RequestError("cut short", again=True)
    return b"".join(pieces)


@contextmanager
def _translated() -> Iterator[None]:
    """Turn what sockets, TLS and the HTTP client raise into the closed vocabulary."""
    try:
        yield
    except RequestError:
        raise
    except TimeoutError:
        raise RequestError("timeout", again=True) from None
    except ssl.SSLCertVerificationError:
        raise RequestError("bad certificate") from None
    except ssl.SSLError:
        raise RequestError("TLS failed", again=True) from None
    except ConnectionRefusedError:
        raise RequestError("connection refused", again=True) from None
    except (http.client.HTTPException, ValueError) as error:
        partial = isinstance(error, (http.client.IncompleteRead, http.client.RemoteDisconnected))
        raise RequestError("cut short" if partial else "not HTTP", again=partial) from None
    except OSError:
        raise RequestError("connection failed", again=True) from None
