"""``timm``: image classifiers trained from scratch, the paper's five and any other network of timm."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from benchbench.plugins import Context, DatasetInfo, Learner, Needs, Outcome, Task, param

from .stems import OTHERS, PAPER_ARCHITECTURES, RULES

if TYPE_CHECKING:
    from torch import nn

    from benchbench.training.recipes import Recipe

#: Peak learning rates by recipe and optimiser. The paper gives 0.1 for all networks (appendix B.2), and AdamW at 0.001
#: for MedMNIST. The quick rates, one for all networks too, were chosen on a validation part of the digits, at 5 images
#: per class: at 100 steps of batch 32 a rate of 0.1 leaves the light networks near chance.
LEARNING_RATES = {
    ("paper", "sgd"): 0.1,
    ("paper", "adamw"): 1e-3,
    ("quick", "sgd"): 0.01,
    ("quick", "adamw"): 3e-3,
}

#: CPU seconds per image and step at 16 px on one core, for estimates: forward, backward and update.
SECONDS_PER_IMAGE = {
    "resnet18": 0.0120,
    "vgg16": 0.0090,
    "mobilenetv2": 0.0045,
    "shufflenetv2": 0.0016,
    "efficientnetb0": 0.0095,
}


@dataclass(frozen=True)
class TimmScratch(Learner):
    """A classifier trained from scratch for a fixed number of steps, scored once after the last.

    The protocol of Diffusion Inversion, Zhou et al. 2023, appendix B.2: SGD with momentum, linear warm-up and a cosine,
    batches of constant size whatever the data, cross-entropy, no choice on held-out images. ``all`` stands for
    resnet18, vgg16, mobilenetv2, shufflenetv2 and efficientnetb0; any name of ``timm.list_models()`` works as well.
    """

    steps: int = param(100, paper=50_000, low=1, help="Optimiser steps, the same for every row.")
    batch_size: int = param(32, paper=128, low=2, help="Images per step, real and generated together.")
    recipe: str = param("quick", paper="paper", choices=("quick", "paper"), help="Which default learning rate.")
    learning_rate: float | None = param(
        None,
        above=0.0,
        help="Peak learning rate; none: 0.1 (SGD) or 0.001 (AdamW) under paper, 0.01 or 0.003 under quick.",
    )
    weight_decay: float = param(5e-4, low=0.0, help="L2 penalty (SGD) or decoupled decay (AdamW).")
    momentum: float = param(0.9, low=0.0, high=0.999, help="Momentum of SGD, without Nesterov.")
    warmup_steps: int = param(10, paper=1_000, low=0, help="Steps of linear warm-up from a thousandth of the rate.")
    optimizer: str | None = param(None, choices=("sgd", "adamw"), help="Optimiser; none: the dataset's.")
    resolution: int | None = param(None, low=8, high=1024, help="Side of the images in px; none: the dataset's.")
    evaluations: int = param(
        2, paper=20, low=1, help="Scorings of the test set, for best_on_test only; never chosen on."
    )

    def needs(self) -> Needs:
        """Return the packages that networks come from."""
        return Needs(packages=("torch", "timm", "torchvision"))

    def resolve(self, info: DatasetInfo) -> TimmScratch:
        """Return this learner with the dataset's optimiser and resolution in place of ``None``."""
        return replace(
            self,
            optimizer=self.optimizer or info.optimizer,
            resolution=self.resolution or info.classify_resolution,
        )

    def architectures(self, names: Sequence[str], info: DatasetInfo) -> tuple[str, ...]:
        """Return the architectures that ``names`` stand for, in order and once each.

        The paper's five are known without importing torch; other names are looked up in timm and tried once on an
        empty image.

        Raises:
            UsageError: an unknown name (with the nearest ones), or a network that cannot take the resolution.
        """
        found: dict[str, None] = {}
        for name in names:
            lower = name.lower()
            if lower == "all":
                found.update(dict.fromkeys(PAPER_ARCHITECTURES))
            elif lower in PAPER_ARCHITECTURES:
                found[lower] = None
            else:
                from .networks import canonical, check

                base = canonical(name)
                check(base, self.resolution or info.classify_resolution, len(info.classes))
                found[base] = None
        return tuple(found)

    def train(self, task: Task, context: Context) -> Outcome:
        """Train ``task.arch`` on the task and score every test image once.

        Raises:
            ValueError: the task names no architecture.
            BenchError: the training diverged.
        """
        from benchbench.training.loop import train_classifier

        if task.arch is None:
            raise ValueError("timm: needs an architecture")
        ready = self.resolve(task.info)
        assert ready.resolution is not None
        make = _builder(task.arch, ready.resolution, len(task.info.classes))
        return train_classifier(make, task, context, ready.training_recipe(), ready.resolution)

    def training_recipe(self) -> Recipe:
        """Return the recipe; an optimiser that nothing has decided is SGD."""
        from benchbench.training.recipes import Recipe

        optimizer = self.optimizer or "sgd"
        return Recipe(
            steps=self.steps,
            batch_size=self.batch_size,
            optimizer=optimizer,
            learning_rate=self.learning_rate or LEARNING_RATES[self.recipe, optimizer],
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            warmup_steps=self.warmup_steps,
            evaluations=self.evaluations,
        )

    def training_seconds(self, arch: str | None, info: DatasetInfo) -> float | None:
        """Estimate the CPU seconds of one training of the paper's architectures on one core."""
        if arch not in SECONDS_PER_IMAGE:
            return None
        side = self.resolution or info.classify_resolution
        return self.steps * self.batch_size * SECONDS_PER_IMAGE[arch] * (side / 16) ** 2

    @staticmethod
    def table() -> list[dict[str, Any]]:
        """Return the rule of each architecture for small images, as rows for ``bench show timm``.

        Each row has ``arch``, ``resolution``, ``stem``, ``last map`` (at the row's smallest common size),
        ``parameters`` (ours, 10 classes), ``authors' parameters`` and ``note``. Imports torch, to count; no weight
        is made.
        """
        import torch

        from .architectures import build

        rows = []
        for arch in PAPER_ARCHITECTURES:
            rule = RULES[arch]
            authors = "; ".join(f"{count:,} ({where})" for where, count in rule.authors)
            for stem in rule.stems:
                sides = [side for side in (16, 28, 32, 64, 96, 256) if stem.low <= side <= (stem.high or side)]
                with torch.device("meta"):
                    model = build(arch, sides[0], 10)
                rows.append(
                    {
                        "arch": arch,
                        "resolution": f"{stem.low}" + ("+" if stem.high is None else f"-{stem.high}"),
                        "stem": str(stem),
                        "last map": ", ".join(f"{rule.output(side)} at {side}" for side in sides),
                        "parameters": sum(weight.numel() for weight in model.parameters()),
                        "authors' parameters": authors,
                        "note": rule.note,
                    }
                )
        rows.append({"arch": "any timm name", "stem": "timm's, adapted", "note": OTHERS})
        return rows


def _builder(arch: str, resolution: int, classes: int) -> Callable[[], nn.Module]:
    if arch in PAPER_ARCHITECTURES:
        from .architectures import build

        return lambda: build(arch, resolution, classes)
    from . import networks

    return lambda: networks.build(arch, resolution, classes)
