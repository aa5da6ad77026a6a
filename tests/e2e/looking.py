"""What tests look at in a results folder."""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path
from typing import Any

#: What the issue fixes, in this order; anything may follow.
COLUMNS = (
    "data,gen,mix,aug,learner,arch,n_real,n_syn,seeds,acc_mean,acc_std,fd,precision,recall,density,coverage,"
    "extractor,fit_s,sample_s,train_s,preset,spec_id"
)


def is_measured(column: str) -> bool:
    """Return whether a column holds time or memory, which no two runs share."""
    return column.endswith(("_s", "_per_s")) or "memory" in column


def hashes(folder: Path, *parts: str) -> dict[str, str]:
    """Return the SHA-256 of every file below a folder (or parts of it) by relative path, but of bookkeeping."""
    roots = [folder / part for part in parts] or [folder]
    files = [path for root in roots for path in ([root] if root.is_file() else root.rglob("*")) if path.is_file()]
    passing = {".locks", ".plans", "timings.json", ".verified.json"}
    kept = [path for path in files if not passing & set(path.parts)]
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in kept}


def rows(results: Path, *, measured: bool = True) -> list[dict[str, str]]:
    """Return the rows of leaderboard.csv, without the columns of time and memory if asked."""
    with (results / "leaderboard.csv").open(newline="") as file:
        found = list(csv.DictReader(file))
    return [{k: v for k, v in row.items() if measured or not is_measured(k)} for row in found]


def records(results: Path) -> list[dict[str, Any]]:
    """Return every record, in the order of their paths."""
    return [json.loads(path.read_text("utf-8")) for path in sorted((results / "records").rglob("*.json"))]
