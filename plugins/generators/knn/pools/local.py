"""An index that ``bench index build`` wrote, searched exactly; its pictures are read where they lie."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchbench.errors import BenchError

from . import Hit, Missing, Options, Picture, decoded, layout
from .pictures import digest_of
from .sources import Reader


class LocalIndex:
    """A :class:`.backend.Backend` over a folder of :mod:`.layout`; opens its files when they are first needed."""

    def __init__(self, name: str, folder: Path, clip: Mapping[str, str] | None, options: Options) -> None:
        """Read what the index is.

        Raises:
            UsageError: it is damaged, or was built with another CLIP.
        """
        self.name, self.folder, self.options = name, folder, options
        self.subject = f"pool={name}"
        self.facts = layout.read_facts(folder, self.subject)
        layout.refuse_other_clip(self.facts, clip, self.subject)
        layout.check_files(folder, self.facts, self.subject)
        self.width: int | None = self.facts["width"]
        self.size: int | None = self.facts["count"]

    @cached_property
    def _vectors(self) -> Any:
        found = layout.read_vectors(self.folder / layout.VECTORS, self.subject)
        if (found.d, found.ntotal) != (self.width, self.size):
            raise BenchError(
                f"{self.subject}: {layout.VECTORS} has {found.ntotal} rows of {found.d}, {layout.FACTS} says "
                f"{self.size} of {self.width}; build the index again"
            )
        return found

    @cached_property
    def _metadata(self) -> Any:
        found = layout.read_metadata(self.folder / layout.METADATA, self.subject)
        if found.num_rows != self.size:
            raise BenchError(
                f"{self.subject}: {layout.METADATA} has {found.num_rows} rows, {layout.FACTS} says {self.size}; "
                "build the index again"
            )
        return found

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {key: row for row, key in enumerate(self._metadata.column("key").to_pylist())}

    @cached_property
    def _reader(self) -> Reader:
        source = self.facts["source"]
        root = layout.find_pictures(self.folder, self.facts, self.options.pictures, self.subject)
        return Reader(root, source["kind"], source.get("column", ""), self.options.max_bytes)

    def search(self, embeddings: NDArray[np.float32], k: int) -> list[list[Hit]]:
        """Return the exact nearest pictures, equal similarities in the order of the index; see :class:`.Backend`."""
        found = nearest_rows(self.subject, self._vectors, embeddings, k)
        wanted = sorted({row for near in found for row, _ in near})
        keys, captions, urls = (
            dict(zip(wanted, self._metadata.column(name).take(wanted).to_pylist(), strict=True))
            for name in ("key", "caption", "url")
        )
        return [[Hit(keys[row], value, captions[row], urls[row]) for row, value in near] for near in found]

    def pictures(self, hits: Sequence[Hit]) -> Iterator[Picture | Missing]:
        """Yield the pictures; see :class:`.Backend`. They are compared with what was indexed, byte for byte."""
        table = self._metadata
        rows = []
        for hit in hits:
            if hit.key not in self._rows:
                raise BenchError(f"{self.subject}: has no picture '{hit.key}'")
            rows.append(self._rows[hit.key])
        places = {
            name: table.column(name).take(rows).to_pylist() if rows else [] for name in ("file", "at", "size", "digest")
        }
        for number, hit in enumerate(hits):
            file, at, size, digest = (places[name][number] for name in ("file", "at", "size", "digest"))
            content = self._content(hit.key, file, at, size)
            if digest_of(content) != digest:
                raise BenchError(
                    f"{self.subject}: '{hit.key}' is no longer the picture that was indexed; build the index again"
                )
            yield decoded(hit.key, content, self.options)

    def _content(self, key: str, file: str, at: int, size: int) -> bytes:
        reader = self._reader
        try:
            return reader.read(file, at, size)
        except OSError as error:
            why = "is no longer there" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"
            raise BenchError(
                f"{self.subject}: '{key}' {why} below {reader.root}; put it back or build the index again"
            ) from None
        except Exception as error:  # a parquet file that was changed may fail in any way
            raise BenchError(f"{self.subject}: '{key}' cannot be read ({str(error).splitlines()[0]})") from None

    def describe(self) -> dict[str, Any]:
        """Return what the index says of itself; no path, since a record is read elsewhere."""
        facts = self.facts
        return {
            "kind": "index",
            "size": self.size,
            "width": self.width,
            "clip": {**facts["clip"], "name": _without_place(str(facts["clip"].get("name")))},
            "source": facts["source"]["kind"],
            "duplicates": facts.get("duplicates"),
            "broken": (facts.get("broken") or {}).get("count"),
        }


def _without_place(name: str) -> str:
    """Return the name of a CLIP as a record may have it: of a folder on some machine its last part alone."""
    is_place = name.startswith((".", "~")) or Path(name).is_absolute()
    return Path(name).name if is_place else name


def nearest_rows(subject: str, vectors: Any, embeddings: NDArray[np.float32], k: int) -> list[list[tuple[int, float]]]:
    """Search a faiss index; return row and similarity of each neighbour, best first, equal ones in the index's order.

    Raises:
        BenchError: the queries have another width than the index.
    """
    if embeddings.ndim != 2 or embeddings.shape[1] != vectors.d:
        raise BenchError(
            f"{subject}: its embeddings have width {vectors.d}, the queries {embeddings.shape[-1]}; "
            "give the CLIP that the index was built with"
        )
    similarities, rows = vectors.search(np.ascontiguousarray(embeddings, dtype=np.float32), k)
    found = []
    for near, names in zip(similarities, rows, strict=True):
        order = sorted((-float(value), int(row)) for value, row in zip(near, names, strict=True) if row >= 0)
        found.append([(row, -value) for value, row in order])
    return found
