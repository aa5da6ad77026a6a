"""Lists and reads a pool of pictures: a folder tree, WebDataset tars or parquet files with the bytes inside.

Listing names every picture in a fixed order without decoding one; reading gives the bytes of one by its entry. Nothing
is ever unpacked to disk, so that a tar member with a hostile name is a string like any other.
"""

from __future__ import annotations

import itertools
import json
import os
import tarfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchbench.errors import BenchError, UsageError

from ....datasets._listing import EXTENSIONS
from . import MOST_BYTES, kind_of
from .layout import METADATA

#: Columns of a parquet file that hold encoded pictures: img2dataset names the column by the format.
BYTES_COLUMNS = ("jpg", "png", "webp", "jpeg", "image")
#: Bytes of encoded pictures that a reader keeps.
MOST_KEPT = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Entry:
    """One picture of a pool, not yet read.

    Attributes:
        key: names it within the pool.
        file: the file that holds it, a POSIX path below the pool.
        at: where in that file: the offset of a tar member in bytes, the row of a parquet file, 0 for a file itself.
        size: its bytes; 0 for a parquet row, which is known only when it is read.
        caption: its text, when that costs nothing to know; else ``caption_at`` says where it is.
        url: where it came from, where the pool knows.
        caption_at: file, offset and size of its text; ``None`` for none.
    """

    key: str
    file: str
    at: int
    size: int
    caption: str | None = None
    url: str | None = None
    caption_at: tuple[str, int, int] | None = None


@dataclass(frozen=True)
class Listing:
    """The pictures of a pool in a fixed order.

    Attributes:
        root: the pool's folder.
        kind: ``"folder"``, ``"webdataset"`` or ``"parquet"``.
        entries: the pictures.
        files: each file that was looked at with its size in bytes, modification and change time in ns, sorted.
        column: the parquet column with the bytes, else ``""``.
    """

    root: Path
    kind: str
    entries: Sequence[Entry]
    files: Sequence[tuple[str, int, int, int]]
    column: str = ""


def list_pool(root: Path, subject: str) -> Listing:
    """List a pool.

    Args:
        root: its folder.
        subject: the start of every message.

    Raises:
        UsageError: no such folder, no pictures in it, or a shard that cannot be read; names it.
    """
    if not root.is_dir():
        what = "is a file" if root.is_file() else "no such folder"
        raise UsageError(f"{subject}: {what}; give a folder of pictures, WebDataset tars or parquet files")
    listing = _parquet(root, subject) or _webdataset(root, subject) or _tree(root)
    if not listing.entries:
        raise UsageError(
            f"{subject}: no pictures in it; looked for {' '.join(EXTENSIONS)} files, NNNNN.tar (WebDataset) and "
            "parquet files with the bytes (img2dataset)"
        )
    return listing


def _stat(root: Path, name: str) -> tuple[str, int, int, int]:
    """Return name, size, modification and change time; zeros for a link to nothing, which reading will find broken."""
    try:
        status = (root / name).stat()
    except OSError:
        return name, 0, 0, 0
    return name, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _tree(root: Path) -> Listing:
    """List the image files of a tree, sorted by path; hidden ones, links that lead nowhere and indexes left out."""
    names: list[str] = []
    texts: set[str] = set()
    for folder, folders, files in os.walk(root, followlinks=False):
        here = Path(folder)
        if here != root and kind_of(here) == "index":
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in files:
            if name.startswith("."):
                continue
            path = (here / name).relative_to(root).as_posix()
            if name.lower().endswith(EXTENSIONS):
                names.append(path)
            elif name.endswith(".txt"):
                texts.add(path)
    names.sort()
    known = [_stat(root, name) for name in names]
    entries = []
    for name, size, _, _ in known:
        sibling = f"{name.rpartition('.')[0]}.txt"
        text = (sibling, 0, _stat(root, sibling)[1]) if sibling in texts else None
        entries.append(Entry(name, name, 0, size, caption_at=text))
    return Listing(root, "folder", entries, [*known, *(_stat(root, name) for name in sorted(texts))])


