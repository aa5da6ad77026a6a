"""A tiny task and a tiny network for tests of the loop."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from datasetinfos import dataset_info

from benchbench.plugins import Context, DatasetInfo, ImageSet, Task, TrainResult
from benchbench.results.record import Result
from benchbench.running.scoring import flaw, score
from benchbench.training.recipes import Recipe

CLASSES = ("dark", "bright", "striped")


def tiny_set(count: int, seed: int, side: int = 8) -> ImageSet:
    rng = np.random.default_rng(seed)
    labels = np.arange(count, dtype=np.int64) % 3
    images = rng.integers(0, 60, (count, side, side, 3), dtype=np.uint8)
    images[labels == 1] += 180
    images[labels == 2, ::2] += 180
    return ImageSet(images, labels, CLASSES)


def tiny_info(side: int = 8) -> DatasetInfo:
    return dataset_info(CLASSES, side, class_counts=(10, 10, 10), mean=(0.4, 0.4, 0.4), std=(0.3, 0.3, 0.3))


def tiny_task(real=True, synthetic=False, mix=None, augmentations=(), count=30) -> Task:
    return Task(
        real=tiny_set(count, 0) if real else None,
        synthetic=tiny_set(2 * count, 1) if synthetic else None,
        mix=mix,
        validation=tiny_set(0, 2),
        test=tiny_set(31, 3).without_labels(),
        info=tiny_info(),
        arch="tiny",
        augmentations=tuple(augmentations),
        preset="quick",
    )


def tiny_context(folder: Path, seed: int = 7) -> Context:
    return Context(seed=seed, folder=folder / "out", scratch=folder / "scratch", info=tiny_info())


def tiny_score(outcome: TrainResult, task: Task) -> Result:
    """What the harness makes of an outcome: it has the labels."""
    assert flaw(outcome, task) is None
    return score(outcome, task, tiny_set(len(task.test), 3).labels)


def tiny_recipe(steps: int = 12, **changes) -> Recipe:
    values = {
        "steps": steps,
        "batch_size": 10,
        "optimizer": "sgd",
        "learning_rate": 0.05,
        "momentum": 0.9,
        "weight_decay": 5e-4,
        "warmup_steps": 2,
        "evaluations": 3,
    }
    return Recipe(**{**values, **changes})


class TinyNet(torch.nn.Module):
    """Batch norm and dropout included: both have state that a resumed training must find again."""

    def __init__(self) -> None:
        super().__init__()
        self.body = torch.nn.Sequential(
            torch.nn.Conv2d(3, 6, 3, 2, 1), torch.nn.BatchNorm2d(6), torch.nn.ReLU(), torch.nn.Dropout(0.3)
        )
        self.head = torch.nn.Linear(6 * 16, 3)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        return self.body(images).flatten(1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(images))
