"""``bench doctor``: is this installation whole, and what can this machine run? It looks, and runs nothing."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import typer

from ..errors import BenchError
from ..machine import cores, has_cuda, memory_gib
from ..plugins.catalog import catalog, load
from ..plugins.locate import locate
from . import options as o
from .say import say, say_json


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        subject: what.
        ok: whether it is as it should be.
        fatal: whether ``bench`` cannot do its main job without it.
        text: what was found, and what to do when it is not well.
    """

    subject: str
    ok: bool
    fatal: bool
    text: str


def doctor(as_json: o.Json = False) -> None:
    """Check packages, plugins, embedded models and hardware; exit 1 when something is broken."""
    findings = [_python(), *_packages(), *_plugins(), *_foundations(), *_hardware()]
    if as_json:
        say_json([vars(item) for item in findings])
    else:
        for item in findings:
            say(f"{'ok  ' if item.ok else 'FAIL' if item.fatal else 'note'}  {item.subject:<24} {item.text}")
    raise typer.Exit(1 if any(item.fatal and not item.ok for item in findings) else 0)


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    return Finding("python", sys.version_info >= (3, 11), True, f"{version}; 3.11 or newer is needed")


def _packages() -> list[Finding]:
    from packaging.requirements import Requirement

    findings = []
    for needed in map(Requirement, importlib.metadata.requires("benchbench") or []):
        if needed.marker is not None and not needed.marker.evaluate({"extra": ""}):
            continue
        hint = f"pip install '{needed.name}{needed.specifier}'"
        try:
            version = importlib.metadata.version(needed.name)
        except importlib.metadata.PackageNotFoundError:
            findings.append(Finding(needed.name, False, True, f"not installed; {hint}"))
            continue
        fits = needed.specifier.contains(version, prereleases=True)
        findings.append(Finding(needed.name, fits, True, version if fits else f"{version}; {hint}"))
    return findings


def _plugins() -> list[Finding]:
    broken = []
    for entry in catalog().entries():
        try:
            load(entry)
        except BenchError as error:
            broken.append(Finding(f"{entry.kind} {entry.name}", False, entry.distribution == "benchbench", str(error)))
    count = len(catalog().entries())
    return [*broken, Finding("plugins", not broken, False, f"{count} known, {len(broken)} broken")]


def _foundations() -> list[Finding]:
    findings = []
    for name in catalog().names("foundation"):
        try:
            folder = locate(name)
            size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
            findings.append(Finding(f"model {name}", size > 0, True, f"{size / 1e6:.1f} MB"))
        except BenchError as error:
            findings.append(Finding(f"model {name}", False, True, str(error)))
    return findings


def _hardware() -> list[Finding]:
    free = shutil.disk_usage(Path.cwd()).free / 2**30
    cuda = "an NVIDIA driver is loaded" if has_cuda() else "none: everything runs, large models slowly"
    offline = os.environ.get("HF_HUB_OFFLINE") or "not set"
    return [
        Finding("cores", True, False, str(cores())),
        Finding("memory", memory_gib() >= 3, False, f"{memory_gib():.1f} GiB free; the embedded default needs about 3"),
        Finding("disk", free >= 1, False, f"{free:.0f} GiB free here"),
        Finding("accelerator", has_cuda(), False, cuda),
        Finding("HF_HUB_OFFLINE", True, False, offline),
    ]
