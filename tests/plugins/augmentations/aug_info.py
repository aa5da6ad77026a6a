"""A dataset's facts and a batch for tests of augmentations."""

from __future__ import annotations

import torch
from datasetinfos import dataset_info

from benchbench.plugins import DatasetInfo


def make_info(classes: int = 10, side: int = 16, mean=(0.2, 0.5, 0.8), std=(0.25, 0.25, 0.25)) -> DatasetInfo:
    return dataset_info(classes, side, class_counts=(100 // classes,) * classes, mean=mean, std=std)


def make_batch(count: int, side: int = 16, classes: int = 10, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (count, 3, side, side), generator=rng, dtype=torch.uint8)
    return images, torch.randint(0, classes, (count,), generator=rng)


def flat_batch(count: int, side: int = 16) -> tuple[torch.Tensor, torch.Tensor]:
    """Image ``i`` is of grey value ``i`` and of class ``i``: what was mixed with what can be read off."""
    assert count <= 256
    labels = torch.arange(count)
    return labels.to(torch.uint8)[:, None, None, None].expand(count, 3, side, side).contiguous(), labels


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
