"""Records as no bench writes them: every field of a real one with every value that somebody may put there."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

#: JSON as text: what ``json.dumps`` would not write is among it.
HOSTILE = {
    "nothing": "null",
    "true": "true",
    "zero": "0",
    "nan": "NaN",
    "infinite": "-Infinity",
    "beyond": "1e999",
    "minus int64": str(-(2**63) + 1),
    "largest int64": str(2**63 - 1),
    "beyond float": "1" + "0" * 400,
    "5,000 digits": "1" * 5000,
    "empty": '""',
    "text": '"=1\\n\\u001b[31m|<b>"',
    "surrogate": '"\\ud800"',
    "bytes of a surrogate": '"\udfff"',
    "nul": '"a\\u0000b"',
    "long": json.dumps("x" * 500),
    "empty object": "{}",
    "list of numbers": "[1, 2, 3]",
    "object": '{"a": 1}',
    "object of surrogates": '{"\\ud800": "x"}',
    "object of objects": '{"": {"": {"": null}}}',
    "deep": "[" * 300 + "]" * 300,
    "deeper": "[" * 5_000 + "]" * 5_000,
    "year 1 with an offset": '"0001-01-01T00:00:00+05:00"',
    "year 2999": '"2999-01-02T03:04:05Z"',
    "year 9999": '"9999-12-31T23:59:59-05:00"',
    "an offset of a day": '"2026-01-02T03:04:05+23:59"',
}
_MARK = "here it goes"


def places(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Yield the path of every value inside JSON, itself first; of a list, the first three items."""
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value[:3]) if isinstance(value, list) else ()
    for name, item in inner:
        yield from places(item, (*path, name))


def with_value(value: Any, path: tuple[str | int, ...], text: str) -> str:
    """Return the JSON of a value with that at ``path`` replaced by JSON that is given as text."""
    changed = copy.deepcopy({"": value})
    outer: Any = changed
    *way, last = ("", *path)
    for name in way:
        outer = outer[name]
    outer[last] = _MARK
    return json.dumps(changed[""]).replace(f'"{_MARK}"', text)


def without(value: Any, path: tuple[str | int, ...]) -> str:
    """Return the JSON of a value without that at ``path``, or with an unknown field beside it."""
    changed = copy.deepcopy(value)
    outer: Any = changed
    for name in path[:-1]:
        outer = outer[name]
    del outer[path[-1]]
    return json.dumps(changed)


def write_all(
    folder: Path, record: dict[str, Any], *, one_setting: bool = False
) -> dict[str, tuple[tuple[str | int, ...], str]]:
    """Write a file for each field and value; returns by its name what was changed.

    Each has a key of its own, and a setting of its own or a seed of the one setting, unless that is what was changed.
    """
    folder.mkdir(parents=True)
    written = {}
    changes = [(path, name) for path in places(record) for name in HOSTILE]
    for number, (path, name) in enumerate([*changes, *((path, "left out") for path in places(record) if path)]):
        record["key"], record["spec_id"] = f"{number:064x}", "s" if one_setting else f"s{number}"
        record["cell"]["replicate"] = number
        text = without(record, path) if name == "left out" else with_value(record, path, HOSTILE[name])
        file = folder / f"{number:064x}.json"
        file.write_bytes(text.encode("utf-8", "surrogatepass"))
        written[file.name] = (path, name)
    return written
