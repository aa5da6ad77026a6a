"""What a report promises: the files that it names, in the results folder, the same bytes for the same records."""

from __future__ import annotations

import base64
import itertools
from pathlib import Path
from typing import Any

from ..results.record import Record
from ..results.table import Table, build_table
from .subject import Subject, folder_digest, require


def names_files_inside_the_results_folder(subject: Subject) -> None:
    """``files`` gives relative names; a run looks at them before its first step."""
    names = subject.plugin.files()
    fits = isinstance(names, tuple) and names and all(isinstance(name, str) and name for name in names)
    require(bool(fits), f"files() must return a tuple of names; got {names!r}")
    inside = all(not Path(name).is_absolute() and ".." not in Path(name).parts for name in names)
    require(inside, f"files() must return names relative to the results folder; got {names!r}")


def writes_what_it_names(subject: Subject) -> None:
    """It returns the paths of files that are there, and leaves no other."""
    folder = subject.new_folder("results")
    paths = subject.plugin.write(_table(), folder)
    require(
        isinstance(paths, list) and all(isinstance(path, Path) for path in paths), "write must return a list of Path"
    )
    names = subject.plugin.files()
    require(all(path.is_file() for path in paths), f"it returned {paths}, of which one is no file")
    made = set(folder_digest(folder))
    required = {name for name in names if not name.endswith("/")}
    require(required <= made, f"files() names {sorted(required - made)}, which it did not write")
    folders = tuple(name for name in names if name.endswith("/"))
    other = {name for name in made - required if not name.startswith(folders)}
    require(not other, f"it wrote {sorted(other)}, which files() does not name")


def writes_the_same_bytes_again(subject: Subject) -> None:
    """In another folder, and over its own files: the same records give the same bytes."""
    one, other = subject.new_folder("results"), subject.new_folder("results")
    for folder in (one, other, one):
        subject.plugin.write(_table(), folder)
        digest = folder_digest(folder)
        require(
            digest == folder_digest(one), "the same records gave other bytes; write no time, no path, no order of sets"
        )
    places = [path.name for path in one.rglob("*") if path.is_file() and str(one).encode() in path.read_bytes()]
    require(not places, f"{places} name the folder that they are in")


def takes_a_table_without_rows(subject: Subject) -> None:
    """A folder may hold no record yet."""
    subject.plugin.write(build_table([]), subject.new_folder("results"))


def _table() -> Table:
    """Return the table of two generators and the baseline by two architectures; one training failed."""
    settings = itertools.product(("real", "made", "made:factor=2"), ("net-a", "net-b"))
    records = [_record(number, gen, arch) for number, (gen, arch) in enumerate(settings)]
    return build_table([*records, _record(len(records), "made", "net-b", error="out of memory", mix="1:1")])


def _record(number: int, gen: str, arch: str, error: str | None = None, mix: str | None = None) -> Record:
    baseline = gen == "real"
    cell: dict[str, Any] = {
        "data": "digits",
        "gen": gen,
        "mix": mix or ("1:0" if baseline else "0:1"),
        "aug": "-",
        "learner": "net",
    }
    cell |= {"arch": arch, "n_real": 50, "n_syn": 0 if baseline else 500, "shots": 5, "preset": "quick"}
    cell |= {"draw": 0, "replicate": 0, "seed": 7, "baseline": baseline}
    right = 10 + number
    hits = base64.b64encode(((1 << right) - 1).to_bytes(3, "little")).decode()
    result = {"accuracy": right / 20, "best_on_test": None, "n_test": 20, "hits": hits}
    provenance = {"environment": "e", "bench_version": "0", "created": "2026-01-02T03:04:05+00:00"}
    scores = {"fd": 3.0 + number, "extractor": "pixels", "n_score": 40, "n_reference": 80}
    # Layout 3 is an older one, which is read for ever.
    fields: dict[str, Any] = {"key": f"{number:064x}", "spec_id": f"{number:012x}", "schema": 3, "error": error}
    fields |= {"status": "failed" if error else "done", "result": None if error else result, "cell": cell}
    fields |= {"metrics": {"distance": scores}, "cost": {"train_s": 2.0}, "code": {}, "steps": {}}
    return Record.from_json(fields | {"provenance": provenance})
