"""``Recipe``: a table or figure of a paper as a grid of experiments, with its printed values and its claims.

A recipe is a TOML file that a plugin package registers under ``benchbench.recipes``; ``docs/reproduce.md`` shows one
with every key. It is read strictly: what nobody reads is a mistake, and is named with its place.
"""

from __future__ import annotations

import importlib.metadata
import itertools
import math
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import UsageError, nearest
from ..planning.options import Request, declared_file, options_of

#: Version of the keys below.
FORMAT = 1
#: What a cell shows where neither its row nor its column says.
ACCURACY = "accuracy"
#: How a recipe is drawn: not at all, as points over a scale or over names, or as the generated images themselves.
DRAWN = ("table", "lines", "gallery")
_AXES = ("part", "row", "column")
_GRID = ("row", "column", "part", "claim")
_PRINTED = re.compile(r"(-?[0-9]+(?:\.[0-9]+)?)(?: \+- ([0-9]+(?:\.[0-9]+)?))?")


@dataclass(frozen=True)
class Printed:
    """A value as the paper prints it, with its deviation where there is one, in the paper's unit."""

    value: float
    std: float | None = None

    def __str__(self) -> str:
        return f"{self.value:g}" + (f" +- {self.std:g}" if self.std is not None else "")


@dataclass(frozen=True)
class Line:
    """A row or a column.

    Attributes:
        label: as the paper has it.
        options: of ``bench run``, for its cells.
        measure: what its cells show, ``""`` for what the other axis says.
        level: whether it is a row that no column changes: one cell, drawn across the figure.
        values: of a row: what the paper prints in each column.
    """

    label: str
    options: Mapping[str, Any]
    measure: str = ""
    level: bool = False
    values: tuple[Printed | None, ...] = ()


@dataclass(frozen=True)
class Part:
    """A grid of its own, such as one panel of a figure."""

    label: str
    options: Mapping[str, Any]
    rows: tuple[Line, ...]
    columns: tuple[Line, ...]


@dataclass(frozen=True, eq=False)
class Claim:
    """What the paper says, as comparisons of two cells.

    Attributes:
        text: in words.
        better: the label of the better cell by axis (``part``, ``row``, ``column``); every other axis is gone through.
        than: the labels of what it is better than, on the same axes.
        where: the labels that are gone through, by axis; all where it says nothing.
        within: ``None``, or the difference up to which the two count as level.
    """

    text: str
    better: Mapping[str, str]
    than: Mapping[str, tuple[str, ...]]
    where: Mapping[str, tuple[str, ...]]
    within: float | None

    def pairs(self, parts: Sequence[Part]) -> Iterator[tuple[tuple[str, str, str], tuple[str, str, str]]]:
        """Yield the places ``(part, row, column)`` of the two cells of each comparison, in the order of the grid."""
        for part in parts:
            axes: dict[str, list[str]] = {
                "part": [part.label],
                "row": _labels(part.rows),
                "column": _labels(part.columns),
            }
            for axis, labels in {**self.where, **{axis: (label,) for axis, label in self.better.items()}}.items():
                axes[axis] = [label for label in axes[axis] if label in labels]
            for place in itertools.product(*axes.values()):
                others = {**{axis: (label,) for axis, label in zip(_AXES, place, strict=True)}, **self.than}
                for other in itertools.product(*others.values()):
                    yield place, other  # type: ignore[misc]


def _labels(lines: Sequence[Line]) -> list[str]:
    return [line.label for line in lines]


@dataclass(frozen=True)
class World:
    """Where a recipe is run: on what the paper used, or mapped onto other data.

    Attributes:
        name: ``""`` for the paper's own, else what ``--data`` calls it.
        why: how it was mapped, and what its network is; ``""`` for the paper's own.
        options: of ``bench run``, for every cell.
        parts: the grids.
        claims: what is compared.
    """

    name: str
    why: str
    options: Mapping[str, Any]
    parts: tuple[Part, ...]
    claims: tuple[Claim, ...]


@dataclass(frozen=True)
class Recipe:
    """A table or a figure.

    Attributes:
        name: as the command line has it.
        title: one line.
        source: paper and place in it.
        cost: what the paper's own experiment takes, in words.
        notes: where the paper contradicts itself, what it does not say, and what was chosen for that.
        drawn: ``"table"``, ``"lines"`` or ``"gallery"``.
        axes: titles of the axes of the figure by ``"x"`` and ``"y"``.
        log: whether the first of them is logarithmic.
        published: the paper's own experiment.
        mapped: other worlds by name.
    """

    name: str
    title: str
    source: str
    cost: str
    notes: tuple[str, ...]
    drawn: str
    axes: Mapping[str, str]
    log: bool
    published: World
    mapped: Mapping[str, World] = field(default_factory=dict)

    @property
    def printed(self) -> dict[tuple[str, str, str], Printed]:
        """What the paper prints, by part, row and column; a level row has it in each column."""
        found = {}
        for part in self.published.parts:
            for row in part.rows:
                values = row.values * len(part.columns) if row.level else row.values
                for column, value in zip(part.columns, values, strict=False):
                    if value is not None:
                        found[part.label, row.label, column.label] = value
        return found


