"""From JSON that anybody may have written to dataclasses: every value, at any depth, is checked against its annotation.

What passes can be counted, compared, written again and turned into tables; all else is named by the path of its field.
"""

from __future__ import annotations

import dataclasses
import math
import reprlib
import sys
import types
import typing
from collections.abc import Callable, Mapping
from functools import cache, lru_cache
from typing import Any, TypeVar

from ..errors import BenchError

T = TypeVar("T")

#: How deep JSON may be nested; Python itself gives up at some hundred levels.
DEEPEST = 64
#: Whole numbers of a field are smaller (64 bits), and those inside free JSON than the second (a float holds it).
LARGEST, HUGE = 2**63, 10**300

_short = reprlib.Repr()
_short.maxstring = _short.maxother = _short.maxlong = 40
_short.maxlevel = 2


class RecordError(BenchError):
    """A record that cannot be read; the text says what is wrong with it."""


class _FieldError(Exception):
    """What is wrong with a value, and the names of the fields around it, the innermost first."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what, self.names = what, list[str]()

    def inside(self, name: str) -> _FieldError:
        self.names.append(name)
        return self


def read_as(cls: type[T], data: Any, where: str) -> T:
    """Return a dataclass made of its JSON.

    Args:
        cls: its fields are annotated with ``str``, ``int``, ``float``, ``int | float``, ``bool``, ``Any`` (free JSON),
            other dataclasses, and ``Mapping[str, ...]``, ``list[...]``, ``tuple[...]`` and ``... | None`` of these.
        data: what ``json.loads`` gave.
        where: what it is called in messages.

    Raises:
        RecordError: a field is missing, unknown, of the wrong type, not finite, too large, no text or nested too deep.

    """
    try:
        made: T = _reader(typing.cast(Any, cls))(data)
        return made
    except _FieldError as flaw:
        raise RecordError(f"{'.'.join([where, *reversed(flaw.names)])}: {flaw.what}") from None


def json_flaw(value: Any) -> str | None:
    """Return what would keep free JSON from being read again, ``None`` where nothing does."""
    try:
        _json(value)
    except _FieldError as flaw:
        return flaw.what
    return None


def shown(value: Any) -> str:
    """Return a value of any size and depth in at most some forty characters, all of them printable."""
    return _short.repr(value)


@cache
def _reader(hint: Any) -> Callable[[Any], Any]:
    """Return the function that reads a value with this annotation, and raises :class:`_FieldError` for any other."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if hint in _SIMPLE:
        return _SIMPLE[hint]
    if dataclasses.is_dataclass(hint):
        return _dataclass_reader(typing.cast(Any, hint))
    if origin in (types.UnionType, typing.Union):
        read = _reader(next(item for item in inner if item is not type(None)))
        return lambda value: None if value is None else read(value)
    if origin is Mapping:
        return _mapping_reader(_reader(inner[1]))
    if origin is list or (origin is tuple and inner[-1] is Ellipsis):
        return _list_reader(_reader(inner[0]), origin)
    return _tuple_reader(tuple(map(_reader, inner)))


def _dataclass_reader(cls: type[Any]) -> Callable[[Any], Any]:
    hints, fields = typing.get_type_hints(cls), dataclasses.fields(cls)
    readers = {item.name: _reader(hints[item.name]) for item in fields}
    missing = dataclasses.MISSING
    # Thousands of records have the same columns: those of texts and whole numbers alone are made once.
    make = lru_cache(1000)(cls) if all(hint in (str, int, str | None) for hint in hints.values()) else cls
    required = {item.name for item in fields if item.default is missing and item.default_factory is missing}

    def read(value: Any) -> Any:
        if type(value) is not dict:
            raise _wrong(value)
        if unknown := value.keys() - readers.keys():
            raise _FieldError("unknown field").inside(_name(min(unknown)))
        if lacking := required - value.keys():
            raise _FieldError("missing").inside(min(lacking))
        name, values = "", {}
        try:
            for name, item in value.items():
                values[name] = readers[name](item)
        except _FieldError as flaw:
            raise flaw.inside(name) from None
        try:
            return make(**values)
        except ValueError as error:
            raise _FieldError(str(error)[:200]) from None

    return read


def _mapping_reader(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def read_all(value: Any) -> Any:
        if type(value) is not dict:
            raise _wrong(value)
        name, values = "", {}
        try:
            for name, item in value.items():
                values[sys.intern(_text(name))] = read(item)
        except _FieldError as flaw:
            raise flaw.inside(_name(name)) from None
        return values

    return read_all


def _list_reader(read: Callable[[Any], Any], kind: type) -> Callable[[Any], Any]:
    def read_all(value: Any) -> Any:
        if type(value) is not list:
            raise _wrong(value)
        return kind(map(read, value))

    return read_all


def _tuple_reader(readers: tuple[Callable[[Any], Any], ...]) -> Callable[[Any], Any]:
    def read_all(value: Any) -> Any:
        if type(value) is not list or len(value) != len(readers):
            raise _wrong(value)
        return tuple(read(item) for read, item in zip(readers, value, strict=True))

    return read_all


def _text(value: Any) -> str:
    if type(value) is not str:
        raise _wrong(value)
    if not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
        raise _FieldError(f"{shown(value)} is no Unicode text")
    return value


def _whole(value: Any) -> int:
    if type(value) is not int:
        raise _wrong(value)
    if not -LARGEST < value < LARGEST:
        raise _FieldError(f"{shown(value)} is too large")
    return value


def _number(value: Any) -> float:
    if type(value) is int:
        return float(_whole(value))
    if type(value) is not float:
        raise _wrong(value)
    if not math.isfinite(value):
        raise _FieldError(f"{value} is not a finite number")
    return value


def _truth(value: Any) -> bool:
    if type(value) is not bool:
        raise _wrong(value)
    return value


def _json(value: Any, depth: int = 0) -> Any:
    """Check free JSON."""
    kind = type(value)
    if kind is str:
        return _text(value)
    if kind is float:
        return _number(value)
    if kind is int and not -HUGE < value < HUGE:
        raise _FieldError(f"{shown(value)} is too large")
    if kind is list or kind is dict:
        if depth == DEEPEST:
            raise _FieldError(f"nested more than {DEEPEST} deep")
        for item in value if kind is list else value.values():
            _json(item, depth + 1)
        for name in value if kind is dict else ():
            _text(name)
    return value


_SIMPLE: dict[Any, Callable[[Any], Any]] = {
    str: _text,
    int: _whole,
    float: _number,
    int | float: lambda value: _whole(value) if type(value) is int else _number(value),
    bool: _truth,
    Any: _json,
}


def _wrong(value: Any) -> _FieldError:
    return _FieldError(f"{shown(value)} has the wrong type")


def _name(name: str) -> str:
    """Return the name of a field as it stands in a message, where it may be any text."""
    return name if name.isprintable() and len(name) <= 40 else shown(name)
