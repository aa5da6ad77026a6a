"""The folder of records: one JSON file per cell, finished or failed, written atomically and mergeable.

A record lies at ``RESULTS/records/<dataset>/<generator>/<architecture>/<key>.json``. The folder names are for
people; the key alone identifies a record, so two results folders merge by copying files.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from ..files import read_json, safe_name, signature, write_atomic
from ..planning.setting import Cell, hide_paths
from ..safetext import on_a_line
from .record import NewerError, Record, RecordError

#: A record is some kilobytes; what is larger than this many bytes is none.
LARGEST_FILE = 2**26
#: How far clocks may differ.
AHEAD = timedelta(days=1)


class Loaded(NamedTuple):
    """What :func:`read_records` found.

    Attributes:
        records: in the order of their paths.
        problems: one line for each file and folder that cannot be read.
        warnings: a line on the records whose time lies in the future, where there are any.

    """

    records: list[Record]
    problems: list[str]
    warnings: list[str]


def read_records(results: Path) -> Loaded:
    """Read every record below ``results/records``; what cannot be read is reported and left where it is."""
    loaded = Loaded([], [], [])
    ahead: list[tuple[str, str]] = []
    tomorrow = datetime.now(UTC) + AHEAD

    def problem(path: Path, reason: object) -> None:
        loaded.problems.append(on_a_line(f"{path.relative_to(results).as_posix()}: {reason}"))

    def unreadable(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            problem(Path(error.filename), f"cannot be read ({error.strerror})")

    for path in _files(results / "records", unreadable):
        try:
            record = _read(path)
        except RecordError as error:
            problem(path, error)
            continue
        loaded.records.append(record)
        if record.created > tomorrow:
            ahead.append((path.relative_to(results).as_posix(), record.provenance.created))
    if ahead:
        many = "1 record says that it was" if len(ahead) == 1 else f"{len(ahead):,} records say that they were"
        example = f"{ahead[0][0]} at {ahead[0][1]}"
        advice = "a clock was ahead; nothing is left out, and what runs from now on counts as newer"
        loaded.warnings.append(on_a_line(f"{many} made in the future ({example}): {advice}"))
    return loaded


def read_record(path: Path) -> Record | None:
    """Return the record of a file, ``None`` when there is none or it cannot be read."""
    try:
        return _read(path)
    except RecordError:
        return None


#: Records by file, each with the signature that the file had: a run asks for one several times.
_PARSED: dict[Path, tuple[tuple[int, ...], Record]] = {}


def _read(path: Path) -> Record:
    """Return the record of a file, parsed once for each state of the file."""
    try:
        stamp = signature(path.stat())
        known = _PARSED.get(path)
        if known is None or known[0] != stamp:
            known = _PARSED[path] = (stamp, Record.from_json(read_json(path, LARGEST_FILE)))
        return known[1]
    except NewerError:
        raise
    except RecordError as error:
        raise RecordError(f"{error}; run its cell again to replace it") from None
    except OSError as error:
        raise RecordError(f"cannot be read ({error.strerror or error}); repair it or move it away") from None
    except ValueError as error:  # JSON and UTF-8 errors alike
        reason = str(error).partition("; use sys.")[0]  # advice of Python's own for a number of 5,000 digits
        raise RecordError(f"not valid JSON ({reason}); run its cell again to replace it") from None


def _files(folder: Path, unreadable: Callable[[OSError], None]) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder, onerror=unreadable):
        folders.sort()
        yield from (Path(parent, name) for name in sorted(names) if name.endswith(".json") and name[0] != ".")


def record_path(results: Path, record: Record) -> Path:
    """Return where a record lies."""
    return place_of(results, record.cell, record.key)


def place_of(results: Path, cell: Cell, key: str) -> Path:
    """Return where the record of a cell lies; every part is short and allowed on all common file systems."""
    parts = (_names(cell.data), _names(cell.gen), cell.arch)
    return results.joinpath("records", *map(safe_name, parts), f"{key}.json")


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
            if finished or _alike(old, record):
                return path
    write_atomic(path, record.text())
    return path


def _alike(one: Record, other: Record) -> bool:
    """Return whether two records differ in nothing but time and order."""
    # As JSON where they differ: a record that was made here may have other sorts of sequences than one that was read.
    return _timeless(vars(one)) == _timeless(vars(other)) or _timeless(one.to_json()) == _timeless(other.to_json())


def _timeless(record: Mapping[str, Any]) -> dict[str, Any]:
    provenance = record["provenance"]
    facts = provenance if isinstance(provenance, Mapping) else vars(provenance)
    return {**record, "provenance": {**facts, "created": None, "order": None}}
