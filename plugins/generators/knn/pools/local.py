"""Indexes in a folder: one that ``bench index build`` wrote, and one that ``clip-retrieval index`` wrote.

The first is searched exactly, and its pictures are read where they lie.

The second holds ``image.index`` (faiss, by autofaiss) and ``metadata/*.parquet``. Row ``i`` of the metadata, its files
joined in the order of their names, belongs to vector ``i``. Such a folder does not say which CLIP made it, so that only
the width of the embeddings can be checked (Beaumont 2022, clip-retrieval 2.45).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchbench.errors import BenchError, UsageError

from . import Hit, Missing, Options, Picture, decoded, layout
from .pictures import digest_of
from .sources import Reader


class LocalIndex:
    """A :class:`.Backend` over an index of ``bench index build``; opens its files when they are first needed."""

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
        vectors = layout.read_vectors(self.folder / layout.VECTORS, self.subject)
        if (vectors.d, vectors.ntotal) != (self.width, self.size):
            raise BenchError(
                f"{self.subject}: {layout.VECTORS} has {vectors.ntotal} rows of {vectors.d}, {layout.FACTS} says "
                f"{self.size} of {self.width}; build the index again"
            )
        return vectors

    @cached_property
    def _metadata(self) -> Any:
        table = layout.read_metadata(self.folder / layout.METADATA, self.subject)
        if table.num_rows != self.size:
            raise BenchError(
                f"{self.subject}: {layout.METADATA} has {table.num_rows} rows, {layout.FACTS} says {self.size}; "
                "build the index again"
            )
        return table

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
        nearest = nearest_rows(self.subject, self._vectors, embeddings, k)
        wanted = sorted({row for near in nearest for row, _ in near})
        keys, captions, urls = (
            dict(zip(wanted, self._metadata.column(name).take(wanted).to_pylist(), strict=True))
            for name in ("key", "caption", "url")
        )
        return [[Hit(keys[row], value, captions[row], urls[row]) for row, value in near] for near in nearest]

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
    neighbours = []
    for near, names in zip(similarities, rows, strict=True):
        order = sorted((-float(value), int(row)) for value, row in zip(near, names, strict=True) if row >= 0)
        neighbours.append([(row, -value) for value, row in order])
    return neighbours


VECTORS, METADATA = "image.index", "metadata"
#: A distributed autofaiss build writes a folder of this file and the lists.
_DISTRIBUTED = "populated.index"
_TEXT = ("image_path", "caption", "url")


class ClipRetrievalFolder:
    """A :class:`.Backend` over a folder of clip-retrieval; needs nothing of that package."""

    def __init__(self, name: str, folder: Path, options: Options) -> None:
        """Look at what is there; the index itself is opened by the first search.

        Raises:
            UsageError: the folder has an index and no metadata that can be read.
        """
        self.name, self.folder, self.options = name, folder, options
        self.subject = f"pool={name}"
        files = sorted((folder / METADATA).glob("*.parquet"))
        if not files:
            other = next((item.name for item in folder.glob("metadata*.hdf5")), None)
            has = f"only {other}" if other else "none"
            raise UsageError(
                f"{self.subject}: a clip-retrieval index without {METADATA}/*.parquet ({has}); copy the metadata that "
                "`clip-retrieval index` was given into it"
            )
        self._files = files

    @cached_property
    def _vectors(self) -> Any:
        path = self.folder / VECTORS
        if not path.is_dir():
            return layout.read_vectors(path, self.subject)
        return layout.read_vectors(path / _DISTRIBUTED, self.subject, "IO_FLAG_ONDISK_SAME_DIR")

    @property
    def width(self) -> int | None:
        """Length of the embeddings."""
        return int(self._vectors.d)

    @property
    def size(self) -> int | None:
        """Number of pictures."""
        return int(self._vectors.ntotal)

    @cached_property
    def _metadata(self) -> Any:
        import pyarrow as pa
        import pyarrow.parquet as pq
        from pyarrow.lib import ArrowException

        parts = []
        for file in self._files:
            try:
                with pq.ParquetFile(file) as opened:
                    names = [name for name in _TEXT if name in opened.schema_arrow.names]
                    part, rows = opened.read(columns=names), opened.metadata.num_rows
                columns = {
                    name: part.column(name).cast(pa.string()) if name in names else pa.nulls(rows, pa.string())
                    for name in _TEXT
                }
                parts.append(pa.table(columns))
            except (ArrowException, OSError) as error:
                reason = str(error).splitlines()[0]
                raise BenchError(f"{self.subject}: {METADATA}/{file.name} cannot be read ({reason})") from None
        table = pa.concat_tables(parts)
        if table.num_rows != self.size:
            raise BenchError(
                f"{self.subject}: {METADATA}/ has {table.num_rows} rows for {self.size} vectors; "
                "they are not of one index"
            )
        if all(table.column(name).null_count == table.num_rows for name in ("image_path", "url")):
            raise UsageError(
                f"{self.subject}: its metadata has neither image_path nor url, so that no picture can be found"
            )
        return table

    def search(self, embeddings: NDArray[np.float32], k: int) -> list[list[Hit]]:
        """Return the pictures that the index finds, best first; autofaiss' index may be approximate."""
        nearest = nearest_rows(self.subject, self._vectors, embeddings, k)
        return [[Hit(str(row), value, *self._texts_of(row)[1:]) for row, value in near] for near in nearest]

    def _texts_of(self, row: int) -> tuple[str | None, str | None, str | None]:
        image, caption, url = (self._metadata.column(name)[row].as_py() or None for name in _TEXT)
        return image, " ".join(caption.split())[:1000] if caption else None, url

    def pictures(self, hits: Sequence[Hit]) -> Iterator[Picture | Missing]:
        """Yield each picture from its file, or from its address where there is no file; see :class:`.Backend`."""
        from .server import linked_pictures

        links, kept = [], []
        for hit in hits:
            path = self._file(hit)
            kept.append(path)
            if path is None and hit.url:
                links.append((hit.key, hit.url))
        downloads = linked_pictures(links, self.options)
        for hit, path in zip(hits, kept, strict=True):
            if path is not None:
                yield self._read(hit, path)
            elif hit.url:
                yield next(downloads)
            else:
                image = self._texts_of(int(hit.key))[0]
                yield Missing(hit.key, "its file is not there and it has no url" if image else "neither file nor url")

    def _file(self, hit: Hit) -> Path | None:
        """Return the picture's file if there is one: as written, or below ``pictures=`` or the index's own folder."""
        image = self._texts_of(int(hit.key))[0]
        if not image:
            return None
        written = Path(image)
        bases = [base for base in (self.options.pictures, self.folder, self.folder.parent) if base is not None]
        options = [written] if written.is_absolute() else []
        options += [
            base / (written.relative_to(written.anchor) if written.is_absolute() else written) for base in bases
        ]
        options += [base / written.name for base in bases[:1] if self.options.pictures is not None]
        return next((path for path in options if path.is_file()), None)

    def _read(self, hit: Hit, path: Path) -> Picture | Missing:
        try:
            if path.stat().st_size > self.options.max_bytes:
                return Missing(hit.key, f"more than {self.options.max_bytes / 2**20:.0f} MiB")
            return decoded(hit.key, path.read_bytes(), self.options)
        except OSError as error:
            return Missing(hit.key, f"cannot be read: {error.strerror}")

    def describe(self) -> dict[str, Any]:
        """Return the size, and what autofaiss wrote about its index."""
        facts: dict[str, Any] = {"kind": "clip-retrieval", "size": self.size, "width": self.width, "clip": None}
        try:
            held = json.loads((self.folder / "image.json").read_text("utf-8"))
            if isinstance(held, dict) and isinstance(held.get("index_key"), str):
                facts["index_key"] = held["index_key"]
        except (OSError, ValueError):
            pass
        return facts
