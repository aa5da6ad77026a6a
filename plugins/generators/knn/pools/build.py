"""Builds an index of a pool: every picture embedded once, in parts, so that a kill costs one part.

:func:`build_index` builds one where a user wants it; :func:`index_of` one of a folder that has none, where what can be
computed again lies, once for each content.

The index is a folder: ``vectors.faiss`` (exact inner product over unit rows, faiss' ``IndexFlatIP``),
``metadata.parquet`` (one row for each picture, in the same order), ``broken.tsv`` (what could not be read and why) and
``index.json``, which is written last and says what the index is. Equal pools give equal bytes, interrupted or not.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchbench.disk import full_disk
from benchbench.errors import BenchError, UsageError
from benchbench.files import atomic_file, cache_root, write_atomic
from benchbench.keys.content import content_hash, look, may_have_been_swapped
from benchbench.models.clip.layout import clip_identity
from benchbench.plugins.context import Context
from benchbench.plugins.images import batches

from ....datasets._images import in_threads
from . import layout
from .pictures import decoded, digest_of, embed_pictures
from .sources import Entry, Listing, Reader, list_pool

#: Pictures in a part: what a kill costs, and how many are decoded at once.
PART = 256
#: Above this, exact search over float32 rows takes too long and too much memory; approximate indexes are for that.
MOST_PICTURES = 1_000_000

#: Called with pictures done and in all.
OnProgress = Callable[[int, int], None]


def build_index(
    pool: Path,
    out: Path,
    clip_folder: Path,
    clip_name: str,
    *,
    batch: int = 64,
    device: str = "cpu",
    captions: bool = True,
    subject: str = "",
    on_progress: OnProgress = lambda done, total: None,
    cached: Callable[[], bool] | None = None,
) -> dict[str, Any]:
    """Embed every picture of a pool and write its index; continue where a killed build stopped.

    Args:
        pool: a folder of pictures, of WebDataset tars, or of parquet files with the bytes inside.
        out: folder of the index; may be the pool's own folder, so that both travel together.
        clip_folder: folder of the CLIP.
        clip_name: its name, for messages.
        batch: pictures that the CLIP sees at a time; memory and speed, not the result beyond rounding.
        device: ``"cpu"`` or ``"cuda"``.
        captions: whether to keep the texts of the pictures.
        subject: the start of messages; by default the pool's name.
        on_progress: see :data:`OnProgress`.
        cached: given where ``out`` is named by what it is an index of: says whether the pool still is that, and was
            all the time. Another build there is waited for, which makes the same index, and a finished one is replaced,
            which only a damaged one calls for.

    Returns:
        What ``index.json`` says, with ``"built"``: false when it was up to date already, and ``"rebuilt"``: true when
        it replaced a finished one, of the same pool unless ``cached``.

    Raises:
        UsageError: no pool, an empty or oversized one, only broken pictures, another build at work in ``out``, or a
            finished index of something else there.
        BenchError: the CLIP cannot be opened, the disk is full or read-only; one line.
    """
    from filelock import FileLock, Timeout

    subject = subject or f"pool={pool}"
    clip = {"name": clip_name, "identity": clip_identity(clip_folder)}
    listing = list_pool(pool, subject)
    if len(listing.entries) > MOST_PICTURES:
        raise UsageError(
            f"{subject}: {len(listing.entries):,} pictures, above the {MOST_PICTURES:,} that exact search is meant "
            "for; index it with `clip-retrieval inference` and `clip-retrieval index`, and give that folder as pool"
        )
    if out.is_file():
        raise UsageError(f"{out}: is a file; give the folder of an index")
    content = _listing_digest(listing, captions)
    if not cached:
        _refuse_other_index(out, pool, clip, content)
    try:
        work, lock = out / ".building", out / ".build.lock"
        with FileLock(lock, timeout=-1 if cached else 0):
            work.mkdir(exist_ok=True)
            for left in out.glob(".*.tmp-*"):  # by a build that was killed
                left.unlink()
            facts = _up_to_date(listing, out, clip, content)
            if facts is None:
                rebuilt = (out / layout.FACTS).is_file()
                _begin(work, [content, clip["identity"], [list(item) for item in listing.files], batch, PART])
                _embed(listing, work, (clip_folder, clip_name, device), batch, captions, on_progress)
                if cached and not cached():
                    shutil.rmtree(work)
                    raise BenchError(f"{subject}: its pictures changed while they were indexed; run again")
                facts = {**_write(listing, out, work, clip, content, subject), "built": True, "rebuilt": rebuilt}
            shutil.rmtree(work, ignore_errors=True)
            lock.unlink(missing_ok=True)  # whoever still waits for it finds the index up to date
    except Timeout:
        raise UsageError(f"{out}: another build is at work in this folder; wait for it") from None
    except OSError as error:
        where = error.filename or out
        why = full_disk(error, out) or error.strerror or error
        raise BenchError(f"{subject}: cannot write the index: {where}: {why}") from None
    return facts


def _refuse_other_index(out: Path, pool: Path, clip: dict[str, str], content: str) -> None:
    """Raise ``UsageError`` when ``out`` is a finished index of another pool or by another CLIP.

    An index whose pool is no longer where it was, or that was moved itself, is of this pool if the names and sizes
    of the files agree.
    """
    try:
        known = layout.read_facts(out, str(out))
    except BenchError:
        return
    there = layout.pool_of(out, known)
    moved = there is None or not there.is_dir()
    same_pool = known["listing"] == content if moved else there == pool.resolve()
    if same_pool and known["clip"].get("identity") == clip["identity"]:
        return
    raise UsageError(
        f"{out}: holds an index of {there or 'another pool'} by {known['clip'].get('name')} "
        f"({known['count']:,} pictures); give another --out"
    )


def _embed(
    listing: Listing, work: Path, clip: tuple[Path, str, str], batch: int, captions: bool, on_progress: OnProgress
) -> None:
    """Write the parts that a killed build has not: the vectors, then the rows, whose file says that the part is whole.

    The CLIP, of a folder, name and device, is opened for the first of them.
    """
    from benchbench.models.clip.model import open_clip_model

    reader = Reader(listing.root, listing.kind, listing.column)
    total, model = len(listing.entries), None
    for start in range(0, total, PART):
        part, entries = work / f"part-{start:09d}.json", listing.entries[start : start + PART]
        if part.is_file():
            continue
        model = model or open_clip_model(clip[0], clip[1], device=clip[2])
        rows: list[list[Any]] = []
        broken: list[list[str]] = []
        vectors: list[NDArray[np.float32]] = []
        for chunk in batches(len(entries), batch):
            on_progress(start + chunk.start, total)
            several, pictures = entries[chunk.start : chunk.stop], []
            for entry, answer in zip(several, _decoded(reader, several), strict=True):
                if isinstance(answer, str):
                    broken.append([entry.key, answer])
                    continue
                pixels, size, digest = answer
                pictures.append(pixels)
                text = reader.caption(entry) if captions else None
                rows.append([entry.key, entry.file, entry.at, size, digest, text, entry.url])
            vectors.append(embed_pictures(model, pictures, batch))
        with atomic_file(part.with_suffix(".npy")) as stream:
            np.save(stream, np.concatenate(vectors), allow_pickle=False)
        write_atomic(part, json.dumps({"rows": rows, "broken": broken}))
    on_progress(total, total)


def _listing_digest(listing: Listing, captions: bool) -> str:
    """Hash names and sizes: they show a pool that gained, lost or renamed pictures."""
    hashed = hashlib.sha256(f"{layout.VERSION} {listing.kind} {captions}\n".encode())
    for entry in listing.entries:
        hashed.update(f"{entry.key}\0{entry.at}\0{entry.size}\n".encode("utf-8", "surrogateescape"))
    for name, size, _, _ in listing.files:
        hashed.update(f"{name}\0{size}\n".encode("utf-8", "surrogateescape"))
    return hashed.hexdigest()[:32]


def _up_to_date(listing: Listing, out: Path, clip: dict[str, str], content: str) -> dict[str, Any] | None:
    """Return what an index says that is newer than every file of its pool and was built the same way."""
    try:
        known = layout.read_facts(out, str(out))
        layout.check_files(out, known, str(out))
    except BenchError:
        return None
    if known["clip"] != clip or known["listing"] != content:
        return None
    built = (out / layout.FACTS).stat().st_mtime_ns
    return None if any(changed > built for _, _, changed, _ in listing.files) else {**known, "built": False}


def _begin(work: Path, plan: list[Any]) -> None:
    """Keep the parts of a killed build of the same plan, and throw away those of another one."""
    text, path = json.dumps(plan), work / "plan.json"
    if path.is_file() and path.read_text("utf-8") == text:
        return
    for part in work.glob("part-*"):
        part.unlink()
    write_atomic(path, text)


def _decoded(reader: Reader, entries: Sequence[Entry]) -> Iterator[tuple[NDArray[np.uint8], int, str] | str]:
    """Yield pixels, size and digest of each entry, or why it cannot be used; decodes in a few threads."""

    def one(content: bytes | str) -> tuple[NDArray[np.uint8], int, str] | str:
        if isinstance(content, str):
            return content
        pixels = decoded(content)
        return pixels if isinstance(pixels, str) else (pixels, len(content), digest_of(content))

    contents: list[bytes | str] = []
    for entry in entries:
        try:
            entry.key.encode("utf-8")
            contents.append(reader.read(entry.file, entry.at, entry.size))
        except UnicodeEncodeError:
            contents.append("its name is not UTF-8")
        except OSError as error:
            contents.append(f"cannot be read: {error.strerror or error}")
        except BenchError as problem:
            contents.append(str(problem))
    return in_threads(one, contents)


def _write(listing: Listing, out: Path, work: Path, clip: dict[str, str], content: str, subject: str) -> dict[str, Any]:
    """Join the parts and write the files of the index, each in one step, ``index.json`` last."""
    rows: list[list[Any]] = []
    broken: list[list[str]] = []
    parts = []
    for start in range(0, len(listing.entries), PART):
        part = work / f"part-{start:09d}.json"
        said = json.loads(part.read_text("utf-8"))
        rows += said["rows"]
        broken += said["broken"]
        parts.append(np.load(part.with_suffix(".npy"), allow_pickle=False))
    if not rows:
        why = f"none of its {len(broken):,} pictures can be used ({broken[0][0]}: {broken[0][1]})"
        raise UsageError(f"{subject}: {why}; an index needs at least one")
    vectors, place = np.concatenate(parts), layout.place_of(listing.root, out)
    facts = {
        "format": layout.FORMAT,
        "version": layout.VERSION,
        "clip": clip,
        "width": int(vectors.shape[1]),
        "count": len(rows),
        "metric": "inner product of unit rows (cosine)",
        "source": {"kind": listing.kind, "column": listing.column, "place": place},
        "listing": content,
        "captions": sum(row[layout.COLUMNS.index("caption")] is not None for row in rows),
        "duplicates": len(rows) - len({row[layout.COLUMNS.index("digest")] for row in rows}),
        "broken": {"count": len(broken), "first": broken[:20]},
    }
    (out / layout.FACTS).unlink(missing_ok=True)  # from here to the end the folder is no index
    layout.write_vectors(out / layout.VECTORS, vectors)
    layout.write_metadata(out / layout.METADATA, rows)
    listed = "".join(f"{key}\t{reason}\n" for key, reason in broken)
    if broken:
        write_atomic(out / layout.BROKEN, listed.encode("utf-8", "surrogateescape"))
    else:
        (out / layout.BROKEN).unlink(missing_ok=True)
    if place is None:
        write_atomic(out / layout.PLACE, os.fsencode(listing.root.resolve()) + b"\n")
    else:
        (out / layout.PLACE).unlink(missing_ok=True)
    write_atomic(out / layout.FACTS, json.dumps(facts, indent=1, sort_keys=True) + "\n")
    return facts


def index_of(pool: Path, clip_folder: Path, clip: Mapping[str, str], context: Context, subject: str) -> Path:
    """Return the folder of an index of ``pool``, building it unless an earlier step did.

    Args:
        pool: a folder of pictures.
        clip_folder: folder of the CLIP.
        clip: its name and identity.
        context: gives the device and shows progress; its scratch folder stands in for a cache folder that cannot
            be written.
        subject: the start of messages.

    Raises:
        BenchError: see :func:`build_index`.
    """
    before, memory = look(pool), cache_root() / "contents.json"
    content = content_hash(pool, memory)
    name = hashlib.sha256(f"{layout.VERSION} {content} {clip['identity']}".encode()).hexdigest()[:32]
    out = cache_root() / "indexes" / name
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / ".writable").touch()
        (out / ".writable").unlink(missing_ok=True)
    except OSError:
        out = context.scratch / "index"
    try:
        layout.check_files(out, layout.read_facts(out, subject), subject)
        return out
    except BenchError:
        pass
    build_index(
        pool,
        out,
        clip_folder,
        clip["name"],
        device=context.device,
        subject=subject,
        on_progress=lambda done, total: context.emit(
            {"what": "progress", "label": "indexing", "done": done, "total": total, "unit": "img"}
        ),
        cached=lambda: content_hash(pool, memory) == content and not may_have_been_swapped(before, look(pool)),
    )
    return out
