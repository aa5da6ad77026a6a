"""Downloads from a server that does everything wrong that a stranger's server may do."""

from __future__ import annotations

import ast
import gzip
import io
import socket
import ssl
import struct
import subprocess
import tempfile
import threading
import time
import zlib
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from loopback import Loopback, body, drip, endless, hang, in_turn, picture, png, raw, redirect, status
from PIL import Image

from benchbench_plugins.generators.knn import download
from benchbench_plugins.generators.knn.download import Downloader, connection
from benchbench_plugins.generators.knn.download.connection import judge
from benchbench_plugins.generators.knn.pools import server
from benchbench_plugins.generators.knn.pools.server import linked_pictures

LIMITS = {"allow_private": True, "timeout_s": 4.0, "retries": 0, "workers": 16}
#: For what never answers; everything else gets the time that a busy machine may need.
SHORT = {"timeout_s": 0.3, "deadline_s": 0.8}
BIG = b"HTTP/1.0 200 OK\r\nContent-Type: image/png\r\n"


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(download, "PAUSE_S", 0.01)


@pytest.fixture
def web():
    with Loopback() as server:
        yield server


def get(urls, deadline_s=8.0, max_bytes=200_000, **changes):
    with (
        mock.patch.object(download, "DEADLINE_S", deadline_s),
        mock.patch.object(server, "MOST_BYTES", max_bytes),
        tempfile.TemporaryDirectory() as scratch,
    ):
        return list(linked_pictures(urls, Downloader(**{**LIMITS, "scratch": Path(scratch), **changes})))


def is_picture(found) -> bool:
    return isinstance(found, np.ndarray)


def reason(url, **changes) -> str:
    start = time.monotonic()
    (found,) = get([url], **changes)
    assert isinstance(found, str), "a picture came"
    assert time.monotonic() - start < 10  # the deadline, and what a busy machine adds
    return found


def test_pictures_come_in_the_order_of_their_links(web):
    urls = [web.put(f"/{n}", picture(n, after_s=0.05 * (n % 3))) for n in range(40)]
    found = get(urls, workers=5)
    assert [item[0, 0, 0] for item in found] == list(range(40))
    assert all(item.shape == (3, 4, 3) and item.dtype == np.uint8 for item in found)


def test_a_link_listed_twice_is_fetched_once(web):
    url = web.put("/one", picture(7))
    found = get([url, web.base + "/none", url, url])
    assert [is_picture(item) for item in found] == [True, False, True, True]
    assert web.asked["/one"] == 1


def test_a_host_is_asked_by_two_at_a_time_and_told_who_asks(web):
    urls = [web.put(f"/{n}", picture(n, after_s=0.02)) for n in range(12)]
    get(urls, workers=8)
    assert web.most_running <= 2
    for headers in web.seen:
        assert headers["User-Agent"].startswith("benchbench/")
        assert headers["Accept-Encoding"] == "identity"
        assert not {"Cookie", "Referer", "Authorization"} & set(headers)


def test_waiting_for_a_busy_host_is_not_held_against_a_link(web):
    urls = [web.put(f"/{n}", picture(n, after_s=0.35)) for n in range(14)]
    assert all(is_picture(item) for item in get(urls, workers=14, timeout_s=2.0, deadline_s=2.0))


@pytest.mark.parametrize("code", [400, 403, 404, 410, 451, 204, 206, 304])
def test_answers_without_a_picture_are_named_and_final(web, code):
    url = web.put("/x", status(code))
    assert reason(url, retries=3) == f"HTTP {code}"
    assert web.asked["/x"] == 1


@pytest.mark.parametrize("code", [408, 429, 500, 502, 503, 504])
def test_passing_failures_are_tried_again(web, code):
    url = web.put("/x", in_turn(status(code), status(code), picture(9)))
    assert reason(url, retries=1) == f"HTTP {code}"
    assert web.asked["/x"] == 2
    (found,) = get([url], retries=1)
    assert found[0, 0, 0] == 9


def test_a_busy_server_is_given_the_time_it_asks_for_within_the_deadline(web):
    url = web.put("/soon", in_turn(status(503, Retry_After="1"), picture(5)))
    start = time.monotonic()
    (found,) = get([url], retries=1)
    assert is_picture(found)
    assert time.monotonic() - start >= 1
    url = web.put("/late", in_turn(status(503, Retry_After="3600"), picture(5)))
    assert reason(url, retries=1) == "HTTP 503"
    url = web.put("/odd", in_turn(status(503, Retry_After="Wed, 21 Oct 2099 07:28:00 GMT"), picture(5)))
    assert is_picture(get([url], retries=1)[0])


