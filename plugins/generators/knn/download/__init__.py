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
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing.pool import ThreadPool
from pathlib import Path
from urllib.parse import urljoin

import benchbench
from benchbench.files import write_atomic

from .connection import Limits, Reply, RequestError, judge, parse_link, request, resolve

__all__ = ["Downloader", "RequestError"]

#: Answers after which another attempt may do better.
PASSING = (408, 425, 429, 500, 502, 503, 504)
REDIRECTS = (301, 302, 303, 307, 308)
MOST_REDIRECTS = 5
#: The pause before the second attempt, in seconds; it doubles with each further one.
PAUSE_S = 0.5
#: Longest time for all redirects, pauses and attempts of one request together, in seconds; a longer ``timeout_s`` (for
#: :meth:`Downloader.ask`, times its attempts) takes its place.
DEADLINE_S = 60.0
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
        workers: downloads at the same time; at most two of them from one host.
        scratch: folder that keeps what was fetched, so that a killed run does not fetch it again.
    """

    allow_private: bool
    timeout_s: float
    retries: int
    workers: int
    scratch: Path

    def download(self, links: Sequence[str], max_bytes: int) -> Iterator[bytes | RequestError]:
        """Yield what each link of a stranger leads to, in the order of the links, or why there is nothing.

        A link that is listed twice is fetched once. What was fetched stays in ``scratch`` by the hash of its link, so
        that a run that was killed fetches the rest; links that failed for good are not tried again either.
        """
        gates: dict[str, threading.Semaphore] = {}
        # Not an executor, whose threads would hold an interrupted run until they are done: these die with the process.
        with ThreadPool(self.workers) as workers:
            outcomes = {url: workers.apply_async(self._kept, (url, max_bytes, gates)) for url in dict.fromkeys(links)}
            for url in links:
                body = outcomes[url].get()
                yield body.read_bytes() if isinstance(body, Path) else body

    def ask(self, address: str, max_bytes: int, content: bytes | None = None) -> bytes:
        """Return the body of a server's answer to a GET, or to a POST of JSON; again where that may help.

        The address is the user's own word: where it leads is not judged. Redirects are not followed.

        Raises:
            RequestError: no answer of status 200 came; ``reply`` has another one.
        """
        link = parse_link(address)
        method, headers = ("GET", {}) if content is None else ("POST", {"Content-Type": "application/json"})
        seconds = max(DEADLINE_S, self.timeout_s * (self.retries + 1))
        limits = Limits(self.timeout_s, time.monotonic() + seconds, max_bytes)

        def once() -> bytes:
            reply = request(link, limits, {"Accept": "application/json", **headers}, method, content)
            if reply.status != 200:
                raise RequestError(f"HTTP {reply.status}", reply.status in PASSING, reply)
            return reply.body

        return self._attempt(once, limits)

    def is_public(self, address: str) -> bool:
        """Return whether a server's address is a public one."""
        link = parse_link(address)
        try:
            return any(judge(ip) is None for ip in resolve(link.host, link.port, self.timeout_s))
        except OSError:
            return True  # the request will say what is wrong

    def _attempt(self, once: Callable[[], bytes], limits: Limits) -> bytes:
        """Return what ``once`` returns, after as many attempts as are worth it within the time of ``limits``."""
        for attempt in range(self.retries + 1):
            try:
                return once()
            except RequestError as trouble:
                pause = max(PAUSE_S * 2**attempt, _wished_pause(trouble.reply))
                if not trouble.again or attempt == self.retries or time.monotonic() + pause >= limits.end:
                    raise
                time.sleep(pause)
        raise AssertionError("unreachable")

    def _kept(self, url: str, max_bytes: int, gates: dict[str, threading.Semaphore]) -> Path | RequestError:
        """Return the file that holds what a link leads to, or why there is none."""
        kept = self.scratch / hashlib.sha256(url.encode("utf-8", "surrogatepass")).hexdigest()
        given_up = kept.with_suffix(".missing")
        if kept.is_file():
            return kept
        if given_up.is_file():
            return RequestError(given_up.read_text("utf-8"))
        end = time.monotonic() + max(DEADLINE_S, self.timeout_s)
        rule = partial(judge, allow_private=self.allow_private)
        limits = Limits(self.timeout_s, end, max_bytes, rule, _refuse_unreadable)
        try:
            content = self._attempt(partial(_follow, url, limits, gates), limits)
        except RequestError as trouble:
            # What another limit or another day may change is tried again by a run that continues.
            if trouble.reason == "opted out" or (trouble.reason.startswith("HTTP 4") and not trouble.again):
                write_atomic(given_up, trouble.reason, durable=False)
            return trouble
        write_atomic(kept, content, durable=False)
        return kept


def _follow(url: str, limits: Limits, gates: dict[str, threading.Semaphore]) -> bytes:
    """Ask for a link and for what it is redirected to; every hop is judged like the first.

    Waiting for one's turn at a host does not count towards the time of ``limits``.
    """
    agent = f"{_NAME}/{benchbench.__version__} (retrieval of training images)"
    headers = {"User-Agent": agent, "Accept": "image/*,*/*;q=0.5", "Accept-Encoding": "identity"}
    for _ in range(MOST_REDIRECTS + 1):
        link = parse_link(url)
        asked = time.monotonic()
        with gates.setdefault(link.host, threading.Semaphore(PER_HOST)):
            limits.end += time.monotonic() - asked
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


def _wished_pause(reply: Reply | None) -> int:
    """Return for how many seconds a server is busy by its own account."""
    after = reply.headers.get("retry-after", "").strip() if reply and reply.status in PASSING else ""
    return int(after) if after.isdecimal() and len(after) < 6 else 0


def _refuse_unreadable(headers: Mapping[str, str]) -> None:
    """Refuse, before its body is read, what is no picture or asks not to be used."""
    for part in headers.get("x-robots-tag", "").lower().split(","):
        agent, _, directive = part.rpartition(":")
        if agent.strip() in ("", _NAME) and directive.strip() in OPT_OUTS:
            raise RequestError("opted out")
    kind = headers.get("content-type", "").strip().lower()
    if kind.startswith(NO_PICTURES):
        raise RequestError("no picture: " + kind.split(";")[0][:40])
