"""What the Linux control groups of this process leave it: memory and cores, of either version.

A container, a batch system and a service manager limit a process by the group that it is in or by one above it: the
tightest counts. Without control groups nothing is limited.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


def memory_left(root: Path = Path("/")) -> int | None:
    """Return the bytes that the limits leave, ``None`` without a limit; what files keep in memory counts as free.

    Args:
        root: where ``proc`` and the mounted groups lie.
    """
    left = []
    for folder in _groups("memory", root):
        for limit, used in (
            ("memory.max", "memory.current"),
            ("memory.high", "memory.current"),  # beyond it a process is slowed down until it hardly moves
            ("memory.limit_in_bytes", "memory.usage_in_bytes"),
        ):
            most, now = _number(folder / limit), _number(folder / used)
            if most is not None and now is not None:
                left.append(max(most - max(now - _cached(folder), 0), 0))
    return min(left, default=None)


def core_quota(root: Path = Path("/")) -> float | None:
    """Return the cores that the limits allow, ``None`` without a limit.

    Args:
        root: where ``proc`` and the mounted groups lie.
    """
    quotas = []
    for folder in _groups("cpu", root):
        quota, period = _number(folder / "cpu.cfs_quota_us"), _number(folder / "cpu.cfs_period_us")
        words = _text(folder / "cpu.max").split()
        if len(words) == 2 and words[0].isdigit():
            quota, period = int(words[0]), int(words[1])
        if quota and period and quota > 0:
            quotas.append(quota / period)
    return min(quotas, default=None)


def _groups(controller: str, root: Path) -> Iterator[Path]:
    """Yield the folders of this process's group and of those above it, as far as they are mounted here."""
    own: dict[str, str] = {}  # the group by controller; version 2 has one for all of them, whose name is empty
    for line in _text(root / "proc/self/cgroup").splitlines():
        names, _, path = line.partition(":")[2].partition(":")
        own |= dict.fromkeys(names.split(","), path)
    for line in _text(root / "proc/self/mountinfo").splitlines():
        mounted, _, system = line.partition(" - ")
        kind, *_, options = system.split() or ("", "")
        name = controller if kind == "cgroup" and controller in options.split(",") else ""
        if name not in own or (not name and kind != "cgroup2"):
            continue
        top, place = mounted.split()[3:5]
        below = os.path.relpath(own[name], top).split("/")
        # Of a group outside of what is mounted here, as in some containers, only the top of the mount is known.
        parts = [] if below[0] == ".." else [part for part in below if part != "."]
        for depth in range(len(parts), -1, -1):
            yield root.joinpath(place.lstrip("/"), *parts[:depth])


def _cached(folder: Path) -> int:
    """Return the bytes of a group that hold files: the system gives them back when they are wanted."""
    counts = dict(line.split() for line in _text(folder / "memory.stat").splitlines() if len(line.split()) == 2)
    prefix = "total_" if "total_inactive_file" in counts else ""
    return sum(int(counts.get(f"{prefix}{name}_file", 0)) for name in ("active", "inactive"))


def _number(path: Path) -> int | None:
    text = _text(path).strip()
    return int(text) if text.lstrip("-").isdigit() else None  # no such file, or "max"


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", errors="replace")
    except OSError:
        return ""