@pytest.mark.parametrize(
    "behaviour",
    [
        hang,
        drip(b"HTTP/1.0 200 OK\r\nX-Slow: "),
        drip(BIG + b"Content-Length: 100000\r\n\r\n"),
        drip(BIG + b"Transfer-Encoding: chunked\r\n\r\n"),
    ],
    ids=["silence", "slow headers", "slow body", "slow chunk"],
)
def test_waiting_ends(web, behaviour):
    assert reason(web.put("/x", behaviour), retries=5, **SHORT) == "timeout"


def test_a_host_that_takes_the_connection_and_says_nothing_is_left():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert reason(f"http://127.0.0.1:{silent.getsockname()[1]}/", **SHORT) == "timeout"
        assert reason(f"https://127.0.0.1:{silent.getsockname()[1]}/", **SHORT) == "timeout"


def test_a_closed_port_and_an_unknown_host():
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    assert reason(f"http://127.0.0.1:{port}/") == "connection refused"
    assert reason("http://no-such-host.invalid/", deadline_s=4.0) in ("unknown host", "timeout")


def test_a_stated_length_beyond_the_limit_is_not_read(web):
    url = web.put("/x", endless(BIG + b"Content-Length: 10737418240\r\n\r\n"))
    assert reason(url) == "too large"
    assert web.sent < 20_000_000  # what the two sockets' buffers took


@pytest.mark.parametrize("head", [b"\r\n", b"Content-Length: -1\r\n\r\n", b"Content-Length: x\r\n\r\n"])
def test_an_endless_body_stops_at_the_limit(web, head):
    assert reason(web.put("/x", endless(BIG + head))) == "too large"
    assert web.sent < 20_000_000


def test_endless_chunks_stop_at_the_limit(web):
    head = BIG.replace(b"1.0", b"1.1") + b"Transfer-Encoding: chunked\r\n\r\n"
    assert reason(web.put("/x", endless(head, b"2000\r\n" + b"\0" * 8192 + b"\r\n"))) == "too large"


def test_a_body_at_the_limit_is_taken(web):
    content = png(3)
    url = web.put("/x", body(content))
    assert is_picture(get([url], max_bytes=len(content))[0])
    assert reason(url, max_bytes=len(content) - 1) == "too large"


def test_a_body_shorter_than_stated_is_cut_short(web):
    url = web.put("/x", raw(BIG + b"Content-Length: 5000\r\n\r\n" + png()))
    assert reason(url) == "cut short"
    url = web.put("/y", raw(BIG.replace(b"1.0", b"1.1") + b"Transfer-Encoding: chunked\r\n\r\nff\r\nabc"))
    assert reason(url) == "cut short"


@pytest.mark.parametrize(
    "content", [b"\x00\xff" * 50, b"SSH-2.0-OpenSSH_9.6\r\n", b"HTTP/1.1 abc\r\n\r\n", b"HTTP/9.9 200 OK\r\n\r\n"]
)
def test_what_speaks_no_http_is_told(web, content):
    assert reason(web.put("/x", raw(content))) == "not HTTP"


def test_too_many_headers(web):
    assert reason(web.put("/x", endless(b"HTTP/1.0 200 OK\r\n", b"A: b\r\n" * 500))) == "not HTTP"
    assert reason(web.put("/y", endless(b"HTTP/1.0 200 OK\r\nA: "))) == "not HTTP"


def test_a_connection_closed_without_a_word(web):
    assert reason(web.put("/x", raw(b""))) == "cut short"


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "gzip, gzip"])
def test_nothing_compressed_is_unfolded(web, coding):
    assert reason(web.put("/x", body(gzip.compress(b"\0" * 10**6), Content_Encoding=coding))) == "compressed answer"


def test_identity_said_aloud_is_no_compression(web):
    assert is_picture(get([web.put("/x", body(png(), Content_Encoding="identity"))])[0])


def bomb(width: int, height: int) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    rows = zlib.compress(b"\0" * (1 + width // 8) * height, 9) if width * height < 2**31 else b"x"
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def animated() -> bytes:
    buffer = io.BytesIO()
    frames = [Image.new("RGB", (5, 5), colour) for colour in ((255, 0, 0), (0, 0, 255))]
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "kind", "word"),
    [
        (bomb(20_000, 20_000), "image/png", "no picture: more than 64 megapixels"),
        (bomb(2**31 - 1, 2**31 - 1), "image/png", "no picture: "),
        (png(1, (90, 90))[:-30], "image/png", "no picture: "),
        (b"", "image/png", "no picture: "),
        (b"<html>not here</html>", "image/jpeg", "no picture: "),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "application/octet-stream", "no picture: "),
        (png(), "text/html; charset=utf-8", "no picture: text/html"),
        (png(), "image/svg+xml", "no picture: image/svg+xml"),
        (png(), "application/json", "no picture: application/json"),
        (png(), "video/mp4", "no picture: video/mp4"),
    ],
)
def test_what_is_no_usable_picture_is_told(web, content, kind, word):
    found = reason(web.put("/x", body(content, kind)))
    assert found.startswith(word)
    assert "\n" not in found


