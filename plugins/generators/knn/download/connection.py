"""One HTTP request to one address that was judged, within limits of time and size.

The links of a pool are strangers' text: one may name a router, a database or a cloud's metadata service inside the
network of whoever runs this. So a link is taken apart once, its host is resolved once, every address is judged by the
lists below, and the connection is made to the very address that was judged.

The lists are the special-purpose registries of IANA (RFC 6890 and what it names), written out because the ones
in :mod:`ipaddress` differ between releases of Python.

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
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any
from urllib.parse import quote, urlsplit


def _networks(*texts: str) -> tuple[IPv4Network | IPv6Network, ...]:
    return tuple(ip_network(text) for text in texts)


#: What no link may lead to, in a word or two; the message names the first that fits.
REFUSED = {
    # Where clouds answer with credentials; nobody has pictures there.
    "metadata service": _networks(
        *("169.254.169.254/32", "169.254.170.2/32", "100.100.100.200/32", "168.63.129.16/32"),
        *("192.0.0.192/32", "fd00:ec2::254/128", "fd20:ce::254/128"),
    ),
    # What is no host's address at all.
    "unspecified": _networks("0.0.0.0/8", "::/128"),
    "multicast": _networks("224.0.0.0/4", "ff00::/8"),
    "reserved": _networks("192.0.0.0/24", "192.88.99.0/24", "198.18.0.0/15", "240.0.0.0/4", "2001::/23", "2002::/16"),
    "documentation": _networks("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32", "3fff::/20"),
    # Where one's own machines live, see PRIVATE.
    "loopback": _networks("127.0.0.0/8", "::1/128"),
    "private": _networks("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"),
    "shared (carrier-grade NAT)": _networks("100.64.0.0/10"),
    "link-local": _networks("169.254.0.0/16", "fe80::/10"),
}
#: What a user may allow.
PRIVATE = ("loopback", "private", "shared (carrier-grade NAT)", "link-local")
_GLOBAL_V6 = ip_network("2000::/3")
_NAT64 = ip_network("64:ff9b::/96")
SCHEMES = {"http": 80, "https": 443}
#: What RFC 3986 lets stand in a path or query, and the sign of what is already escaped.
_KEPT = "%/:=&?~+!$,;'@()*[]"


@dataclass(frozen=True)
class Link:
    """A link taken apart.

    Attributes:
        scheme: ``"http"`` or ``"https"``.
        host: as it is asked for and as a certificate must name it: ASCII, lower case, no brackets.
        port: 1 to 65535.
        target: path and query, escaped, starting with ``/``.
    """

    scheme: str
    host: str
    port: int
    target: str

    @property
    def authority(self) -> str:
        """Host and, where it is not the scheme's own, port: the ``Host`` header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == SCHEMES[self.scheme] else f"{host}:{self.port}"

    @property
    def text(self) -> str:
        """The link as one text."""
        return f"{self.scheme}://{self.authority}{self.target}"


def parse_link(text: str) -> Link:
    """Take a link apart.

    Raises:
        RequestError: it is none, its scheme is not http or https, or it carries a user name.
    """
    if any(ord(letter) < 32 or ord(letter) == 127 for letter in text):
        raise RequestError("bad link")
    try:
        parts = urlsplit(text.strip())
        port, host = parts.port, parts.hostname or ""
        if parts.scheme not in SCHEMES:
            raise RequestError("not http or https")
        # The same form for the resolver, the Host header and the certificate.
        host = host.encode("idna").decode("ascii").lower()
        # A lone surrogate, from a broken table, cannot be quoted.
        target = quote(parts.path or "/", safe=_KEPT) + (f"?{quote(parts.query, safe=_KEPT)}" if parts.query else "")
    except ValueError:
        raise RequestError("bad link") from None
    if parts.username is not None or parts.password is not None or "\\" in parts.netloc or "%" in host:
        raise RequestError("bad link")
    if not host or any(letter.isspace() for letter in host) or port == 0:
        raise RequestError("bad link")
    return Link(parts.scheme, host, port or SCHEMES[parts.scheme], target)


def judge(address: str, allow_private: bool = False) -> str | None:
    """Return why an IP address is refused, in a word or two, or ``None`` where it may be connected to.

    Args:
        address: an IPv4 or IPv6 address as text; a zone (``%eth0``) is left out of account.
        allow_private: whether loopback, private, link-local and carrier-grade NAT addresses are allowed. Metadata
            services, multicast and reserved addresses are refused all the same.
    """
    try:
        parsed = ip_address(address.split("%")[0])
    except ValueError:
        return "no address"
    if isinstance(parsed, IPv6Address):
        if parsed in _NAT64:  # how a network without IPv4 reaches every IPv4 host
            return judge(str(IPv4Address(int(parsed) & 0xFFFFFFFF)), allow_private)
        if parsed.ipv4_mapped is not None:
            return "IPv4 inside IPv6"
    for word, networks in REFUSED.items():
        if any(parsed in network for network in networks):
            return None if allow_private and word in PRIVATE else word
    if isinstance(parsed, IPv6Address) and parsed not in _GLOBAL_V6:
        return "reserved"
    return None


