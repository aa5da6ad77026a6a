"""``bench check``: the conformance suite that our own plugins pass, on any plugin."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ..errors import UsageError
from ..machine import quiet_threads
from ..plugins.catalog import load
from . import options as o
from .say import say, say_json


def check(
    name: Annotated[str, typer.Argument(metavar="NAME|FILE", help="A plugin's name (with values) or its file.")],
    kind: Annotated[str | None, typer.Option("--kind", help="When two kinds share a name.")] = None,
    data: Annotated[
        str | None,
        typer.Option("--data", metavar="NAME[:...]", help="Check on some images of this dataset, not on made-up ones."),
    ] = None,
    as_json: o.Json = False,
) -> None:
    """Run the conformance suite on a plugin; exit 1 when it breaks a promise of its kind."""
    from .show import named_plugin

    quiet_threads()
    spec, entry = named_plugin(name, kind)
    from ..testing import run_checks, small_part

    on: dict[str, Any] = {}
    if data is not None:
        if entry.kind in ("dataset", "foundation"):
            raise UsageError(f"--data {data}: {spec.name} is a {entry.kind}, which is checked by itself; omit --data")
        on["info"], on["train"] = small_part(data)
    results = run_checks(load(entry), name=spec.name, values=dict(spec.values), **on)
    if as_json:
        say_json([vars(item) for item in results])
    else:
        for item in results:
            state = "skip" if item.skipped else "ok  " if item.ok else "FAIL"
            say(f"{state}  {item.name}{': ' + item.message if item.message else ''}")
    failed = [item for item in results if not item.ok and not item.skipped]
    if not as_json:
        say(f"{len(results)} checks, {len(failed)} failed")
    raise typer.Exit(1 if failed else 0)
