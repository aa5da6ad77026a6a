"""Which addresses are refused: a closed list, a property, and links that try to hide where they lead."""

from __future__ import annotations

import ipaddress
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchbench_plugins.generators.knn.download import connection
from benchbench_plugins.generators.knn.download.connection import Link, RequestError, judge, parse_link, resolve

PUBLIC = ("1.1.1.1", "8.8.8.8", "93.184.216.34", "172.15.255.255", "172.32.0.0", "100.63.255.255", "100.128.0.0")
PUBLIC += ("2606:4700:4700::1111", "2a00:1450:4001:81b::200e", "64:ff9b::808:808")
OWN = {
    "127.0.0.1": "loopback",
    "127.255.255.254": "loopback",
    "::1": "loopback",
    "10.0.0.1": "private",
    "172.16.0.1": "private",
    "172.31.255.255": "private",
    "192.168.1.1": "private",
    "fc00::1": "private",
    "fd12:3456::1": "private",
    "100.64.0.1": "shared (carrier-grade NAT)",
    "100.127.255.255": "shared (carrier-grade NAT)",
    "169.254.1.1": "link-local",
    "fe80::1": "link-local",
    "fe80::1%eth0": "link-local",
    "64:ff9b::7f00:1": "loopback",
}
NEVER = {
    "169.254.169.254": "metadata service",
    "169.254.170.2": "metadata service",
    "100.100.100.200": "metadata service",
    "168.63.129.16": "metadata service",
    "192.0.0.192": "metadata service",
    "fd00:ec2::254": "metadata service",
    "64:ff9b::a9fe:a9fe": "metadata service",
    "0.0.0.0": "unspecified",
    "0.1.2.3": "unspecified",
    "::": "unspecified",
    "224.0.0.1": "multicast",
    "239.255.255.255": "multicast",
    "ff02::1": "multicast",
    "240.0.0.1": "reserved",
    "255.255.255.255": "reserved",
    "192.0.0.8": "reserved",
    "198.18.0.1": "reserved",
    "2001::1": "reserved",
    "2002:7f00:1::": "reserved",
    "fec0::1": "reserved",
    "100::1": "reserved",
    "::7f00:1": "reserved",
    "192.0.2.1": "documentation",
    "198.51.100.7": "documentation",
    "203.0.113.9": "documentation",
    "2001:db8::1": "documentation",
    "3fff::1": "documentation",
    "::ffff:127.0.0.1": "IPv4 inside IPv6",
    "::ffff:8.8.8.8": "IPv4 inside IPv6",
    "localhost": "no address",
    "0177.0.0.1": "no address",
    "": "no address",
}


@pytest.mark.parametrize("text", PUBLIC)
def test_public_addresses_pass(text):
    assert judge(text) is None


@pytest.mark.parametrize(("text", "word"), OWN.items())
def test_ones_own_network_is_refused_unless_allowed(text, word):
    assert judge(text) == word
    assert judge(text, allow_private=True) is None


@pytest.mark.parametrize(("text", "word"), NEVER.items())
@pytest.mark.parametrize("allowed", [False, True])
def test_what_nobody_keeps_pictures_at_is_never_allowed(text, word, allowed):
    assert judge(text, allowed) == word


@given(st.ip_addresses())
def test_what_passes_is_global_by_the_standard_library_too(found):
    """The reverse does not hold: the library calls tunnels and multicast global."""
    if judge(str(found)) is None:
        embedded = ipaddress.ip_network("64:ff9b::/96")
        assert (found in embedded) if found.version == 6 and not found.is_global else found.is_global
        assert not found.is_multicast


@given(st.ip_addresses(network="2002::/16"))
def test_no_tunnel_of_an_ipv4_address_passes(found):
    assert judge(str(found), allow_private=True) == "reserved"


@pytest.mark.parametrize(
    ("text", "link"),
    [
        ("http://a.example", Link("http", "a.example", 80, "/")),
        ("HTTPS://A.Example:8443/x", Link("https", "a.example", 8443, "/x")),
        ("http://a.example/a b?q=ä#part", Link("http", "a.example", 80, "/a%20b?q=%C3%A4")),
        ("http://a.example/%C3%A4%20", Link("http", "a.example", 80, "/%C3%A4%20")),
        ("http://bücher.example/", Link("http", "xn--bcher-kva.example", 80, "/")),
        ("http://[::1]:81/x", Link("http", "::1", 81, "/x")),
        ("http://①②⑦.0.0.1/", Link("http", "127.0.0.1", 80, "/")),
        (" http://a.example/x ", Link("http", "a.example", 80, "/x")),
    ],
)
def test_links_are_taken_apart(text, link):
    assert parse_link(text) == link
    assert parse_link(link.text) == link


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("file:///etc/passwd", "not http or https"),
        ("ftp://a.example/x", "not http or https"),
        ("gopher://a.example/", "not http or https"),
        ("//a.example/x", "not http or https"),
        ("a.example/x", "not http or https"),
        ("", "not http or https"),
        ("http://", "bad link"),
        ("http:///x", "bad link"),
        ("http://user:secret@a.example/", "bad link"),
        ("http://a.example@b.example/", "bad link"),
        ("http://a.example:0/", "bad link"),
        ("http://a.example:99999/", "bad link"),
        ("http://a.example:x/", "bad link"),
        ("http://a.example/x\r\nHost: b.example", "bad link"),
        ("http://a\\b.example/", "bad link"),
        ("http://a b.example/", "bad link"),
        ("http://[fe80::1%25eth0]/", "bad link"),
        ("http://[::1/", "bad link"),
        ("http://" + "a" * 64 + ".example/", "bad link"),
        ("http://a..example/", "bad link"),
        ("http://a.example/\ud800", "bad link"),
    ],
)
def test_what_is_no_link_says_so(text, word):
    with pytest.raises(RequestError) as error:
        parse_link(text)
    assert str(error.value) == word


@given(st.one_of(st.text(), st.text().map(lambda text: f"http://{text}"), st.text().map("http://a.example/{}".format)))
def test_any_text_is_a_link_or_refused(text):
    try:
        link = parse_link(text)
    except RequestError:
        return
    assert link.target.isascii()
    assert link.host.isascii()
    assert not any(letter.isspace() for letter in link.text)
    assert parse_link(link.text) == link


def test_a_resolver_that_hangs_is_not_waited_for(monkeypatch):
    over = threading.Event()
    monkeypatch.setattr(connection.socket, "getaddrinfo", lambda *_, **__: over.wait(20) and [])
    start = time.monotonic()
    with pytest.raises(TimeoutError):
        resolve("a.example", 80, 0.1)
    over.set()
    assert time.monotonic() - start < 5


def test_numbers_in_disguise_resolve_to_what_is_judged():
    """Octal, hexadecimal and short forms are the resolver's business; what it makes of them is judged."""
    for disguise in ("0x7f000001", "2130706433", "127.1"):
        try:
            found = resolve(disguise, 80, 5.0)
        except OSError:
            continue  # a stricter resolver
        assert [judge(item) for item in found] == ["loopback"]
