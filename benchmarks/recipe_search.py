"""Which recipe is the cheapest that leaves the baseline on its plateau, network by network?

    log=results/benchmarks/recipe_search.jsonl
    python benchmarks/recipe_search.py run --log $log            # hours; continues where it was stopped
    python benchmarks/recipe_search.py table --log $log --out results/benchmarks/recipe_search.json

A network, or a learner on a CLIP, is trained on five real digits per class and scored on real images that are not test
images: the validation part, on which recipes are chosen, and the training images that the draw leaves out, which are
shown beside it. A recipe is compared with itself at four times its steps, on the same draws and seeds. It holds if the
longer training is less than one point better and, with 90 % confidence (one-sided t over the means of the draws), less
than two points. Draws are others than those of the tables.

Each training is one line of the log, so that a stopped search loses one training. A candidate is given up as soon as
its lower 90 % bound, over three draws or more, is over one point; one that might still hold gets more draws. Dearer
candidates of a network are tried only until one holds.
"""

from __future__ import annotations

import os

os.environ.setdefault("GOMP_SPINCOUNT", "0")

import argparse
import itertools
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from statistics import mean, median, stdev
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.stats import t as student

from benchbench.planning.subsets import select
from benchbench.plugins import Context, DatasetInfo, ImageSet, Task
from benchbench.plugins.context import derive_seed
from benchbench.training.loop import Training
from benchbench.training.recipes import Recipe
from benchbench_plugins.augmentations.default import CropFlip
from benchbench_plugins.datasets.digits import Digits
from benchbench_plugins.learners.clip.coop import CoOp
from benchbench_plugins.learners.clip.ct import ClassifierTuning
from benchbench_plugins.learners.clip.tip_adapter import TipAdapterF
from benchbench_plugins.learners.timm.architectures import build
from benchbench_plugins.learners.timm.recipes import QUICK

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: How much longer the training is that a recipe is held against.
LONGER = 4
#: Real images per class that recipes are chosen at.
SHOTS = 5
#: Draws of the search, two seeds on each: the least, and the most before a candidate counts as undecided.
FIRST_DRAW, LEAST_DRAWS, MOST_DRAWS, SEEDS = 100, 4, 8, 2
#: Points that a recipe may fall short of its longer self: by the estimate, and by its upper 90 % bound.
SHORT_BY, SHORT_BY_BOUND = 1.0, 2.0


#: Learners on a CLIP, which have no architecture.
FEW_SHOT = {"ct": ClassifierTuning, "coop": CoOp, "tip-adapter-f": TipAdapterF}


