"""``timm``: image classifiers trained from scratch or fine-tuned, the paper's five and any other network of timm."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from benchbench.errors import MissingError, UsageError
from benchbench.plugins import Context, DatasetInfo, Learner, Requirements, Task, TrainResult, param

from .recipes import FINE_TUNING, IMAGES, LONGER, OTHER, QUICK, SEARCHED, Quick, steps_for
from .stems import OTHERS, PAPER_ARCHITECTURES, RULES

if TYPE_CHECKING:
    from torch import nn

    from benchbench.training.recipes import Recipe


#: Peak learning rates of AdamW, and of both optimisers under ``paper``, from scratch and from published weights. The
#: paper gives 0.1 for all networks (appendix B.2), and AdamW at 0.001 for MedMNIST; it fine-tunes nothing, and a tenth
#: is ours. The quick rates of SGD are those of ``recipes``.
RATES = {("paper", "sgd"): 0.1, ("paper", "adamw"): 1e-3, ("quick", "adamw"): 3e-3}
FINE_TUNING_RATES = {("paper", "sgd"): 0.01, ("paper", "adamw"): 1e-4, ("quick", "adamw"): 3e-4}

#: Test images that are scored on the way, as a share of the training images processed: 3 % of the time, or less.
SCORED = 0.1
#: What it takes to score an image, as a share of what training on it takes.
SCORING = 0.25

#: Sides in px that ``bench show timm`` tells the maps of.
SHOWN_SIDES = (28, 32, 64, 96, 224, 256)


@dataclass(frozen=True)
class TimmClassifier(Learner):
    """A classifier trained for a fixed number of steps, from scratch or from weights, whose last step counts.

    The protocol of Diffusion Inversion, Zhou et al. 2023, appendix B.2: SGD with momentum, linear warm-up and a cosine,
    batches of constant size whatever the data, cross-entropy, no choice on held-out images. ``all`` stands for
    resnet18, vgg16, mobilenetv2, shufflenetv2 and efficientnetb0; any name of ``timm.list_models()`` works as well.

    ``pretrained=true`` starts from the weights that timm publishes (``--arch resnet18.tv_in1k`` for others than its
    default ones), ``weights=FOLDER`` from a folder in timm's hub format. Names of the paper then mean timm's own
    networks, images are normalised as the weights were trained, and the head is new.
    """

    steps: int | None = param(
        None,
        paper=50_000,
        low=1,
        help="Optimiser steps, the same for every row; none: the network's quick recipe, more for more real images.",
    )
    batch_size: int | None = param(
        None,
        paper=128,
        low=2,
        help="Images per step, real and generated together; none: the network's quick recipe.",
    )
    recipe: str = param("quick", paper="paper", choices=("quick", "paper"), help="Which default learning rate.")
    learning_rate: float | None = param(
        None,
        above=0.0,
        help="Peak learning rate; none: 0.1 (SGD) or 0.001 (AdamW) under paper, the network's or 0.003 under quick; "
        "from weights 0.01 or 0.0001 under paper, 0.003 or 0.0003 under quick.",
    )
    weight_decay: float = param(5e-4, low=0.0, help="L2 penalty (SGD) or decoupled decay (AdamW).")
    momentum: float = param(0.9, low=0.0, high=0.999, help="Momentum of SGD, without Nesterov.")
    warmup_steps: int = param(10, paper=1_000, low=0, help="Steps of linear warm-up from a thousandth of the rate.")
    optimizer: str | None = param(None, choices=("sgd", "adamw"), help="Optimiser; none: the dataset's.")
    resolution: int | None = param(None, low=8, high=1024, help="Side of the images in px; none: the dataset's.")
    evaluations: int | None = param(
        None,
        paper=20,
        low=1,
        help="Scorings of the test set, for the curve and best_on_test, never chosen on; none: 8, or fewer where they "
        "would take more than a few percent of the time.",
    )
    pretrained: bool = param(False, help="Start from the weights that timm publishes for each architecture.")
    weights: str | None = param(
        None, help="Start from these: a folder in timm's hub format or a hub id; none: timm's, with pretrained."
    )
    images: str = param(
        "auto",
        choices=("auto", "resident", "streamed"),
        affects_result=False,
        help="Where images are: on the device, read from disk batch by batch, or auto: on the device if they take at "
        "most 40 % of its memory.",
    )

    def needs(self) -> Requirements:
        """Return the packages that networks come from, and the weights that the user named."""
        return Requirements(
            packages=("torch", "timm", "torchvision"),
            foundations=(self.weights,) if self.weights else (),
        )

    def foundations(self, arch: str | None, info: DatasetInfo) -> tuple[str, ...]:
        """Return the hub id of timm's published weights for ``arch``; none from scratch or from the user's own.

        Raises:
            UsageError: timm publishes none.
        """
        if not self.pretrained or self.weights or arch is None:
            return ()
        from .weights import hub_id

        return (hub_id(arch),)

    def resolve(self, info: DatasetInfo) -> TimmClassifier:
        """Return this learner with the dataset's optimiser and resolution in place of ``None``."""
        return replace(
            self,
            optimizer=self.optimizer or info.optimizer,
            resolution=self.train_resolution(info),
            pretrained=self.pretrained or bool(self.weights),
        )

    def for_training(self, arch: str | None, info: DatasetInfo, n_real: int) -> TimmClassifier:
        """Return this learner with the steps, batch size, rate and evaluations of a network in place of ``None``.

        Steps depend on the network and on the real images of the baseline alone, so that every row gets as many.
        """
        quick, optimizer = self._quick(arch), self.optimizer or info.optimizer
        rates = FINE_TUNING_RATES if self.pretrained or self.weights else RATES
        rates = {("quick", "sgd"): quick.learning_rate, **rates}
        steps, batch_size = self.steps or steps_for(quick, n_real), self.batch_size or quick.batch_size
        affordable = int(SCORED * steps * batch_size / max(1, info.counts["test"])) + 1
        return replace(
            self,
            steps=steps,
            batch_size=batch_size,
            learning_rate=self.learning_rate or rates[self.recipe, optimizer],
            optimizer=optimizer,
            evaluations=self.evaluations or max(count for count in (1, 2, 4, 8) if count <= affordable),
        )

    def _quick(self, arch: str | None) -> Quick:
        return FINE_TUNING if self.pretrained or self.weights else QUICK.get(arch or "", OTHER)

    def train_resolution(self, info: DatasetInfo) -> int:
        """Return the side in px of the images that it trains on, which augmentations are given."""
        return self.resolution or info.classify_resolution

    def architectures(self, names: Sequence[str], info: DatasetInfo) -> tuple[str, ...]:
        """Return the architectures that ``names`` stand for, in order and once each.

        The paper's five are known without importing torch; other names are looked up in timm and tried
        once on an empty image. Weights that are on this machine are checked as far as their configuration goes.

        Raises:
            UsageError: an unknown name (with the nearest ones), a network that cannot take the resolution (with the
                smallest one that it takes), or weights that are missing, damaged or of another network.
        """
        spelled = [arch for name in names for arch in (PAPER_ARCHITECTURES if name.lower() == "all" else (name,))]
        resolution = self.train_resolution(info)
        know = self._pretrained_name if self.pretrained or self.weights else _scratch_name
        return tuple(dict.fromkeys(know(name, resolution, info) for name in spelled))

    def _pretrained_name(self, name: str, resolution: int, info: DatasetInfo) -> str:
        from benchbench.plugins.locate import locate

        from .weights import canonical, check_size, describe, hub_id

        arch = canonical(name)
        wanted = self.weights or hub_id(arch)
        with suppress(MissingError):  # the preflight fetches it, or says where it comes from
            describe(locate(wanted), f"timm:weights={wanted}" if self.weights else wanted, arch)
        check_size(arch, resolution, len(info.classes))
        return arch

    def train(self, task: Task, context: Context) -> TrainResult:
        """Train ``task.arch`` on the task and classify every test image after the last step.

        Raises:
            ValueError: the task names no architecture.
            BenchError: the training diverged, or weights do not fit the network.
        """
        from benchbench.training.loop import train_classifier

        if task.arch is None:
            raise ValueError("timm: needs an architecture")
        images = task.real if task.real is not None else task.synthetic
        ready = self.resolve(task.info).for_training(task.arch, task.info, len(images or ()))
        classes, side = len(task.info.classes), self.train_resolution(task.info)
        build: Callable[[Any, int, int], nn.Module]
        start: Any = task.arch  # what a network is built from: a name, or weights
        details: dict[str, Any] = {}
        if ready.pretrained:
            from .weights import build, describe, hub_id

            wanted = ready.weights or hub_id(task.arch)
            start = describe(context.foundation(wanted), wanted, task.arch)
            details["pretrained"] = {
                "weights": start.name,
                "architecture": start.architecture,
                "licence": start.licence,
                "head": f"new: the weights have {start.classes} classes, the dataset {classes}",
                "mean": list(start.mean),
                "std": list(start.std),
            }
            # Weights expect images as they were trained on; whatever else reads the normalisation follows.
            task = replace(task, info=replace(task.info, mean=start.mean, std=start.std))
        elif task.arch in PAPER_ARCHITECTURES:
            from .architectures import build
        else:
            from .networks import build
        outcome = train_classifier(
            lambda: build(start, side, classes), task, context, ready.training_recipe(), side, self.images
        )
        if plateau := _plateau(ready, task):
            details["learning"] = {**outcome.details["learning"], "plateau": plateau}
        return replace(outcome, details={**outcome.details, **details})

    def training_recipe(self) -> Recipe:
        """Return the recipe of a learner that :meth:`for_training` returned."""
        from benchbench.training.recipes import Recipe

        return Recipe(**{item.name: getattr(self, item.name) for item in fields(Recipe)})

    def training_seconds(self, arch: str | None, info: DatasetInfo) -> float | None:
        """Estimate the CPU seconds of one training of the paper's architectures on one core."""
        quick = QUICK.get(arch or "")
        if arch is None or quick is None or quick.seconds is None or self.pretrained or self.weights:
            return None
        recipe = self.for_training(arch, info, IMAGES).training_recipe()
        rule, side = RULES[arch], max(self.train_resolution(info), RULES[arch].smallest)
        ratio = rule.stem(side).map(side) / rule.stem(16).map(16)
        # Measured at 64 px: 4 to 10 times the seconds for maps 4 times as wide, since small maps are inefficient.
        effort = min(ratio, 4.0) ** 1.5 * max(ratio / 4.0, 1.0) ** 2
        images = recipe.steps * recipe.batch_size + recipe.evaluations * info.counts["test"] * SCORING
        return images / quick.batch_size * quick.seconds * effort

    @staticmethod
    def table() -> list[dict[str, Any]]:
        """Return the rule of each architecture for small images, as rows for ``bench show timm``.

        One row for each architecture and stem, with ``arch``, ``px`` (the sides that it holds for), ``stem``, one
        column for each of six sides (the map into the body after the stem > out of it), ``parameters`` (ours, 10
        classes), ``authors'`` (theirs, ``-`` where they have no such network), ``quick`` (steps for 50 real images x
        images per step at peak rate) and ``note``. Imports torch, to count; no weight is made.
        """
        import torch

        from .architectures import build

        rows = []
        for arch in PAPER_ARCHITECTURES:
            rule = RULES[arch]
            for stem in rule.stems:
                row: dict[str, Any] = {"arch": arch}
                row["px"] = stem.sides
                row["stem"] = str(stem)
                held = [side for side in SHOWN_SIDES if stem.low <= side <= (stem.high or side)]
                for side in SHOWN_SIDES:
                    row[f"{side} px"] = f"{stem.map(side)} > {rule.output(side)}" if side in held else ""
                with torch.device("meta"):
                    model = build(arch, held[0] if held else stem.low, 10)
                row["parameters"] = f"{sum(weight.numel() for weight in model.parameters()):,}"
                counts = {f"{count:,}" for side, count in rule.authors.items() if side in held}
                row["authors'"] = " ".join(counts) or "-"
                quick = QUICK[arch]
                row["quick"] = f"{quick.steps} x {quick.batch_size} at {quick.learning_rate:g}"
                row["note"] = rule.note
                rows.append(row)
        rows.append({"arch": "any timm name", "stem": "timm's, adapted", "note": OTHERS})
        return rows


