"""``Spec``: a plugin's name and the parameter values that a user set, from text or TOML.

One spelling everywhere: ``diffinv:guidance_scale=2/3,noise_strength=0.2``; links of a chain are joined by ``+``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import UsageError
from ..plugins.parameters import format_value

# A link starts with a letter, a dot, a slash or a tilde, so that the plus of 1e+3 does not split a number.
_LINK = re.compile(r"(\++)(?=[A-Za-z./~])")


@dataclass(frozen=True)
class Spec:
    """A plugin's name with the values that were set; ``str(spec)`` is its spelling on the command line."""

    name: str
    values: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        values = ",".join(f"{key}={format_value(value)}" for key, value in self.values.items())
        return _LINK.sub(r"\1\1", f"{self.name}:{values}" if values else self.name)

    def __hash__(self) -> int:
        return hash((self.name, frozenset(self.values)))  # equal specs may list their values in another order

    def with_value(self, name: str, value: Any) -> Spec:
        """Return the spec with one value set."""
        return Spec(self.name, {**self.values, name: value})


def parse_spec(text: str) -> Spec:
    """Read ``name:key=value,key=value``.

    A part without ``=`` continues the value before it, so that a path may hold a comma.

    Raises:
        UsageError: no name, a value without a key, a key given twice, or bytes that are not UTF-8.
    """
    name, _, rest = in_utf8(text).strip().partition(":")
    if not name:
        raise UsageError(f"{text!r}: a plugin's name is missing; write name:key=value,key=value")
    values: dict[str, str] = {}
    last = ""
    for part in rest.split(",") if rest else []:
        key, equals, value = part.partition("=")
        key = key.strip().replace("-", "_")
        if equals and key.isidentifier():
            if key in values:
                raise UsageError(f"{name}:{key}: given twice")
            values[key] = value
            last = key
        elif last:
            values[last] += "," + part
        else:
            raise UsageError(f"{text}: {part!r} is not key=value; write {name}:key=value,key=value")
    return Spec(name, values)


def in_utf8(text: str) -> str:
    """Return a text that a record can hold.

    Raises:
        UsageError: it has bytes that are not UTF-8, as the name of a file may.
    """
    if any("\ud800" <= sign <= "\udfff" for sign in text):
        raise UsageError(f"{text}: is not UTF-8; rename it, or link to it by another name")
    return text


def parse_chain(text: str) -> tuple[Spec, ...]:
    """Read ``a:x=1+b:y=2``: the links of a chain, in order; ``++`` stands for a plus inside a value or a path."""
    if text.endswith("+"):
        raise UsageError(f"{text}: a plugin's name is missing behind the +; write {text}NAME")
    parts = [""]
    for place, piece in enumerate(_LINK.split(text)):
        if place % 2 == 0:
            parts[-1] += piece
            continue
        parts[-1] += "+" * (len(piece) // 2)
        if len(piece) % 2:
            parts.append("")
    if len(parts) > 1 and not parts[0].strip():
        raise UsageError(f"{text}: a plugin's name is missing before the +; write NAME{text.strip()}")
    return tuple(parse_spec(part) for part in parts)


def chain_text(chain: Iterable[Spec]) -> str:
    """Write a chain as the command line spells it."""
    return "+".join(str(link) for link in chain)


def comma_list(values: Iterable[str]) -> list[str]:
    """Split options that take comma lists or repeat: ``["a,b", "c"]`` gives ``["a", "b", "c"]``, once each."""
    items = [item.strip() for value in values for item in value.split(",") if item.strip()]
    return list(dict.fromkeys(items))


def integer(value: str | int, option: str, low: int, high: int | None = None) -> int:
    """Read one whole number of at least ``low`` and at most ``high``.

    Raises:
        UsageError: no number, one outside these limits, or several.
    """
    if not str(value).strip():
        raise UsageError(f"{option}: no number given")
    try:
        number = int(value)
    except ValueError:
        raise UsageError(f"{option} {value}: must be a whole number") from None
    if number < low:
        raise UsageError(f"{option} {value}: must be at least {low}")
    if high is not None and number > high:
        raise UsageError(f"{option} {value}: must be at most {high}")
    return number


def parse_mix(text: str) -> tuple[int, int]:
    """Read ``real:synthetic``, such as ``1:3``.

    Returns:
        The ratio in lowest terms, so that one ratio has one key.

    Raises:
        UsageError: not two whole numbers, or no generated images, which is what the real baseline is for.
    """
    match = re.fullmatch(r"([0-9]{1,6}):([0-9]{1,6})", text.strip())
    if not match:
        raise UsageError(f"--mix {text}: must be real:synthetic, such as 1:1 or 1:3, each at most 999999")
    real, synthetic = int(match[1]), int(match[2])
    if synthetic == 0:
        raise UsageError(f"--mix {text}: has no generated images; real ones alone are the baseline's row")
    shared = math.gcd(real, synthetic)
    return real // shared, synthetic // shared


def parse_sweep(text: str) -> tuple[str, str, tuple[str, ...]]:
    """Read ``gen.interpolation_strength=0,0.1,0.2`` into kind, parameter and the texts of the values."""
    match = re.fullmatch(r"(gen|data|learner|aug|metric)\.([A-Za-z_][\w-]*)=(.+)", text)
    if not match:
        raise UsageError(f"--sweep {text}: must be gen.PARAMETER=VALUE,VALUE (or data., learner., aug., metric.)")
    values = tuple(comma_list([match[3]]))
    if not values:
        raise UsageError(f"--sweep {text}: has no values; write {match[1]}.{match[2]}=VALUE,VALUE")
    return match[1], match[2].replace("-", "_"), values