@dataclass(frozen=True)
class Candidate:
    """A recipe that may become the default: of a network SGD with momentum 0.9 and ten steps of warm-up.

    Attributes:
        arch: a network, or a learner on a CLIP.
        steps: optimiser steps.
        batch: images per step.
        rate: peak learning rate.
        precision: ``"fp32"`` or ``"bf16"``.
        shots: real images per class.
    """

    arch: str
    steps: int
    batch: int
    rate: float
    precision: str = "fp32"
    shots: int = 5

    @property
    def longer(self) -> Candidate:
        """The same recipe at four times its steps."""
        return replace(self, steps=LONGER * self.steps)

    @property
    def recipe(self) -> Recipe:
        """How the loop trains a network."""
        return Recipe(self.steps, self.batch, "sgd", self.rate, 0.9, 5e-4, min(10, self.steps // 10), evaluations=1)


#: In the order in which they are tried, of each network the cheapest first: the others only if that one does not hold.
CANDIDATES = (
    Candidate("mobilenetv2", 200, 64, 0.02),
    Candidate("mobilenetv2", 400, 32, 0.01),
    Candidate("efficientnetb0", 200, 64, 0.02),
    Candidate("efficientnetb0", 400, 32, 0.01),
    Candidate("shufflenetv2", 200, 32, 0.01),
    Candidate("shufflenetv2", 400, 32, 0.01),
    Candidate("shufflenetv2", 400, 64, 0.02),
    Candidate("resnet18", 50, 32, 0.01),
    Candidate("resnet18", 100, 32, 0.01),
    Candidate("vgg16", 100, 32, 0.01),
    Candidate("vgg16", 200, 32, 0.01),
    Candidate("ct", 60, 32, 0.03),
    Candidate("coop", 100, 32, 0.001),
    Candidate("coop", 200, 32, 0.001),
    Candidate("coop", 200, 32, 0.004),
    Candidate("coop", 400, 32, 0.002),
    Candidate("coop", 800, 32, 0.002),
    Candidate("tip-adapter-f", 50, 50, 0.001),
    # Whether steps that grow like the square root of the images hold at 2 and at 10 a class.
    Candidate("shufflenetv2", 253, 32, 0.01, shots=2),
    Candidate("shufflenetv2", 566, 32, 0.01, shots=10),
)
#: Looked at on a few draws, and not carried on: no better than those above at the same cost, or far behind.
LOOKED_AT = (
    *(Candidate("mobilenetv2", 400, 32, rate) for rate in (0.003, 0.03, 0.06)),
    *(Candidate("mobilenetv2", 200, 64, rate) for rate in (0.005, 0.01)),
    Candidate("mobilenetv2", 600, 16, 0.02),
    Candidate("mobilenetv2", 400, 16, 0.03),
    *(Candidate("shufflenetv2", 400, 32, rate) for rate in (0.005, 0.03, 0.06)),
    *(Candidate("shufflenetv2", 400, 64, rate) for rate in (0.005, 0.01)),
    Candidate("shufflenetv2", 800, 32, 0.01),
    Candidate("shufflenetv2", 800, 32, 0.03),
    Candidate("shufflenetv2", 600, 16, 0.03),
    Candidate("shufflenetv2", 200, 64, 0.01),
    Candidate("vgg16", 100, 16, 0.01),
    Candidate("resnet18", 100, 16, 0.01),
)


# -- One training ------------------------------------------------------------------------------------------------------


@cache
def digits() -> tuple[DatasetInfo, ImageSet, ImageSet]:
    """Return the facts of the digits, their training part and their validation part."""
    data, folder = Digits(), Path(tempfile.gettempdir())
    context = Context(seed=0, folder=folder, scratch=folder, info=data.info())
    return data.info(), data.load("train", context), data.load("validation", context)


def train(candidate: Candidate, draw: int, seed: int) -> dict[str, Any]:
    """Train once and return a line of the log: accuracies in percent, and CPU seconds."""
    info, training, validation = digits()
    chosen = select(training.labels, info.classes, candidate.shots, None, draw, info.name)
    subset, rest = training.subset(chosen), training.subset(np.setdiff1d(np.arange(len(training)), chosen))
    sets = {"train": subset, "validation": validation, "unused": rest}
    scored = ImageSet(
        np.concatenate([images.images for images in sets.values()]),
        np.concatenate([images.labels for images in sets.values()]),
        info.classes,
    )
    task = Task(
        real=subset,
        synthetic=None,
        mix=None,
        validation=rest,  # tip-adapter-f chooses on it; what recipes are chosen on is kept from it
        test=scored.without_labels(),
        info=info,
        arch=candidate.arch,
        augmentations=(CropFlip(),),
        preset="quick",
    )
    seed_of_training = derive_seed("train", info.name, draw, candidate.arch, 1, seed)
    with tempfile.TemporaryDirectory() as name:
        folder, precision = Path(name), candidate.precision
        context = Context(seed_of_training, folder, folder / "scratch", info, precision=precision)
        wall = time.perf_counter()
        answers, cpu = (few_shot if candidate.arch in FEW_SHOT else network)(candidate, task, context)
        wall = time.perf_counter() - wall
    hits = answers.argmax(1) == scored.labels
    ends = np.cumsum([len(images) for images in sets.values()])[:-1]
    accuracy = {name: round(100 * float(part.mean()), 3) for name, part in zip(sets, np.split(hits, ends), strict=True)}
    times = {"cpu_s": round(cpu, 2), "wall_s": round(wall, 2), "load": round(os.getloadavg()[0], 1)}
    return {"key": key(candidate, draw, seed), **asdict(candidate), "draw": draw, "seed": seed, **accuracy, **times}


def network(candidate: Candidate, task: Task, context: Context) -> tuple[NDArray[np.float32], float]:
    """Train a network; return its probabilities and the CPU seconds of the steps, without the scoring."""
    side, classes = task.info.classify_resolution, len(task.info.classes)
    run = Training(lambda: build(candidate.arch, side, classes), task, context, candidate.recipe, side)
    cpu = time.process_time()
    for step in range(candidate.steps):
        run.advance(step)
    cpu = time.process_time() - cpu
    return run.finish().probabilities, cpu


def few_shot(candidate: Candidate, task: Task, context: Context) -> tuple[NDArray[np.float32], float]:
    """Train a learner on a CLIP; return its probabilities and the CPU seconds of all it does."""
    learner = FEW_SHOT[candidate.arch](
        steps=candidate.steps, batch_size=candidate.batch, learning_rate=candidate.rate
    ).for_training(None, task.info, len(task.real or ()))
    cpu = time.process_time()
    outcome = learner.train(task, context)
    return outcome.probabilities, time.process_time() - cpu


def key(candidate: Candidate, draw: int, seed: int) -> str:
    """Return what names a training in the log."""
    values = (*asdict(candidate).values(), draw, seed)
    return " ".join(str(value) for value in values)


# -- The search --------------------------------------------------------------------------------------------------------


def read(log: Path) -> dict[str, dict[str, Any]]:
    """Return the finished trainings by key; a last line that a kill cut off is left out."""
    found = {}
    for line in log.read_text("utf-8").splitlines() if log.exists() else []:
        try:
            item = json.loads(line)
        except ValueError:
            continue
        found[item["key"]] = item
    return found


def pairs(candidate: Candidate, found: dict[str, dict[str, Any]], part: str) -> dict[int, list[float]]:
    """Return by draw what the longer training is better by, in points, for each seed that both were trained on."""
    out: dict[int, list[float]] = {}
    for draw in range(FIRST_DRAW, FIRST_DRAW + MOST_DRAWS):
        for seed in range(SEEDS):
            both = [found.get(key(which, draw, seed)) for which in (candidate, candidate.longer)]
            if both[0] and both[1]:
                out.setdefault(draw, []).append(both[1][part] - both[0][part])
    return out


@dataclass(frozen=True)
class Shortfall:
    """What a recipe falls short by of itself at four times its steps, in points."""

    draws: int
    pairs: int
    value: float
    low: float
    bound: float

    @property
    def verdict(self) -> str:
        """``"holds"``, ``"falls short"``, ``"undecided"``, or ``""`` where there are too few pairs for any of them."""
        if self.draws >= LEAST_DRAWS and self.pairs >= LEAST_DRAWS * SEEDS:
            if self.value < SHORT_BY and self.bound < SHORT_BY_BOUND:
                return "holds"
            if self.pairs >= MOST_DRAWS * SEEDS:
                return "falls short" if self.value >= SHORT_BY else "undecided"
        return "falls short" if self.draws >= 3 and self.low > SHORT_BY else ""


def shortfall(by_draw: dict[int, list[float]]) -> Shortfall:
    """Summarise pairs, with one-sided 90 % bounds; these take two draws, and are infinite without."""
    means = [mean(values) for values in by_draw.values()]
    count = sum(map(len, by_draw.values()))
    if len(means) < 2:
        return Shortfall(len(means), count, means[0] if means else float("nan"), float("-inf"), float("inf"))
    reach = float(student.ppf(0.9, len(means) - 1)) * stdev(means) / len(means) ** 0.5
    return Shortfall(len(means), count, mean(means), mean(means) - reach, mean(means) + reach)


def rounds(most: int) -> Iterator[tuple[int, int]]:
    """Yield draw and seed in the order of the work: the least that decides first, one seed of each draw first."""
    first, last = range(FIRST_DRAW, FIRST_DRAW + LEAST_DRAWS), range(FIRST_DRAW + LEAST_DRAWS, FIRST_DRAW + most)
    for draws in (first, last):
        for seed, draw in itertools.product(range(SEEDS), draws):
            yield draw, seed


def wanted(
    candidates: Sequence[Candidate], found: dict[str, dict[str, Any]], most: int = MOST_DRAWS
) -> Iterator[tuple[Candidate, int, int]]:
    """Yield the trainings that are needed on at most so many draws, looking at ``found`` again before each."""
    hold = set()
    for candidate in candidates:
        if (candidate.arch, candidate.shots) in hold:
            continue
        for (draw, seed), which in itertools.product(rounds(most), (candidate, candidate.longer)):
            decided = shortfall(pairs(candidate, found, "validation")).verdict
            if not decided and key(which, draw, seed) not in found:
                yield which, draw, seed
        if shortfall(pairs(candidate, found, "validation")).verdict == "holds":
            hold.add((candidate.arch, candidate.shots))


def run(log: Path, candidates: Sequence[Candidate], seconds: float, most: int) -> None:
    """Train what is missing, until ``seconds`` have passed."""
    torch.set_num_threads(1)
    found, end = read(log), time.monotonic() + seconds
    with log.open("a", encoding="utf-8") as stream:
        for which, draw, seed in wanted(candidates, found, most):
            if time.monotonic() > end:
                return
            item = train(which, draw, seed)
            found[item["key"]] = item
            stream.write(json.dumps(item) + "\n")
            stream.flush()


# -- The table ---------------------------------------------------------------------------------------------------------


def spread(values: Sequence[float]) -> str:
    """Write a mean with its standard deviation and its number: ``80.1 +- 2.3 (8)``."""
    if not values:
        return "-"
    deviation = f" +- {stdev(values):.1f}" if len(values) > 1 else ""
    return f"{mean(values):.1f}{deviation} ({len(values)})"


def cells(candidate: Candidate, found: dict[str, dict[str, Any]]) -> list[str]:
    """Return the cells of a candidate's row."""
    short, long = ([x for x in found.values() if is_of(x, which)] for which in (candidate, candidate.longer))
    gaps = [shortfall(pairs(candidate, found, part)) for part in ("validation", "unused")]
    seconds = f"{median(item['cpu_s'] for item in short):.0f}" if short else "-"
    told = []
    for gap in gaps:
        bound = f", below {gap.bound:+.1f}" if gap.draws > 1 else ""
        told.append(f"{gap.value:+.1f}{bound} ({gap.draws}, {gap.pairs})" if gap.pairs else "not run")
    used = QUICK.get(candidate.arch)
    is_default = used and (candidate.steps, candidate.batch, candidate.rate) == tuple(vars(used).values())[:3]
    return [
        candidate.arch + (", default" if is_default and candidate.shots == SHOTS else ""),
        f"{candidate.shots}",
        f"{candidate.steps} x {candidate.batch} at {candidate.rate:g}",
        candidate.precision,
        seconds,
        *(spread([item["validation"] for item in items]) for items in (short, long)),
        *told,
        gaps[0].verdict or ("looked at" if candidate in LOOKED_AT else "not decided"),
    ]


def is_of(item: dict[str, Any], candidate: Candidate) -> bool:
    """Return whether a line of the log is a training of this candidate."""
    return all(item[name] == value for name, value in asdict(candidate).items())


HEAD = """# The search of the quick recipes

Made by `benchmarks/recipe_search.py`, which says how, from {trainings} trainings ({hours:.1f} CPU hours); none of
them was scored on a test image. A recipe is `steps x images per step at peak learning rate`. It holds if four times
the steps are less than {short:g} point better on the validation part (250 images), and less than {bound:g} points
with 90 % confidence, over at least {draws} draws x {seeds} seeds. Beside it: the same on the training images that a
draw leaves out (950 of them at 5 per class), on which nothing was chosen. Accuracies are means in percent, with the
standard deviation over trainings and their number; behind differences stand draws and pairs. CPU seconds are the
median, on a machine that was busy with other work.

"""
NOT_TRIED = """

The defaults of the networks are not those that hold at any price: the main job (five networks, three draws, controls)
has 15 minutes on two cores. Within them four networks have the recipe that falls least short of itself, and
shufflenetv2 the cheaper of two that are half a point apart. Tables say at which share of its plateau each is, which
here means the accuracy after four times its steps. Recipes that were looked at were trained on a few draws, by hand.
Nothing that was tried gives the level of a long training at the cost of a short one; mobilenetv2 and efficientnetb0
reach more in small batches, after four times the steps that there is time for.

Not tried: other networks of timm, training from published weights, sides other than 16 px, and datasets other than the
digits. An earlier exploration on the same validation part (220 trainings that are not in the log) found AdamW, a rate
of 0.1 and no augmentation worse, and no difference by Nesterov momentum, averaged weights, label smoothing or no decay
on norms.
"""
COLUMNS = ("network", "shots", "recipe", "precision", "CPU s", "validation", "4 x the steps", "4 x is better by")
COLUMNS = (*COLUMNS, "the same on unused images", "verdict")


def table(found: dict[str, dict[str, Any]], candidates: Sequence[Candidate] = (*CANDIDATES, *LOOKED_AT)) -> str:
    """Return the Markdown page."""
    hours = sum(item["cpu_s"] for item in found.values()) / 3600
    facts = {"trainings": len(found), "hours": hours, "draws": LEAST_DRAWS, "seeds": SEEDS}
    lines = [HEAD.format(**facts, short=SHORT_BY, bound=SHORT_BY_BOUND)]
    rows = [COLUMNS, ["---"] * len(COLUMNS), *(cells(candidate, found) for candidate in candidates)]
    lines += [f"| {' | '.join(row)} |\n" for row in rows]
    return "".join([*lines, NOT_TRIED])


def main() -> None:
    """Run the search or write its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "table"))
    parser.add_argument("--log", type=Path, nargs="+", required=True, help="one JSON line for each training")
    parser.add_argument("--out", type=Path, help="table: the JSON of all trainings; the page is written beside it")
    parser.add_argument("--only", default="", help="networks or learners, separated by commas")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after these, between two trainings")
    parser.add_argument(
        "--draws", type=int, default=MOST_DRAWS, help="run: of a candidate that is not decided, at most"
    )
    given = parser.parse_args()
    only = given.only.split(",") if given.only else [candidate.arch for candidate in CANDIDATES]
    if given.what == "run":
        run(given.log[0], [candidate for candidate in CANDIDATES if candidate.arch in only], given.seconds, given.draws)
        return
    found = {key: item for log in given.log for key, item in read(log).items()}
    page = table(found)
    print(page)
    if given.out:
        given.out.with_suffix(".md").write_text(page, "utf-8")
        lines = ",\n".join(json.dumps(item) for item in found.values())
        given.out.write_text(f"[\n{lines}\n]\n", "utf-8")


if __name__ == "__main__":
    sys.exit(main())
