"""Download pictures that strangers link to, safely, politely and in order.

What a link may do to whoever follows it, and what is done about it:

- it leads into one's own network, at once or by a redirect: ``address.py``, at every hop;
- it never ends, or by a byte a minute: one deadline for all hops and attempts of a link, from ``connection.py``;
- it is huge, or unfolds into something huge: the body stops at a limit of bytes, nothing compressed is taken, and the
  size in pixels is read and judged before anything is decoded (``pictures.py``);
- it is no picture: what calls itself text or video is not read; the rest is judged by its content;
- it asks not to be used: ``X-Robots-Tag`` with ``noai``, ``noimageai``, ``noindex`` or ``noimageindex``, for all or for
  us, is obeyed, as img2dataset does by default.

Politeness: two connections to a host at most, a pause before another attempt (as long as the server asks for, within
the deadline), a User-Agent that says who asks, no cookies.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any
from urllib.parse import urljoin

from .address import LinkError, judge, parse_link
from .backend import Missing, Options, Picture
from .connection import Limits, RequestError, request

#: Answers after which another attempt may do better.
PASSING = (408, 425, 429, 500, 502, 503, 504)
REDIRECTS = (301, 302, 303, 307, 308)
MOST_REDIRECTS = 5
#: The pause before the second attempt, in seconds; it doubles with each further one.
PAUSE_S = 0.5
#: Connections to one host at the same time.
PER_HOST = 2
#: What these call themselves they are: hosts label pictures carelessly, but not as these.
NO_PICTURES = (
    *("text/html", "text/css", "application/json", "application/xhtml", "application/pdf"),
    *("image/svg", "video/", "audio/", "multipart/"),
)
OPT_OUTS = frozenset({"noai", "noimageai", "noindex", "noimageindex"})
_NAME = "benchbench"


def download_pictures(links: Sequence[tuple[str, str]], options: Options) -> Iterator[Picture | Missing]:
    """Yield the picture behind each link, in the order of the links.

    A link that is listed twice is fetched once. What was fetched stays in ``options.scratch`` by the hash of its
    link, so that a run that was killed fetches the rest; links that failed for good are not tried again either.

    Args:
        links: pairs of a picture's key and its link.
        options: see :class:`.backend.Options`; at most ``4 * workers`` pictures wait, as files, for their turn.
    """
    from .pictures import PictureError, decode

    with _folder(options) as folder, _Workers(options.workers) as workers:
        gates: dict[str, threading.Semaphore] = {}
        outcomes: dict[str, Future[Path | str]] = {}
        ahead = 0
        for index, (key, url) in enumerate(links):
            for _, coming in links[ahead : index + 4 * options.workers]:
                ahead += 1
                if coming not in outcomes:
                    outcomes[coming] = workers.submit(partial(_obtain, coming, folder, options, gates))
            found = outcomes[url].result()
            if isinstance(found, str):
                yield Missing(key, found)
                continue
            try:
                yield Picture(key, decode(found.read_bytes(), max_pixels=options.max_pixels))
            except PictureError as error:
                yield Missing(key, f"no picture: {error}")


def tally(missing: Iterable[Missing]) -> dict[str, Any]:
    """Return the report of dead links as JSON: how many, how many by reason, and which (key and reason of each)."""
    listed = [[item.key, item.reason] for item in missing]
    reasons = Counter(reason.split(": ")[0] for _, reason in listed)
    return {"missing": len(listed), "reasons": dict(sorted(reasons.items())), "keys": listed}


def file_name(text: str) -> str:
    """Return the name under which something with this link is kept: 64 hex digits."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def write(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}")
    temporary.write_bytes(content)
    temporary.replace(path)


@dataclass
class _Clock:
    """When a link's time is over (``time.monotonic``); waiting for one's turn at a host does not count."""

    end: float

    @property
    def left(self) -> float:
        return max(0.0, self.end - time.monotonic())


def fetch(url: str, options: Options, gate: Callable[[str], AbstractContextManager[Any]] | None = None) -> bytes:
    """Return what a link leads to, after as many attempts as are worth it.

    Args:
        url: the link.
        options: limits; ``deadline_s`` is for all redirects, pauses and attempts together.
        gate: gives what to hold while a host is asked.

    Raises:
        RequestError: why there is nothing.
    """
    clock = _Clock(time.monotonic() + max(options.deadline_s, options.timeout_s))
    for attempt in range(options.retries + 1):
        try:
            return _follow(url, options, clock, gate or (lambda host: nullcontext()))
        except RequestError as trouble:
            pause = max(PAUSE_S * 2**attempt, trouble.after_s if isinstance(trouble, _BusyError) else 0)
            if not trouble.again or attempt == options.retries or pause >= clock.left:
                raise
            time.sleep(pause)
    raise AssertionError("unreachable")


