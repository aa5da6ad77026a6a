"""The page of a learner's author."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from .base import Plugin
from .context import Context
from .images import ImageSet

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .augmentation import Augmentation
    from .dataset import DatasetInfo


@dataclass(frozen=True)
class Task:
    """One training job, as a learner is given it.

    Attributes:
        real: the real training subset, or ``None`` when only generated images are trained on.
        synthetic: generated images, or ``None`` for the real baseline.
        mix: images of ``(real, synthetic)`` per group in a batch (``--mix 1:3``), ``None`` when one source is used.
        validation: held-out real images for choices that must not see the test set; may be empty.
        test: the images that are scored once, at the end.
        info: the dataset.
        arch: architecture name, ``None`` for a learner without that axis.
        augmentations: the chain, in order; empty for a learner without that axis.
        preset: ``"quick"`` or ``"paper"``.
    """

    real: ImageSet | None
    synthetic: ImageSet | None
    mix: tuple[int, int] | None
    validation: ImageSet
    test: ImageSet
    info: DatasetInfo
    arch: str | None
    augmentations: tuple[Augmentation, ...]
    preset: str


@dataclass(frozen=True)
class TrainResult:
    """What a learner reports.

    Attributes:
        hits: bool ``(N_test,)``, whether each test image was classified correctly at the last step.
        best_on_test: best accuracy in [0, 1] over periodic evaluations on the test set; ``None`` if not evaluated.
        steps: optimiser steps taken.
        images_seen: training images processed.
        parameters: trainable parameters.
        curve: ``(step, loss, test accuracy in [0, 1] or None)`` triples.
        details: further JSON facts (the recipe as realised).
    """

    hits: NDArray[np.bool_]
    best_on_test: float | None = None
    steps: int = 0
    images_seen: int = 0
    parameters: int = 0
    curve: Sequence[tuple[int, float, float | None]] = ()
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def accuracy(self) -> float:
        """Share of test images classified correctly at the last step, in [0, 1]."""
        return float(self.hits.mean())


@dataclass(frozen=True)
class Learner(Plugin):
    """Turns a :class:`Task` into test hits."""

    kind: ClassVar[str] = "learner"
    #: Which of ``arch``, ``aug``, ``mix`` change what it does; the plan does not multiply by the others.
    axes: ClassVar[frozenset[str]] = frozenset({"arch", "aug", "mix"})
    #: Whether training images change what it does; one that does not (zero-shot) gets a single cell, of 0 images.
    trains: ClassVar[bool] = True
    #: Few-shot draws that its protocol averages over; the default of ``--draws`` where nothing has to be generated.
    draws: ClassVar[int] = 1

    def architectures(self, names: Sequence[str], info: DatasetInfo) -> tuple[str, ...]:
        """Return the architectures that ``--arch`` names, aliases such as ``all`` expanded, in order.

        Raises:
            UsageError: an unknown name (with the nearest ones), or one that cannot take the resolution.
        """
        return tuple(names)

    def train_resolution(self, info: DatasetInfo) -> int:
        """Return the side in px of the images that it trains on, which augmentations are given."""
        return info.classify_resolution

    def foundations(self, arch: str | None, info: DatasetInfo) -> tuple[str, ...]:
        """Return the pretrained models that a training of ``arch`` starts from, beyond those of ``needs``.

        Each is a known name, a local folder or a hub id; its content enters the key of that training alone.
        """
        return ()

    def training_seconds(self, arch: str | None, info: DatasetInfo) -> float | None:
        """Estimate the CPU seconds of one training on one core; ``None`` when unknown."""
        return None

    def train(self, task: Task, context: Context) -> TrainResult:
        """Train on the task and score every test image once."""
        raise NotImplementedError