def test_a_picture_with_a_careless_label_is_a_picture(web):
    urls = [
        web.put(f"/{n}", body(png(n), kind)) for n, kind in enumerate(["text/plain", "application/octet-stream", ""])
    ]
    assert all(is_picture(item) for item in get(urls))


def test_the_first_frame_is_taken(web):
    (found,) = get([web.put("/x", body(animated(), "image/gif"))])
    assert found[2, 2].tolist() == [255, 0, 0]


@pytest.mark.parametrize("wish", ["noai", "noimageai", "all, NoIndex", "benchbench: noindex", "noimageindex"])
def test_who_asks_not_to_be_used_is_not_used(web, wish):
    assert reason(web.put("/x", body(png(), X_Robots_Tag=wish))) == "opted out"


@pytest.mark.parametrize("wish", ["all", "nofollow", "otherbot: noai", "unavailable_after: 25 Jun 2010 15:00:00 PST"])
def test_other_wishes_do_not_concern_us(web, wish):
    assert is_picture(get([web.put("/x", body(png(), X_Robots_Tag=wish))])[0])


def test_redirects_are_followed_five_times(web):
    web.put("/end", picture(4))
    for hop in range(6):
        web.put(
            f"/{hop}", redirect("/end" if hop == 0 else f"{web.base}/{hop - 1}", (301, 302, 303, 307, 308, 302)[hop])
        )
    assert get([f"{web.base}/4"])[0][0, 0, 0] == 4
    assert reason(f"{web.base}/5") == "too many redirects"
    assert reason(web.put("/loop", redirect("/loop"))) == "too many redirects"


@pytest.mark.parametrize(
    ("place", "word"),
    [
        ("http://169.254.169.254/latest/meta-data/", "refused address (metadata service)"),
        ("http://[::ffff:169.254.169.254]/", "refused address (IPv4 inside IPv6)"),
        ("http://0.0.0.0/", "refused address (unspecified)"),
        ("file:///etc/passwd", "not http or https"),
        ("ftp://127.0.0.1/", "not http or https"),
        ("http://a@b/", "bad link"),
        ("http://[::1", "bad link"),
        ("", "too many redirects"),
    ],
)
def test_redirects_are_judged_like_first_links(web, place, word):
    """Even where private addresses are allowed."""
    assert reason(web.put("/x", redirect(place)), retries=2) == word
    assert web.asked["/x"] <= 6


def test_a_redirect_into_the_private_network_never_connects(web, monkeypatch):
    """The first server plays a public one; the second is on the same interface under another address."""
    monkeypatch.setattr(
        download, "judge", lambda address, allow_private: None if address == "127.0.0.1" else judge(address)
    )
    with Loopback() as inner:
        place = inner.put("/secret", picture(1)).replace("127.0.0.1", "127.0.0.2")
        assert reason(web.put("/x", redirect(place)), allow_private=False) == "refused address (loopback)"
        assert not inner.asked


def test_private_addresses_are_refused_unless_allowed(web):
    url = web.put("/x", picture(1))
    assert reason(url, allow_private=False) == "refused address (loopback)"
    assert reason(url.replace("127.0.0.1", "localhost"), allow_private=False) == "refused address (loopback)"
    assert not web.asked
    assert is_picture(get([url])[0])


def test_a_name_is_resolved_once_and_the_answer_is_where_it_connects(web, monkeypatch):
    """A second answer, as a rebinding attack gives it, is never asked for."""
    answers = [["127.0.0.1"], ["169.254.169.254"]]
    monkeypatch.setattr(connection, "resolve", lambda host, port, timeout: answers.pop(0))
    port = web.server_address[1]
    web.put("/x", picture(6))
    (found,) = get([f"http://pictures.example:{port}/x"])
    assert found[0, 0, 0] == 6
    assert len(answers) == 1
    assert web.seen[0]["Host"] == f"pictures.example:{port}"
    assert reason(f"http://pictures.example:{port}/x") == "refused address (metadata service)"