def _scratch_name(name: str, resolution: int, info: DatasetInfo) -> str:
    lower = name.lower()
    if lower not in PAPER_ARCHITECTURES:
        from .networks import canonical, check

        lower = canonical(name)
        if tag := name.partition(".")[2]:
            raise UsageError(
                f"{name}: the tag {tag} names published weights, and this training starts from scratch; "
                f"use {lower}, or add --learner timm:pretrained=true"
            )
        if lower not in PAPER_ARCHITECTURES:
            check(lower, resolution, len(info.classes))
            return lower
    if resolution < RULES[lower].smallest:
        raise UsageError(
            f"{lower}: cannot take images of {resolution} px; the smallest it takes is {RULES[lower].smallest} px"
        )
    return lower


def _plateau(ready: TimmClassifier, task: Task) -> dict[str, Any]:
    """Return what longer trainings reached in the search of the recipe, where this is a training like those."""
    quick, found = QUICK.get(task.arch or ""), 0 if task.real is None else len(task.real)
    if quick is None or quick.plateau is None or (task.info.name, found) != (SEARCHED, IMAGES):
        return {}
    usual = TimmClassifier().resolve(task.info).for_training(task.arch, task.info, found)
    if ready != replace(usual, evaluations=ready.evaluations, images=ready.images):
        return {}
    short, long = quick.plateau
    return {"accuracy": short, "longer": long, "steps": LONGER * quick.steps}
