"""A running ``clip-retrieval back`` server as a pool, asked through clip-retrieval's own ``ClipClient``.

What differs from the script of Zhou et al. (2023), who sent image files to the public LAION service:

- the query is the embedding that the caller's own CLIP computed, so that every pool is asked the same;
- **the aesthetic bias is off.** The client's defaults (score 9, weight 0.5) ask the server to add half an embedding of
  "beautiful" to every query. An empty score makes the server leave the query as it is;
- the server's own filters (near-copies, safety, violence) are explicit, see :class:`.backend.Options`.

``ClipClient`` waits up to an hour for an answer, and parses whatever came. Its method that sends is therefore run
with a transport of ours in place of ``requests``; nothing else of it is changed. The address of the server is the
user's own word and not judged; where pictures are downloaded from is, see ``download.py``.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING, Any

from benchbench.errors import BenchError, MissingError, UsageError, nearest

from .address import Link, LinkError, judge, parse_link, resolve
from .backend import Hit, Missing, Options, Picture
from .connection import Limits, RequestError, request
from .download import PASSING, download_pictures, file_name, write

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: Where ``clip-retrieval back`` answers queries and lists its indices.
SERVICE, LISTING = "/knn-service", "/indices-list"
#: Longest answer of a server: its pictures come as base64 text.
MOST_ANSWER = 512 * 2**20
#: Between two queries to a server that is not one's own, in seconds: about ten a second brought the public one down.
PAUSE_S = 0.25
#: Pause before a failed query is sent again, in seconds; it doubles.
RETRY_PAUSE_S = 0.5
#: How clip-retrieval's ``ClipClient`` names the method that sends.
_SENDS = "__search_knn_api__"


def open_server(pool: str, options: Options) -> ServerPool:
    """Open a server as a pool; asks it once, for the names of its indices.

    Args:
        pool: its address: ``http://host:port`` or ``http://host:port/knn-service``.
        options: see :class:`.backend.Options`.

    Raises:
        UsageError: the address is none, or there is no index ``options.indice_name``.
        MissingError: clip-retrieval is not installed.
        BenchError: the server does not answer, or is something else.
    """
    client = client_class(pool)
    try:
        link = parse_link(pool)
    except LinkError as error:
        raise UsageError(f"pool={pool}: {error}; give http://HOST:PORT/knn-service") from None
    path = link.target.rstrip("/")
    link = Link(link.scheme, link.host, link.port, path if path.endswith(SERVICE) else path + SERVICE)
    return ServerPool(pool, link, client, options)


def client_class(pool: str) -> Any:
    """Return clip-retrieval's ``ClipClient``.

    Raises:
        MissingError: it is not installed, or cannot be imported as it is.
    """
    try:
        from clip_retrieval.clip_client import ClipClient
    except ImportError as error:
        why = "clip-retrieval is not installed" if (error.name or "").split(".")[0] == "clip_retrieval" else str(error)
        raise MissingError(
            f"pool={pool}: a server is asked through clip-retrieval's client: {why}; in an environment of its own: "
            "pip install 'benchbench[laion]'"
        ) from None
    if not isinstance(vars(ClipClient).get(_SENDS), FunctionType):
        raise MissingError(f"pool={pool}: this clip-retrieval is another than 2.45; pip install 'benchbench[laion]'")
    return ClipClient


class ServerPool:
    """A pool behind a server; see :class:`.backend.Backend`."""

    def __init__(self, pool: str, link: Link, client: Any, options: Options) -> None:
        self.name = f"pool={pool}"
        self.width: int | None = None
        self.size: int | None = None
        self.link, self.options = link, options
        self.patient = _is_public(link, options.timeout_s)
        self.client = bounded(client, self._post)
        self.temporary: tempfile.TemporaryDirectory[str] | None = None
        self.indices = self._listing()
        self.indice_name = self._chosen(options.indice_name)

    def search(self, embeddings: NDArray[np.float32], k: int) -> list[list[Hit]]:
        """Ask for each embedding in turn; see :meth:`.backend.Backend.search`."""
        client = self.client(
            self.link.text,
            self.indice_name,
            aesthetic_score="",
            aesthetic_weight=0,
            num_images=k,
            deduplicate=self.options.deduplicate,
            use_safety_model=self.options.safety_model,
            use_violence_detector=self.options.violence_detector,
        )
        found = []
        for number, row in enumerate(embeddings):
            if self.patient and number:
                time.sleep(PAUSE_S)
            found.append(self._hits(client.query(embedding_input=[float(value) for value in row]))[:k])
        return found

    def pictures(self, hits: Sequence[Hit]) -> Iterator[Picture | Missing]:
        """Yield what the server sent with its hits, and what is behind the links of the others."""
        from .pictures import PictureError, decode

        sent = [self._kept(hit).is_file() for hit in hits]
        linked = [(hit.key, hit.url) for hit, here in zip(hits, sent, strict=True) if hit.url and not here]
        downloads = download_pictures(linked, self.options)
        for hit, here in zip(hits, sent, strict=True):
            if here:
                try:
                    content = self._kept(hit).read_bytes()
                    yield Picture(hit.key, decode(content, max_pixels=self.options.max_pixels))
                except PictureError as error:
                    yield Missing(hit.key, f"no picture: {error}")
            elif hit.url:
                yield next(downloads)
            else:
                yield Missing(hit.key, "neither a picture nor a link")

    def describe(self) -> dict[str, Any]:
        """Return what was asked and how."""
        return {
            "kind": "server",
            "address": self.link.text,
            "indice_name": self.indice_name,
            "indices": self.indices,
            "aesthetic_weight": 0,
            "deduplicate": self.options.deduplicate,
            "safety_model": self.options.safety_model,
            "violence_detector": self.options.violence_detector,
        }

    def _listing(self) -> list[str]:
        """Return the names of the server's indices; empty where only its search is reachable."""
        target = self.link.target.removesuffix(SERVICE) + LISTING
        link = Link(self.link.scheme, self.link.host, self.link.port, target)
        try:
            listed = json.loads(self._ask(link))
        except _StatusError as error:
            if error.status in (403, 404):
                return []
            raise BenchError(f"{self.name}: {error}; is clip-retrieval back running there?") from None
        except RequestError as error:
            raise BenchError(f"{self.name}: {self._why(error)}; is clip-retrieval back running there?") from None
        except (ValueError, RecursionError):
            listed = None
        if not isinstance(listed, list) or not listed or not all(isinstance(item, str) for item in listed):
            raise BenchError(f"{self.name}: {LISTING} is no list of indices; is clip-retrieval back running there?")
        return listed

    def _chosen(self, asked: str | None) -> str:
        if asked is None:
            if not self.indices:
                raise UsageError(f"{self.name}: does not list its indices; name one: indice_name=...")
            return self.indices[0]
        if self.indices and asked not in self.indices:
            hint = nearest(asked, self.indices) or f"; it has {', '.join(self.indices[:5])}"
            raise UsageError(f"{self.name}: has no index {asked!r}{hint}")
        return asked

    def _ask(self, link: Link, content: bytes | None = None) -> bytes:
        """Send a request, again where that may help, and return the body of its answer.

        Raises:
            RequestError: no answer came.
            _StatusError: one came that is none.
        """
        end = time.monotonic() + self._seconds
        method, headers = ("GET", {}) if content is None else ("POST", {"Content-Type": "application/json"})
        for attempt in range(self.options.retries + 1):
            pause = RETRY_PAUSE_S * 2**attempt
            last = attempt == self.options.retries
            limits = Limits(self.options.timeout_s, max(0.0, end - time.monotonic()), MOST_ANSWER, None)
            try:
                reply = request(link, limits, {"Accept": "application/json", **headers}, method, content)
            except RequestError as trouble:
                if last or not trouble.again or time.monotonic() + pause >= end:
                    raise
            else:
                if reply.status == 200:
                    return reply.body
                if last or reply.status not in PASSING or time.monotonic() + pause >= end:
                    raise _StatusError(reply.status, reply.headers.get("location", ""))
            time.sleep(pause)
        raise AssertionError("unreachable")

    def _post(self, content: str) -> Any:
        """Send what ``ClipClient`` would post and return the parsed answer.

        Raises:
            BenchError: one line about what came instead.
        """
        try:
            body = self._ask(self.link, content.encode())
        except _StatusError as error:
            width = len(json.loads(content)["embedding_input"])
            told = f"; was {self.indice_name!r} indexed by a CLIP of width {width}?" if error.status == 500 else ""
            raise BenchError(f"{self.name}: {error}{told}") from None
        except RequestError as error:
            raise BenchError(f"{self.name}: {self._why(error)}; the run continues where it stopped") from None
        try:
            return json.loads(body)
        except (ValueError, RecursionError):
            raise BenchError(f"{self.name}: answered something that is no JSON: {body[:40]!r}") from None

    @property
    def _seconds(self) -> float:
        """Longest time of one question with all its attempts; a patient ``timeout_s`` is not cut short."""
        return max(self.options.deadline_s, self.options.timeout_s * (self.options.retries + 1))

    def _why(self, error: RequestError) -> str:
        waits = f"no answer within {self.options.timeout_s:g} s, in {self.options.retries + 1} attempts"
        return waits if error.reason == "timeout" else error.reason

    def _hits(self, rows: Any) -> list[Hit]:
        """Check and translate an answer; pictures in it are put aside."""
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise BenchError(f"{self.name}: answered something that is no list of pictures")
        hits = []
        for row in rows:
            similarity, number = row.get("similarity"), row.get("id")
            if not isinstance(number, int) or not isinstance(similarity, (int, float)) or not math.isfinite(similarity):
                raise BenchError(f"{self.name}: answered a picture without id or similarity")
            hit = Hit(str(number), float(similarity), _text(row.get("caption")), _text(row.get("url")))
            sent = row.get("image")
            if isinstance(sent, str) and len(sent) < 1.4 * self.options.max_bytes and not self._kept(hit).is_file():
                try:
                    write(self._kept(hit), base64.b64decode(sent, validate=True))
                except binascii.Error:
                    raise BenchError(f"{self.name}: answered a picture that is no base64") from None
            hits.append(hit)
        return sorted(hits, key=lambda hit: -hit.similarity)

    def _kept(self, hit: Hit) -> Path:
        """Return the file for a picture that the server itself sends."""
        folder = self.options.scratch
        if folder is None:
            if self.temporary is None:
                self.temporary = tempfile.TemporaryDirectory(prefix="benchbench-served-", ignore_cleanup_errors=True)
            folder = Path(self.temporary.name)
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{file_name(f'{self.link.text} {self.indice_name} {hit.key}')}.served"