def test_a_name_with_one_forbidden_address_is_refused_whole(web, monkeypatch):
    monkeypatch.setattr(connection, "resolve", lambda *_: ["127.0.0.1", "10.0.0.1"])
    monkeypatch.setattr(download, "judge", lambda address, allow_private: "private" if address[:3] == "10." else None)
    assert reason(f"http://pictures.example:{web.server_address[1]}/x") == "refused address (private)"
    assert not web.asked


def test_the_next_address_of_a_name_is_tried(web, monkeypatch):
    monkeypatch.setattr(connection, "resolve", lambda *_: ["127.0.0.9", "127.0.0.1"])
    web.put("/x", picture(6))
    assert is_picture(get([f"http://pictures.example:{web.server_address[1]}/x"])[0])


def test_proxies_of_the_environment_are_not_used(web, monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert is_picture(get([web.put("/x", picture(1))])[0])


def certificate(folder, name: str):
    """Make a certificate that nobody signed; returns the files of it and its key."""
    made = [folder / "certificate.pem", folder / "key.pem"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}"]
    command += ["-addext", f"subjectAltName=DNS:{name}", "-out", str(made[0]), "-keyout", str(made[1])]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=60)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no openssl to make a certificate with")
    return made


def test_certificates_are_checked_for_the_name_not_the_address(web, tmp_path, monkeypatch):
    chain, key = certificate(tmp_path, "pictures.example")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    names = []
    context.sni_callback = lambda opened, name, _: names.append(name)
    web.socket = context.wrap_socket(web.socket, server_side=True)
    monkeypatch.setattr(connection, "resolve", lambda *_: ["127.0.0.1"])
    web.put("/x", picture(8))
    port = web.server_address[1]
    connection._tls.cache_clear()
    assert reason(f"https://pictures.example:{port}/x") == "bad certificate"
    monkeypatch.setenv("SSL_CERT_FILE", str(chain))
    connection._tls.cache_clear()
    try:
        (found,) = get([f"https://pictures.example:{port}/x"])
        assert found[0, 0, 0] == 8
        assert reason(f"https://other.example:{port}/x") == "bad certificate"
    finally:
        connection._tls.cache_clear()
    assert names == ["pictures.example", "pictures.example", "other.example"]
    assert reason(f"https://127.0.0.1:{port}/x") == "bad certificate"


def test_what_was_fetched_is_not_fetched_again(web, tmp_path):
    urls = [web.put("/good", picture(1)), web.put("/gone", status(404)), web.put("/broken", body(b"x"))]
    urls += [web.put("/busy", in_turn(status(500), picture(2))), web.put("/shy", body(png(), X_Robots_Tag="noai"))]
    first = get(urls, scratch=tmp_path / "kept")
    again = get(urls, scratch=tmp_path / "kept")
    assert [is_picture(item) for item in first] == [True, False, False, False, False]
    assert [is_picture(item) for item in again] == [True, False, False, True, False]
    assert web.asked == {"/good": 1, "/gone": 1, "/broken": 1, "/busy": 2, "/shy": 1}
    assert [item for item in again if isinstance(item, str)] == ["HTTP 404", first[2], "opted out"]


def test_a_run_that_stops_half_way_fetches_the_rest(web, tmp_path):
    urls = [web.put(f"/{n}", picture(n, after_s=0.03)) for n in range(20)]
    stopped = linked_pictures(urls, Downloader(**{**LIMITS, "workers": 1, "scratch": tmp_path}))
    assert is_picture(next(stopped))
    stopped.close()
    time.sleep(0.3)
    before = web.asked.total()
    assert before < 20
    assert not list(tmp_path.glob(".*.tmp-*"))
    assert len(get(urls, scratch=tmp_path)) == 20
    assert web.asked.total() == 20


def test_threads_end_with_the_downloads(web):
    before = set(threading.enumerate())
    get([web.put(f"/{n}", picture(n)) for n in range(5)])
    time.sleep(0.3)
    assert not set(threading.enumerate()) - before


def imported(path) -> set[str]:
    """Return the modules that a file imports from its own package, with their dots."""
    nodes = [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.ImportFrom)]
    return {"." * node.level + (node.module or "") for node in nodes if node.level}


def test_the_downloader_stands_alone_behind_the_server():
    """It knows nothing of pools and pictures, and the server's module alone opens its one door."""
    package = Path(download.__file__).parent
    assert set().union(*map(imported, package.glob("*.py"))) == {".connection"}
    users = {
        path.name
        for path in package.parent.rglob("*.py")
        if path.parent != package and any("download" in name for name in imported(path))
    }
    assert users == {"server.py"}
    assert "..download" in imported(package.parent / "pools" / "server.py")
