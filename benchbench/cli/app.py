"""The Typer application; commands in the order in which people use them."""

from __future__ import annotations

from typing import Annotated

import typer

from . import cache, check, compare, doctor, fetch, gallery, listing, new, report, reproduce, running, show, why
from .extensions import ExtensibleGroup
from .say import say

EPILOG = """Examples:

  bench run --gen diffinv --data digits --arch all

  bench run --gen diffinv:guidance_scale=3 --data folder:path=pets --arch resnet18 --seeds 3"""

app = typer.Typer(
    name="bench",
    cls=ExtensibleGroup,
    help="Does generated data improve my image classifier, on my data, with my architecture, and at what cost?",
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _version(value: bool) -> None:
    if value:
        from importlib.metadata import version

        say(f"bench {version('benchbench')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Parse what comes before the command."""


app.command("run")(running.run)
app.command("plan")(running.plan)
app.command("reproduce")(reproduce.reproduce)
app.command("list")(listing.list_plugins)
app.command("show")(show.show)
app.command("fetch")(fetch.fetch)
app.command("report")(report.report)
app.command("gallery")(gallery.gallery)
app.command("compare")(compare.compare)
app.command("why")(why.why)
app.add_typer(cache.app, name="cache")
app.command("doctor")(doctor.doctor)
app.command("new")(new.new)
app.command("check")(check.check)
