"""A running ``clip-retrieval back`` server as a pool, asked through clip-retrieval's own ``ClipClient``.

What differs from the script of Zhou et al. (2023), who sent image files to the public LAION service:

- the query is the embedding that the caller's own CLIP computed, so that every pool is asked the same;
- **the aesthetic bias is off.** The client's defaults (score 9, weight 0.5) ask the server to add half an embedding of
  "beautiful" to every query. An empty score makes the server leave the query as it is;
- the server's own filters are explicit: near-copies stay, which a server drops after taking ``k``, so that fewer come
  back; ``safe`` drops what it holds for pornography or violence, where it was started with the models for that.

``ClipClient`` waits up to an hour for an answer, and parses whatever came. Its method that sends is therefore run
with a transport of ours in place of ``requests``; nothing else of it is changed. The address of the server is the
user's own word and not judged; where pictures are downloaded from is, see the package ``download``.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from types import FunctionType, SimpleNamespace
from typing import TYPE_CHECKING, Any

from benchbench.errors import BenchError, MissingError, UsageError, nearest
from benchbench.files import write_atomic

from ..download import Downloader, RequestError
from . import MOST_BYTES, Hit
from .pictures import decoded, read_picture

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .. import KNN

#: Where ``clip-retrieval back`` answers queries and lists its indices.
SERVICE, LISTING = "/knn-service", "/indices-list"
#: Longest answer of a server: its pictures come as base64 text.
MOST_ANSWER = 512 * 2**20
#: Between two queries to a server that is not one's own, in seconds: about ten a second brought the public one down.
PAUSE_S = 0.25
#: How clip-retrieval's ``ClipClient`` names the method that sends.
_SENDS = "__search_knn_api__"


def downloader_of(knn: KNN, scratch: Path) -> Downloader:
    """Return what downloads as ``knn`` asks for; ``scratch`` keeps what was fetched."""
    return Downloader(knn.allow_private, knn.timeout, knn.retries, knn.downloads, scratch)


def linked_pictures(links: Sequence[str], downloader: Downloader) -> Iterator[NDArray[np.uint8] | str]:
    """Yield the picture of each link, in order, or why there is none."""
    for content in downloader.download(links, MOST_BYTES):
        yield content.reason if isinstance(content, RequestError) else decoded(content, "no picture: ")


def collected(
    hits: Sequence[Hit], files: Sequence[Path | str], downloader: Downloader, before: str = ""
) -> Iterator[NDArray[np.uint8] | str]:
    """Yield the picture of each hit from its file, or from its link where there is no file; see :class:`.Backend`.

    Args:
        hits: what pictures are wanted of.
        files: for each of them its file, or why there is no picture if it has no link either.
        downloader: follows the links.
        before: the start of the reason why a file is no picture.
    """
    links = [hit.url for hit, file in zip(hits, files, strict=True) if hit.url and isinstance(file, str)]
    downloads = linked_pictures(links, downloader)
    for hit, file in zip(hits, files, strict=True):
        if isinstance(file, str):
            yield next(downloads) if hit.url else file
        else:
            yield read_picture(file, before)


def bounded_client(pool: str, send: Callable[[str], Any]) -> Any:
    """Return a subclass of clip-retrieval's ``ClipClient`` whose sending method posts through ``send``.

    The method's own code runs, with another ``requests`` among its globals: the module itself stays as it is for
    whoever else uses it.

    Args:
        pool: the start of messages.
        send: takes the body that the client posts, and returns the parsed answer.

    Raises:
        MissingError: ``ClipClient`` is not installed, or cannot be imported as it is.
    """
    try:
        from clip_retrieval.clip_client import ClipClient
    except ImportError as error:
        why = "clip-retrieval is not installed" if (error.name or "").split(".")[0] == "clip_retrieval" else str(error)
        raise MissingError(
            f"pool={pool}: a server is asked through clip-retrieval's client: {why}; in an environment of its own: "
            "pip install 'benchbench[laion]'"
        ) from None
    own = vars(ClipClient).get(_SENDS)
    if not isinstance(own, FunctionType):
        raise MissingError(f"pool={pool}: this clip-retrieval is another than 2.45; pip install 'benchbench[laion]'")

    def post(url: str, data: str, **_: Any) -> SimpleNamespace:
        return SimpleNamespace(json=partial(send, data))

    known = {**own.__globals__, "requests": SimpleNamespace(post=post)}
    method = FunctionType(own.__code__, known, own.__name__, own.__defaults__, own.__closure__)
    return type("BoundedClient", (ClipClient,), {_SENDS: method})


class ServerPool:
    """A pool that a server searches; see :class:`.Backend`."""

    def __init__(self, knn: KNN, scratch: Path) -> None:
        """Open a server as a pool; asks it once, for the names of its indices.

        Args:
            knn: its ``pool`` is the address: ``http://host:port`` or ``http://host:port/knn-service``.
            scratch: folder that keeps what was fetched.

        Raises:
            UsageError: the address is none, or there is no index ``indice_name``.
            MissingError: clip-retrieval is not installed.
            BenchError: the server does not answer, or is something else.
        """
        self.client = bounded_client(knn.pool, self._post)
        self.knn, self.scratch = knn, scratch
        self.name = f"pool={knn.pool}"
        self.size: int | None = None
        self.downloader = downloader_of(knn, scratch)
        self.base = knn.pool.rstrip("/").removesuffix(SERVICE)
        self.address = self.base + SERVICE
        self.indices = self._listing()
        self.indice_name = self._chosen(knn.indice_name)
        self.patient = self.downloader.is_public(self.address)

    def search(self, embeddings: NDArray[np.float32], k: int) -> list[list[Hit]]:
        """Ask for each embedding in turn; see :meth:`.Backend.search`."""
        client = self.client(
            self.address,
            self.indice_name,
            aesthetic_score="",
            aesthetic_weight=0,
            num_images=k,
            deduplicate=False,
            use_safety_model=self.knn.safe,
            use_violence_detector=self.knn.safe,
        )
        answers = []
        for number, row in enumerate(embeddings):
            if self.patient and number:
                time.sleep(PAUSE_S)
            answers.append(self._hits(client.query(embedding_input=[float(value) for value in row]))[:k])
        return answers

    def pictures(self, hits: Sequence[Hit]) -> Iterator[NDArray[np.uint8] | str]:
        """Yield what the server sent with its hits, and what the links of the others lead to."""
        files = [file if (file := self._kept(hit)).is_file() else "neither a picture nor a link" for hit in hits]
        return collected(hits, files, self.downloader, "no picture: ")

    def describe(self) -> dict[str, Any]:
        """Return what was asked and how."""
        return {
            "kind": "server",
            "address": self.address,
            "indice_name": self.indice_name,
            "indices": self.indices,
            "aesthetic_weight": 0,
            "deduplicate": False,
            "safety_model": self.knn.safe,
            "violence_detector": self.knn.safe,
        }

    def _listing(self) -> list[str]:
        """Return the names of the server's indices; empty where only its search is reachable."""
        try:
            listed = json.loads(self.downloader.ask(self.base + LISTING, MOST_ANSWER))
        except RequestError as error:
            if error.reply and error.reply.status in (403, 404):
                return []
            if error.reason == "bad link":
                raise UsageError(f"{self.name}: {error}; give http://HOST:PORT/knn-service") from None
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

    def _post(self, content: str) -> Any:
        """Send what ``ClipClient`` would post and return the parsed answer.

        Raises:
            BenchError: one line about what came instead.
        """
        try:
            body = self.downloader.ask(self.address, MOST_ANSWER, content.encode())
        except RequestError as error:
            after = "" if error.reply else "; the run continues where it stopped"
            if error.reply and error.reply.status == 500:
                width = len(json.loads(content)["embedding_input"])
                after = f"; was {self.indice_name!r} indexed by a CLIP of width {width}?"
            raise BenchError(f"{self.name}: {self._why(error)}{after}") from None
        try:
            return json.loads(body)
        except (ValueError, RecursionError):
            raise BenchError(f"{self.name}: answered something that is no JSON: {body[:40]!r}") from None

    def _why(self, error: RequestError) -> str:
        if error.reply:
            place = error.reply.headers.get("location", "")[:200]
            return f"answered {error.reason}" + (f" (to {place}; give that address if you trust it)" if place else "")
        waits = f"no answer within {self.knn.timeout:g} s, in {self.knn.retries + 1} attempts"
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
            if isinstance(sent, str) and len(sent) < 1.4 * MOST_BYTES and not self._kept(hit).is_file():
                try:
                    write_atomic(self._kept(hit), base64.b64decode(sent, validate=True), durable=False)
                except ValueError:
                    raise BenchError(f"{self.name}: answered a picture that is no base64") from None
            hits.append(hit)
        return sorted(hits, key=lambda hit: -hit.similarity)

    def _kept(self, hit: Hit) -> Path:
        """Return the file for a picture that the server itself sends."""
        name = hashlib.sha256(f"{self.address} {self.indice_name} {hit.key}".encode()).hexdigest()
        return self.scratch / f"{name}.served"


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
