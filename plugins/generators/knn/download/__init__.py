"""The one door to the network: what a retrieval server answers, and the pictures that strangers link to.

Stands alone: nothing here knows of pools or pictures, and :class:`Downloader` is all that others use. It downloads
what strangers link to, safely, politely and in order.

What a link may do to whoever follows it, and what is done about it:

- it leads into one's own network, at once or by a redirect: ``connection.py``, at every hop;
- it never ends, or by a byte a minute: one deadline for all hops and attempts of a link;
- it is huge, or unfolds into something huge: the body stops at a limit of bytes and nothing compressed is taken (that
  the size in pixels is judged before anything is decoded is up to who decodes);
- it is no picture: what calls itself text or video is not read;
- it asks not to be used: ``X-Robots-Tag`` with ``noai``, ``noimageai``, ``noindex`` or ``noimageindex``, for all or for
  us, is obeyed, as img2dataset does by default.

Politeness: two connections to a host at most, a pause before another attempt (as long as the server asks for, within
the deadline), a User-Agent that says who asks, no cookies.
"""

from __future__ import annotations

import hashlib
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any
from urllib.parse import urljoin

from benchbench.files import write_atomic

from .connection import Limits, Reply, RequestError, judge, parse_link, request, resolve

__all__ = ["Downloader", "RequestError"]

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


