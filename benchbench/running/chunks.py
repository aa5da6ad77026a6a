"""``GrowingSet``: the images of one step as they arrive, chunk by chunk, each kept for good at once and written once.

The pixels of all chunks lie in one file of the scratch folder that grows and becomes the artifact's ``images.npy`` by a
link, so that 84 GB of images take 84 GB at every moment. Next to it lies a small file for each chunk::

    SCRATCH/pixels-of-chunks.npy        header, then the pixels of chunk after chunk
    SCRATCH/chunk-000000-CHECKSUM.arrow labels, digests, origins, and where its pixels are, with their sha256

A chunk counts once its small file has its name, which holds the checksum of the file: a kill or a power cut at any
moment leaves chunks that are whole and costs the one that was being written.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import numpy as np

from ..errors import BenchError
from ..files import flush, flush_folder, write_atomic
from ..plugins import origins as tables
from ..plugins.images import ImageSet, npy_header, pieces, save_facts
from ..plugins.origins import Origins
from ..statistics.overlap import DIGESTS, digests

if TYPE_CHECKING:
    import pyarrow as pa

#: Not ``images.npy`` in the scratch folder as well: a generator may keep images of its own there.
_PIXELS, _IMAGES, _SUFFIX = "pixels-of-chunks.npy", "images.npy", ".arrow"
#: Bytes that are read at once to compute a checksum.
_BLOCK = 1 << 22


class _Chunk(NamedTuple):
    """A finished chunk: its file, its images from ``start`` to ``stop``, and their shape and classes."""

    file: Path
    start: int
    stop: int
    side: tuple[int, ...]
    classes: list[str]


class GrowingSet:
    """The chunks of one step; the lock of its key is held. ``len`` is the number of images."""

    def __init__(self, scratch: Path, progress: Callable[[list[Path]], Iterable[Path]] = iter) -> None:
        """Look for the chunks that an earlier run left in ``scratch``; what follows a damaged one is forgotten.

        Args:
            scratch: survives a kill; need not exist.
            progress: yields the files that it is given and shows how far that is.
        """
        self.folder, self.pixels = scratch, scratch / _PIXELS
        self._chunks: list[_Chunk] = []
        if found := self._files():
            for place, file in enumerate(progress(found)):
                chunk = self._whole(place, file)
                if chunk is None:
                    break
                self._chunks.append(chunk)
            self.cut(len(self._chunks))

    @property
    def finished(self) -> int:
        """How many chunks are whole."""
        return len(self._chunks)

    def __len__(self) -> int:
        return self._chunks[-1].stop if self._chunks else 0

    def cut(self, count: int) -> None:
        """Keep the first ``count`` chunks only."""
        kept = {chunk.file for chunk in self._chunks[:count]}
        for file in reversed(self._files()):
            if file not in kept:
                file.unlink()
        del self._chunks[count:]

    def add(self, part: ImageSet, before_keeping: Callable[[Path], None] = lambda path: None) -> None:
        """Append a chunk.

        Args:
            part: its images.
            before_keeping: called with the chunk's file before it appears; raises when it must not.

        Raises:
            ValueError: its images have another size, or its classes differ from those of the first one.
            BenchError: somebody removed the chunks before.
            OSError: the disk is full or refuses; the chunks before stay whole.
        """
        side, classes = tuple(part.images.shape[1:]), list(part.classes)
        if self._chunks and (self._chunks[0].side, self._chunks[0].classes) != (side, classes):
            raise ValueError(f"chunk {self.finished} has images {side} of {len(classes)} classes, unlike the first")
        start, pixels = len(self), hashlib.sha256()
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._opened() as stream:
            stream.seek(_offset(start, side))
            stream.truncate()
            for piece in pieces(part.images):
                content = np.ascontiguousarray(piece).data
                stream.write(content)
                pixels.update(content)
            stream.flush()
            flush(stream.fileno())
        facts = {"start": start, "side": side, "classes": classes, "sha256": pixels.hexdigest()}
        packed = _packed(part, facts)
        name = f"chunk-{self.finished:06d}-{hashlib.sha256(packed).hexdigest()[:32]}{_SUFFIX}"
        before_keeping(self.folder / name)
        write_atomic(self.folder / name, packed)
        flush_folder(self.folder)
        self._chunks.append(_Chunk(self.folder / name, start, start + len(part), side, classes))

    def finish(self, target: Path) -> int:
        """Write the whole set into ``target``, a folder of the same file system, and return its number of images.

        The images are linked, and stay in the scratch folder until that is removed: a kill costs nothing.

        Raises:
            BenchError: somebody removed the chunks.
            ValueError: there is no chunk.
        """
        if not self._chunks:
            raise ValueError("a generator must yield at least one set of images")
        first, total = self._chunks[0], len(self)
        with self._opened() as stream:
            stream.write(npy_header((total, *first.side)))
            stream.truncate(_offset(total, first.side))
            stream.flush()
            flush(stream.fileno())
        try:
            os.link(self.pixels, target / _IMAGES)
        except OSError:  # a file system without links
            shutil.copyfile(self.pixels, target / _IMAGES)
        labels, hashes, schemas = [], [], []
        for table in self._tables():
            labels.append(table.column(0).to_numpy().copy())  # a view would keep the whole file
            hashes.append(table.column(1).to_numpy().copy())
            schemas.append(_origins(table).schema)
        save_facts(target, np.concatenate(labels), first.classes)
        np.save(target / DIGESTS, np.concatenate(hashes), allow_pickle=False)
        schema = tables.common_schema(schemas)
        if schema.names:
            rows = (tables.fitted(_origins(table), len(table), schema) for table in self._tables())
            tables.save(target / tables.PARQUET, rows, schema)
        return total

    def _tables(self) -> Iterator[pa.Table]:
        """Open the small file of each chunk; one after the other, as origins may take more memory than the images."""
        return (_unpacked(chunk.file) for chunk in self._chunks)

    def _opened(self) -> BinaryIO:
        """Open the file of all pixels; one that lacks those of a chunk would be filled with black."""
        there = self.pixels.stat().st_size if self.pixels.exists() else 0
        if self._chunks and there < _offset(len(self), self._chunks[0].side):
            raise BenchError(f"{self.pixels}: was removed or cut while the step ran; run again")
        return self.pixels.open("r+b" if self.pixels.exists() else "w+b")

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob(f"chunk-*{_SUFFIX}"))

    def _whole(self, place: int, file: Path) -> _Chunk | None:
        """Return a chunk, ``None`` if it is not the next one or is not as it was written."""
        number, _, checksum = file.stem.removeprefix("chunk-").partition("-")
        try:
            content = file.read_bytes()
            if number != f"{place:06d}" or hashlib.sha256(content).hexdigest()[:32] != checksum:
                return None
            table = _unpacked(file)
            facts = json.loads(table.schema.metadata[b"chunk"])
            side, start = tuple(facts["side"]), facts["start"]
            begin, end = _offset(start, side), _offset(start + len(table), side)
            if start != len(self) or _sum(self.pixels, begin, end) != facts["sha256"]:
                return None
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return _Chunk(file, start, start + len(table), side, facts["classes"])


def _offset(count: int, side: tuple[int, ...]) -> int:
    return len(npy_header((count, *side))) + count * int(np.prod(side))


def _sum(file: Path, begin: int, end: int) -> str:
    """Return the sha256 of a range of a file; of a shorter one, that of what is there."""
    summed = hashlib.sha256()
    with file.open("rb") as stream:
        stream.seek(begin)
        while begin < end and (block := stream.read(min(_BLOCK, end - begin))):
            summed.update(block)
            begin += len(block)
    return summed.hexdigest()


def _packed(part: ImageSet, facts: dict[str, Any]) -> bytes:
    """Return a chunk's file: labels, digests, then a column for each name of the origins."""
    import pyarrow as pa

    known = Origins.of(part.origins)
    fields = [pa.field("label", pa.int64()), pa.field("digest", pa.uint64())]
    columns: list[Any] = [pa.array(part.labels), pa.array(digests(part))]
    if known:
        fields += list(known.table.schema)
        columns += known.table.columns
    schema = pa.schema(fields, metadata={"chunk": json.dumps(facts)})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, schema) as writer:
        writer.write_table(pa.table(columns, schema=schema))
    return bytes(sink.getvalue())


def _unpacked(file: Path) -> pa.Table:
    import pyarrow as pa

    return pa.ipc.open_file(pa.py_buffer(file.read_bytes())).read_all()


def _origins(table: pa.Table) -> pa.Table:
    return table.select(range(2, table.num_columns))
