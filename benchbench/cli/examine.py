"""What ``bench doctor`` examines: packages, plugins, embedded models, hardware; without running anything."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from ..errors import BenchError
from ..machine import cores, has_cuda, memory_gib
from ..plugins.catalog import catalog, load
from ..plugins.locate import locate


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


def examine() -> list[Finding]:
    """Look at everything and return the findings in a fixed order."""
    return [_python(), *_packages(), *_plugins(), *_foundations(), *_hardware()]


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    return Finding("python", sys.version_info >= (3, 11), True, f"{version}; 3.11 or newer is needed")


def _packages() -> list[Finding]:
    found = []
    for requirement in importlib.metadata.requires("benchbench") or []:
        if "extra ==" in requirement:
            continue
        match = re.match(r"([\w.-]+)\s*(?:>=\s*([\d.]+))?", requirement)
        assert match is not None
        name, least = match[1], match[2]
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found.append(Finding(name, False, True, f"not installed; pip install '{name}>={least}'"))
            continue
        fits = least is None or _numbers(version) >= _numbers(least)
        hint = "" if fits else f"; pip install '{name}>={least}'"
        found.append(Finding(name, fits, True, f"{version}{hint}"))
    return found


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version.partition("+")[0])[:3])


def _plugins() -> list[Finding]:
    found = []
    for entry in catalog().entries():
        try:
            load(entry)
        except BenchError as error:
            found.append(Finding(f"{entry.kind} {entry.name}", False, entry.distribution == "benchbench", str(error)))
    count = len(catalog().entries())
    return [*found, Finding("plugins", not found, False, f"{count} known, {len(found)} broken")]


def _foundations() -> list[Finding]:
    found = []
    for name in catalog().names("foundation"):
        try:
            folder = locate(name).folder
            size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
            found.append(Finding(f"model {name}", size > 0, True, f"{size / 1e6:.1f} MB"))
        except BenchError as error:
            found.append(Finding(f"model {name}", False, True, str(error)))
    return found


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
