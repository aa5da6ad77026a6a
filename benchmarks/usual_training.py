"""The training loops that ``train_speed.py`` measures against, as their users write them.

``AuthorsLoop`` is the loop of Diffusion Inversion (Zhou et al. 2023, appendix B.2): PIL images, torchvision's
transforms and a ``DataLoader``, SGD with two chained schedulers stepped per batch, two numbers read back per step.
``TimmLoop`` is timm's training script: its loader (uint8 collation, normalised by the batch), its SGD with groups, its
cosine schedule and no number read back between two log lines. Both see the paper's crop and flip.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from PIL import Image
from timm.data import create_loader
from timm.data.transforms import ToNumpy
from timm.optim import create_optimizer_v2
from timm.scheduler import CosineLRScheduler
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.transforms import functional as TF

from benchbench.plugins import DatasetInfo
from benchbench.training.recipes import FLOOR, Recipe

Batch = tuple[torch.Tensor, torch.Tensor]

#: timm's training script reads the loss when it prints a line.
LOG_INTERVAL = 50


class Pictures(Dataset):
    """Arrays as PIL images through a transform, as torchvision's own datasets of small images do it."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, transform: transforms.Compose) -> None:
        """Take uint8 ``(N, H, W, 3)`` and int64 ``(N,)``."""
        self.images = images
        self.labels = labels
        self.transform = transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor | np.ndarray, int]:
        return self.transform(Image.fromarray(self.images[index])), int(self.labels[index])


def crop_flip(resolution: int) -> list[object]:
    """Return the paper's augmentation as torchvision's transforms."""
    return [transforms.RandomCrop(resolution, padding=resolution // 8), transforms.RandomHorizontalFlip()]


def to_normalised(info: DatasetInfo) -> list[object]:
    """Return the transforms from a PIL image to what a network takes."""
    return [transforms.ToTensor(), transforms.Normalize(info.mean, info.std)]


def endless(loader: Iterable[Batch]) -> Iterator[Batch]:
    """Yield one epoch after the other."""
    while True:
        yield from loader


def plain_loader(
    images: np.ndarray, labels: np.ndarray, info: DatasetInfo, resolution: int, batch: int, workers: int
) -> DataLoader:
    """Return a shuffled loader of crops and flips, nothing else done to an image."""
    transform = transforms.Compose([*crop_flip(resolution), *to_normalised(info)])
    pictures = Pictures(images, labels, transform)
    return DataLoader(pictures, batch, shuffle=True, drop_last=True, num_workers=workers)


def authors_loader(
    images: np.ndarray, labels: np.ndarray, info: DatasetInfo, resolution: int, batch: int, workers: int
) -> DataLoader:
    """Return the authors' loader, which resizes first; at the native resolution that does nothing."""
    fit = [transforms.Resize(resolution, transforms.InterpolationMode.BICUBIC), transforms.CenterCrop(resolution)]
    transform = transforms.Compose([*fit, *crop_flip(resolution), *to_normalised(info)])
    pictures = Pictures(images, labels, transform)
    return DataLoader(pictures, batch, shuffle=True, drop_last=True, num_workers=workers)


def timm_loader(
    images: np.ndarray, labels: np.ndarray, info: DatasetInfo, resolution: int, batch: int
) -> Iterable[Batch]:
    """Return timm's loader on the CPU with the paper's crop and flip in place of its random resized crop."""
    pictures = Pictures(images, labels, transforms.Compose([]))
    loader = create_loader(
        pictures,
        input_size=(3, resolution, resolution),
        batch_size=batch,
        is_training=True,
        mean=info.mean,
        std=info.std,
        num_workers=0,
        persistent_workers=False,
        device=torch.device("cpu"),
    )
    pictures.transform = transforms.Compose([*crop_flip(resolution), ToNumpy()])
    return loader


def cropped(
    images: np.ndarray, corners: np.ndarray, mirrored: np.ndarray, padding: int, info: DatasetInfo
) -> torch.Tensor:
    """Return given crops and flips by torchvision's operators on PIL images, normalised, float32 ``(B, 3, H, W)``."""
    side = images.shape[1]
    ready = transforms.Compose(to_normalised(info))
    out = []
    for image, (top, left), turn in zip(images, corners.tolist(), mirrored.tolist(), strict=True):
        picture = TF.crop(TF.pad(Image.fromarray(image), padding), top, left, side, side)
        out.append(ready(TF.hflip(picture) if turn else picture))
    return torch.stack(out)


class AuthorsLoop:
    """The authors' training loop, one step at a time."""

    def __init__(self, model: nn.Module, batches: Iterator[Batch], recipe: Recipe) -> None:
        self.model = model.train()
        self.batches = batches
        self.criterion = nn.CrossEntropyLoss()
        rate = recipe.learning_rate
        self.optimizer = torch.optim.SGD(
            model.parameters(), lr=rate, momentum=recipe.momentum, weight_decay=recipe.weight_decay
        )
        warmup = torch.optim.lr_scheduler.LinearLR(self.optimizer, FLOOR, total_iters=recipe.warmup_steps)
        cosine = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, recipe.steps, eta_min=rate * FLOOR)
        self.scheduler = torch.optim.lr_scheduler.ChainedScheduler([warmup, cosine])
        self.losses: list[float] = []
        self.correct = 0

    def step(self) -> None:
        """Take one step and read the loss and the number of right answers back."""
        images, labels = next(self.batches)
        self.optimizer.zero_grad()
        outputs = self.model(images)
        loss = self.criterion(outputs, labels)
        loss.backward()
        self.optimizer.step()
        self.scheduler.step()
        self.losses.append(loss.item())
        self.correct += outputs.argmax(dim=1).eq(labels).sum().item()


class TimmLoop:
    """timm's training loop, one step at a time, without label smoothing; mixed precision as its ``--amp``."""

    def __init__(self, model: nn.Module, batches: Iterator[Batch], recipe: Recipe, bf16: bool = False) -> None:
        self.model = model.train()
        self.batches = batches
        self.bf16 = bf16
        self.criterion = nn.CrossEntropyLoss()
        rate = recipe.learning_rate
        self.optimizer = create_optimizer_v2(
            model, opt="momentum", lr=rate, weight_decay=recipe.weight_decay, momentum=recipe.momentum
        )
        self.scheduler = CosineLRScheduler(
            self.optimizer,
            t_initial=recipe.steps,
            lr_min=rate * FLOOR,
            warmup_t=recipe.warmup_steps,
            warmup_lr_init=rate * FLOOR,
            t_in_epochs=False,
        )
        self.losses: list[float] = []
        self.updates = 0

    def step(self) -> None:
        """Take one step; the loss is read at the first of every fifty."""
        images, labels = next(self.batches)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.bf16):
            loss = self.criterion(self.model(images), labels)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.updates % LOG_INTERVAL == 0:
            self.losses.append(loss.item())
        self.updates += 1
        self.scheduler.step_update(num_updates=self.updates)


def authors_score(model: nn.Module, images: np.ndarray, labels: np.ndarray, info: DatasetInfo) -> int:
    """Return how many images the authors' test loop finds right: batches of 100, a number read back from each."""
    loader = DataLoader(Pictures(images, labels, transforms.Compose(to_normalised(info))), 100)
    model.eval()
    correct = 0
    with torch.no_grad():
        for pictures, wanted in loader:
            correct += int(model(pictures).argmax(dim=1).eq(wanted).sum().item())
    model.train()
    return correct
