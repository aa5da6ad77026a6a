"""The folder of records: one JSON file per cell, finished or failed, written atomically and mergeable.

A record lies at ``RESULTS/records/<dataset>/<generator>/<architecture>/<key>.json``. The folder names are for
people; the key alone identifies a record, so two results folders merge by copying files.
"""

from __future__ import annotations

import dataclasses
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ..files import safe_name, write_atomic
from ..planning.setting import hide_paths
from .record import Record, RecordError


class Loaded(NamedTuple):
    """What :func:`read_records` found: records in the order of their paths, one line per unreadable file."""

    records: list[Record]
    problems: list[str]


def read_records(results: Path) -> Loaded:
    """Read every record below ``results/records``; what cannot be read is reported and left where it is."""
    loaded = Loaded([], [])
    for path in _files(results / "records"):
        try:
            loaded.records.append(_read(path))
        except RecordError as error:
            loaded.problems.append(f"{path.relative_to(results).as_posix()}: {error}")
    return loaded


def read_record(path: Path) -> Record | None:
    """Return the record of a file, ``None`` when there is none or it cannot be read."""
    try:
        return _read(path)
    except RecordError:
        return None


#: Records by file, each with the inode, size and time that the file had: a run asks for one several times.
_PARSED: dict[Path, tuple[tuple[int, int, int], Record]] = {}


def _read(path: Path) -> Record:
    """Return the record of a file, parsed once for each state of the file."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # reading a pipe or a device may never end
            raise RecordError("is no file; move it away")
        stamp = (status.st_ino, status.st_size, status.st_mtime_ns)
        known = _PARSED.get(path)
        if known is None or known[0] != stamp:
            known = _PARSED[path] = (stamp, Record.from_json(json.loads(path.read_bytes())))
        return known[1]
    except OSError as error:
        raise RecordError(f"cannot be read ({error.strerror})") from None
    except ValueError as error:  # JSON and UTF-8 errors alike
        raise RecordError(f"not valid JSON ({error}); run its cell again to replace it") from None


def _files(folder: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):
        folders.sort()
        yield from (Path(parent, name) for name in sorted(names) if name.endswith(".json") and name[0] != ".")


def record_path(results: Path, record: Record) -> Path:
    """Return where a record lies; every part is short and allowed on all common file systems."""
    cell = record.cell
    parts = (_names(cell.data), _names(cell.gen), cell.arch)
    return results.joinpath("records", *map(safe_name, parts), f"{record.key}.json")


def _names(spec: str) -> str:
    """Return the plugin names of a spec text, without parameters: ``a:x=1+b`` to ``a+b``."""
    return "+".join(link.partition(":")[0] for link in hide_paths(spec).split("+"))


def write_record(results: Path, record: Record, *, refresh: bool = False) -> Path:
    """Write a record atomically and return its path.

    A file that differs in nothing but time and order stays untouched, unless ``refresh`` says that this is again
    the newest (an edit was taken back, and the old key with it). A failure never replaces a finished record.

    Raises:
        BenchError: the folder cannot be written.

    """
    path = record_path(results, record)
    if path.exists() and not refresh:
        try:
            old = _read(path)
        except RecordError:
            pass  # a broken file is replaced
        else:
            finished = old.status == "done" and record.status == "failed"
            if finished or _timeless(old) == _timeless(record):
                return path
    write_atomic(path, record.text())
    return path


def _timeless(record: Record) -> str:
    epoch = dataclasses.replace(record.provenance, created="1970-01-01T00:00:00+00:00", order=None)
    return dataclasses.replace(record, provenance=epoch).text()
