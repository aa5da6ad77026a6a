"""``bench list``: every plugin by kind, broken ones with their reason."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ..errors import BenchError, UsageError, nearest
from ..plugins.catalog import KINDS, catalog, load
from . import options as o
from .say import say, say_json


def list_plugins(
    kind: Annotated[
        str | None,
        typer.Argument(help="dataset, generator, augmentation, learner, metric, foundation, executor, report."),
    ] = None,
    as_json: o.Json = False,
) -> None:
    """List plugins: built in, installed, and broken ones with their reason."""
    wanted = kind.removesuffix("s") if kind else None
    if wanted is not None and wanted not in KINDS:
        raise UsageError(f"{kind}: no such kind{nearest(wanted, KINDS) or '; there are ' + ', '.join(KINDS)}")
    rows = [_row(entry) for entry in catalog().entries(wanted)]
    if as_json:
        say_json(rows)
        return
    width = max((len(row["name"]) for row in rows), default=0)
    last = None
    for row in rows:
        if row["kind"] != last:
            say(*([] if last is None else [""]), row["kind"] + "s")
            last = row["kind"]
        text = f"BROKEN: {row['problem']}" if row["problem"] else row["summary"]
        source = "" if row["distribution"] == "benchbench" else f"  [{row['distribution']} {row['version']}]"
        absent = "" if row["here"] else "  [its files are not here]"
        say(f"  {row['name']:<{width}}  {text}{source}{absent}")


def _row(entry: Any) -> dict[str, Any]:
    problem, summary, here = entry.problem, "", True
    try:
        cls = load(entry)
        summary = (cls.__doc__ or "").strip().split("\n")[0]
        here = entry.kind != "dataset" or _here(cls)
    except UsageError as error:
        problem = entry.problem or str(error).partition(": ")[2]
    return {
        "kind": entry.kind,
        "name": entry.name,
        "summary": summary,
        "distribution": entry.distribution,
        "version": entry.version,
        "problem": problem,
        "here": here,
    }


def _here(cls: Any) -> bool:
    """Say whether the files of a dataset are where it looks for them when nothing else is said."""
    try:
        return all(need.path.exists() for need in cls().needs().files)
    except (BenchError, TypeError, OSError):
        return True  # one that needs a path to its files is not missing any
