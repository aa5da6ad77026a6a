"""What the learners on a CLIP share: the opened model, the head made of the classes' prompts, encoded images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from benchbench.models.clip.model import open_clip_model
from benchbench.models.clip.pixels import random_crops
from benchbench.models.prompts import class_prompts
from benchbench.plugins import TrainResult
from benchbench.plugins.images import batches
from benchbench.training.evaluate import probabilities

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from benchbench.plugins import Context, Images, ImageSet, Task

    from .base import ClipLearner

#: Images that a CLIP sees at once. Fixed, since sums in floating point depend on it.
BATCH = 64


class Setting:
    """One training's CLIP, its zero-shot head and its test images, encoded once.

    Attributes:
        clip: the opened model, frozen.
        subject: the start of messages: ``"coop:clip=glyph-clip"``.
        scale: what cosines are multiplied by: the model's own, which is 100 in OpenAI's.
        head: the classes' prompts as unit rows, float32 ``(C, D)``.
        test: the test images as unit rows, float32 ``(N_test, D)``.
    """

    def __init__(self, learner: ClipLearner, task: Task, context: Context, template: str | None = None) -> None:
        """Open the CLIP, and encode prompts and test images.

        Args:
            learner: names the CLIP.
            task: the test images and the dataset.
            context: where the CLIP lies, device and precision.
            template: prompt with ``{}`` for the class; ``None`` for the dataset's.

        Raises:
            UsageError: the folder holds no CLIP, or a prompt is longer than it reads.
            BenchError: its weights are damaged.
        """
        self.subject = f"{learner.registered}:clip={learner.clip}"
        self._task, self._context = task, context
        self.clip = open_clip_model(
            context.foundation(learner.clip), self.subject, device=context.device, precision=context.precision
        )
        self.scale = self.clip.logit_scale
        self.template = template or task.info.prompt
        prompts = class_prompts(task.info, template)
        self.clip.tokens(prompts)  # refuses one that would be cut
        self.head = torch.from_numpy(self.clip.encode_texts(prompts)).to(context.device)
        self.test = self.encode(task.test, "encoding test images")

    def encode(self, images: Images | ImageSet, label: str) -> torch.Tensor:
        """Return unit rows, float32 ``(N, D)`` on the device, in order and without augmentation."""
        rows = [torch.zeros((0, self.clip.width))]
        for part in self._parts(len(images), label):
            rows.append(torch.from_numpy(self.clip.encode_images(images.images[part.start : part.stop], batch=BATCH)))
        return torch.cat(rows).to(self._context.device)

    def encode_crops(self, images: NDArray[np.uint8], scale: tuple[float, float], rng: torch.Generator) -> torch.Tensor:
        """Return embeddings of random crops, mirrored or not where that keeps the class; not normalised.

        Args:
            images: uint8 ``(B, H, W, 3)``.
            scale: smallest and largest share of the area that a crop has.
            rng: on the CPU.

        Returns:
            float32 ``(B, D)`` on the device, without a gradient.
        """
        flip = self._task.info.flip_keeps_class
        rows = []
        for part in batches(len(images), BATCH):
            block = images[part.start : part.stop]
            pixels = random_crops(block, self.clip.preprocessing, scale=scale, flip=flip, rng=rng)
            rows.append(self.clip.image_features(pixels.to(self._context.device)))
        return torch.cat(rows)

    def zero_shot(self, features: torch.Tensor) -> torch.Tensor:
        """Return the logits of zero-shot classification, ``(N, C)``, for unit rows (Radford et al. 2021, 3.1.2)."""
        return self.scale * features @ self.head.T

    def outcome(self, logits: torch.Tensor, details: dict[str, Any], **facts: Any) -> TrainResult:
        """Return the outcome of logits ``(N_test, C)``, and have zero-shot classification scored beside it.

        Args:
            logits: of the test images, from the last step.
            details: what the learner tells of itself.
            facts: ``steps``, ``images_seen``, ``parameters`` and ``curve`` of the outcome.
        """
        self._task.evaluate("zero_shot", lambda: self.zero_shot(self.test))
        told = {"template": self.template, "precision": self._context.precision, **details}
        return TrainResult(probabilities(logits), details=told, **facts)

    def _parts(self, count: int, label: str) -> Iterator[range]:
        parts = list(batches(count, BATCH))
        return self._context.progress(parts, label=label, unit="batch")


def unit(rows: torch.Tensor) -> torch.Tensor:
    """Return rows divided by their length; gradients pass."""
    return rows / rows.norm(dim=1, keepdim=True).clamp_min(1e-12)


def one_source(task: Task) -> tuple[str, ImageSet]:
    """Return ``"real"`` or ``"synthetic"`` and the images, for a learner that trains on one source.

    Raises:
        ValueError: the task has both or none.
    """
    sources: Sequence[tuple[str, ImageSet | None]] = (("real", task.real), ("synthetic", task.synthetic))
    given = [(name, images) for name, images in sources if images is not None]
    if len(given) != 1:
        raise ValueError(f"trains on one source, real or synthetic images; got {len(given)}")
    return given[0]


def absent_classes(task: Task, context: Context, subject: str) -> list[str]:
    """Return the classes of which no training image is there, and say so; a filter may leave a class out."""
    labels = [images.labels for images in (task.real, task.synthetic) if images is not None]
    there = set(np.concatenate(labels).tolist())
    absent = [name for label, name in enumerate(task.info.classes) if label not in there]
    if absent:
        shown = ", ".join(absent[:5]) + (", ..." if len(absent) > 5 else "")
        context.log(f"{subject}: no training image of {shown}; only the prompts speak for them")
    return absent


@contextmanager
def reproducible() -> Iterator[None]:
    """Take cuDNN's deterministic kernels in full precision meanwhile."""
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
        yield
