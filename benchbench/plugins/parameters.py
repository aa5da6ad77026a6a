"""Typed parameters: one dataclass field is at once option, help, bound and cache key.

``param(...)`` declares a field of a plugin. The same declaration gives the spelling on the command line
(``name:key=value``), the sentence in ``bench show``, the check of a value and its place in the key of a step.
"""

from __future__ import annotations

import dataclasses
import math
import os
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ..errors import UsageError, nearest
from ..files import expanded

PRESETS = ("quick", "paper")

Scalar = bool | int | float | str | Path | None
Value = Scalar | tuple[Scalar, ...]

#: The types of a parameter, as messages name their values.
_KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text", Path: "a path"}
_TRUTH = {"true": True, "yes": True, "1": True, "on": True, "false": False, "no": False, "0": False, "off": False}


def param(
    default: Any,
    *,
    help: str,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    choices: Sequence[str] | None = None,
    stage: str | None = None,
    affects_result: bool = True,
    paper: Any = dataclasses.MISSING,
    path: bool = False,
    must_exist: bool = True,
) -> Any:
    """Declare a parameter of a plugin.

    One annotated ``Path`` (``Path | None``, ``tuple[Path, ...]``) holds files or folders. Their content enters the
    key, and tables show their names without the folders above. A relative one is below the working directory.

    Args:
        default: the value under ``--preset quick``, and under ``paper`` without a ``paper`` value. A list is a tuple.
        help: one sentence for ``bench show``; never part of a key.
        low: smallest allowed value (of every element, for a list).
        high: largest allowed value.
        above: the value must be strictly greater than this.
        choices: the allowed strings.
        stage: the one stage that the value matters to. ``"sample"`` keeps it out of the key of ``fit``; ``"train"``
            on a dataset keeps it out of the key of its images.
        affects_result: ``False`` keeps the value out of every key, as it changes speed or memory alone.
        paper: the value under ``--preset paper``.
        path: treat a parameter annotated ``str`` as one annotated ``Path``; it stays text, and ``""`` is no path.
        must_exist: refuse a path that does not exist before any work; otherwise its absence enters the key.
    """
    declared = Parameter(
        default=default,
        help=help,
        low=low,
        high=high,
        above=above,
        choices=tuple(choices or ()),
        stage=stage,
        affects_result=affects_result,
        paper=default if paper is dataclasses.MISSING else paper,
        is_path=path,
        must_exist=must_exist,
    )
    return dataclasses.field(default=default, metadata={"bench": declared})


@dataclass(frozen=True)
class Parameter:
    """One declared parameter of a plugin class, as the command line and the key of a step see it.

    ``param`` fills in what it is given; ``parameters`` adds the name and, from the annotation, the type, whether
    ``None`` is allowed and whether it is a list.
    """

    default: Value
    help: str
    low: float | None
    high: float | None
    above: float | None
    choices: tuple[str, ...]
    stage: str | None
    affects_result: bool
    paper: Value
    is_path: bool
    must_exist: bool
    name: str = ""
    type: type = str
    optional: bool = False
    is_list: bool = False

    def enters_key(self, stage: str) -> bool:
        """Return whether the value can change what ``stage`` makes."""
        return self.affects_result and self.stage in (None, stage)

    def preset(self, preset: str) -> Value:
        """Return the value under a preset."""
        return self.paper if preset == "paper" else self.default

    def parse(self, text: str) -> Value:
        """Read a value from its text on the command line; raises ``ValueError`` with what would be right."""
        if self.optional and text.lower() in ("none", ""):
            return None
        if self.is_list:
            return tuple(self._scalar(part) for part in text.split("//" if self.is_path else "/"))
        return self._scalar(text)

    def _scalar(self, text: str) -> Scalar:
        if self.is_path:
            return self._path(text)
        if self.type is str:
            return text
        try:
            return _TRUTH[text.lower()] if self.type is bool else typing.cast(Scalar, self.type(text))
        except (KeyError, ValueError):
            raise ValueError(f"must be {_KINDS[self.type]}") from None

    def _path(self, value: str | Path) -> str | Path:
        if not str(value) and self.type is Path:
            raise ValueError("must not be empty")
        return typing.cast("str | Path", self.type(value))

    def check(self, value: Any) -> Value:
        """Return ``value`` in its declared type, or raise ``ValueError`` with what would be right."""
        if value is None:
            if self.optional:
                return None
            raise ValueError("must not be empty")
        if self.is_list:
            if isinstance(value, (str, bytes)) or not isinstance(value, Sequence):
                value = (value,)
            if not value:
                raise ValueError("must have at least one value")
            return tuple(self._check_scalar(item) for item in value)
        return self._check_scalar(value)

    def _check_scalar(self, value: Any) -> Scalar:
        if self.type is float and type(value) is int:
            value = float(value)
        if self.is_path and isinstance(value, (str, Path)):
            return self._path(value)
        if type(value) is not self.type:
            raise ValueError(f"must be {_KINDS[self.type]}")
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError("must be a finite number")
        if self.choices and value not in self.choices:
            raise ValueError(f"must be one of {', '.join(self.choices)}{nearest(str(value), self.choices)}")
        if isinstance(value, (int, float)) and self.type is not bool:
            if self.low is not None and value < self.low:
                raise ValueError(f"must be at least {self.low:g}")
            if self.high is not None and value > self.high:
                raise ValueError(f"must be at most {self.high:g}")
            if self.above is not None and value <= self.above:
                raise ValueError(f"must be above {self.above:g}")
        return typing.cast(Scalar, value)

    def paths(self, value: Value) -> tuple[Path, ...]:
        """Return the files and folders that a value names: none for another parameter, ``None`` and ``""``."""
        several = value if isinstance(value, tuple) else (value,)
        return tuple(Path(str(item)) for item in several if item not in (None, "")) if self.is_path else ()

    def absolute(self, value: Value) -> Value:
        """Return a value whose relative paths are below the working directory now, and whose ``~`` is spelled out."""
        paths = [self._path(os.path.abspath(expanded(path))) for path in self.paths(value)]
        if isinstance(value, tuple) and self.is_path:
            return tuple(paths)
        return paths[0] if paths else value


