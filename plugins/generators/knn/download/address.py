"""Which addresses a download may connect to.

The links of a pool are strangers' text: one may name a router, a database or a cloud's metadata service inside the
network of whoever runs this. So a link is taken apart once, its host is resolved once, every address found is judged
by the lists below, and the connection is made to the very address that was judged (``connection.py``).

The lists are the special-purpose registries of IANA (RFC 6890 and what it names), written out because the ones
in :mod:`ipaddress` differ between releases of Python.
"""

from __future__ import annotations

import socket
import threading
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import quote, urlsplit

Address = IPv4Address | IPv6Address
Networks = tuple[IPv4Network | IPv6Network, ...]


def _networks(*texts: str) -> Networks:
    return tuple(ip_network(text) for text in texts)


#: Where one's own machines live; a user may allow them.
PRIVATE = {
    "loopback": _networks("127.0.0.0/8", "::1/128"),
    "private": _networks("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"),
    "shared (carrier-grade NAT)": _networks("100.64.0.0/10"),
    "link-local": _networks("169.254.0.0/16", "fe80::/10"),
}
#: Where clouds answer with credentials; nobody has pictures there, so they stay refused.
METADATA = _networks("169.254.169.254/32", "169.254.170.2/32", "100.100.100.200/32", "168.63.129.16/32")
METADATA += _networks("192.0.0.192/32", "fd00:ec2::254/128", "fd20:ce::254/128")
#: What is no host's address at all.
RESERVED = {
    "unspecified": _networks("0.0.0.0/8", "::/128"),
    "multicast": _networks("224.0.0.0/4", "ff00::/8"),
    "reserved": _networks("192.0.0.0/24", "192.88.99.0/24", "198.18.0.0/15", "240.0.0.0/4", "2001::/23", "2002::/16"),
    "documentation": _networks("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32", "3fff::/20"),
}
_GLOBAL_V6 = ip_network("2000::/3")
_NAT64 = ip_network("64:ff9b::/96")
SCHEMES = {"http": 80, "https": 443}
#: What RFC 3986 lets stand in a path or query, and the sign of what is already escaped.
_KEPT = "%/:=&?~+!$,;'@()*[]"


class LinkError(ValueError):
    """A link that must not or cannot be followed; the text says why in a few words."""


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
        LinkError: it is none, its scheme is not http or https, or it carries a user name.
    """
    if any(ord(letter) < 32 or ord(letter) == 127 for letter in text):
        raise LinkError("bad link")
    try:
        parts = urlsplit(text.strip())
        port, host = parts.port, parts.hostname or ""
    except ValueError:
        raise LinkError("bad link") from None
    if parts.scheme not in SCHEMES:
        raise LinkError("not http or https")
    if parts.username is not None or parts.password is not None or "\\" in parts.netloc or "%" in host:
        raise LinkError("bad link")
    try:
        # The same form for the resolver, the Host header and the certificate.
        host = host.encode("idna").decode("ascii").lower()
    except UnicodeError:
        raise LinkError("bad link") from None
    if not host or any(letter.isspace() for letter in host) or port == 0:
        raise LinkError("bad link")
    try:
        target = quote(parts.path or "/", safe=_KEPT) + (f"?{quote(parts.query, safe=_KEPT)}" if parts.query else "")
    except UnicodeError:  # a lone surrogate, from a broken table
        raise LinkError("bad link") from None
    return Link(parts.scheme, host, port or SCHEMES[parts.scheme], target)


def judge(address: str, allow_private: bool = False) -> str | None:
    """Return why an IP address is refused, in a word or two, or ``None`` where it may be connected to.

    Args:
        address: an IPv4 or IPv6 address as text; a zone (``%eth0``) is left out of account.
        allow_private: whether loopback, private, link-local and carrier-grade NAT addresses are allowed. Metadata
            services, multicast and reserved addresses are refused all the same.
    """
    try:
        found = ip_address(address.split("%")[0])
    except ValueError:
        return "no address"
    if isinstance(found, IPv6Address):
        if found in _NAT64:  # how a network without IPv4 reaches every IPv4 host
            return judge(str(IPv4Address(int(found) & 0xFFFFFFFF)), allow_private)
        if found.ipv4_mapped is not None:
            return "IPv4 inside IPv6"
    if _inside(found, METADATA):
        return "metadata service"
    for word, networks in RESERVED.items():
        if _inside(found, networks):
            return word
    for word, networks in PRIVATE.items():
        if _inside(found, networks):
            return None if allow_private else word
    if isinstance(found, IPv6Address) and found not in _GLOBAL_V6:
        return "reserved"
    return None


def _inside(address: Address, networks: Networks) -> bool:
    return any(address.version == network.version and address in network for network in networks)


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
        except UnicodeError:  # a label longer than 63 letters
            answer.append(OSError("no such host"))

    worker = threading.Thread(target=ask, daemon=True, name="resolve")
    worker.start()
    worker.join(timeout_s)
    if not answer:
        raise TimeoutError("resolving")
    if isinstance(answer[0], OSError):
        raise answer[0]
    return answer[0]
