"""What the harness itself costs where a run is large: millions of generated images, tens of thousands of cells.

Generator and learner do next to nothing, so that what is measured is the way from a folder to a leaderboard. Each row
is measured at two sizes; ``growth`` is how much more the larger one took, divided by how much larger it is::

    python benchmarks/scale.py --out results/benchmarks/scale.json      # ten minutes on two cores; 12 GB of disk
    python benchmarks/scale.py --images 20000 --cells 200               # a look; no figures to quote

Commands run as a user's, each in a process of its own that notes its CPU seconds and its peak memory (``getrusage``,
mapped pages included) and those of its workers.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

#: What a target says, by row and figure: at most so much.
TARGETS = {
    ("images", "driver MiB"): 3072,
    ("images", "worker MiB"): 3072,
    ("images", "CPU s per million"): 60,
    ("plan", "CPU s"): 5,
    ("run", "driver ms per finished step"): 2,
    ("run from cache", "CPU s"): 20,
    ("report", "CPU s"): 15,
    ("report", "driver MiB"): 400,
}
GROWTH = 1.2

NOISE = '''
"""Noise, as fast as it can be drawn."""
import time
from dataclasses import dataclass
import numpy as np
from benchbench import Generator, ImageSet, param

@dataclass(frozen=True)
class Noise(Generator):
    """Uniform noise with the origins that a real generator writes."""
    level: int = param(0, help="Another set of images.")

    def sample(self, train, context):
        spent = 0.0
        for chunk in context.chunks(context.n_syn, 10_000):
            begun = time.process_time()
            side = context.info.resolution
            pixels = context.rng(chunk.start).integers(0, 256, (len(chunk), side, side, 3), np.uint8)
            spent += time.process_time() - begun
            sources = np.arange(chunk.start, chunk.stop) % len(train)
            origins = [{"source": int(source), "prompt": "a photo of noise", "seed": seed, "guidance_scale": 2.0}
                       for seed, source in zip(chunk, sources)]
            yield ImageSet(pixels, train.labels[sources], train.classes, origins)
        context.report(noise_s=round(spent, 2))
'''

STILL = '''
"""A learner that answers without training."""
from dataclasses import dataclass
import numpy as np
from benchbench import Learner, TrainResult

@dataclass(frozen=True)
class Still(Learner):
    """Every class alike, but for noise that differs by training."""
    axes = frozenset({"arch"})

    def architectures(self, names, info):
        return tuple(names)

    def train(self, task, context):
        answers = context.rng("answer").random((len(task.test), len(task.info.classes)), np.float32)
        return TrainResult(answers / answers.sum(axis=1, keepdims=True), 1, 1, 1, [(1, 1.0)])
'''

MANY = '''
"""Many real images of noise."""
from dataclasses import dataclass
import numpy as np
from benchbench import Dataset, DatasetInfo, ImageSet, param

@dataclass(frozen=True)
class Many(Dataset):
    """Ten classes of 32 px."""
    count: int = param(1000, low=10, help="Training images.")

    def info(self):
        counts = {"train": self.count, "validation": 0, "test": 100}
        half, classes = (0.5,) * 3, tuple(f"class{label}" for label in range(10))
        return DatasetInfo("many", classes, counts, (self.count // 10,) * 10, 32, 32, 128, half, half, True, "none")

    def load(self, split, context):
        rng, count = np.random.default_rng(len(split)), context.info.counts[split]
        images = rng.integers(0, 256, (count, 32, 32, 3), np.uint8)
        return ImageSet(images, np.arange(count, dtype=np.int64) % 10, context.info.classes)
'''

COMMAND = """
import atexit, json, resource, sys
place = sys.argv.pop()
def note():
    usages = {name: resource.getrusage(who) for name, who in
              (("driver", resource.RUSAGE_SELF), ("worker", resource.RUSAGE_CHILDREN))}
    figures = {name: [usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024] for name, usage in usages.items()}
    open(place, "w").write(json.dumps(figures))
