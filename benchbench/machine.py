"""What this machine has, found without importing torch, and the environment that numbers are computed in.

An environment is stored once for each distinct one and referred to by its hash; it names neither the machine nor its
user, and looking at it does not touch the accelerator.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from .cgroups import core_quota, memory_left
from .errors import UsageError
from .files import put

#: Memory that one worker with a small data set may need, and that of its libraries alone, in bytes.
WORKER, LIBRARIES = int(1.6 * 2**30), 2**30
#: Share of the memory that the images of one training may fill.
TRAINING_SHARE = 0.4
#: Memory where the system does not say how much there is, in bytes: a laptop's, so that plans stay modest.
MODEST = 8 * 2**30


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


def available_cores() -> int:
    """Return the CPU cores that the system lets this process run on, container limits left out."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cores() -> int:
    """Return the CPU cores this process may use, container limits included."""
    count = available_cores()
    quota = core_quota()
    return max(1, min(count, int(quota))) if quota else max(1, count)


def free_memory() -> int:
    """Return the bytes of memory that this process may use: what is free now, container limits included."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable")) * 2**10
    except (OSError, StopIteration):
        return MODEST  # not Linux
    left = memory_left()
    return free if left is None else min(free, left)


def memory_gib() -> float:
    """Return :func:`free_memory` in GiB."""
    return free_memory() / 2**30


def accelerator_memory() -> int | None:
    """Return the bytes of memory of the accelerator, of the smallest of those that may be used; ``None`` if unknown."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():  # it alone knows of slices of an accelerator
        return int(torch.cuda.get_device_properties(0).total_memory)
    return _listed_memory()


@cache
def _listed_memory() -> int | None:
    seen = os.environ.get("CUDA_VISIBLE_DEVICES")
    listed = _output("nvidia-smi", "--query-gpu=index,uuid,memory.total", "--format=csv,noheader,nounits") or ""
    rows = [[part.strip() for part in line.split(",")] for line in listed.splitlines()]
    rows = [row for row in rows if len(row) == 3 and row[2].isdigit()]
    names = [] if seen is None else [name.strip() for name in seen.split(",")]
    ours = [row for row in rows if any(row[0] == name or row[1].startswith(name) for name in names if name)] or rows
    return min((int(memory) * 2**20 for *_, memory in ours), default=None)


def training_room(device: str) -> int:
    """Return the bytes that the images of one training may take on ``"cpu"`` or ``"cuda"``; larger sets stay on disk.

    A share of the memory that this process may use now, or of all that the accelerator has.
    """
    room = free_memory() if device == "cpu" else accelerator_memory() or MODEST
    return int(TRAINING_SHARE * room)


def fitting_workers() -> int:
    """Return how many steps on one core each this machine runs at once: what its cores and free memory allow."""
    return max(1, min(cores(), free_memory() // WORKER))


def quiet_threads() -> None:
    """Keep OpenMP from spinning at barriers, which on a small busy machine costs 2 to 13 times as much.

    Call it before torch is imported. The user's own settings win.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "0")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def snapshot() -> dict[str, Any]:
    """Return the environment as JSON values.

    Keys: ``python``, ``distributions`` (version by name), ``torch`` (version and the CUDA it was built for),
    ``gpus`` (name, driver, memory), ``cpu`` (model, cores that this process may use), ``memory_gib`` (whole),
    ``system``, ``checkout`` (commit, and whether tracked files other than results differ from it; ``None``
    when installed).
    """
    return {
        "python": {"version": platform.python_version(), "implementation": platform.python_implementation()},
        "distributions": distributions(),
        "torch": _torch(),
        "gpus": _gpus(),
        "cpu": {"model": _cpu_model(), "cores": available_cores()},
        "memory_gib": _memory_gib(),
        "system": {"name": platform.system(), "release": platform.release(), "machine": platform.machine()},
        "checkout": checkout(Path(__file__)),
    }


def environment_hash(environment: Mapping[str, Any]) -> str:
    """Return the first 16 hexadecimal digits of the sha256 of an environment's canonical JSON."""
    text = json.dumps(environment, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def write_environment(results: Path, environment: Mapping[str, Any] | None = None) -> str:
    """Keep an environment (by default the present one) in ``results/environments/``; returns its hash.

    Raises:
        BenchError: the folder cannot be written.

    """
    if environment is None:
        environment = snapshot()
    name = environment_hash(environment)
    path = results / "environments" / f"{name}.json"
    text = json.dumps(environment, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    put(path, text.encode())
    return name


def distributions() -> dict[str, str]:
    """Return the version of every installed distribution by normalised name; the first on the path counts."""
    versions: dict[str, str] = {}
    for item in importlib.metadata.distributions():
        name = item.metadata["Name"]
        if name:  # a half-removed distribution has none
            versions.setdefault(re.sub(r"[-_.]+", "-", name).lower(), item.version)
    return dict(sorted(versions.items()))


def checkout(file: Path) -> dict[str, Any] | None:
    """Return ``{"commit", "dirty"}`` of the git checkout that tracks ``file``, ``None`` when none does.

    A virtual environment inside somebody's repository is not tracked by it, so it does not count.
    The folder ``results`` does not count: a run that writes records would change its own environment.
    """
    folder = file.resolve().parent
    if _output("git", "-C", str(folder), "ls-files", "--error-unmatch", file.name) is None:
        return None
    commit = _output("git", "-C", str(folder), "rev-parse", "HEAD")
    top = _output("git", "-C", str(folder), "rev-parse", "--show-toplevel")
    if commit is None or top is None:
        return None
    # Without locks: it would write the repository's index, and one that is killed leaves a lock that stops every git.
    asked = ("--no-optional-locks", "-C", top, "status", "--porcelain", "--untracked-files=no")
    changed = _output("git", *asked, "--", ".", ":(exclude)results")
    return {"commit": commit, "dirty": changed is None or bool(changed)}


def _torch() -> dict[str, str | None] | None:
    try:
        version = importlib.metadata.version("torch")
        spec = importlib.util.find_spec("torch")  # looks for the package, does not import it
    except (importlib.metadata.PackageNotFoundError, ValueError):
        return None
    built = None
    if spec is not None and spec.origin:
        stated = Path(spec.origin).with_name("version.py")
        if stated.exists():
            built = re.search(r"^cuda\b[^=\n]*=\s*['\"]([^'\"]+)", stated.read_text("utf-8"), re.MULTILINE)
    return {"version": version, "cuda": built[1] if built else None}


def _gpus() -> list[dict[str, str]]:
    fields = ("name", "driver_version", "memory.total")
    listed = _output("nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader")
    rows = ([part.strip() for part in line.split(",")] for line in (listed or "").splitlines())
    return [{"name": row[0], "driver": row[1], "memory": row[2]} for row in rows if len(row) == len(fields)]


def _cpu_model() -> str:
    if sys.platform == "darwin":
        return _output("sysctl", "-n", "machdep.cpu.brand_string") or platform.processor()
    try:
        listed = Path("/proc/cpuinfo").read_text("utf-8", errors="replace")
    except OSError:
        return platform.processor()
    model = re.search(r"^model name\s*:\s*(.+)$", listed, re.MULTILINE)
    return model[1].strip() if model else platform.processor() or platform.machine()


def _memory_gib() -> int | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)
    except (AttributeError, OSError, ValueError):
        return None


def _output(program: str, *arguments: str) -> str | None:
    """Return what a program prints, ``None`` when it is absent, fails or takes more than ten seconds."""
    path = shutil.which(program)
    if path is None:
        return None
    try:
        done = subprocess.run([path, *arguments], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.SubprocessError, UnicodeError):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