def recipe_names() -> list[str]:
    """Return the registered recipes, tables before figures as a reader counts them."""
    names = {point.name for point in importlib.metadata.entry_points(group="benchbench.recipes")}

    def order(name: str) -> tuple[bool, list[tuple[int, str]]]:
        words = re.findall(r"(\D*)(\d*)", name)
        return not name.startswith("table"), [(int(digits or 0), word) for word, digits in words]

    return sorted(names, key=order)


def read_recipe(name: str) -> Recipe:
    """Read a recipe by its registered name or its file.

    Raises:
        UsageError: there is none, it is no TOML, of another version, or has a mistake, which is named with its place.
    """
    path = declared_file(name, "recipe")
    try:
        data = tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not a TOML file: {error}") from None
    return _Reader(path).recipe(data, path.stem if name.endswith(".toml") else name)


class _Reader:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.options = options_of(Request)

    def wrong(self, place: str, why: str) -> UsageError:
        return UsageError(f"{self.path}: {place}: {why}" if place else f"{self.path}: {why}")

    def recipe(self, data: Mapping[str, Any], name: str) -> Recipe:
        if data.get("format") != FORMAT:
            raise self.wrong("format", f"{data.get('format', 'missing')}: this bench reads recipes of format {FORMAT}")
        known = (
            "format",
            "title",
            "source",
            "cost",
            "notes",
            "figure",
            "options",
            "row",
            "column",
            "part",
            "claim",
            "on",
        )
        self.keys(data, known, "")
        figure = self.table(data.get("figure", {}), "figure", ("draw", "x", "y", "log"))
        drawn = self.text(figure, "draw", "figure", "table")
        if drawn not in DRAWN:
            raise self.wrong("figure.draw", f"{drawn}: must be one of {', '.join(DRAWN)}{nearest(drawn, DRAWN)}")
        published = self.world(data, "", None)
        worlds = self.table(data.get("on", {}), "on", None)
        inner = ("why", "options", "row", "column", "part", "claim")
        mapped = {
            world: self.world(self.table(content, f"on.{world}", inner), world, data)
            for world, content in worlds.items()
        }
        return Recipe(
            name,
            self.text(data, "title", ""),
            self.text(data, "source", ""),
            self.text(data, "cost", ""),
            self.texts(data.get("notes", []), "notes"),
            drawn,
            {axis: self.text(figure, axis, "figure", "") for axis in ("x", "y")},
            self.truth(figure, "log", "figure"),
            published,
            mapped,
        )

    def world(self, data: Mapping[str, Any], name: str, published: Mapping[str, Any] | None) -> World:
        """Read a world; what a mapped one does not say of rows, columns, parts and claims is as published."""
        place = f"on.{name}." if name else ""
        given = {key: data[key] for key in ("row", "column", "part", "claim") if key in data}
        if published is not None:
            given = {
                key: value for key, value in published.items() if key in ("row", "column", "part", "claim")
            } | given
            if "part" not in data and ("row" in data or "column" in data):
                given.pop("part", None)  # panels of other data
        options = self.table(data.get("options", {}), f"{place}options", tuple(self.options))
        parts = self.parts(given, place, with_values=published is None)
        claims = tuple(
            self.claim(item, f"{place}claim[{number}]", parts)
            for number, item in enumerate(self.tables(given.get("claim", []), f"{place}claim"), 1)
        )
        return World(name, self.text(data, "why", f"on.{name}") if name else "", options, parts, claims)

    def parts(self, data: Mapping[str, Any], place: str, *, with_values: bool) -> tuple[Part, ...]:
        if "part" not in data:
            return (self.part(data, "", {}, place, with_values),)
        known = ("label", "row", "column", *self.options)
        parts = []
        for number, item in enumerate(self.tables(data["part"], f"{place}part"), 1):
            where = f"{place}part[{number}]"
            self.keys(item, known, where)
            options = {key: item[key] for key in self.options if key in item}
            shared = {key: data[key] for key in ("row", "column") if key in data} | dict(item)
            parts.append(self.part(shared, self.text(item, "label", where), options, f"{where}.", with_values))
        self.distinct([part.label for part in parts], f"{place}part")
        return tuple(parts)

    def part(
        self, data: Mapping[str, Any], label: str, options: Mapping[str, Any], place: str, with_values: bool
    ) -> Part:
        lines = {}
        for axis in ("row", "column"):
            if axis not in data:
                raise self.wrong(f"{place}{axis}", "missing; a grid has rows and columns")
            items = self.tables(data[axis], f"{place}{axis}")
            lines[axis] = tuple(self.line(item, axis, f"{place}{axis}[{at}]") for at, item in enumerate(items, 1))
            self.distinct([line.label for line in lines[axis]], f"{place}{axis}")
        for at, row in enumerate(lines["row"], 1):
            wanted = 1 if row.level else len(lines["column"])
            if with_values and row.values and len(row.values) != wanted:
                raise self.wrong(f"{place}row[{at}].values", f"{len(row.values)} values for {wanted} columns")
        return Part(label, options, lines["row"], lines["column"])

    def line(self, item: Mapping[str, Any], axis: str, place: str) -> Line:
        own = ("label", "measure") + (("level", "values") if axis == "row" else ())
        self.keys(item, (*own, *self.options), place)
        values = item.get("values", [])
        if not isinstance(values, list):
            raise self.wrong(f"{place}.values", "must be a list, a value for each column")
        return Line(
            self.text(item, "label", place),
            {key: item[key] for key in self.options if key in item},
            self.text(item, "measure", place, ""),
            self.truth(item, "level", place),
            tuple(self.value(value, f"{place}.values") for value in values),
        )

    def value(self, value: Any, place: str) -> Printed | None:
        if type(value) in (int, float) and math.isfinite(value):
            return Printed(float(value))
        if value == "":
            return None
        match = _PRINTED.fullmatch(value) if isinstance(value, str) else None
        if match is None:
            raise self.wrong(place, f'{value!r}: must be a number, "95.1 +- 0.2", or "" for what is not printed')
        return Printed(float(match[1]), None if match[2] is None else float(match[2]))

    def claim(self, item: Mapping[str, Any], place: str, parts: Sequence[Part]) -> Claim:
        self.keys(item, ("text", "better", "than", "where", "within"), place)
        sides: dict[str, dict[str, tuple[str, ...]]] = {}
        labels = {
            "part": [part.label for part in parts],
            "row": [label for part in parts for label in _labels(part.rows)],
            "column": [label for part in parts for label in _labels(part.columns)],
        }
        for key in ("better", "than", "where"):
            given = self.table(item.get(key, {} if key == "where" else None), f"{place}.{key}", _AXES)
            sides[key] = {}
            for axis, named in given.items():
                listed = self.texts(named if isinstance(named, list) else [named], f"{place}.{key}.{axis}")
                for label in listed:
                    if label not in labels[axis]:
                        hint = nearest(label, list(dict.fromkeys(labels[axis])))
                        raise self.wrong(f"{place}.{key}.{axis}", f"{label!r}: no such {axis}{hint}")
                sides[key][axis] = listed
        better = {axis: listed[0] for axis, listed in sides["better"].items() if len(listed) == 1}
        if not better or better.keys() != sides["than"].keys():
            raise self.wrong(place, "better must name one label of each axis that than names, of part, row and column")
        within = item.get("within")
        if within is not None and (type(within) not in (int, float) or not 0 < within < math.inf):
            raise self.wrong(f"{place}.within", f"{within!r}: must be a number above 0")
        claim = Claim(self.text(item, "text", place), better, sides["than"], sides["where"], within)
        pairs = list(claim.pairs(parts))
        if not pairs or any(ours == theirs for ours, theirs in pairs):
            raise self.wrong(place, "compares a cell with itself" if pairs else "compares nothing")
        return claim

    # -- values of TOML

    def keys(self, data: Mapping[str, Any], known: Sequence[str], place: str) -> None:
        for key in data:
            if key not in known:
                hint = nearest(key, list(known)) or f"; there are {', '.join(known[:12])}"
                raise self.wrong(f"{place}.{key}" if place else key, f"unknown key{hint}")

    def table(self, data: Any, place: str, known: Sequence[str] | None) -> Mapping[str, Any]:
        if not isinstance(data, dict):
            raise self.wrong(place, "missing" if data is None else "must be a table")
        if known is not None:
            self.keys(data, known, place)
        return data

    def tables(self, data: Any, place: str) -> list[Mapping[str, Any]]:
        if not isinstance(data, list) or not all(isinstance(item, dict) for item in data):
            raise self.wrong(place, "must be a list of tables")
        return data

    def text(self, data: Mapping[str, Any], key: str, place: str, default: str | None = None) -> str:
        value = data.get(key, default)
        if not isinstance(value, str) or (default is None and not value):
            raise self.wrong(f"{place}.{key}" if place else key, "missing" if key not in data else "must be a text")
        return value

    def texts(self, data: Any, place: str) -> tuple[str, ...]:
        if not isinstance(data, list) or not all(isinstance(item, str) for item in data):
            raise self.wrong(place, "must be a list of texts")
        return tuple(data)

    def truth(self, data: Mapping[str, Any], key: str, place: str) -> bool:
        value = data.get(key, False)
        if not isinstance(value, bool):
            raise self.wrong(f"{place}.{key}", "must be true or false")
        return value

    def distinct(self, labels: Sequence[str], place: str) -> None:
        if not labels:
            raise self.wrong(place, "is empty")
        for label in labels:
            if labels.count(label) > 1:
                raise self.wrong(place, f"{label!r} is there twice")
