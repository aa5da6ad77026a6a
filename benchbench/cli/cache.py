"""``bench cache``: what the store holds, whether it is intact, and what can go."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from ..disk import size_text
from ..errors import BenchError, UsageError
from . import options as o
from .say import complain, say, say_json

app = typer.Typer(help="What is cached: list it, verify it, collect what no record needs.", no_args_is_help=True)


def _store(results: Path) -> Any:
    from ..store.store import Store

    if not (results / "artifacts").is_dir():
        raise UsageError(f"--results {results}: nothing is cached there ({results / 'artifacts'} does not exist)")
    return Store(results / "artifacts")


@app.command("ls")
def ls(results: o.Results = Path("results"), as_json: o.Json = False) -> None:
    """List artifacts: key, size, seconds it took, what it is."""
    store = _store(results)
    rows = []
    for key in sorted(store.keys()):
        try:
            meta = store.meta(key)
        except BenchError as error:
            meta = {"label": f"unreadable: {error}", "seconds": 0.0, "stage": "?"}
        rows.append({"key": key, "bytes": store.size(key), **{k: meta.get(k) for k in ("stage", "label", "seconds")}})
    if as_json:
        say_json(rows)
        return
    for row in rows:
        say(f"{row['key'][:12]}  {size_text(row['bytes']):>10}  {row['seconds'] or 0:>8.1f} s  {row['label']}")
    say(f"{len(rows)} artifacts, {size_text(sum(row['bytes'] for row in rows))}")


@app.command("verify")
def verify(results: o.Results = Path("results"), as_json: o.Json = False) -> None:
    """Read every artifact and compare its checksums; exit 1 when one is corrupt."""
    from rich.console import Console
    from rich.progress import track

    store = _store(results)
    keys = list(store.folders())
    watched = track(keys, "verifying", console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())
    problems = [(key, problem) for key in watched if (problem := store.verify(key))]
    if as_json:
        say_json([{"key": key, "problem": problem} for key, problem in problems])
    else:
        for key, problem in problems:
            say(f"{key}: {problem}")
        say(f"{len(keys)} artifacts, {len(problems)} corrupt")
    raise typer.Exit(1 if problems else 0)


@app.command("gc")
def gc(
    results: o.Results = Path("results"),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="Also what records and unfinished runs need; the next run starts anew.")
    ] = False,
) -> None:
    """Remove artifacts that neither a record shown in the tables nor an unfinished run needs."""
    from ..results.folder import read_records
    from ..results.table import shown_keys

    store = _store(results)
    records, problems, _ = read_records(results)
    for line in problems:
        complain(f"{line}; what it needs is not kept")
    shown = shown_keys(records)
    keep: set[str] = set()
    if everything:
        if not dry_run:
            store.forget_plans()
    else:
        kept = [record for record in records if record.key in shown]
        keep = {key for record in kept for keys in record.steps.values() for key in keys} | store.planned()
    labels = {key: store.meta(key).get("label", "") for key in store.keys() if store.check(key) is None}
    removed = store.gc(keep, dry_run)
    for key, size in removed:
        say(f"{key[:12]}  {size_text(size):>10}  {labels.get(key, 'left by a run that was stopped')}")
    total = size_text(sum(size for _, size in removed))
    say(f"{'would remove' if dry_run else 'removed'} {len(removed)}, {total}")
