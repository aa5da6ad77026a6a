"""What this machine has, found without importing torch."""

from __future__ import annotations

import os
from pathlib import Path

from .errors import UsageError


def has_cuda() -> bool:
    """Return whether an NVIDIA driver is loaded and not hidden."""
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return False
    return Path("/proc/driver/nvidia/version").exists() or Path("/dev/nvidiactl").exists()


def choose_device(wanted: str) -> str:
    """Return ``"cpu"`` or ``"cuda"``.

    Raises:
        UsageError: ``cuda`` was asked for and no driver is here.
    """
    if wanted == "auto":
        return "cuda" if has_cuda() else "cpu"
    if wanted == "cuda" and not has_cuda():
        raise UsageError("--device cuda: no NVIDIA driver is loaded here; use --device cpu")
    return wanted


def choose_precision(wanted: str, device: str) -> str:
    """Return ``"fp32"`` or ``"bf16"``; mixed precision is the default on an accelerator only."""
    return wanted if wanted != "auto" else ("bf16" if device == "cuda" else "fp32")


def cores() -> int:
    """Return the CPU cores this process may use, container limits included."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _cgroup_quota()
    return max(1, min(count, int(quota))) if quota else max(1, count)


def memory_gib() -> float:
    """Return the memory this process may use in GiB: what is free now, container limits included."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        available = next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable")) / 2**20
    except (OSError, StopIteration):
        return 8.0  # not Linux: a laptop's usual size, so that plans stay modest
    for limit, used in (
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ):
        most, now = _number(limit), _number(used)
        if most is not None and now is not None:
            available = min(available, max(most - now, 0) / 2**30)
    return available


def _cgroup_quota() -> float | None:
    """Return the cores that a container may use, from either version of Linux control groups."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return int(quota) / int(period) if quota != "max" else None
    except (OSError, ValueError):
        pass
    old_quota = _number("/sys/fs/cgroup/cpu/cpu.cfs_quota_us")
    old_period = _number("/sys/fs/cgroup/cpu/cpu.cfs_period_us")
    return old_quota / old_period if old_quota and old_period and old_quota > 0 else None


def _number(path: str) -> int | None:
    try:
        return int(Path(path).read_text())
    except (OSError, ValueError):  # no such control group, or "max"
        return None


def quiet_threads() -> None:
    """Keep OpenMP from spinning at barriers, which on a small busy machine costs 2 to 13 times as much.

    Call it before torch is imported. The user's own settings win.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "0")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
