"""Protocol tables: what was published, what its authors' code does, and what a preset has here, value by value.

A plugin package registers such a table, a TOML file, under ``benchbench.protocols``. What a preset has is read from the
preset; the table says what it was when the table was written, so that :func:`differences` finds what changed since.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..errors import UsageError
from ..plugins.catalog import catalog, load
from ..plugins.parameters import PRESETS, format_value, parameters
from .options import registered_file
from .plan import SYNTHETIC_PER_REAL
from .precision import choose_precision


@dataclass(frozen=True)
class Value:
    """One value of a protocol.

    Attributes:
        name: of a parameter of the part's plugin, or in words.
        ours: what the preset has.
        published: what a paper says; ``None`` where it says nothing.
        code: what its authors' code does; ``None`` where that is not known to differ.
        deviation: in what ours differs from both and why, or ``""``.
        note: what else a reader needs.
    """

    name: str
    ours: str
    published: str | None = None
    code: str | None = None
    deviation: str = ""
    note: str = ""


@dataclass(frozen=True)
class Part:
    """The values of one plugin, or of the experiment.

    Attributes:
        name: ``"generator/diffinv"``, or what the part is about.
        plugin: whether the name is a plugin's.
        source: papers and code.
        values: in order.
        own: parameters that no source has, with what the preset has.
    """

    name: str
    plugin: bool
    source: str
    values: tuple[Value, ...]
    own: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Protocol:
    """A table.

    Attributes:
        title: one line.
        preset: the preset that it describes.
        parts: in order.
    """

    title: str
    preset: str
    parts: tuple[Part, ...]


def read_protocol(name: str) -> Protocol:
    """Read the table that is registered as ``name``, as it was written.

    Raises:
        UsageError: there is none, or it is no such table.
    """
    path = registered_file("protocol", name)
    try:
        table = tomllib.loads(path.read_text("utf-8"))
        protocol = Protocol(table["title"], table["preset"], tuple(_part(part) for part in table["part"]))
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise UsageError(f"{name}: {path.name} is no protocol table ({error})") from None
    if protocol.preset not in PRESETS:
        raise UsageError(f"{name}: {path.name} is about the preset {protocol.preset!r}; there are {', '.join(PRESETS)}")
    return protocol


def _part(part: Mapping[str, Any]) -> Part:
    values = tuple(Value(**row) for row in part["values"])
    named = part.get("plugin") or part["name"]
    return Part(named, "plugin" in part, part["source"], values, part.get("own", {}))


def as_it_is(protocol: Protocol) -> Protocol:
    """Return the table with what the preset has today in the place of what it had when the table was written."""

    def today(part: Part) -> Part:
        known = preset_values(part, protocol.preset)
        values = tuple(replace(value, ours=known.get(value.name, value.ours)) for value in part.values)
        named = {value.name for value in values}
        return replace(part, values=values, own={name: text for name, text in known.items() if name not in named})

    return replace(protocol, parts=tuple(today(part) for part in protocol.parts))


def preset_values(part: Part, preset: str) -> dict[str, str]:
    """Return what the preset has, by name: all parameters of a part's plugin, or what the harness itself decides.

    Raises:
        UsageError: the plugin is not installed, or broken.
    """
    if part.plugin:
        cls = load(catalog().get(*part.name.split("/", 1)))
        return {item.name: format_value(item.preset(preset)) for item in parameters(cls)}
    if part.name != "experiment":
        return {}
    return {
        "generated images per real one": str(SYNTHETIC_PER_REAL[preset]),
        "precision on an accelerator": str(choose_precision("auto", "cuda", preset)),
        "precision on a CPU": str(choose_precision("auto", "cpu", preset)),
    }


def differences(protocol: Protocol) -> Iterator[str]:
    """Yield a sentence for each value in which a table is no longer what the preset has, or is not explained."""
    for part in protocol.parts:
        known = preset_values(part, protocol.preset)
        written = {value.name: value.ours for value in part.values} | dict(part.own)
        for name, text in known.items():
            if name not in written:
                yield f"{part.name}: {name} is not in the table; the preset has {text!r}"
            elif written[name] != text:
                yield f"{part.name}: {name} is {written[name]!r} in the table, {text!r} in the preset"
        for name in part.own:
            if name not in known:
                yield f"{part.name}: {name} is no parameter"
        for value in part.values:
            theirs = value.code if value.published is None else value.published
            if theirs is not None and theirs != value.ours and not (value.deviation or value.note):
                yield f"{part.name}: {value.name} is {value.ours!r}, published {theirs!r}, without a word about it"
