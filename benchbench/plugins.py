"""The page a plugin author reads: what each kind of plugin is, what it is given and what it promises.

A plugin is a frozen dataclass. Its fields, declared with :func:`param`, are its command-line options, its help and
its cache key at once. It has no registry call, no global and no path of its own; heavy imports (torch, diffusers)
live inside its methods, so that ``bench list`` and ``bench plan`` stay fast::

    @dataclass(frozen=True)
    class Brighter(Generator):
        \"\"\"Every real image, brighter. Labels are kept.\"\"\"

        factor: float = param(1.3, low=0.0, help="Multiplies pixel values.")

        def sample(self, train: ImageSet, context: Context) -> Iterator[ImageSet]:
            bright = np.clip(train.images * self.factor, 0, 255).astype(np.uint8)
            yield train.with_images(bright)

Publish it under the entry-point group ``benchbench.generators``, or run it from a file: ``--gen ./brighter.py``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from .context import Context
from .errors import UsageError
from .images import ImageSet
from .parameters import param

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    import numpy as np
    import torch
    from numpy.typing import NDArray

__all__ = [
    "Augmentation",
    "Context",
    "Dataset",
    "DatasetInfo",
    "FileNeed",
    "Foundation",
    "Generator",
    "ImageChange",
    "ImageSet",
    "Learner",
    "Metric",
    "Needs",
    "Outcome",
    "Plugin",
    "Task",
    "param",
]

#: Changes images ``(n, 3, H, W)`` that are a slice of a batch.
ImageChange: TypeAlias = "Callable[[torch.Tensor, slice], torch.Tensor]"


@dataclass(frozen=True)
class FileNeed:
    """A file or folder that must be there before work begins.

    Attributes:
        path: where it is looked for.
        what: what it is, for the message when it is missing.
        source: where a user gets it.
    """

    path: Path
    what: str
    source: str


@dataclass(frozen=True)
class Needs:
    """What a plugin cannot work without; the preflight checks it before the first second of work.

    Attributes:
        packages: names as imported (``"open_clip"``); ``extras`` maps one to the extra that installs it.
        foundations: pretrained models, each a known name, a local folder or a hub id.
        files: files that the user has to provide.
        memory_gib: peak memory of one step, in GiB, 0 when small.
        accelerator: whether a CPU would take unreasonably long (a warning, not an error).
    """

    packages: tuple[str, ...] = ()
    foundations: tuple[str, ...] = ()
    files: tuple[FileNeed, ...] = ()
    extras: Mapping[str, str] = field(default_factory=dict)
    memory_gib: float = 0.0
    accelerator: bool = False


@dataclass(frozen=True)
class DatasetInfo:
    """What a dataset declares; learned without decoding an image.

    Attributes:
        name: its registered name.
        classes: class names in label order.
        counts: images per split, ``{"train": n, "validation": n, "test": n}``.
        class_counts: training images per class, in label order; limits ``--shots``.
        resolution: side of its stored images in px; generated images are resized to it.
        classify_resolution: side at which classifiers see the images.
        generate_resolution: side at which a latent diffusion model works (METHODS 1.1: 128 or 256; 32 for digits).
        mean: per-channel mean of the training images in [0, 1], for normalisation.
        std: per-channel standard deviation.
        flip_keeps_class: whether a horizontal flip leaves the class as it is.
        foundation: default text-to-image model.
        prompt: template with one ``{}`` for the class.
        prompt_names: the class as it reads inside the prompt (``"an airplane"``).
        quick_shots: images per class under ``--preset quick`` when the user says nothing; ``None`` for all.
        paper_cap: real images per class at most under ``--preset paper`` when the user says nothing; ``None`` for all.
        group_size: size of the authors' random groups of training images, for ``--subset groups``; ``None`` for none.
        optimizer: ``"sgd"``, or ``"adamw"`` where the paper's protocol says so (MedMNIST).
        licence: licence of the images.
        source: where the images come from.
        paper: where the paper uses it.
        notes: facts for the record, such as a split that was regenerated.
    """

    name: str
    classes: tuple[str, ...]
    counts: Mapping[str, int]
    class_counts: tuple[int, ...]
    resolution: int
    classify_resolution: int
    generate_resolution: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    flip_keeps_class: bool
    foundation: str
    prompt: str = "a photo of {}."
    prompt_names: tuple[str, ...] = ()
    quick_shots: int | None = None
    paper_cap: int | None = None
    group_size: int | None = None
    optimizer: str = "sgd"
    licence: str = "unknown"
    source: str = "unknown"
    paper: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plugin:
    """What every kind shares. Subclass one of the kinds below, not this."""

    kind: ClassVar[str] = ""
    #: Files beside the module whose content changes results (a table, a word list): they enter the key.
    data_files: ClassVar[tuple[str, ...]] = ()
    #: Distributions whose version changes results enough to enter the key.
    pinned_distributions: ClassVar[tuple[str, ...]] = ()

    def needs(self) -> Needs:
        """Return what must be there before work begins."""
        return Needs()

    def resolve(self, info: DatasetInfo) -> Self:
        """Return this plugin with what depends on the dataset filled in (a ``None`` model, a resolution)."""
        return self

    def external(self) -> tuple[Path, ...]:
        """Return files and folders outside the plugin whose content decides results; hashed into the key."""
        return ()

    def seconds(self, stage: str, images: int, info: DatasetInfo) -> float | None:
        """Estimate the CPU seconds of a stage over ``images`` on one core; ``None`` when unknown."""
        return None


@dataclass(frozen=True)
class Dataset(Plugin):
    """Real labelled images with published splits."""

    kind: ClassVar[str] = "dataset"

    def info(self) -> DatasetInfo:
        """Return what is known without decoding an image.

        A published dataset answers from its published facts where its files are not there; ``needs`` says what is
        missing.

        Raises:
            MissingError: nothing is known without the files; the message says what to fetch and where to put it.
            UsageError: the files are there and wrong (an empty or one-class folder, an unreadable image).
        """
        raise NotImplementedError

    def fetch(self) -> None:
        """Download the published files to where ``info`` and ``load`` look for them.

        Raises:
            UsageError: there is nothing to download.
            MissingError: the host cannot be reached; the message says what to fetch by hand and where to put it.
        """
        raise UsageError("there is nothing to fetch for this dataset; its files are your own, or come with it")

    def load(self, split: str, context: Context) -> ImageSet:
        """Return ``"train"``, ``"validation"`` (possibly empty) or ``"test"`` as uint8 images in a fixed order."""
        raise NotImplementedError


@dataclass(frozen=True)
class Generator(Plugin):
    """Makes labelled images out of a training subset. A costly first half goes into ``fit``.

    A generator never sees an image outside ``train``. In a chain ``a+b`` the second link finds the first one's
    images in ``context.upstream``.
    """

    kind: ClassVar[str] = "generator"
    #: Whether ``fit`` has to run before ``sample``.
    has_fit: ClassVar[bool] = False
    #: The real training subset itself: the baseline row, whose count is not ``n_syn``.
    is_real: ClassVar[bool] = False
    #: Whether it works on the images of the link before it.
    needs_upstream: ClassVar[bool] = False
    #: Whether ``sample`` may yield fewer images than planned, at least one: a filter, a retrieval.
    may_yield_fewer: ClassVar[bool] = False
    #: Whether ``transform`` maps images one for one, so that it may stand behind ``--test-transform``.
    is_transform: ClassVar[bool] = False

    def output_count(self, train_count: int, asked: int | None, default: int) -> int:
        """Return how many images ``sample`` yields, at most that many with ``may_yield_fewer``.

        Args:
            train_count: real training images.
            asked: the user's ``--n-syn``, if given.
            default: the preset's multiple of the training images.
        """
        if self.is_real:
            return train_count
        return default if asked is None else asked

    def upstream_count(self, n_syn: int) -> int:
        """Return how many images the link before has to make so that this one can yield ``n_syn``."""
        return n_syn

    def shards(self, train_count: int) -> Sequence[range]:
        """Return the ranges of work items whose ``fit`` may run apart, in order; none where nothing is to be fitted.

        Items are the training images (with ``needs_upstream`` the images of the link before), or whatever else
        ``fit`` counts in, consecutive from 0.
        """
        return (range(train_count),)

    def fit(self, train: ImageSet, context: Context) -> None:
        """Learn from the items ``context.shard`` of ``train`` and write the result into ``context.folder``.

        ``context.scratch`` survives a kill: leave checkpoints there and continue from them. The bytes written must
        not depend on having been interrupted.
        """

    def sample(self, train: ImageSet, context: Context) -> Iterator[ImageSet]:
        """Yield ``context.n_syn`` images in all, a bounded number at a time, in a fixed order.

        The folders that ``fit`` wrote are ``context.fitted``, one for each shard, in order. Iterate over
        ``context.chunks(total, size)`` so that a killed run continues behind the last finished chunk. Images are
        uint8 ``(n, R, R, 3)`` at ``context.info.resolution``.
        """
        raise NotImplementedError

    def transform(self, images: ImageSet, context: Context) -> Iterator[ImageSet]:
        """Yield ``images`` transformed, one for one and in order, in sets of any size; only with ``is_transform``."""
        raise NotImplementedError


@dataclass(frozen=True)
class Augmentation(Plugin):
    """Changes batches on the device while a classifier trains."""

    kind: ClassVar[str] = "augmentation"
    #: Whether it is what every chain starts with: a chain without such a link gets the installed one in front.
    is_base: ClassVar[bool] = False

    def check_side(self, side: int) -> None:
        """Refuse at plan time what images of ``side`` px cannot take; by default nothing is refused.

        Raises:
            UsageError: a parameter that does not fit, as ``name:key=value: why; what to do``.
        """

    def apply(
        self, images: torch.Tensor, targets: torch.Tensor, rng: torch.Generator, info: DatasetInfo
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return an augmented batch; by default the batch as it is, for what only changes the loss or grows the set.

        Args:
            images: uint8 ``(B, 3, H, W)`` on the device of ``rng``, not yet normalised; the next batch overwrites
                them, so that nothing may be kept or changed in place.
            targets: int64 ``(B,)``, or float ``(B, C)`` from an augmentation earlier in the chain.
            rng: the only source of randomness.
            info: the dataset (``flip_keeps_class``, number of classes).

        Returns:
            Images (uint8, or float in [0, 255]); targets, hard as given or soft float ``(B, C)`` rows summing to 1.
        """
        change = self.imagewise(images.shape, rng, info)
        return (images if change is None else change(images, slice(0, len(images)))), targets

    def imagewise(self, shape: Sequence[int], rng: torch.Generator, info: DatasetInfo) -> ImageChange | None:
        """Draw for a whole batch, and return what changes any part of it; ``None``, the default: nothing changes.

        Offer this in place of ``apply`` where each image is changed by itself and targets are kept. A batch may then
        come in parts that stay in a processor's cache from the gather to the normalisation. It is not asked where the
        class, or one between it and the one that offers this, has an ``apply`` of its own.

        Args:
            shape: of the batch, ``(B, 3, H, W)``.
            rng: the only source of randomness; draw all of it here.
            info: as for ``apply``.

        Returns:
            A function of images, uint8 or float ``(n, 3, H, W)``, and the slice of the batch that they are. It returns
            new images of that shape and does not depend on how a batch is cut.
        """
        return None

    def loss(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor | None:
        """Return the loss to minimise in place of cross-entropy, a scalar, or ``None`` for cross-entropy."""
        return None

    def phases(self, steps: int) -> tuple[int, ...]:
        """Return the steps before which ``grow`` is called, ascending, each in 1..steps-1."""
        return ()

    def grow(
        self,
        model: torch.nn.Module,
        images: torch.Tensor,
        labels: torch.Tensor,
        rng: torch.Generator,
        info: DatasetInfo,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return images uint8 ``(M, 3, H, W)`` and labels int64 ``(M,)`` to add to the training set (ME-ADA).

        ``model`` is in eval mode and takes normalised float batches; ``model.features(images)`` gives penultimate
        features ``(B, D)``, and ``model.logits_and_features(images)``, which a model may offer, both in one pass.
        """
        raise NotImplementedError


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
class Outcome:
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

    def training_side(self, info: DatasetInfo) -> int:
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

    def train(self, task: Task, context: Context) -> Outcome:
        """Train on the task and score every test image once."""
        raise NotImplementedError


@dataclass(frozen=True)
class Metric(Plugin):
    """Scores generated images against the dataset's whole training part."""

    kind: ClassVar[str] = "metric"

    def least_images(self) -> int:
        """Return how many images of either side it needs; with fewer, the plan leaves it out and says so."""
        return 1

    def score(self, real: ImageSet, synthetic: ImageSet, context: Context) -> Mapping[str, Any]:
        """Return JSON values: numbers by name, ``extractor`` (its id), ``n_score`` and ``n_reference``.

        ``real`` and ``synthetic`` are disjoint, also for the baseline that scores real images.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class Foundation(Plugin):
    """A pretrained model that ships with the project (or a plugin package), opened by name."""

    kind: ClassVar[str] = "foundation"
    #: On-disk format: ``"diffusers"``, ``"features"``, ...
    format: ClassVar[str] = ""
    licence: ClassVar[str] = "unknown"
    source: ClassVar[str] = "unknown"

    def folder(self) -> Path:
        """Return the folder that holds its configuration and weights."""
        raise NotImplementedError
