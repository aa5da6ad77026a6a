"""Make the committed results again, and write the pages that show them.

``python benchmarks/make_results.py run [NAME ...]`` runs the commands of ``benchmarks/results.toml``, each into
``results/NAME``; what is done is read back, so that it continues after a kill. ``python benchmarks/make_results.py
pages`` writes the block between the marks of README.md and of docs/results.md: the tables as the terminal shows them
and the sentences that the verdicts carry. A page without the marks is refused.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchbench.files import atomic_file
from benchbench.planning.estimates import duration
from benchbench.reporting.closing import closing_lines
from benchbench.reporting.text import plain_lines, short_grids
from benchbench.results.folder import read_records
from benchbench.results.table import build_table

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
#: Pages with a block, and the folders that each shows.
PAGES = ("README.md", "docs/results.md")


@dataclass(frozen=True)
class Folder:
    """One folder of ``results/``: its name, heading, what it is, the commands that make it and the pages it is on.

    ``prepare`` are arguments of Python: scripts of the repository that run before the commands.
    """

    name: str
    title: str
    about: str
    commands: tuple[str, ...]
    pages: tuple[str, ...]
    prepare: tuple[str, ...] = ()


def folders(file: Path = ROOT / "benchmarks/results.toml") -> list[Folder]:
    """Return what the file lists."""
    listed: list[dict[str, Any]] = tomllib.loads(file.read_text("utf-8"))["folder"]
    tuples = ("commands", "pages", "prepare")
    return [Folder(**{**item, **{name: tuple(item.get(name, ())) for name in tuples}}) for item in listed]


def run(folder: Folder) -> int:
    """Run the commands of a folder one after the other; returns the first exit status that is not 0."""
    place = ROOT / "results" / folder.name
    for script in folder.prepare:
        if status := subprocess.call([sys.executable, *shlex.split(script)], cwd=ROOT):
            return status
    for command in folder.commands:
        began = time.monotonic()
        print(f"$ {command}", flush=True)
        status = subprocess.call([sys.executable, "-m", "benchbench", *arguments(command, place)], cwd=ROOT)
        note(place, command, time.monotonic() - began)
        if status:
            return status
    return 0


def arguments(command: str, place: Path) -> list[str]:
    """Return the arguments of a command that begins with ``bench``, with its results folder."""
    program, *words = shlex.split(command)
    assert program == "bench", command
    return [*words, "--results", str(place)]


def note(place: Path, command: str, seconds: float) -> None:
    """Add the time that a command took to those of earlier parts of it."""
    file = place / "made.json"
    made = json.loads(file.read_text("utf-8")) if file.is_file() else {}
    known = made.get(command, {"wall_s": 0.0, "parts": 0})
    made[command] = {
        "wall_s": round(known["wall_s"] + seconds, 1),
        "parts": known["parts"] + 1,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
    }
    place.mkdir(parents=True, exist_ok=True)
    with atomic_file(file) as stream:
        stream.write((json.dumps(made, indent=1, sort_keys=True) + "\n").encode())


def block(page: str) -> str:
    """Return what stands between the marks of a page: of the folders that have been made."""
    up = "../" * page.count("/")
    parts = []
    for folder in folders():
        if page in folder.pages and (ROOT / "results" / folder.name / "made.json").is_file():
            parts += _section(folder, up)
    return "\n\n".join(parts)


def _section(folder: Folder, up: str) -> list[str]:
    place = ROOT / "results" / folder.name
    table = build_table(read_records(place).records)
    grids = "\n\n".join("\n".join(plain_lines(grid)).rstrip() for grid in short_grids(table))
    lines = "\n".join(f"- {_plain(line)}" for line in closing_lines(table, most=None))
    made = json.loads((place / "made.json").read_text("utf-8")) if (place / "made.json").is_file() else {}
    done = [command for command in folder.commands if command in made]
    took, cores = sum(made[command]["wall_s"] for command in done), {made[command]["cores"] for command in done}
    typed = [f"python {script}" for script in folder.prepare]
    typed += [f"{command} --results results/{folder.name}" for command in done]
    where = f"All columns, plots and records: [results/{folder.name}]({up}results/{folder.name}/leaderboard.md)."
    if took and len(cores) == 1:
        where += f" Made in {duration(took)} on {cores.pop()} cores by"
    parts = [f"### {folder.title}", folder.about.strip(), f"```text\n{grids}\n```"]
    return [*parts, *([lines] if lines else []), where, "```\n{}\n```".format("\n".join(typed))]


def _plain(line: str) -> str:
    """Return a sentence as Markdown: what it says of commands and names is no markup."""
    return line.replace("*", r"\*").replace("_", r"\_").replace("<", r"\<")


def written(page: str) -> str:
    """Return a page with its block made again."""
    text = (ROOT / page).read_text("utf-8")
    before, found, rest = text.partition(BEGIN)
    _, closed, after = rest.partition(END)
    if not (found and closed):
        raise SystemExit(f"{page}: has no {BEGIN} ... {END}")
    return f"{before}{BEGIN}\n{block(page)}\n{END}{after}"


def main() -> None:
    """Run the commands, or write the pages."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=("run", "pages"))
    parser.add_argument("names", nargs="*", help="folders below results/; all")
    given = parser.parse_args()
    known = {folder.name: folder for folder in folders()}
    if wrong := [name for name in given.names if name not in known]:
        parser.error(f"{', '.join(wrong)}: no such folder; there are {', '.join(known)}")
    if given.what == "pages":
        for page in PAGES:
            (ROOT / page).write_text(written(page), "utf-8")
        return
    for name in given.names or known:
        if status := run(known[name]):
            raise SystemExit(status)


if __name__ == "__main__":
    main()