def _webdataset(root: Path, subject: str) -> Listing | None:
    """List the members of the tars: ``key.jpg`` with its ``key.txt`` or ``key.json``, in the tars' order."""
    shards = sorted(path.name for path in root.glob("*.tar") if path.is_file() and not path.name.startswith("."))
    if not shards:
        return None
    entries: list[Entry] = []
    for shard in shards:
        try:
            with tarfile.open(root / shard, "r:") as tar:
                entries += _members(shard, tar)
        except (tarfile.TarError, OSError, EOFError, ValueError) as error:
            raise UsageError(f"{subject}: {shard} is no readable tar ({error}); fetch it again") from None
    return Listing(root, "webdataset", entries, [_stat(root, shard) for shard in shards])


def _members(shard: str, tar: tarfile.TarFile) -> Iterator[Entry]:
    """Yield the pictures of one tar; only regular members count, so that links and devices lead nowhere."""
    pictures: list[tuple[str, int, int]] = []
    captions: dict[tuple[str, str], tuple[int, int]] = {}
    for member in tar:
        if not member.isreg():
            continue
        folder, _, base = member.name.rpartition("/")
        stem, _, ending = base.partition(".")  # WebDataset: the key ends at the first dot
        key = f"{folder}/{stem}" if folder else stem
        if base.startswith("."):
            continue
        if f".{ending.lower()}" in EXTENSIONS:
            pictures.append((key, member.offset_data, member.size))
        elif ending.lower() in ("txt", "json"):
            captions[key, ending.lower()] = (member.offset_data, member.size)
    seen: Counter[str] = Counter()
    for key, at, size in pictures:
        seen[key] += 1
        name = f"{shard}/{key}" if seen[key] == 1 else f"{shard}/{key}#{seen[key]}"
        text = captions.get((key, "txt")) or captions.get((key, "json"))
        yield Entry(name, shard, at, size, caption_at=(shard, *text) if text else None)


def _parquet(root: Path, subject: str) -> Listing | None:
    """List the rows of parquet files that hold the bytes; files of metadata alone are passed over."""
    shards = sorted(path.name for path in root.glob("*.parquet") if not path.name.startswith((".", METADATA)))
    if not shards:
        return None
    import pyarrow.parquet as pq
    from pyarrow.lib import ArrowException

    entries: list[Entry] = []
    used: list[str] = []
    column = ""
    for shard in shards:
        try:
            with pq.ParquetFile(root / shard) as file:
                names = list(file.schema_arrow.names)
                holder = next((name for name in BYTES_COLUMNS if name in names and _holds_bytes(file, name)), "")
                if not holder:
                    continue
                if column and holder != column:
                    raise UsageError(
                        f"{subject}: {shard} has its pictures in column '{holder}', {used[0]} in '{column}'"
                    )
                column = holder
                wanted = [name for name in ("key", "caption", "text", "url") if name in names]
                rows = file.read(columns=wanted).to_pylist() if wanted else [{}] * file.metadata.num_rows
        except (ArrowException, OSError) as error:
            reason = str(error).splitlines()[0]
            raise UsageError(f"{subject}: {shard} is no readable parquet file ({reason}); fetch it again") from None
        used.append(shard)
        entries += _rows(shard, rows)
    return Listing(root, "parquet", entries, [_stat(root, shard) for shard in used], column) if used else None


def _holds_bytes(file: Any, column: str) -> bool:
    import pyarrow as pa

    kind = file.schema_arrow.field(column).type
    if pa.types.is_struct(kind):
        return any(kind.field(place).name == "bytes" for place in range(kind.num_fields))
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _rows(shard: str, rows: Sequence[Mapping[str, Any]]) -> Iterator[Entry]:
    seen: set[str] = set()
    for place, row in enumerate(rows):
        key = str(row["key"]) if row.get("key") is not None else str(place)
        key = key if key not in seen else f"{key}#{place}"
        seen.add(key)
        caption, url = row.get("caption", row.get("text")), row.get("url")
        yield Entry(f"{shard}/{key}", shard, place, 0, str(caption) if caption else None, str(url) if url else None)


