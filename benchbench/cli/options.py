"""The options of an experiment as ``run`` and ``plan`` take them, from one table, and those that commands share."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import UsageError
from ..planning.options import Option, Request, options_of, read_suite


def _folder(text: str | Path) -> Path:
    if not str(text):
        raise UsageError("--results: must not be empty; leave it out for ./results")
    return Path(text)


Results = Annotated[
    Path,
    typer.Option("--results", metavar="DIR", parser=_folder, help="Where records, tables and the cache go."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Suite = Annotated[str | None, typer.Argument(metavar="SUITE", help="A TOML file with the same names; options win.")]


def option(name: str) -> Any:
    """Return an option of the experiment, for a command that takes it alone."""
    return _typer(options_of(Request)[name])


def takes_experiment(table: type[Request] = Request) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Let a command take a suite and every option of a request; it gets what was given as ``experiment``, a mapping.

    The options of the command itself follow in ``--help``.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        options = options_of(table).values()
        own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]
        taken = [_parameter("suite", Suite, None), *map(_taken, options), *own]

        def run(**values: Any) -> None:
            given = {item.name: _said(item, values.pop(item.name)) for item in options}
            command(_gather(values.pop("suite"), given), **values)

        run.__name__, run.__doc__ = command.__name__, command.__doc__
        run.__annotations__ = {item.name: item.annotation for item in taken}
        run.__signature__ = inspect.Signature(taken)  # type: ignore[attr-defined]
        return run

    return decorate


def _parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default, annotation=annotation)


def _taken(item: Option) -> inspect.Parameter:
    kind: Any = bool | None if not item.metavar else str | None if item.missing is None else list[str] | None
    return _parameter(item.name, Annotated[kind, _typer(item)], None)


def _typer(item: Option) -> Any:
    if item.metavar:
        return typer.Option(item.spelling, metavar=item.metavar, help=item.help)
    off = item.spelling.replace("--", "--no-", 1)
    return typer.Option(f"{item.spelling}/{off}" if item.default is None else off, help=item.help)


def _said(item: Option, value: Any) -> Any:
    """Return what a user gave: the only spelling of a switch that is on by default turns it off."""
    return False if value and not item.metavar and item.default is not None else value


def _gather(suite: str | None, given: dict[str, Any]) -> dict[str, Any]:
    """Return the options of a request: those of the suite file, then those that were given."""
    options: dict[str, Any] = {}
    if suite is not None:
        options |= read_suite(suite)
    return options | {name: value for name, value in given.items() if value not in (None, [], ())}
