"""Trainings on sets that do not fit into memory: how much do they need, and what does a step cost?

    python benchmarks/scale_training.py --gib 0.1 --pair-gib 0.1 --steps 10            # seconds: does it run?
    python benchmarks/scale_training.py --folder /scratch --gib 20 --pair-gib 2        # minutes; needs the disk space

The first part trains on a set of ``--gib`` at each side of ``--sides``, ``images="auto"``, in a process of its own, and
prints the peak of its memory as ``getrusage`` gives it, pages of the memory map included. The second takes the steps of
two trainings on one set of ``--pair-gib`` in turn, one with the images in memory (``resident``) and one that reads them
from disk (``streamed``), and prints the median over rounds of the paired ratios streamed / resident. Batches of 128,
crop and flip, two strided convolutions and a linear layer: with any real network, reading is a smaller share of a step.
Losses of both must be equal.
"""

from __future__ import annotations

import os

os.environ.setdefault("GOMP_SPINCOUNT", "0")  # before torch is imported

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))

from train_speed import CLASSES, make_info, make_recipe

from benchbench.machine import training_room
from benchbench.plugins import Context, ImageSet, Task
from benchbench.training.loop import Training
from benchbench_plugins.augmentations.default import CropFlip

BATCH = 128


def write_set(folder: Path, gib: float, side: int) -> None:
    """Write images of ten classes in turn, ``gib`` in all, by plain writes: some random ones again and again."""
    count = max(4 * BATCH, int(gib * 2**30) // (3 * side**2))
    folder.mkdir(parents=True)
    some = np.random.default_rng(0).integers(0, 256, ((1 << 24) // (3 * side**2), side, side, 3), dtype=np.uint8)
    with (folder / "images.npy").open("wb") as stream:
        header = {"descr": "|u1", "fortran_order": False, "shape": (count, side, side, 3)}
        np.lib.format.write_array_header_1_0(stream, header)
        for start in range(0, count, len(some)):
            stream.write(some[: count - start].data)
    np.save(folder / "labels.npy", np.arange(count, dtype=np.int64) % 10)
    (folder / "classes.json").write_text(json.dumps(list(CLASSES)))


def small_network() -> torch.nn.Module:
    """Return two strided convolutions and a linear layer."""
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 16, 3, 2, 1),
        torch.nn.ReLU(),
        torch.nn.Conv2d(16, 32, 3, 2, 1),
        torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(32, 10),
    )


def make_training(folder: Path, images: str) -> Training:
    """Return a training on a set that :func:`write_set` wrote; its first fortieth is the test part."""
    given = ImageSet.load(folder)
    side, held_out = given.images.shape[1], len(given) // 40
    info = make_info(side)
    nothing = ImageSet(given.images[:0], given.labels[:0], given.classes)
    test = ImageSet(given.images[:held_out], given.labels[:held_out], given.classes).without_labels()
    task = Task(given, None, None, nothing, test, info, "small", (CropFlip(),), "paper")
    context = Context(seed=3, folder=folder, scratch=folder, info=info)
    return Training(small_network, task, context, make_recipe(BATCH), side, images)


def peak(folder: Path, steps: int) -> None:
    """Train in this process, score once, and print what it needed."""
    torch.set_num_threads(1)
    training = make_training(folder, "auto")
    start = time.perf_counter()
    for step in range(steps):
        training.advance(step)
    seconds = time.perf_counter() - start
    training.finish()
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    where = "streamed" if training.batches.on_disk else f"resident, room {training_room('cpu') / 2**30:.1f} GiB"
    print(f"{where}: peak {most:.2f} GiB, {1000 * seconds / steps:.1f} ms per step over {steps} steps", flush=True)


def pair(folder: Path, steps: int) -> None:
    """Take the steps of both paths in turn, and print the ratios of their times."""
    torch.set_num_threads(1)
    sides = {images: make_training(folder, images) for images in ("resident", "streamed")}
    rounds: list[dict[str, tuple[float, float]]] = []
    for step in range(steps + 1):
        taken = {}
        for name in sorted(sides, reverse=bool(step % 2)):
            wall, cpu = time.perf_counter(), time.process_time()
            sides[name].advance(step)
            taken[name] = time.perf_counter() - wall, time.process_time() - cpu
        rounds.append(taken)
    losses = {float(training.loss_sum) for training in sides.values()}
    if len(losses) != 1:
        raise SystemExit(f"the two paths differ: losses {losses}")
    times = np.array([[taken["resident"], taken["streamed"]] for taken in rounds[1:]])  # the first step warms up
    wall, cpu = np.median(times[:, 1] / times[:, 0], axis=0)
    ms = 1000 * np.median(times[:, 0, 0])
    print(f"resident {ms:.1f} ms; streamed / resident: wall {wall:.2f}, CPU of all threads {cpu:.2f}", flush=True)


def main() -> None:
    """Write the sets below a temporary folder, measure, and remove them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", help="where the sets are written; a temporary one")
    parser.add_argument("--gib", type=float, default=20.0, help="size of the set that is trained on; 0 leaves it out")
    parser.add_argument("--pair-gib", type=float, default=2.0, help="size of the compared set; 0 leaves it out")
    parser.add_argument("--sides", type=int, nargs="+", default=[32, 256], help="of the images, in px")
    parser.add_argument("--steps", type=int, default=200, help="of each training")
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        {"peak": peak, "pair": pair}[options.measure[0]](Path(options.measure[1]), options.steps)
        return
    for name, gib in (("peak", options.gib), ("pair", options.pair_gib)):
        for side in options.sides if gib else ():
            with tempfile.TemporaryDirectory(dir=options.folder) as place:
                write_set(Path(place) / "set", gib, side)
                print(f"{name}, {gib:g} GiB at {side} px: ", end="", flush=True)
                command = [sys.executable, __file__, "--steps", str(options.steps), "--measure", name, f"{place}/set"]
                subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
