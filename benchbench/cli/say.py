"""What commands print: each text on a line of its own, with nothing in it that a terminal obeys."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TextIO

from ..safetext import encodable, on_a_line


def say(*lines: str, file: TextIO | None = None) -> None:
    """Print each text as one line, whoever wrote it, to ``file``, standard output by default.

    Signs that the output cannot encode are spelled out.
    """
    out = sys.stdout if file is None else file
    for line in lines:
        print(encodable(on_a_line(line), out), file=out)
    out.flush()


def complain(text: str, command: str = "bench") -> None:
    """Print a line on standard error that says who says it."""
    say(f"{command}: {text}", file=sys.stderr)


def say_json(value: Any, default: Callable[[Any], Any] | None = None) -> None:
    """Print a value as JSON in ASCII, indented, with sorted names; ``default`` as :func:`json.dumps` takes it."""
    print(json.dumps(value, indent=1, sort_keys=True, default=default), flush=True)


#: A cell of a table that is longer goes below the table as a note.
_WIDEST = 40


def table_lines(table: Sequence[Mapping[str, object]]) -> list[str]:
    """Return rows as lines in columns, the headings first; long cells stand below the table."""
    rows = [{key: str(value) for key, value in row.items()} for row in table]
    if not rows:
        return []
    notes = []
    for row in rows:
        name = next(iter(row.values()))
        for key, text in row.items():
            if len(text) > _WIDEST:
                notes.append(f"{name}, {key}: {text}")
                row[key] = "see below"
    widths = {key: max(len(key), *(len(row.get(key, "")) for row in rows)) for key in rows[0]}
    lines = ["  ".join(f"{key:<{width}}" for key, width in widths.items()).rstrip()]
    lines += ["  ".join(f"{row.get(key, ''):<{width}}" for key, width in widths.items()).rstrip() for row in rows]
    return [*lines, *dict.fromkeys(notes)]
