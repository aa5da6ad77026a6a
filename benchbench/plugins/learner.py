"""The page of a learner's author."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from ..errors import OldFormError
from .base import Plugin
from .context import Context
from .images import NEW_FORM, Images, ImageSet

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

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
        test: the images to classify, without labels.
        info: the dataset.
        arch: architecture name, ``None`` for a learner without that axis.
        augmentations: the chain, in order; empty for a learner without that axis.
        preset: ``"quick"`` or ``"paper"``.
        answers: what ``evaluate`` was given; the harness reads it when the training is over.
    """

    real: ImageSet | None
    synthetic: ImageSet | None
    mix: tuple[int, int] | None
    validation: ImageSet
    test: Images
    info: DatasetInfo
    arch: str | None
    augmentations: tuple[Augmentation, ...]
    preset: str
    answers: dict[int | str, Any] = field(default_factory=dict, repr=False)

    def evaluate(self, at: int | str, predict: Callable[[], Any]) -> None:
        """Have the test images scored on the way, for the curve and ``best_on_test``; nothing comes back.

        The labels are compared after ``train`` has returned, so that an accelerator is not waited for here. A training
        that continues after a kill gives its earlier answers again.

        Args:
            at: finished optimiser steps; or the name of another classifier, such as ``"zero_shot"``, whose accuracy
                is kept as ``details["zero_shot_accuracy"]``.
            predict: is called once, and returns an array or tensor in the order of ``test``: probabilities or logits
                ``(N, classes)``, or the most probable class of each image, int64 ``(N,)``.

        Raises:
            ValueError: there is not one answer for each test image, or it is of another shape or type.
        """
        found, call = predict(), f"task.evaluate({at!r}, ...)"
        if not isinstance(at, str) and not hasattr(at, "__index__"):
            raise ValueError(f"{call}: the step must be a whole number, or a name")
        if len(found) != len(self.test):
            raise ValueError(f"{call} got answers for {len(found)} of {len(self.test)} test images")
        # Types and shapes alone: reading a value would wait for the accelerator.
        shape, kind = tuple(getattr(found, "shape", ())), str(getattr(found, "dtype", type(found).__name__))
        if shape[1:] != (len(self.info.classes),) and (len(shape) != 1 or "int" not in kind):
            count = len(self.info.classes)
            raise ValueError(
                f"{call} takes (N, {count}) probabilities or logits, or whole (N,) classes; got {kind} {shape}"
            )
        self.answers[at] = found.argmax(1) if found.ndim == 2 else found


@dataclass(frozen=True)
class TrainResult:
    """What a learner reports.

    Attributes:
        probabilities: float32 ``(N_test, classes)``, of each test image after the last step; rows sum to 1. The first
            of the largest is the answer.
        steps: optimiser steps taken.
        images_seen: training images processed.
        parameters: trainable parameters.
        curve: ``(step, loss)`` pairs; the harness adds accuracies, from ``probabilities`` and ``Task.evaluate``.
        details: further JSON facts (the recipe as realised).

    Raises:
        OldFormError: it is filled as in earlier versions, by ``hits``.
    """

    probabilities: NDArray[np.float32]
    steps: int = 0
    images_seen: int = 0
    parameters: int = 0
    curve: Sequence[tuple[int, float]] = ()
    details: Mapping[str, Any] = field(default_factory=dict)

    def __new__(cls, *values: Any, **named: Any) -> Self:
        """Refuse the form of earlier versions, which Python would refuse without saying what to do."""
        if "hits" in named or (values and str(getattr(values[0], "dtype", "")) == "bool"):
            raise OldFormError(f"{cls.__name__}(hits=...) is the old form; {NEW_FORM}")
        return super().__new__(cls)


@dataclass(frozen=True)
class Learner(Plugin):
    """Turns a :class:`Task` into probabilities of the classes for each test image."""

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

    def for_training(self, arch: str | None, info: DatasetInfo, n_real: int) -> Self:
        """Return this learner with what depends on one training filled in, such as how many steps it takes.

        The plan asks for each training, and what is filled in enters its key. Every row of a table is given the number
        of the baseline, also one that trains on generated images alone or on half of the real ones: how long a training
        is must never depend on the row. A learner that is filled in already is returned as it is.

        Args:
            arch: architecture name, ``None`` for a learner without that axis.
            info: the dataset.
            n_real: real images that the baseline trains on.
        """
        return self

    def foundations(self, arch: str | None, info: DatasetInfo) -> tuple[str, ...]:
        """Return the pretrained models that a training of ``arch`` starts from, beyond those of ``needs``.

        Each is a known name, a local folder or a hub id; its content enters the key of that training alone.
        """
        return ()

    def training_seconds(self, arch: str | None, info: DatasetInfo) -> float | None:
        """Estimate the CPU seconds of one training on one core; ``None`` leaves it to measured priors.

        The plan asks the learner that :meth:`for_training` returned.
        """
        return None

    def train(self, task: Task, context: Context) -> TrainResult:
        """Train on the task and classify every test image after the last step."""
        raise NotImplementedError
