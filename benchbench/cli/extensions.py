"""Commands that plugin packages add under the entry-point group ``benchbench.commands``.

An entry point names a ``typer.Typer``: ``index = "package.module:app"`` becomes ``bench index ...``. A command is
imported when it is called or listed in the help, and a broken one breaks nothing else.
"""

from __future__ import annotations

import importlib.metadata
from typing import Any

import typer
from typer.core import TyperGroup

from ..errors import UsageError
from ..plugins.catalog import reason
from ..safetext import on_a_line

GROUP = "benchbench.commands"


class ExtensibleGroup(TyperGroup):
    """The application's group of commands: our own, then those that plugin packages add."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of all commands, our own first."""
        own = super().list_commands(ctx)
        return own + sorted(point.name for point in _points() if point.name not in own)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command by name, our own before a plugin's; ``None`` where there is none.

        One that cannot be loaded is there all the same: it says what is wrong with it, and whose it is.
        """
        own = super().get_command(ctx, cmd_name)
        if own is not None:
            return own
        point = next((point for point in _points() if point.name == cmd_name), None)
        return None if point is None else _command(point)


def _points() -> importlib.metadata.EntryPoints:
    return importlib.metadata.entry_points(group=GROUP)


def _command(point: importlib.metadata.EntryPoint) -> Any:
    try:
        app = point.load()
        if not isinstance(app, typer.Typer):
            raise TypeError(f"{point.value} is no typer.Typer")
    except Exception as error:
        app = _broken(point, error)
    command = typer.main.get_command(app)
    command.name = point.name
    return command


def _broken(point: importlib.metadata.EntryPoint, error: Exception) -> typer.Typer:
    """Return a command that is listed with its reason, and says it whatever it is called with."""
    why = on_a_line(f"broken command of {point.dist.name if point.dist else point.value}: {reason(error)}")
    app = typer.Typer(add_completion=False)

    @app.command(
        help=why[0].upper() + why[1:], context_settings={"allow_extra_args": True, "ignore_unknown_options": True}
    )
    def say() -> None:
        raise UsageError(f"{point.name}: {why}")

    return app
