"""How many images a second does the classifier loop train, beside the usual loops, on this machine's CPU?

    python benchmarks/train_speed.py --smoke                                  # seconds: agreement, no times to quote
    python benchmarks/train_speed.py --out results/benchmarks/train_speed.json # minutes; writes a Markdown table beside

Every side takes the same number of steps of the same network on the same images in turn, forwards and backwards
(A B C C B A ...), after one step that warms up. What is reported is the median over rounds of the paired ratio theirs /
ours and its 10 to 90 % range, in CPU seconds of all threads and loader processes, which a busy machine leaves alone,
and in wall seconds, which it does not. Before a row is timed, all sides compute the same crops, losses or scores, up to
rounding, that of bf16 included. OpenMP's spinning at barriers is switched off for all sides.
"""

from __future__ import annotations

import os

os.environ.setdefault("GOMP_SPINCOUNT", "0")  # before torch is imported, for every side

import argparse
import copy
import json
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))

from train_report import machine, markdown, ratio_rows
from usual_training import (
    AuthorsLoop,
    TimmLoop,
    authors_loader,
    authors_score,
    cropped,
    endless,
    plain_loader,
    timm_loader,
)

from benchbench.plugins import Context, DatasetInfo, ImageSet, Task
from benchbench.plugins.context import derive_seed
from benchbench.training.evaluate import logits_of
from benchbench.training.loop import Training
from benchbench.training.recipes import Recipe
from benchbench_plugins.augmentations.default import CropFlip
from benchbench_plugins.learners.timm.architectures import build

CLASSES = tuple("abcdefghij")
SEED = 3
Step = Callable[[], Any]


def make_set(count: int, side: int, seed: int) -> ImageSet:
    """Return random images, uint8 ``(count, side, side, 3)``, of ten classes in turn."""
    images = np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), dtype=np.uint8)
    return ImageSet(images, np.arange(count, dtype=np.int64) % 10, CLASSES)


def make_info(side: int) -> DatasetInfo:
    """Return a dataset with the normalisation of CIFAR-10."""
    return DatasetInfo(
        name="speed",
        classes=CLASSES,
        counts={"train": 0, "validation": 0, "test": 0},
        class_counts=(0,) * 10,
        resolution=side,
        classify_resolution=side,
        generate_resolution=side,
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2470, 0.2435, 0.2616),
        flip_keeps_class=True,
        foundation="none",
    )


def make_recipe(batch: int) -> Recipe:
    """Return the paper's recipe, but for the batch."""
    return Recipe(50_000, batch, "sgd", 0.1, 0.9, 5e-4, 1_000, evaluations=1)


class Ours:
    """The project's own loop as the learner runs it, one step at a time."""

    def __init__(
        self, arch: str, train: ImageSet, info: DatasetInfo, batch: int, precision: str, seed: int = SEED
    ) -> None:
        nothing = make_set(0, info.resolution, 0)
        task = Task(train, None, None, nothing, nothing.without_labels(), info, arch, (CropFlip(),), "paper")
        folder = Path(tempfile.gettempdir()) / "train_speed"  # never written to
        context = Context(seed=seed, folder=folder, scratch=folder, info=info, precision=precision)
        self.training = Training(
            lambda: build(arch, info.resolution, 10), task, context, make_recipe(batch), info.resolution
        )
        self.done = 0

    def step(self) -> None:
        """Take one step."""
        self.training.advance(self.done)
        self.done += 1

    def loss(self) -> float:
        """Return the mean loss since the start."""
        return float(self.training.loss_sum) / self.training.loss_steps


def our_model(arch: str, side: int) -> torch.nn.Module:
    """Return the network as :class:`Ours` initialises it."""
    torch.manual_seed(derive_seed(SEED, "initialisation"))
    return build(arch, side, 10)