class _StatusError(Exception):
    """An answer of the server that is none."""

    def __init__(self, status: int, location: str) -> None:
        moved = f" (to {location[:200]}; give that address if you trust it)" if location else ""
        super().__init__(f"answered HTTP {status}{moved}")
        self.status = status


def bounded(client: Any, send: Callable[[str], Any]) -> Any:
    """Return a subclass of ``ClipClient`` whose sending method posts through ``send``.

    The method's own code runs, with another ``requests`` among its globals: the module itself stays as it is for
    whoever else uses it.

    Args:
        client: the class.
        send: takes the body that the client posts, and returns the parsed answer.
    """

    class Answer:
        def __init__(self, parsed: Any) -> None:
            self.parsed = parsed

        def json(self) -> Any:
            return self.parsed

    class Transport:
        @staticmethod
        def post(url: str, data: str, **_: Any) -> Answer:
            return Answer(send(data))

    own = vars(client)[_SENDS]
    method = FunctionType(
        own.__code__, {**own.__globals__, "requests": Transport}, own.__name__, own.__defaults__, own.__closure__
    )
    method.__kwdefaults__ = own.__kwdefaults__
    return type("BoundedClient", (client,), {_SENDS: method})


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _is_public(link: Link, timeout_s: float) -> bool:
    """Return whether a server is someone else's, as far as its address tells."""
    try:
        return any(judge(address) is None for address in resolve(link.host, link.port, timeout_s))
    except OSError:
        return True  # the request will say what is wrong
