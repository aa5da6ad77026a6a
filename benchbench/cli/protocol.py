"""``bench show NAME`` for a protocol table, such as ``paper``: published, the authors' code, ours."""

from __future__ import annotations

import dataclasses
import importlib.metadata

from ..planning.protocols import Part, Value, as_it_is, read_protocol
from .say import say, say_json, table_lines


def protocol_names() -> list[str]:
    """Return the names of the tables that plugin packages register."""
    return sorted({point.name for point in importlib.metadata.entry_points(group="benchbench.protocols")})


def show_protocol(name: str, as_json: bool) -> None:
    """Print a table.

    Raises:
        UsageError: it cannot be read, or names a plugin that is not here.
    """
    protocol = as_it_is(read_protocol(name))
    if as_json:
        say_json(dataclasses.asdict(protocol))
        return
    deviations = sum(bool(value.deviation) for part in protocol.parts for value in part.values)
    say(protocol.title, f"{deviations} values differ from what was published; each says how below its part.")
    for part in protocol.parts:
        say("", part.name, f"  {part.source}", *(f"  {line}" for line in _lines(part)))


def _lines(part: Part) -> list[str]:
    lines = table_lines([_row(value) for value in part.values])
    for value in part.values:
        if value.deviation:
            lines.append(f"* {value.name}: {value.deviation}")
        if value.note:
            lines.append(f"  {value.name}: {value.note}")
    if part.own:
        own = ", ".join(f"{name} {text or '-'}" for name, text in part.own.items())
        lines.append(f"  of our own: {own}")
    return lines


def _row(value: Value) -> dict[str, str]:
    published = "not stated" if value.published is None else value.published or "-"
    code = "-" if value.code is None else value.code
    mark = "*" if value.deviation else ""
    return {"value": value.name + mark, "published": published, "authors' code": code, "ours": value.ours or "-"}
