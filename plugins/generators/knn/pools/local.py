"""Indexes in a folder: one that ``bench index build`` wrote, and one that ``clip-retrieval index`` wrote.

The first is searched exactly, and its pictures are read where they lie.

The second holds ``image.index`` (faiss, by autofaiss) and ``metadata/*.parquet``. Row ``i`` of the metadata, its files
joined in the order of their names, belongs to vector ``i``. Such a folder does not say which CLIP made it, so that only
the width of the embeddings can be checked (Beaumont 2022, clip-retrieval 2.45).
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchbench.errors import BenchError, UsageError
from benchbench.files import expanded

from . import Hit, layout
from .pictures import decoded, digest_of
from .sources import Reader, one_line

if TYPE_CHECKING:
    from .. import KNN


class LocalIndex:
    """A :class:`.Backend` over an index of ``bench index build``; opens its files when they are first needed."""

    def __init__(self, knn: KNN, folder: Path, clip: Mapping[str, str] | None) -> None:
        """Read what the index is.

        Raises:
            UsageError: it is damaged, or was built with another CLIP.
        """
        self.knn, self.folder = knn, folder
        self.subject = f"pool={knn.pool}"
        self.facts = layout.read_facts(folder, self.subject)
        layout.refuse_other_clip(self.facts, clip, self.subject)
        layout.check_files(folder, self.facts, self.subject)
        self.size: int | None = self.facts["count"]

    @cached_property
    def _vectors(self) -> Any:
        vectors = layout.read_vectors(self.folder / layout.VECTORS, self.subject)
        width = self.facts["width"]
        if (vectors.d, vectors.ntotal) != (width, self.size):
            raise BenchError(
                f"{self.subject}: {layout.VECTORS} has {vectors.ntotal} rows of {vectors.d}, {layout.FACTS} says "
                f"{self.size} of {width}; build the index again"
            )
        return vectors

    @cached_property
    def _metadata(self) -> Any:
        from pyarrow import ArrowException
        from pyarrow.parquet import read_table

        try:
            table = read_table(self.folder / layout.METADATA, columns=list(layout.COLUMNS))
        except (ArrowException, OSError) as error:
            why = f"cannot be read ({str(error).splitlines()[0]}); build the index again"
            raise BenchError(f"{self.subject}: {layout.METADATA} {why}") from None
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
        root = layout.find_pictures(self.folder, self.facts, self.knn.pictures, self.subject)
        return Reader(root, source["kind"], source.get("column", ""))

    def search(self, embeddings: NDArray[np.float32], k: int) -> list[list[Hit]]:
        """Return the exact nearest pictures, equal similarities in the order of the index; see :class:`.Backend`."""
        nearest = nearest_rows(self.subject, self._vectors, embeddings, k)
        rows = [row for near in nearest for row, _ in near]
        texts = iter(self._metadata.select(["key", "caption", "url"]).take(np.array(rows, np.int64)).to_pylist())
        return [[Hit(similarity=value, **next(texts)) for _, value in near] for near in nearest]

    def pictures(self, hits: Sequence[Hit]) -> Iterator[NDArray[np.uint8] | str]:
        """Yield the pictures; see :class:`.Backend`. They are compared with what was indexed, byte for byte."""
        rows = np.array([self._rows[hit.key] for hit in hits], np.int64)
        places = self._metadata.select(["key", "file", "at", "size", "digest"]).take(rows).to_pylist()
        for place in places:
            digest = place.pop("digest")
            content = self._content(**place)
            if digest_of(content) != digest:
                raise BenchError(
                    f"{self.subject}: '{place['key']}' is no longer the picture that was indexed; build the index again"
                )
            yield decoded(content)

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
            "width": facts["width"],
            "clip": {**facts["clip"], "name": _without_place(str(facts["clip"].get("name")))},
            "source": facts["source"]["kind"],
            "duplicates": facts["duplicates"],
            "broken": facts["broken"]["count"],
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
    if embeddings.shape[1] != vectors.d:
        raise BenchError(
            f"{subject}: its embeddings have width {vectors.d}, the queries {embeddings.shape[1]}; "
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


class ClipRetrievalFolder:
    """A :class:`.Backend` over a folder of clip-retrieval; needs nothing of that package."""

    def __init__(self, knn: KNN, folder: Path, scratch: Path) -> None:
        """Look at what is there; the index itself is opened by the first search.

        Raises:
            UsageError: the folder has an index and no metadata that can be read.
        """
        self.knn, self.folder, self.scratch = knn, folder, scratch
        self.subject = f"pool={knn.pool}"
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
    def size(self) -> int | None:
        """Number of pictures."""
        return int(self._vectors.ntotal)

    @cached_property
    def _metadata(self) -> Any:
        import pyarrow as pa
        from pyarrow.parquet import read_table

        schema = pa.schema([(name, pa.string()) for name in ("image_path", "caption", "url")])
        parts = []
        for file in self._files:
            try:
                parts.append(read_table(file, schema=schema))  # a column that a file lacks is empty
            except (pa.ArrowException, OSError) as error:
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
        return [[self._hit(row, value) for row, value in near] for near in nearest]

    def _hit(self, row: int, similarity: float) -> Hit:
        caption, url = (self._metadata.column(name)[row].as_py() or None for name in ("caption", "url"))
        return Hit(str(row), similarity, one_line(caption), url)

    def pictures(self, hits: Sequence[Hit]) -> Iterator[NDArray[np.uint8] | str]:
        """Yield each picture from its file, or from its address where there is no file; see :class:`.Backend`."""
        from .server import collected, downloader_of

        return collected(hits, [self._file(hit) for hit in hits], downloader_of(self.knn, self.scratch))

    def _file(self, hit: Hit) -> Path | str:
        """Return a picture's file, as written or below ``pictures=`` or the folder of the index, or why it has none."""
        image = self._metadata.column("image_path")[int(hit.key)].as_py()
        if not image:
            return "neither file nor url"
        written = Path(image)
        options = [written] if written.is_absolute() else []
        elsewhere = [expanded(self.knn.pictures)] if self.knn.pictures else []
        for base in (*elsewhere, self.folder, self.folder.parent):
            options.append(base / (written.relative_to(written.anchor) if written.is_absolute() else written))
        options += [base / written.name for base in elsewhere]
        return next((path for path in options if path.is_file()), "its file is not there and it has no url")

    def describe(self) -> dict[str, Any]:
        """Return the size, and what autofaiss wrote about its index."""
        width = int(self._vectors.d)
        facts: dict[str, Any] = {"kind": "clip-retrieval", "size": self.size, "width": width, "clip": None}
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            facts["index_key"] = str(json.loads((self.folder / "image.json").read_text("utf-8"))["index_key"])
        return facts