from benchbench.cli import main
atexit.register(note)
main()
"""


def main() -> None:
    """Measure, print the table, and write it next to the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2_250_000, help="Generated images; half of it is measured too.")
    parser.add_argument("--cells", type=int, default=20_000, help="Cells; a quarter of it is measured too.")
    parser.add_argument("--real", type=int, default=20_000, help="Real images of fidelity; a quarter is measured too.")
    parser.add_argument("--only", choices=("images", "cells", "fidelity"), help="One part.")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="Where there is room.")
    parser.add_argument("--out", type=Path, help="A JSON file; the table goes next to it.")
    given = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="bench-scale-", dir=given.folder) as name:
        folder = Path(name)
        (folder / "noise.py").write_text(NOISE, "utf-8")
        (folder / "still.py").write_text(STILL, "utf-8")
        (folder / "many.py").write_text(MANY, "utf-8")
        _photos(folder / "photos")
        parts = {
            "images": (_images, (given.images // 2, given.images)),
            "cells": (_cells, (given.cells // 4, given.cells)),
            "fidelity": (_fidelity, (given.real // 4, given.real)),
        }
        for part, (measure, sizes) in parts.items():
            for size in sizes if given.only in (None, part) else ():
                for row in measure(folder, size):
                    rows.append(row)
                    print(json.dumps(row), file=sys.stderr)
    text = table(rows)
    print(text)
    if given.out:
        from train_report import machine  # imports torch: a process that is started counts the memory of its parent

        made_on = machine()
        given.out.write_text(json.dumps({"machine": made_on, "rows": rows}, indent=1) + "\n", "utf-8")
        head = "# What the harness costs\n\nMade by `benchmarks/scale.py`; how to read it: `docs/speed.md`.\n\n"
        load = ", ".join(f"{value:.1f}" for value in made_on["load_average"])
        head += f"CPU: {made_on['cpu']}, {made_on['nproc']} cores; load average at the end {load}\n\n"
        given.out.with_suffix(".md").write_text(head + text, "utf-8")


def _photos(folder: Path) -> None:
    """Write a small folder dataset of 32 px."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 50), ("test", 20)):
        for label in range(10):
            place = folder / split / f"class{label}"
            place.mkdir(parents=True)
            for number in range(count):
                Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8)).save(place / f"{number:03d}.png")


def _bench(folder: Path, *arguments: str) -> dict[str, Any]:
    """Run a command; return CPU seconds and peak MiB of it and its workers, and wall seconds."""
    figures = folder / "figures.json"
    begun = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, *arguments, str(figures)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"bench {' '.join(arguments)}: {done.stderr[-2000:]}")
    return {"out": done.stdout, "wall s": time.perf_counter() - begun, **json.loads(figures.read_text("utf-8"))}


def _images(folder: Path, count: int) -> Iterator[dict[str, Any]]:
    """From a folder of photos to a leaderboard over ``count`` generated images, and a training that looks at few."""
    results = folder / f"images-{count}"
    used = _bench(
        folder,
        *("run", "--gen", str(folder / "noise.py"), "--data", f"folder:path={folder / 'photos'},resolution=32"),
        *("--n-syn", str(count), "--learner", "timm:steps=20,images=streamed", "--arch", "shufflenetv2"),
        *("--mix", "0:1", "--metric", "none"),
        *("--no-baseline", "--executor", "processes", "--workers", "1", "--results", str(results)),
    )
    cpu = (
        used["driver"][0] + used["worker"][0] - sum(done.get("facts", {}).get("noise_s", 0) for done in _done(results))
    )
    yield {
        "row": "images",
        "size": count,
        "CPU s": cpu,
        "CPU s per million": cpu / count * 1e6,
        "wall s": used["wall s"],
        "driver MiB": used["driver"][1],
        "worker MiB": used["worker"][1],
    }


def _done(results: Path) -> list[dict[str, Any]]:
    """Return what was published with each artifact."""
    return [json.loads(path.read_text("utf-8")) for path in results.glob("artifacts/??/*/done.json")]


def _fidelity(folder: Path, count: int) -> Iterator[dict[str, Any]]:
    """Score as many generated images as there are real ones, all of both: seconds beside those of the plan."""
    results = folder / f"fidelity-{count}"
    request = [
        *("--gen", str(folder / "noise.py"), "--data", f"{folder / 'many.py'}:count={count}", "--n-syn", str(count)),
        *("--no-baseline", "--learner", str(folder / "still.py"), "--arch", "one", "--n-real", str(count)),
        *("--metric", "fidelity:images=0,reference_images=0", "--results", str(results)),
    ]
    planned = json.loads(_bench(folder, "plan", *request, "--json")["out"])["steps"]
    used = _bench(folder, "run", *request, "--executor", "processes", "--workers", "1")
    for stage in ("reference", "score"):
        seconds = next(done["seconds"] for done in _done(results) if done["stage"] == stage)
        cpu = next(done["cpu_seconds"] for done in _done(results) if done["stage"] == stage)
        plan = next(step["estimate_s"] for step in planned if step["stage"] == stage)
        figures = {"CPU s": cpu, "wall s": seconds, "planned s": plan, "worker MiB": used["worker"][1]}
        yield {"row": f"fidelity, {stage}", "size": count, **figures}


def _cells(folder: Path, count: int) -> Iterator[dict[str, Any]]:
    """Plan, run, run again and report ``count`` cells of trainings that take no time: 500 settings, seeds of each."""
    seeds, results = max(1, count // 500), folder / f"cells-{count}"
    names = ",".join(f"arch{number}" for number in range(max(1, min(50, count // (10 * seeds)))))
    request = [
        *("--gen", str(folder / "noise.py"), "--sweep", "gen.level=" + ",".join(map(str, range(10)))),
        *("--no-baseline", "--data", "digits", "--n-syn", "20", "--learner", str(folder / "still.py")),
        *("--arch", names, "--seeds", str(seeds), "--metric", "none", "--results", str(results)),
    ]
    size = 10 * len(names.split(",")) * seeds
    for row, command in (
        ("plan", ["plan", *request]),
        ("run", ["run", *request, "--executor", "processes"]),
        ("run from cache", ["run", *request]),
        ("report", ["report", "--results", str(results)]),
    ):
        used = _bench(folder, *command)
        figures = {"CPU s": used["driver"][0], "driver MiB": used["driver"][1], "wall s": used["wall s"]}
        if row == "plan":
            planned = used["driver"][0]
        if row == "run":  # all but the plan: pictures and reports too
            figures["driver ms per finished step"] = 1000 * (used["driver"][0] - planned) / size
        yield {"row": row, "size": size, **figures}


def table(rows: list[dict[str, Any]]) -> str:
    """Return the rows as Markdown, with growth from the smaller to the larger size and each target."""
    lines = ["| what | size | figure | value | at most | growth |", "|---|---|---|---|---|---|"]
    smaller: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows:
        for figure, value in row.items():
            if figure in ("row", "size"):
                continue
            place = (row["row"], figure)
            first = smaller.setdefault(place, row)
            growth = ""
            if first is not row and figure == "CPU s" and "fidelity" not in row["row"]:  # which is quadratic
                ratio = value / first[figure] / (row["size"] / first["size"])
                growth = f"{ratio:.2f}" + (" **over**" if ratio > GROWTH else "")
            target = (
                TARGETS.get(place)
                if row["size"] == max(other["size"] for other in rows if other["row"] == place[0])
                else None
            )
            over = " **over**" if target is not None and value > target else ""
            lines.append(
                f"| {row['row']} | {row['size']:,} | {figure} | {value:,.1f}{over} | {target or ''} | {growth} |"
            )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
