"""A web server on the loopback interface that behaves as badly as a test asks for."""

from __future__ import annotations

import io
import threading
import time
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
from PIL import Image

Behaviour = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """Does for each path what the test put there."""

    server: Loopback

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        with self.server.lock:
            self.server.asked[path] += 1
            self.server.running += 1
            self.server.most_running = max(self.server.most_running, self.server.running)
            self.counted = True
        self.server.seen.append(dict(self.headers.items()))
        length = int(self.headers.get("Content-Length", 0))
        self.content = self.rfile.read(length) if length else b""
        try:
            self.server.behaviours.get(path, status(404))(self)
        except (ConnectionError, TimeoutError):
            pass  # the client has had enough, as it should
        finally:
            self.leave()

    def leave(self) -> None:
        """Count as answered: before the answer is sent, since the client may ask again as soon as it has it."""
        with self.server.lock:
            self.server.running -= self.counted
            self.counted = False

    do_POST = do_GET  # noqa: N815

    def answer(self, body: bytes, kind: str = "image/png", code: int = 200, **headers: str) -> None:
        self.leave()
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def nap(self, seconds: float) -> None:
        """Wait, but not beyond the end of the test."""
        self.server.over.wait(seconds)

    def log_message(self, *_: Any) -> None:
        pass


class Loopback(ThreadingHTTPServer):
    """The server; ``behaviours`` by path, ``asked`` counts requests, ``seen`` has their headers."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.behaviours: dict[str, Behaviour] = {}
        self.asked: Counter[str] = Counter()
        self.seen: list[dict[str, str]] = []
        self.lock = threading.Lock()
        self.running = self.most_running = self.sent = 0
        self.over = threading.Event()

    def handle_error(self, *_: Any) -> None:
        pass

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def put(self, path: str, behaviour: Behaviour) -> str:
        """Make a path behave and return its link."""
        self.behaviours[path] = behaviour
        return self.base + path

    def __enter__(self) -> Loopback:
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.shutdown()
        self.server_close()


def png(value: int = 0, size: tuple[int, int] = (4, 3)) -> bytes:
    """Return a PNG of one grey value, ``size`` as (width, height)."""
    buffer = io.BytesIO()
    Image.fromarray(np.full((size[1], size[0], 3), value, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def picture(value: int = 0, after_s: float = 0.0) -> Behaviour:
    def behave(handler: Handler) -> None:
        time.sleep(after_s)
        handler.answer(png(value))

    return behave


def body(content: bytes, kind: str = "image/png", **headers: str) -> Behaviour:
    return lambda handler: handler.answer(content, kind, **headers)


def status(code: int, **headers: str) -> Behaviour:
    return lambda handler: handler.answer(b"no", "text/plain", code, **headers)


def redirect(place: str, code: int = 302) -> Behaviour:
    return lambda handler: handler.answer(b"", "text/plain", code, Location=place)


def hang(handler: Handler) -> None:
    """Take the request and say nothing."""
    handler.nap(30)


def raw(content: bytes) -> Behaviour:
    """Send bytes that need be no HTTP, and close."""

    def behave(handler: Handler) -> None:
        handler.wfile.write(content)
        handler.close_connection = True

    return behave


def drip(content: bytes, every_s: float = 0.05) -> Behaviour:
    """Send one byte at a time, for ever: what a limit on silence alone never ends."""

    def behave(handler: Handler) -> None:
        for byte in content:
            handler.wfile.write(bytes([byte]))
            handler.nap(every_s)
        while not handler.server.over.is_set():
            handler.wfile.write(b"x")
            handler.nap(every_s)

    return behave


def endless(head: bytes, piece: bytes = b"\0" * 65536) -> Behaviour:
    """Send a head, then pieces without end; ``server.sent`` counts their bytes."""

    def behave(handler: Handler) -> None:
        handler.wfile.write(head)
        while not handler.server.over.is_set():
            handler.wfile.write(piece)
            handler.server.sent += len(piece)

    return behave


def in_turn(*behaviours: Behaviour) -> Behaviour:
    """Behave differently each time; the last one stays."""
    waiting = list(behaviours)

    def behave(handler: Handler) -> None:
        (waiting.pop(0) if len(waiting) > 1 else waiting[0])(handler)

    return behave
