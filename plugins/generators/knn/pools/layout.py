"""The files of an index folder: their names, their columns, how they are written and opened."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchbench.errors import BenchError, MissingError, UsageError
from benchbench.files import atomic_file, expanded

FORMAT = "benchbench picture index"
VERSION = 1
FACTS, VECTORS, METADATA, BROKEN = "index.json", "vectors.faiss", "metadata.parquet", "broken.tsv"
#: Says where pictures lie that are neither inside the index nor around it. Hidden, since a place is no content: the
#: same index of the same pool is the same key on another machine.
PLACE = ".pictures"
COLUMNS = ("key", "file", "at", "size", "digest", "caption", "url")
#: Bytes before the rows in a file of faiss' ``IndexFlatIP``.
_FAISS_HEADER = 45
_FACTS = {"clip": dict, "width": int, "count": int, "source": dict, "listing": str}


def read_facts(folder: Path, subject: str) -> dict[str, Any]:
    """Return what ``index.json`` says.

    Raises:
        UsageError: it is not there, not JSON, or of another format or version.
    """
    path = folder / FACTS
    again = "build the index again with `bench index build`"
    try:
        facts = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise UsageError(f"{subject}: no {FACTS} in the folder; build an index with `bench index build`") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"{subject}: {FACTS} cannot be read ({error}); {again}") from None
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        raise UsageError(f"{subject}: {FACTS} is not that of an index; {again}")
    if facts.get("version") != VERSION:
        raise UsageError(f"{subject}: an index of version {facts.get('version')}, this is version {VERSION}; {again}")
    lacking = [name for name, kind in _FACTS.items() if not isinstance(facts.get(name), kind)]
    if lacking:
        raise UsageError(f"{subject}: {FACTS} lacks {', '.join(lacking)}; {again}")
    return facts


def check_files(folder: Path, facts: dict[str, Any], subject: str) -> None:
    """Look at the files of an index as far as that takes neither faiss nor pyarrow: are they there, are they whole?

    Raises:
        BenchError: one is gone, shorter than its pictures take, or no file of its kind.
    """
    for name, least in ((VECTORS, _FAISS_HEADER + 4 * facts["count"] * facts["width"]), (METADATA, 8)):
        try:
            with (folder / name).open("rb") as stream:
                size = stream.seek(0, os.SEEK_END)
                stream.seek(max(0, size - 4))
                cut = size < least or (name == METADATA and stream.read() != b"PAR1")
                why = "is cut short or no longer what was written" if cut else ""
        except FileNotFoundError:
            why = "is not there"
        except OSError as error:
            why = f"cannot be read ({error.strerror})"
        if why:
            raise BenchError(f"{subject}: the index is damaged: {name} {why}; build it again with `bench index build`")


def refuse_other_clip(facts: dict[str, Any], clip: Any, subject: str) -> None:
    """Compare the CLIP of an index with the one that embeds the queries.

    Raises:
        UsageError: they differ; names both.
    """
    built = facts["clip"]
    if clip is None or built.get("identity") == clip["identity"]:
        return
    same_name = " (same name, other files)" if built.get("name") == clip["name"] else ""
    raise UsageError(
        f"{subject}: the index was built with clip={built.get('name')}, the queries use clip={clip['name']}{same_name}"
        f"; give the CLIP of the index, or build another index with --clip {clip['name']}"
    )


def pool_of(folder: Path, facts: dict[str, Any]) -> Path | None:
    """Return the folder that an index was built from; ``None`` where it no longer says, as after a move."""
    place = facts["source"].get("place")
    if isinstance(place, str):
        return (folder / place).resolve()
    try:
        return Path(os.fsdecode((folder / PLACE).read_bytes().rstrip(b"\n")))
    except (OSError, ValueError):
        return None


def place_of(pool: Path, out: Path) -> str | None:
    """Return where the pool lies relative to an index in or around it; ``None`` when it lies elsewhere."""
    pool, out = pool.resolve(), out.resolve()
    if pool.is_relative_to(out) or out.is_relative_to(pool):
        return Path(os.path.relpath(pool, out)).as_posix()
    return None


def find_pictures(folder: Path, facts: dict[str, Any], elsewhere: str | None, subject: str) -> Path:
    """Return the folder with the pictures of an index: where it says they are, unless ``elsewhere``.

    Raises:
        MissingError: it is not there; says what to do.
    """
    pictures = expanded(elsewhere) if elsewhere else pool_of(folder, facts)
    if pictures is None:
        raise MissingError(f"{subject}: the index does not know where its pictures are; give pictures=FOLDER")
    if not pictures.is_dir():
        raise MissingError(
            f"{subject}: its pictures are not at {pictures}; give their folder with pictures=FOLDER, "
            "or build the index again"
        )
    return pictures


def write_vectors(path: Path, vectors: NDArray[np.float32]) -> None:
    """Write unit rows float32 ``(n, width)`` as a faiss index for exact inner products."""
    import faiss

    index = faiss.IndexFlatIP(int(vectors.shape[1]))
    index.add(np.ascontiguousarray(vectors, dtype=np.float32))
    with atomic_file(path) as stream:
        try:
            faiss.write_index(index, stream.name)
        except RuntimeError as error:  # a full disk, among others, with faiss' whole call stack
            lines = str(error).strip().splitlines() or [type(error).__name__]
            raise BenchError(f"{path}: cannot be written ({lines[-1][:160]})") from None


def write_metadata(path: Path, rows: Sequence[Sequence[Any]]) -> None:
    """Write one row of :data:`COLUMNS` for each picture."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = [pa.int64() if name in ("at", "size") else pa.string() for name in COLUMNS]
    columns = list(zip(*rows, strict=True))
    table = pa.table({name: pa.array(values, kind) for name, values, kind in zip(COLUMNS, columns, kinds, strict=True)})
    with atomic_file(path) as stream:
        pq.write_table(table, stream, compression="zstd")


def read_vectors(path: Path, subject: str, flag: str = "") -> Any:
    """Open a faiss index, with one of faiss' ``IO_FLAG_...`` where its lists lie in other files.

    Raises:
        BenchError: the file is damaged or gone.
    """
    import faiss

    if not path.is_file():
        raise BenchError(f"{subject}: {path.name} is not there; build the index again")
    try:
        return faiss.read_index(str(path), getattr(faiss, flag) if flag else 0)
    except Exception:  # with faiss' whole call stack, which is of no use to a user
        raise BenchError(f"{subject}: {path.name} is damaged; build the index again") from None