class Reader:
    """Reads the bytes of entries; keeps some row groups of parquet files in memory, of which a row needs the whole."""

    def __init__(self, root: Path, kind: str, column: str) -> None:
        """Open nothing yet.

        Args:
            root: the pool's folder.
            kind: see :class:`Listing`.
            column: the parquet column with the bytes.
        """
        self.root, self.kind, self.column = root, kind, column
        self._starts: dict[str, list[int]] = {}
        self._groups: dict[tuple[str, int], tuple[int, list[Any]]] = {}  # the bytes it takes and its rows, oldest first

    def read(self, file: str, at: int, size: int) -> bytes:
        """Return the bytes of the picture at a place.

        Raises:
            OSError: the file is not there or cannot be read.
            BenchError: the picture is too large, or its place does not exist; a few words.
        """
        content = self._bytes(file, at, size) if size <= MOST_BYTES else b""
        size = max(size, len(content))
        if size > MOST_BYTES:
            raise BenchError(f"{size / 2**20:.0f} MiB, more than {MOST_BYTES / 2**20:.0f} MiB")
        return content

    def _bytes(self, file: str, at: int, size: int) -> bytes:
        if self.kind == "parquet":
            return self._row(file, at)
        with (self.root / file).open("rb") as stream:
            stream.seek(at)
            return stream.read(size if self.kind == "webdataset" else MOST_BYTES + 1)

    def caption(self, entry: Entry) -> str | None:
        """Return the text of an entry, at most 1,000 characters of it, without line breaks."""
        text: str | None = entry.caption
        if text is None and entry.caption_at:
            file, at, size = entry.caption_at
            try:
                with (self.root / file).open("rb") as stream:
                    stream.seek(at)
                    raw = stream.read(min(size, 2**20)).decode("utf-8", "replace")
            except OSError:
                return None
            text = _from_json(raw) if raw.lstrip().startswith("{") else raw
        return one_line(text)

    def _row(self, file: str, row: int) -> bytes:
        import bisect

        import pyarrow.parquet as pq

        if file not in self._starts:
            with pq.ParquetFile(self.root / file) as shard:
                groups = range(shard.metadata.num_row_groups)
                sizes = (shard.metadata.row_group(number).num_rows for number in groups)
                self._starts[file] = list(itertools.accumulate(sizes, initial=0))
        starts = self._starts[file]
        if not 0 <= row < starts[-1]:
            raise BenchError(f"{file} has {starts[-1]} rows, no row {row}")
        number = bisect.bisect_right(starts, row) - 1
        if (file, number) not in self._groups:
            with pq.ParquetFile(self.root / file) as shard:
                table = shard.read_row_group(number, columns=[self.column])
            kept = sum(size for size, _ in self._groups.values())
            while self._groups and kept + table.nbytes > MOST_KEPT:
                kept -= self._groups.pop(next(iter(self._groups)))[0]
            self._groups[file, number] = (table.nbytes, table.column(0).to_pylist())
        value = self._groups[file, number][1][row - starts[number]]
        if isinstance(value, dict):  # the image type of Hugging Face datasets
            value = value.get("bytes")
        return value or b""


def one_line(text: str | None) -> str | None:
    """Return a caption without line breaks, at most 1,000 characters of it; ``None`` for none."""
    return " ".join(text.split())[:1000] or None if text else None


def _from_json(text: str) -> str | None:
    try:
        content = json.loads(text)
    except ValueError:
        return None
    caption = content.get("caption") if isinstance(content, dict) else None
    return caption if isinstance(caption, str) else None
