"""What ``train_speed.py`` measured, as ratios and as a Markdown table."""

from __future__ import annotations

import os
import platform
import statistics
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

PACKAGES = ("torch", "torchvision", "timm", "numpy", "pillow", "benchbench")

#: (kind, our side, their side) of each ratio; a row has those whose sides it measured.
COMPARED = (
    ("loader", "ours", "PIL, DataLoader"),
    ("training", "ours", "authors"),
    ("training", "ours", "authors, 2 workers"),
    ("training", "ours", "timm"),
    ("training", "ours bf16", "authors"),
    ("training", "ours bf16", "authors, 2 workers"),
    ("training", "ours bf16", "timm"),
    ("training", "ours bf16", "timm bf16"),
    ("evaluation", "ours", "authors"),
    ("seeds", "two processes", "one after the other"),
    ("seeds", "stacked (vmap)", "one after the other"),
)

#: Largest difference between our side and theirs, by what is compared; beyond it there is nothing to time. Pixels and
#: mean losses of two steps (an update of 0.0001 in between, summed in another order; bf16 has 8 bits), shares of hits.
TOLERANCES = {
    "pixels": 1e-5,
    "fp32": 1e-4,
    "bf16": 5e-2,
    "timm": 1e-4,
    "timm bf16": 5e-2,
    "hits": 2e-3,
    "stacked loss": 1e-3,
}

GPU_ROWS = (
    ("resnet18, 32 px, against the authors' loop", "5x"),
    ("resnet18, 96 px, against the authors' loop", "3x"),
)


def machine() -> dict[str, Any]:
    """Return hardware, versions and load, as JSON values."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text("utf-8").splitlines() if ":" in line[:20]]
        models = [name for name in names if "@" in name or "EPYC" in name or "Xeon" in name or "Core" in name]
        model = models[0] if models else model
    return {
        "cpu": model,
        "capability": torch.backends.cpu.get_cpu_capability(),
        "bf16_instructions": bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()),
        "nproc": os.cpu_count(),
        "load_average": list(os.getloadavg()),
        "system": platform.system(),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
        "GOMP_SPINCOUNT": os.environ.get("GOMP_SPINCOUNT"),
    }


def spread(values: list[float]) -> dict[str, float]:
    """Return the median and the 10 and 90 % points, interpolated."""
    tenths = statistics.quantiles(values, n=10, method="inclusive") if len(values) > 1 else values * 9
    return {"median": statistics.median(values), "p10": tenths[0], "p90": tenths[-1]}


def ratio_rows(row: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the paired ratios theirs / ours of a measured row, above 1 where ours is faster.

    Raises:
        ValueError: the sides do not compute the same thing.
    """
    for name, difference in row["agreement"].items():
        if not difference <= TOLERANCES[name]:
            raise ValueError(f"{row['name']}: the sides differ by {difference:.1e} ({name}), so the row is void")
    found = []
    for kind, ours, theirs in COMPARED:
        samples = row["samples"]
        if kind == row["kind"] and ours in samples and theirs in samples:
            made: dict[str, Any] = {"ours": ours, "theirs": theirs, "pairs": len(samples[ours])}
            for clock in ("cpu", "wall"):
                pairs = zip(samples[theirs], samples[ours], strict=True)
                made[clock] = spread([a[clock] / max(b[clock], 1e-9) for a, b in pairs])
            found.append(made)
    return found


def _cell(found: dict[str, float]) -> str:
    return f"**{found['median']:.2f}** ({found['p10']:.2f} to {found['p90']:.2f})"


def _rates(row: dict[str, Any]) -> str:
    rates = []
    for name, samples in row["samples"].items():
        seconds = statistics.median(sample["cpu"] for sample in samples)
        rates.append(f"{name} {row['images_per_sample'] / max(seconds, 1e-9):,.0f}")
    return "; ".join(rates)


def markdown(report: dict[str, Any]) -> str:
    """Return the report as a page: what it ran on, ratios, rates, agreement."""
    where = report["machine"]
    packages = ", ".join(f"{name} {number}" for name, number in where["packages"].items())
    load = ", ".join(f"{value:.1f}" for value in where["load_average"])
    bf16 = "with" if where["bf16_instructions"] else "without"
    lines = [
        "# Speed of the classifier loop",
        "",
        "Made by `benchmarks/train_speed.py`; how to read it: `docs/speed.md`.",
        "",
        f"- CPU: {where['cpu']}, {where['nproc']} cores, {where['capability']}, {bf16} bf16 instructions; "
        f"load average at the start {load}",
        f"- Python {where['python']}, {packages}; GOMP_SPINCOUNT={where['GOMP_SPINCOUNT']} for all sides",
        f"- measured in {report['seconds']:.0f} s" + ("; **a smoke test: no figure to quote**" * report["smoke"]),
        "",
        "Times theirs / ours: median of pairs (10 to 90 %). CPU seconds of all threads and processes, and wall "
        "seconds, which other work on the machine spoils.",
        "",
        "| row | ours | theirs | batch | load | pairs | CPU x | wall x |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in report["rows"]:
        for found in row["ratios"]:
            facts = (row["name"], found["ours"], found["theirs"], row.get("batch", ""), f"{row['load_average']:.1f}")
            cells = (*facts, found["pairs"], _cell(found["cpu"]), _cell(found["wall"]))
            lines.append("| " + " | ".join(str(cell) for cell in cells) + " |")
    lines += [f"| GPU: {name} | | | | | | not measured (goal {goal}) | |" for name, goal in GPU_ROWS]
    lines += ["", "| row | images per CPU second | largest difference between the sides |", "|---|---|---|"]
    for row in report["rows"]:
        agreement = "; ".join(f"{name} {value:.1e}" for name, value in row["agreement"].items())
        lines.append(f"| {row['name']} | {_rates(row)} | {agreement} |")
    return "\n".join(lines)