def resolve(host: str, port: int, timeout_s: float) -> list[str]:
    """Return the addresses of a host, in the order of the system's preference.

    Raises:
        TimeoutError: the resolver gave no answer in time; it is left to itself, for it cannot be stopped.
        OSError: there is no such host.
    """
    answer: list[list[str] | OSError] = []

    def ask() -> None:
        try:
            rows = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
            answer.append(list(dict.fromkeys(str(row[4][0]) for row in rows)))
        except OSError as error:
            answer.append(error)

    worker = threading.Thread(target=ask, daemon=True, name="resolve")
    worker.start()
    worker.join(timeout_s)
    if not answer:
        raise TimeoutError("resolving")
    if isinstance(answer[0], OSError):
        raise answer[0]
    return answer[0]


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


@dataclass
class Limits:
    """What one request may take, or several for one link: redirects and further attempts.

    Attributes:
        silence_s: longest wait for a connection or for the next byte, in seconds.
        end: when the time for all of it is over (``time.monotonic``).
        max_bytes: longest body.
        judge: says why an address is refused, or ``None``; ``None`` for an address that the user gave, unjudged.
        accept: is shown the headers (names in lower case) of an answer with a body and raises :class:`RequestError`
            when that is not worth reading.
    """

    silence_s: float
    end: float
    max_bytes: int
    judge: Callable[[str], str | None] | None = None
    accept: Callable[[Mapping[str, str]], None] | None = None

    def wait(self) -> float:
        """Return how long to wait for what comes next, in seconds; ``TimeoutError`` when the time is over."""
        left = self.end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return min(self.silence_s, left)


@dataclass(frozen=True)
class Reply:
    """An answer: its status, its headers with names in lower case, its body (empty for a redirect or an error)."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class _Timed(io.RawIOBase):
    """What :mod:`http.client` takes for a socket and reads from: each wait ends in time, in headers as in bodies.

    Closing it is left to whoever opened the socket.
    """

    def __init__(self, connected: socket.socket, limits: Limits) -> None:
        self.socket, self.limits = connected, limits

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self.socket.settimeout(self.limits.wait())
        return self.socket.recv_into(buffer)

    def sendall(self, content: bytes) -> None:
        self.socket.settimeout(self.limits.wait())
        self.socket.sendall(content)

    def makefile(self, mode: str, *_: Any) -> io.BufferedReader:
        return io.BufferedReader(self, _PIECE)

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


def request(
    link: Link, limits: Limits, headers: Mapping[str, str], method: str = "GET", content: bytes | None = None
) -> Reply:
    """Resolve the host, send one request and read the answer; redirects are answers like others.

    Raises:
        RequestError: whatever else than an answer came, or an address of the host is refused.
    """
    with _translated(), _connected(link, limits) as connection:
        connection.request(method, link.target, content, {"Host": link.authority, "Connection": "close", **headers})
        answer = connection.getresponse()
        fields = {name.lower(): answer.getheader(name, "") for name in answer.headers}
        if answer.status != 200:
            return Reply(answer.status, fields, b"")
        if limits.accept is not None:
            limits.accept(fields)
        if fields.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
            raise RequestError("compressed answer")  # it was not asked for, and may unfold into anything
        return Reply(answer.status, fields, _body(answer, limits.max_bytes))


@contextmanager
def _connected(link: Link, limits: Limits) -> Iterator[http.client.HTTPConnection]:
    """Connect to the first address that answers; the host is resolved once, later its name plays no part but in TLS.

    A name that stands for an allowed and for a forbidden address at once is a trick: all addresses are judged.
    """
    failure: OSError | None = None
    try:
        addresses = resolve(link.host, link.port, limits.wait())
    except socket.gaierror as error:
        raise RequestError("unknown host", again=error.errno == socket.EAI_AGAIN) from None
    for address in addresses:
        if limits.judge is not None and (refused := limits.judge(address)):
            raise RequestError(f"refused address ({refused})")
    for address in addresses[:4]:
        wait = limits.wait()
        try:
            opened = socket.create_connection((address, link.port), timeout=wait)
        except OSError as error:
            failure = error
            continue
        try:
            if link.scheme == "https":
                opened = _tls().wrap_socket(opened, server_hostname=link.host)
            connection = http.client.HTTPConnection(link.host, link.port)
            connection.sock = _Timed(opened, limits)  # type: ignore[assignment]
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


#: What sockets, TLS and the HTTP client raise: the reason, and whether another attempt may do better.
_TROUBLES: tuple[tuple[type[Exception] | tuple[type[Exception], ...], str, bool], ...] = (
    (TimeoutError, "timeout", True),
    (ssl.SSLCertVerificationError, "bad certificate", False),
    (ssl.SSLError, "TLS failed", True),
    (ConnectionRefusedError, "connection refused", True),
    ((http.client.IncompleteRead, http.client.RemoteDisconnected), "cut short", True),
    ((http.client.HTTPException, ValueError), "not HTTP", False),
    (OSError, "connection failed", True),
)


@contextmanager
def _translated() -> Iterator[None]:
    """Turn what sockets, TLS and the HTTP client raise into the closed vocabulary."""
    try:
        yield
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason, again = next((reason, again) for kinds, reason, again in _TROUBLES if isinstance(error, kinds))
        raise RequestError(reason, again) from None