@dataclass(frozen=True)
class Downloader:
    """Asks servers, within limits.

    Attributes:
        allow_private: whether links may lead to private and loopback addresses.
        timeout_s: longest silence of a server, in seconds.
        retries: further attempts after a failed request.
        max_bytes: largest body that a link may lead to.
        workers: downloads at the same time; at most two of them from one host.
        deadline_s: longest time for all redirects, pauses and attempts of one request together, in seconds; a longer
            ``timeout_s`` (for :meth:`ask`, times its attempts) takes its place.
        scratch: folder that keeps what was fetched, so that a killed run does not fetch it again; ``None`` for none.
    """

    allow_private: bool
    timeout_s: float
    retries: int
    max_bytes: int
    workers: int
    deadline_s: float
    scratch: Path | None = None

    def download(self, links: Sequence[str]) -> Iterator[bytes | RequestError]:
        """Yield what each link of a stranger leads to, in the order of the links, or why there is nothing.

        A link that is listed twice is fetched once. What was fetched stays in ``scratch`` by the hash of its link, so
        that a run that was killed fetches the rest; links that failed for good are not tried again either. At most
        ``4 * workers`` bodies wait, as files, for their turn.
        """
        with self._folder() as folder, _Workers(self.workers) as workers:
            gates: dict[str, threading.Semaphore] = {}
            outcomes: dict[str, Future[Path | RequestError]] = {}
            ahead = 0
            for index, url in enumerate(links):
                for coming in links[ahead : index + 4 * self.workers]:
                    ahead += 1
                    if coming not in outcomes:
                        outcomes[coming] = workers.submit(partial(self._kept, coming, folder, gates))
                body = outcomes[url].result()
                yield body.read_bytes() if isinstance(body, Path) else body

    def ask(self, address: str, max_bytes: int, content: bytes | None = None) -> bytes:
        """Return the body of a server's answer to a GET, or to a POST of JSON; again where that may help.

        The address is the user's own word: where it leads is not judged. Redirects are not followed.

        Raises:
            RequestError: no answer of status 200 came; ``reply`` has another one.
        """
        link = parse_link(address)
        method, headers = ("GET", {}) if content is None else ("POST", {"Content-Type": "application/json"})

        def once(clock: _Clock) -> bytes:
            limits = Limits(self.timeout_s, clock.left, max_bytes, None)
            reply = request(link, limits, {"Accept": "application/json", **headers}, method, content)
            if reply.status != 200:
                raise RequestError(f"HTTP {reply.status}", reply.status in PASSING, reply)
            return reply.body

        return self._attempt(once, max(self.deadline_s, self.timeout_s * (self.retries + 1)))

    def is_public(self, address: str) -> bool:
        """Return whether a server's address is a public one."""
        link = parse_link(address)
        try:
            return any(judge(ip) is None for ip in resolve(link.host, link.port, self.timeout_s))
        except OSError:
            return True  # the request will say what is wrong

    def _attempt(self, once: Callable[[_Clock], bytes], seconds: float) -> bytes:
        """Return what ``once`` returns, after as many attempts as are worth it."""
        clock = _Clock(time.monotonic() + seconds)
        for attempt in range(self.retries + 1):
            try:
                return once(clock)
            except RequestError as trouble:
                pause = max(PAUSE_S * 2**attempt, _wished_pause(trouble.reply))
                if not trouble.again or attempt == self.retries or pause >= clock.left:
                    raise
                time.sleep(pause)
        raise AssertionError("unreachable")

    def _kept(self, url: str, folder: Path, gates: dict[str, threading.Semaphore]) -> Path | RequestError:
        """Return the file that holds what a link leads to, or why there is none."""
        kept = folder / hashlib.sha256(url.encode("utf-8", "surrogatepass")).hexdigest()
        given_up = kept.with_suffix(".missing")
        if kept.is_file():
            return kept
        if given_up.is_file():
            return RequestError(given_up.read_text("utf-8"))
        try:
            content = self._attempt(partial(self._follow, url, gates), max(self.deadline_s, self.timeout_s))
        except RequestError as trouble:
            # What another limit or another day may change is tried again by a run that continues.
            if trouble.reason == "opted out" or (trouble.reason.startswith("HTTP 4") and not trouble.again):
                write_atomic(given_up, trouble.reason, durable=False)
            return trouble
        write_atomic(kept, content, durable=False)
        return kept

    def _follow(self, url: str, gates: dict[str, threading.Semaphore], clock: _Clock) -> bytes:
        """Ask for a link and for what it is redirected to; every hop is judged like the first."""
        rule = partial(judge, allow_private=self.allow_private)
        headers = {"User-Agent": _user_agent(), "Accept": "image/*,*/*;q=0.5", "Accept-Encoding": "identity"}
        for _ in range(MOST_REDIRECTS + 1):
            link = parse_link(url)
            asked = time.monotonic()
            with gates.setdefault(link.host, threading.Semaphore(PER_HOST)):
                clock.end += time.monotonic() - asked
                limits = Limits(self.timeout_s, clock.left, self.max_bytes, rule, _worth_reading)
                reply = request(link, limits, headers)
            if reply.status == 200:
                return reply.body
            if reply.status not in REDIRECTS or "location" not in reply.headers:
                raise RequestError(f"HTTP {reply.status}", reply.status in PASSING, reply)
            try:
                # http.client reads headers as Latin-1; a place with other letters is UTF-8 in practice.
                place = reply.headers["location"].encode("latin-1").decode("utf-8", "replace")
                url = urljoin(link.text, place)
            except ValueError:
                raise RequestError("bad link") from None
        raise RequestError("too many redirects")

    @contextmanager
    def _folder(self) -> Iterator[Path]:
        """Give the folder for what is fetched: the caller's, or one that is gone afterwards."""
        if self.scratch is not None:
            self.scratch.mkdir(parents=True, exist_ok=True)
            yield self.scratch
            return
        with tempfile.TemporaryDirectory(prefix="benchbench-pictures-", ignore_cleanup_errors=True) as temporary:
            yield Path(temporary)


@dataclass
class _Clock:
    """When a link's time is over (``time.monotonic``); waiting for one's turn at a host does not count."""

    end: float

    @property
    def left(self) -> float:
        return max(0.0, self.end - time.monotonic())


def _wished_pause(reply: Reply | None) -> int:
    """Return for how many seconds a server is busy by its own account."""
    after = reply.headers.get("retry-after", "").strip() if reply and reply.status in PASSING else ""
    return int(after) if after.isdecimal() and len(after) < 6 else 0


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
