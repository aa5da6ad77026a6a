"""From what a user gave, by flags, a suite file or the Python API, to a ``Request`` (:mod:`.options`)."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import UsageError, nearest
from .options import Chain, Request, options_of


def make_request(options: Mapping[str, Any], table: type[Request] = Request) -> Request:
    """Build a request from option texts, as flags, a suite file and ``benchbench.run`` give them.

    What is not given comes from the suite that is registered as ``default``: its learner, augmentation and
    architectures always, its generators and datasets only when neither is given. A dataset without a generator is the
    real baseline alone.

    Args:
        options: keys are the fields of ``table``; values are texts, numbers or lists of them. Absent, ``None`` and
            an empty list keep the default; a text that holds nothing, ``""`` or ``","``, does not.
        table: the options that there are.

    Raises:
        UsageError: an unknown key, a value that cannot be read, or one that holds nothing.
    """
    known = options_of(table)
    for name in options:
        if name not in known:
            names = tuple(known)
            raise UsageError(f"{name}: unknown option{nearest(name, names) or '; there are ' + ', '.join(names)}")
    given = {name: value for name, value in options.items() if value not in (None, (), [])}
    made = {name: known[name].read(value) for name, value in given.items()}
    open_question = not ("gen" in made or "data" in made)
    for name, value in read_suite("default").items():
        if name in known and (name not in ("gen", "data") or open_question):
            made.setdefault(name, known[name].read(value))
    if not made.get("data"):
        raise UsageError("--data: missing; `bench list dataset` shows what there is")
    if not made.get("gen") and made.get("baseline") is False:
        raise UsageError("--gen: missing, and --no-baseline leaves no row; `bench list generator` shows what there is")
    return expand_sweeps(table(**made))


def expand_sweeps(request: Request) -> Request:
    """Replace each swept spec by one variant for each value; several sweeps multiply."""
    for kind, name, values in request.sweep:
        if kind in ("gen", "aug"):
            chains: list[Chain] = []
            for chain in getattr(request, kind):
                # The last link is the one that a chain is about: diffinv+clip-filter sweeps the filter.
                chains += [(*chain[:-1], chain[-1].with_value(name, value)) for value in values]
            request = replace(request, **{kind: tuple(chains)})  # type: ignore[arg-type]
        else:
            if getattr(request, kind) is None:
                raise UsageError(f"--sweep {kind}.{name}: name the {kind} that has it with --{kind}")
            specs = [spec.with_value(name, value) for spec in getattr(request, kind) for value in values]
            request = replace(request, **{kind: tuple(specs)})  # type: ignore[arg-type]
    return replace(request, sweep=())


def read_suite(name: str) -> dict[str, Any]:
    """Read a suite: a TOML file, or the name of one that a plugin package registers under ``benchbench.suites``.

    Raises:
        UsageError: no such suite, or not TOML (with the line).
    """
    path = Path(name)
    if name.endswith(".toml") or "/" in name:
        if not path.is_file():
            raise UsageError(f"{name}: no such suite file")
    else:
        path = _registered_suite(name)
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{name}: not a TOML file: {error}") from None


def _registered_suite(name: str) -> Path:
    points = importlib.metadata.entry_points(group="benchbench.suites")
    for point in points:
        if point.name == name:
            package, _, file = point.value.partition(":")
            spec = importlib.util.find_spec(package)
            if spec is not None and spec.origin:
                return Path(spec.origin).parent / f"{file}.toml"
    known = sorted(point.name for point in points)
    raise UsageError(f"{name}: no such suite{nearest(name, known) or '; there are ' + ', '.join(known)}")
