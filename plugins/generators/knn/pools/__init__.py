"""One interface to every pool of pictures, wherever it lies and whoever built its index.

A pool is asked twice: ``search`` turns embeddings into hits, which name a picture and say how near it is, and
``pictures`` turns hits into pixels. Between the two a caller drops what it does not want, so that nothing is decoded
or downloaded for nothing.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from benchbench.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: 64 megapixels: a phone's largest photo, and 192 MiB decoded.
MOST_PIXELS = 8192 * 8192
#: 32 MiB: far above any photo on a page, far below what fills a disk.
MOST_BYTES = 32 * 2**20
#: Any of them next to ``index.json`` distinguishes an index from a folder of pictures with a file of that name.
_INDEX_FILES = ("metadata.parquet", "vectors.faiss")


@dataclass(frozen=True)
class Hit:
    """One picture that a search returned.

    Attributes:
        key: names the picture within its pool, the same in every search.
        similarity: cosine between the query and the picture, in [-1, 1].
        caption: the text that the pool has for it.
        url: where it came from, for pools that know.
    """

    key: str
    similarity: float
    caption: str | None = None
    url: str | None = None


@dataclass(frozen=True)
class Picture:
    """A decoded picture.

    Attributes:
        key: the key of its hit.
        pixels: uint8 ``(H, W, 3)``, RGB, any size from 1x1.
    """

    key: str
    pixels: NDArray[np.uint8]


@dataclass(frozen=True)
class Missing:
    """A picture that a pool names and cannot give: a dead link, a damaged file.

    Attributes:
        key: the key of its hit.
        reason: a few words, such as ``"truncated"`` or ``"HTTP 404"``; without the key.
    """

    key: str
    reason: str


def decoded(key: str, content: bytes, options: Options, before: str = "") -> Picture | Missing:
    """Decode the bytes of a picture; ``before`` starts the reason why they are none."""
    from .pictures import PictureError, decode

    try:
        return Picture(key, decode(content, max_pixels=options.max_pixels))
    except PictureError as problem:
        return Missing(key, f"{before}{problem}")


@dataclass(frozen=True)
class Options:
    """How a pool is opened; each backend reads what concerns it.

    Attributes:
        pictures: where a local index finds its pictures, when not where they were when it was built.
        indice_name: which index of a server; ``None`` for the only or first one.
        allow_private: whether pictures may be downloaded from private and loopback addresses.
        timeout_s: longest silence of a server or a download, in seconds.
        retries: further attempts after a failed request.
        max_bytes: largest picture that is downloaded or read, in bytes.
        max_pixels: largest picture that is decoded, width times height.
        workers: downloads at the same time; at most two of them from one host.
        deadline_s: longest time that one request or one download may take in all, in seconds; a longer
            ``timeout_s`` (for a server, times its attempts) takes its place.
        scratch: folder that keeps what was fetched, so that a killed run does not fetch it again; ``None`` for none.
        deduplicate: whether a server drops near-copies; it does so after taking ``k``, so that fewer come back.
        safety_model: whether a server drops what it holds for pornography, where it was started with that model.
        violence_detector: whether a server drops what it holds for violence, where it was started with that detector.
    """

    pictures: Path | None = None
    indice_name: str | None = None
    allow_private: bool = False
    timeout_s: float = 20.0
    retries: int = 2
    max_bytes: int = MOST_BYTES
    max_pixels: int = MOST_PIXELS
    workers: int = 16
    deadline_s: float = 60.0
    scratch: Path | None = None
    deduplicate: bool = False
    safety_model: bool = True
    violence_detector: bool = True


@runtime_checkable
class Backend(Protocol):
    """A pool that can be searched.

    Attributes:
        name: the pool as the user wrote it, the start of messages.
    """

    name: str

    @property
    def width(self) -> int | None:
        """Length of the embeddings it was indexed by; ``None`` when only a search would show it."""
        ...

    @property
    def size(self) -> int | None:
        """How many pictures it has; ``None`` when unknown."""
        ...

    def search(self, embeddings: NDArray[np.float32], k: int) -> list[list[Hit]]:
        """Return the nearest pictures of each query, best first; fewer than ``k`` where the pool has no more.

        Args:
            embeddings: float32 ``(n, width)``, rows of length 1.
            k: how many for each query, at least 1.

        Raises:
            BenchError: the width is another one, or the pool does not answer; one line.
        """
        ...

    def pictures(self, hits: Sequence[Hit]) -> Iterator[Picture | Missing]:
        """Yield the picture of each hit, in the order of the hits, or why it cannot be had.

        Raises:
            BenchError: the pool as a whole is no longer what was indexed; one line.
        """
        ...

    def describe(self) -> dict[str, Any]:
        """Return JSON facts for the record: ``kind``, ``size``, ``clip`` where known, licence, ..."""
        ...


def is_address(pool: str) -> bool:
    """Return whether a pool is the address of a retrieval server."""
    return pool.lower().startswith(("http://", "https://"))


def kind_of(folder: Path) -> str:
    """Return what a folder is.

    Returns:
        ``"index"``, be it whole or damaged; ``"clip-retrieval"``; ``"unfinished"``, what a build that was killed has
        left; or ``"pictures"`` for anything else.
    """
    if (folder / "index.json").is_file() and any((folder / name).is_file() for name in _INDEX_FILES):
        return "index"
    if (folder / "image.index").exists():
        return "clip-retrieval"
    return "unfinished" if (folder / ".building").is_dir() else "pictures"


def unfinished(subject: str, folder: Path) -> UsageError:
    """Return the error for a folder in which a build was killed."""
    again = f"bench index build POOL --out {shlex.quote(str(folder))}"
    return UsageError(f"{subject}: an unfinished index; run `{again}` again to finish it")


def open_backend(
    pool: str, folder: Path | None, clip: Mapping[str, str] | None = None, options: Options | None = None
) -> Backend:
    """Open a pool for searching.

    Args:
        pool: as the user wrote it: a name, a folder or the address of a server; the start of messages.
        folder: where a name or folder lies on this machine; ``None`` for an address.
        clip: ``{"name", "identity"}`` of the CLIP that embeds the queries, see ``clip_identity`` of the loader;
            an index that was built with another one is refused. ``None`` skips the check.
        options: see :class:`Options`.

    Raises:
        UsageError: the folder is no index, or was built with another CLIP; says what to do.
        MissingError: a package that it takes is not installed, or the pictures are not where the index says.
        BenchError: the index is damaged.
    """
    chosen = options or Options()
    if is_address(pool):
        from .server import ServerPool

        return ServerPool(pool, chosen)
    if folder is None:
        raise UsageError(f"pool={pool}: neither a folder nor the address of a server (http://...)")
    kind = kind_of(folder)
    if kind == "index":
        from .local import LocalIndex

        return LocalIndex(pool, folder, clip, chosen)
    if kind == "clip-retrieval":
        from .local import ClipRetrievalFolder

        return ClipRetrievalFolder(pool, folder, chosen)
    if kind == "unfinished":
        raise unfinished(f"pool={pool}", folder)
    raise UsageError(
        f"pool={pool}: has no index; build one with `bench index build {pool} --out {pool.rstrip('/')}-index` and give "
        "that folder as pool"
    )