def parameters(cls: type) -> tuple[Parameter, ...]:
    """Return the declared parameters of a plugin class, in the order of its fields.

    Raises:
        TypeError: a field without ``param(...)``, or of a type that has no spelling on a command line.
    """
    return _parameters(typing.cast(Any, cls))


@cache
def _parameters(cls: Any) -> tuple[Parameter, ...]:
    if any(isinstance(value, dataclasses.Field) for value in vars(cls).values()):
        raise TypeError(f"{cls.__name__}: decorate it with @dataclass(frozen=True)")
    hints = typing.get_type_hints(cls)
    declared_ones = []
    for field in dataclasses.fields(cls):
        declared = field.metadata.get("bench")
        if declared is None:
            raise TypeError(f"{cls.__name__}.{field.name}: declare it with param(default, help=...)")
        if declared.stage == "speed":
            raise TypeError(f'{cls.__name__}.{field.name}: write affects_result=False in place of stage="speed"')
        base, optional, is_list = _shape(cls, field.name, hints[field.name])
        if declared.is_path and (base is not str or is_list):
            raise TypeError(f"{cls.__name__}.{field.name}: path=True is for text; annotate it with Path instead")
        is_path = declared.is_path or base is Path
        kind = {"name": field.name, "type": base, "optional": optional, "is_list": is_list, "is_path": is_path}
        declared_ones.append(dataclasses.replace(declared, **kind))
    return tuple(declared_ones)


def _shape(cls: type, name: str, hint: Any) -> tuple[type, bool, bool]:
    optional = is_list = False
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        rest = [item for item in typing.get_args(hint) if item is not type(None)]
        optional = len(rest) < len(typing.get_args(hint))
        hint = rest[0] if len(rest) == 1 else hint
    if typing.get_origin(hint) is tuple:
        is_list, hint = True, typing.get_args(hint)[0]
    if hint not in _KINDS:
        raise TypeError(f"{cls.__name__}.{name}: parameters are bool, int, float, str, Path or a tuple of one of them")
    return hint, optional, is_list


def build(cls: type, values: Mapping[str, Any], *, subject: str, preset: str = "quick") -> Any:
    """Make a plugin from values (texts or typed), a preset filling in the rest.

    Args:
        cls: the plugin class.
        values: what the user set; texts are parsed, typed values are checked.
        subject: the plugin's name as the user wrote it, the start of every message.
        preset: ``"quick"`` or ``"paper"``.

    Raises:
        UsageError: an unknown parameter, a value of the wrong type or out of range.
    """
    declared = {item.name: item for item in parameters(cls)}
    ready = {name: item.preset(preset) for name, item in declared.items()}
    for name, raw in values.items():
        item = declared.get(name)
        if item is None:
            known = tuple(declared)
            listed = f"; it has {', '.join(known)}" if known else "; it has none"
            raise UsageError(f"{subject}:{name}: unknown parameter{nearest(name, known) or listed}")
        try:
            # An unset variable of a script leaves this; to take the default silently would be another experiment.
            if raw == "" and item.type in (str, Path) and "" not in map(item.preset, PRESETS):
                raise ValueError("must not be empty; leave it out for the default")
            ready[name] = item.check(item.parse(raw) if isinstance(raw, str) else raw)
        except ValueError as error:
            raise UsageError(f"{subject}:{name}={format_value(raw)}: {error}") from None
    try:
        return cls(**{name: declared[name].absolute(value) for name, value in ready.items()})
    except ValueError as error:  # a plugin's __post_init__ may relate several parameters
        raise UsageError(f"{subject}: {error}") from None


def values_of(plugin: Any, *, stage: str | None = None, changed_only: bool = True) -> dict[str, Value]:
    """Return a plugin's parameter values, those that enter the key of ``stage`` and differ from the default.

    Args:
        plugin: an instance of a plugin class.
        stage: leave out parameters that do not affect the result of this stage; ``None`` keeps all.
        changed_only: leave out values equal to their default.
    """
    kept = {}
    for item in parameters(type(plugin)):
        value = getattr(plugin, item.name)
        if stage is not None and not item.enters_key(stage):
            continue
        if changed_only and value == item.absolute(item.default):
            continue
        kept[item.name] = value
    return kept


def format_value(value: Any) -> str:
    """Write a value as the command line spells it: ``2/3/4``, ``true``, ``0.1``; paths are joined by ``//``."""
    if isinstance(value, (tuple, list)):
        return ("//" if any(isinstance(item, Path) for item in value) else "/").join(
            format_value(item) for item in value
        )
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "none"
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)
    return str(value)
