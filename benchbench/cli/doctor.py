"""``bench doctor``: is this installation whole, and what can this machine run?"""

from __future__ import annotations

import json

import typer

from . import options as o


def doctor(as_json: o.Json = False) -> None:
    """Check packages, plugins, embedded models and hardware; exit 1 when something is broken."""
    from .examine import examine

    findings = examine()
    if as_json:
        typer.echo(json.dumps([vars(item) for item in findings], indent=1, sort_keys=True))
    else:
        for item in findings:
            typer.echo(f"{'ok  ' if item.ok else 'FAIL' if item.fatal else 'note'}  {item.subject:<24} {item.text}")
    raise typer.Exit(1 if any(item.fatal and not item.ok for item in findings) else 0)
