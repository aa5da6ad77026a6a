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
from typing import TYPE_CHECKING, Any, Protocol

from benchbench.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .. import KNN

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


class Backend(Protocol):
    """A pool that can be searched."""

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

    def pictures(self, hits: Sequence[Hit]) -> Iterator[NDArray[np.uint8] | str]:
        """Yield the picture of each hit, uint8 RGB ``(H, W, 3)`` of any size from 1x1, in the order of the hits.

        For one that the pool names and cannot give, as behind a dead link or in a damaged file, yield why: a few words,
        such as ``"truncated"`` or ``"HTTP 404"``, without the key.

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


def open_backend(knn: KNN, folder: Path | None, scratch: Path, clip: Mapping[str, str] | None = None) -> Backend:
    """Open a pool for searching.

    Args:
        knn: its ``pool`` is the start of messages; each backend reads the parameters that concern it.
        folder: where a name or folder lies on this machine; ``None`` for an address.
        scratch: folder that keeps what was fetched, so that a killed run does not fetch it again.
        clip: ``{"name", "identity"}`` of the CLIP that embeds the queries, see ``clip_identity`` of the loader;
            an index that was built with another one is refused. ``None`` skips the check.

    Raises:
        UsageError: the folder is no index, or was built with another CLIP; says what to do.
        MissingError: a package that it takes is not installed, or the pictures are not where the index says.
        BenchError: the index is damaged.
    """
    if folder is None:
        from .server import ServerPool

        return ServerPool(knn, scratch)
    pool, kind = knn.pool, kind_of(folder)
    if kind == "index":
        from .local import LocalIndex

        return LocalIndex(knn, folder, clip)
    if kind == "clip-retrieval":
        from .local import ClipRetrievalFolder

        return ClipRetrievalFolder(knn, folder, scratch)
    if kind == "unfinished":
        raise unfinished(f"pool={pool}", folder)
    raise UsageError(
        f"pool={pool}: has no index; build one with `bench index build {pool} --out {pool.rstrip('/')}-index` and give "
        "that folder as pool"
    )