def draws(batch: int, padding: int, step: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the corners and flips that :class:`Ours` draws at a step."""
    rng = torch.Generator().manual_seed(derive_seed(SEED, "augmentation", step))
    corners = torch.randint(0, 2 * padding + 1, (batch, 2), generator=rng)
    return corners.numpy(), (torch.rand(batch, generator=rng) < 0.5).numpy()


# -- Timing ------------------------------------------------------------------------------------------------------------


def children_seconds() -> float:
    """Return the CPU seconds of this process's living children, where /proc tells."""
    total = 0
    for child in multiprocessing.active_children():
        try:
            fields = Path(f"/proc/{child.pid}/stat").read_text("ascii").rpartition(")")[2].split()
        except OSError:
            continue
        total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


def timed(step: Step, steps: int) -> dict[str, float]:
    """Return wall and CPU seconds of ``steps`` steps, those of this process and its threads."""
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(steps):
        step()
    return {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}


def interleaved(
    sides: dict[str, Step], steps: int, pairs: int, with_children: str | None = None
) -> dict[str, list[dict[str, float]]]:
    """Return ``pairs`` samples of each side, taken in turn, every second round backwards, after one warm round.

    The side ``with_children`` is charged what its worker processes spent since its last turn: they fetch ahead.
    """
    samples: dict[str, list[dict[str, float]]] = {name: [] for name in sides}
    for step in sides.values():
        step()
    before = children_seconds()
    for number in range(pairs):
        for name in list(sides)[:: -1 if number % 2 else 1]:
            found = timed(sides[name], steps)
            if name == with_children:
                now = children_seconds()
                found["cpu"] += now - before
                before = now
            samples[name].append(found)
    return samples


def row(
    name: str, sides: dict[str, Step], images: int, steps: int, pairs: int, workers: str | None = None, **facts: Any
) -> dict[str, Any]:
    """Measure one row; ``images`` is how many one step of every side handles, ``workers`` a side with processes."""
    load = os.getloadavg()[0]
    samples = interleaved(sides, steps, pairs, workers)
    facts = {"threads": torch.get_num_threads(), "images_per_sample": images * steps, "load_average": load, **facts}
    print(f"measured {name}", file=sys.stderr, flush=True)
    return {"name": name, **facts, "samples": samples}


# -- Rows --------------------------------------------------------------------------------------------------------------


def loader_row(side: int, batch: int, steps: int, pairs: int) -> dict[str, Any]:
    """Loading alone: gather, crop, flip and normalise."""
    train, info = make_set(8 * batch, side, 0), make_info(side)
    ours = Ours("shufflenetv2", train, info, batch, "fp32").training
    rng, position = torch.Generator(), iter(range(1 << 30))

    def load() -> torch.Tensor:
        step = next(position)
        rng.manual_seed(derive_seed(SEED, "augmentation", step))
        return ours.inputs(step, rng)[0]

    corners, mirrored = draws(batch, side // 8, 0)
    order = ours.batches.sources[0].order(0, batch).numpy()
    expected = cropped(train.images[order], corners, mirrored, side // 8, info)
    difference = float((load() - expected).abs().max())
    pil = endless(plain_loader(train.images, train.labels, info, side, batch, 0))
    sides = {"PIL, DataLoader": lambda: next(pil), "ours": load}
    facts = {"kind": "loader", "resolution": side, "batch": batch, "agreement": {"pixels": difference}}
    return row(f"loader alone, {side} px", sides, batch, steps, pairs, **facts)


def training_sides(arch: str, train: ImageSet, info: DatasetInfo, batch: int) -> dict[str, Step]:
    """Return one step of every loop."""
    side, recipe = info.resolution, make_recipe(batch)

    def authors(workers: int) -> Step:
        loader = authors_loader(train.images, train.labels, info, side, batch, workers)
        return AuthorsLoop(our_model(arch, side), endless(loader), recipe).step

    def timm(bf16: bool) -> Step:
        loader = timm_loader(train.images, train.labels, info, side, batch)
        return TimmLoop(our_model(arch, side), endless(loader), recipe, bf16).step

    return {
        "authors": authors(0),
        "authors, 2 workers": authors(2),
        "timm": timm(False),
        "timm bf16": timm(True),
        "ours": Ours(arch, train, info, batch, "fp32").step,
        "ours bf16": Ours(arch, train, info, batch, "bf16").step,
    }


def training_agreement(arch: str, train: ImageSet, info: DatasetInfo, batch: int) -> dict[str, float]:
    """Return relative differences of the mean loss of two steps on the same crops, one update in between."""
    side, recipe = info.resolution, make_recipe(batch)
    ours = {precision: Ours(arch, train, info, batch, precision) for precision in ("fp32", "bf16")}
    source = ours["fp32"].training.batches.sources[0]
    given = []
    for step in range(2):
        index = source.order(step * batch, batch).numpy()
        pixels = cropped(train.images[index], *draws(batch, side // 8, step), side // 8, info)
        given.append((pixels, torch.from_numpy(train.labels[index])))
    authors = AuthorsLoop(our_model(arch, side), iter(given), recipe)
    timms = {
        name: TimmLoop(our_model(arch, side), iter(given), recipe, bf16)
        for name, bf16 in (("timm", False), ("timm bf16", True))
    }
    for _ in range(2):
        authors.step()
        for timm in timms.values():
            timm.updates = 0  # have it read the loss each time
            timm.step()
        for loop in ours.values():
            loop.step()
    expected = sum(authors.losses) / 2
    found = {name: loop.loss() for name, loop in ours.items()}
    found |= {name: sum(timm.losses) / 2 for name, timm in timms.items()}
    return {name: abs(loss - expected) / expected for name, loss in found.items()}


def training_row(arch: str, side: int, batch: int, steps: int, pairs: int, threads: int) -> dict[str, Any]:
    """Training: every loop on the same network, images and batch."""
    torch.set_num_threads(threads)
    count = batch * (steps * pairs + 8)  # no epoch ends while it is timed: loader processes would start anew
    train, info = make_set(count, side, 0), make_info(side)
    agreement = training_agreement(arch, train, info, batch)
    facts = {"kind": "training", "arch": arch, "resolution": side, "batch": batch, "agreement": agreement}
    sides = training_sides(arch, train, info, batch)
    name = f"{arch}, {side} px, {threads} thread{'s' if threads > 1 else ''}"
    made = row(name, sides, batch, steps, pairs, "authors, 2 workers", **facts)
    torch.set_num_threads(1)
    return made


def evaluation_row(side: int, count: int, pairs: int) -> dict[str, Any]:
    """Scoring test images."""
    test, info, model = make_set(count, side, 1), make_info(side), our_model("shufflenetv2", side)
    fast = copy.deepcopy(model).to(memory_format=torch.channels_last)
    images = torch.from_numpy(test.images.transpose(0, 3, 1, 2).copy())
    labels, precision = torch.from_numpy(test.labels), torch.autocast("cpu", enabled=False)
    sides = {
        "authors": lambda: authors_score(model, test.images, test.labels, info),
        "ours": lambda: int((logits_of(fast, images, info, precision).argmax(1) == labels).sum()),
    }
    agreement = {"hits": float(abs(sides["authors"]() - sides["ours"]())) / count}
    facts = {"kind": "evaluation", "arch": "shufflenetv2", "resolution": side, "agreement": agreement}
    return row(f"evaluation, shufflenetv2, {side} px", sides, count, 1, pairs, **facts)


_REPLICA: list[Ours] = []


def _advance_replica(seed: int, side: int, batch: int) -> None:
    """Take one step of a seed, in a process that keeps it."""
    if not _REPLICA:
        torch.set_num_threads(1)
        _REPLICA.append(Ours("shufflenetv2", make_set(512, side, 0), make_info(side), batch, "fp32", seed))
    _REPLICA[0].step()


def stacked(side: int, batch: int) -> tuple[Step, float]:
    """Return a step of two networks under one ``vmap``, and how far its loss is from that of the two by themselves.

    Running statistics are left out, since ``vmap`` cannot update them in place: what is measured is the least that a
    correct version would cost.
    """
    models = [build("shufflenetv2", side, 10).train().to(memory_format=torch.channels_last) for _ in range(2)]
    for module in (module for model in models for module in model.modules()):
        if isinstance(module, torch.nn.BatchNorm2d):
            module.track_running_stats = False
            module.running_mean = module.running_var = module.num_batches_tracked = None
    weights, buffers = torch.func.stack_module_state(models)
    weights = {name: value.detach().requires_grad_(True) for name, value in weights.items()}
    base = copy.deepcopy(models[0]).to("meta")
    optimizer = torch.optim.SGD(list(weights.values()), lr=1e-4, momentum=0.9, weight_decay=5e-4, fused=True)
    images, labels = torch.randn(2, batch, 3, side, side), torch.arange(2 * batch).remainder(10).view(2, batch)

    def one(own: dict, rest: dict, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(torch.func.functional_call(base, (own, rest), (x,)), y)

    def step() -> torch.Tensor:
        optimizer.zero_grad()
        losses = torch.vmap(one)(weights, buffers, images, labels)
        losses.sum().backward()
        optimizer.step()
        return losses.detach()

    alone = [torch.nn.functional.cross_entropy(models[i](images[i]), labels[i]).item() for i in range(2)]
    return step, float((step() - torch.tensor(alone)).abs().max())


def seeds_row(side: int, batch: int, steps: int, pairs: int) -> dict[str, Any]:
    """Two seeds of one small network: one after the other, in two processes, stacked under ``vmap``."""
    train, info = make_set(512, side, 0), make_info(side)
    alone = [Ours("shufflenetv2", train, info, batch, "fp32", seed) for seed in (SEED, SEED + 1)]
    together, difference = stacked(side, batch)
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, spawn) as first, ProcessPoolExecutor(1, spawn) as second:

        def processes() -> None:
            pools = enumerate((first, second))
            waiting = [pool.submit(_advance_replica, SEED + which, side, batch) for which, pool in pools]
            for found in waiting:
                found.result()

        sides: dict[str, Step] = {
            "one after the other": lambda: [loop.step() for loop in alone],
            "two processes": processes,
            "stacked (vmap)": together,
        }
        facts = {"kind": "seeds", "arch": "shufflenetv2", "resolution": side, "batch": batch}
        facts["agreement"] = {"stacked loss": difference}
        name = f"two seeds, shufflenetv2, {side} px"
        return row(name, sides, 2 * batch, steps, pairs, "two processes", **facts)


def measured(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield every row that was asked for."""
    torch.set_num_threads(1)
    pairs = options.pairs
    if options.smoke:
        yield loader_row(16, 8, 1, 1)
        yield training_row("resnet18", 16, 8, 1, 1, 1)
        yield training_row("shufflenetv2", 16, 8, 1, 1, 1)
        yield evaluation_row(16, 40, 1)
        yield seeds_row(16, 4, 1, 1)
        return
    yield loader_row(32, 128, 16, 2 * pairs + 1)
    yield loader_row(96, 128, 16, 2 * pairs + 1)
    yield loader_row(256, 32, 4, pairs)
    yield training_row("resnet18", 32, 32, 1, pairs, 1)
    yield training_row("shufflenetv2", 32, 128, 3, pairs, 1)
    yield evaluation_row(32, 2000, pairs)
    yield seeds_row(32, 128, 2, pairs)
    yield training_row("resnet18", 32, 32, 1, pairs, 2)
    yield training_row("shufflenetv2", 32, 128, 3, pairs, 2)
    yield training_row("resnet18", 96, 16, 1, pairs, 1)
    yield training_row("shufflenetv2", 96, 64, 1, pairs, 1)


def main() -> None:
    """Measure, print the tables and write the JSON and the Markdown, anew after each row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="toy sizes, one sample each: do both sides agree?")
    parser.add_argument("--pairs", type=int, default=7, help="rounds of each row")
    parser.add_argument("--out", type=Path, help="where the JSON goes; the Markdown lies beside it")
    options = parser.parse_args()
    if options.pairs < 1:
        parser.error("--pairs must be at least 1")
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
    begin = time.perf_counter()
    report: dict[str, Any] = {"schema": 1, "smoke": options.smoke, "machine": machine(), "seconds": 0.0, "rows": []}
    for made in measured(options):
        report["rows"].append(made | {"ratios": ratio_rows(made)})
        report["seconds"] = time.perf_counter() - begin
        if options.out:
            options.out.write_text(json.dumps(report, indent=1) + "\n", "utf-8")
            options.out.with_suffix(".md").write_text(markdown(report) + "\n", "utf-8")
    print(markdown(report))


if __name__ == "__main__":
    main()