class _BusyError(RequestError):
    """A server that is busy, and for how many seconds by its own account."""

    def __init__(self, status: int, after: str) -> None:
        super().__init__(f"HTTP {status}", again=True)
        self.after_s = int(after) if after.isdecimal() and len(after) < 6 else 0


def _follow(url: str, options: Options, clock: _Clock, gate: Callable[[str], AbstractContextManager[Any]]) -> bytes:
    """Ask for a link and for what it is redirected to; every hop is judged like the first."""
    rule = partial(judge, allow_private=options.allow_private)
    headers = {"User-Agent": _user_agent(), "Accept": "image/*,*/*;q=0.5", "Accept-Encoding": "identity"}
    for _ in range(MOST_REDIRECTS + 1):
        try:
            link = parse_link(url)
        except LinkError as error:
            raise RequestError(str(error)) from None
        asked = time.monotonic()
        with gate(link.host):
            clock.end += time.monotonic() - asked
            limits = Limits(options.timeout_s, clock.left, options.max_bytes, rule, _worth_reading)
            reply = request(link, limits, headers)
        if reply.status == 200:
            return reply.body
        if reply.status in PASSING:
            raise _BusyError(reply.status, reply.headers.get("retry-after", "").strip())
        if reply.status not in REDIRECTS or "location" not in reply.headers:
            raise RequestError(f"HTTP {reply.status}")
        try:
            # http.client reads headers as Latin-1; a place with other letters is UTF-8 in practice.
            place = reply.headers["location"].encode("latin-1").decode("utf-8", "replace")
            url = urljoin(link.text, place)
        except ValueError:
            raise RequestError("bad link") from None
    raise RequestError("too many redirects")


def _worth_reading(status: int, headers: Mapping[str, str]) -> None:
    """Refuse, before its body is read, what is no picture or asks not to be used."""
    if status != 200:
        return
    for part in headers.get("x-robots-tag", "").lower().split(","):
        agent, _, directive = part.rpartition(":")
        if agent.strip() in ("", _NAME) and directive.strip() in OPT_OUTS:
            raise RequestError("opted out")
    kind = headers.get("content-type", "").strip().lower()
    if kind.startswith(NO_PICTURES):
        raise RequestError("no picture: " + kind.split(";")[0][:40])


def _user_agent() -> str:
    import benchbench

    return f"{_NAME}/{benchbench.__version__} (retrieval of training images)"


def _obtain(url: str, folder: Path, options: Options, gates: dict[str, threading.Semaphore]) -> Path | str:
    """Return the file that holds what a link leads to, or why there is none."""
    kept = folder / file_name(url)
    given_up = kept.with_suffix(".missing")
    if kept.is_file():
        return kept
    if given_up.is_file():
        return given_up.read_text("utf-8")
    try:
        write(kept, fetch(url, options, lambda host: gates.setdefault(host, threading.Semaphore(PER_HOST))))
    except RequestError as trouble:
        # What another limit or another day may change is tried again by a run that continues.
        if trouble.reason == "opted out" or (trouble.reason.startswith("HTTP 4") and not trouble.again):
            write(given_up, trouble.reason.encode())
        return trouble.reason
    return kept


@contextmanager
def _folder(options: Options) -> Iterator[Path]:
    """Give the folder for what is fetched: the caller's, or one that is gone afterwards."""
    if options.scratch is not None:
        options.scratch.mkdir(parents=True, exist_ok=True)
        yield options.scratch
        return
    with tempfile.TemporaryDirectory(prefix="benchbench-pictures-", ignore_cleanup_errors=True) as temporary:
        yield Path(temporary)


class _Workers:
    """A few threads that die with the process: an executor's would hold an interrupted run until they are done."""

    def __init__(self, count: int) -> None:
        self.jobs: SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None] = SimpleQueue()
        self.closed = False
        self.threads = [threading.Thread(target=self._run, daemon=True, name="download") for _ in range(max(1, count))]

    def __enter__(self) -> _Workers:
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closed = True
        for _thread in self.threads:
            self.jobs.put(None)

    def submit(self, job: Callable[[], Any]) -> Future[Any]:
        """Have a job done; its outcome or exception is in the future."""
        future: Future[Any] = Future()
        self.jobs.put((job, future))
        return future

    def _run(self) -> None:
        while (item := self.jobs.get()) is not None and not self.closed:
            job, future = item
            try:
                future.set_result(job())
            except BaseException as error:  # the main thread raises it
                future.set_exception(error)
