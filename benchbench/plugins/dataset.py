"""The page of a dataset's author."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from ..errors import UsageError
from .base import Plugin
from .context import Context
from .images import ImageSet


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
        generate_resolution: side in px at which a latent diffusion model learns embeddings and reconstructs images.
        mean: per-channel mean of the training images in [0, 1], for normalisation.
        std: per-channel standard deviation.
        flip_keeps_class: whether a horizontal flip leaves the class as it is.
        foundation: default text-to-image model.
        prompt: template with one ``{}`` for the class.
        prompt_names: the class as it reads inside the prompt (``"an airplane"``).
        quick_shots: images per class under ``--preset quick`` when the user says nothing; ``None`` for all.
        paper_cap: real images per class at most under ``--preset paper`` when the user says nothing; ``None`` for all.
        group_size: size of the authors' random groups of training images, for ``--subset groups``; ``None`` for none.
        usual_draws: draws under ``--preset quick`` where a generator is compared with the baseline and the user gives
            neither ``--draws`` nor ``--seeds``. 1 is for all real images; of some, which draws may change, the seeds
            become draws: a single draw of many carries no verdict.
        usual_seeds: trainings on each of these draws.
        control_draws: the first of these draws on which controls are trained; ``None`` for all.
        control_archs: architectures that controls are trained with, where the user asks for one of them; all where
            not, and where it is empty.
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
    usual_draws: int = 1
    usual_seeds: int = 5
    control_draws: int | None = None
    control_archs: tuple[str, ...] = ()
    optimizer: str = "sgd"
    licence: str = "unknown"
    source: str = "unknown"
    paper: str = ""
    notes: tuple[str, ...] = ()


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

    def of_draw(self, draw: int, info: DatasetInfo) -> Dataset:
        """Return what draw ``draw`` reads: this dataset where its parts are fixed.

        One without a test part of its own may split its images anew for each draw, so that draws differ in their test
        images too. Rows name the dataset as it was asked for, whatever the draw.

        Args:
            draw: number of the draw, from 0, whose dataset is this one.
            info: facts of this one; those of another draw differ in counts, ``mean``, ``std`` and notes alone.

        Raises:
            UsageError: there are fewer splits; the message says how many.
        """
        return self

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
