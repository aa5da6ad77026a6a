"""What the learners on a frozen CLIP share when they train.

The opened model, the head made of the classes' prompts, encoded images; batches and the loop of those that optimise
something small.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from benchbench.errors import BenchError
from benchbench.models.clip.model import open_clip_model
from benchbench.models.clip.pixels import random_crops
from benchbench.models.prompts import class_prompts
from benchbench.plugins import TrainResult
from benchbench.plugins.images import batches
from benchbench.training import checkpoint
from benchbench.training.data import Batches, Source
from benchbench.training.evaluate import probabilities

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from benchbench.plugins import Context, Images, ImageSet, Task

    from .base import ClipLearner


#: Seconds of training between two checkpoints; a shorter training never writes one.
CHECKPOINT_SECONDS = 60.0
#: Points of a curve at most.
_POINTS = 20


class Pool:
    """The training images of a task, real ones before generated ones, numbered from 0.

    Batches are row numbers, so that images stay on disk until a batch takes them.

    Attributes:
        names: of the sources, ``"real"`` and ``"synthetic"``, those that are trained on.
        sets: their images.
        labels: int64 ``(N,)`` of all.
        batch_size: images per batch: as asked, or all where there are fewer.
    """

    def __init__(self, task: Task, batch_size: int, seed: int) -> None:
        """Order the images.

        Args:
            task: with both sources, its ``mix`` says how they share a batch, and a part of 0 leaves one out.
            batch_size: images per batch at most.
            seed: decides the order, as in every training: the permutations of two generators are the same.
        """
        both = task.real is not None and task.synthetic is not None
        mix = task.mix if both else None
        self.names: list[str] = []
        self.sets: list[ImageSet] = []
        sources, start = [], 0
        for which, (name, images) in enumerate((("real", task.real), ("synthetic", task.synthetic))):
            if images is None or not len(images) or (mix is not None and mix[which] == 0):
                continue
            rows = torch.arange(start, start + len(images))
            sources.append(Source(name, rows, torch.from_numpy(np.array(images.labels)), seed))
            self.names.append(name)
            self.sets.append(images)
            start += len(images)
        if not sources:
            raise ValueError("a training needs at least one image")
        self.labels = torch.cat([source.labels for source in sources])
        self.batch_size = min(batch_size, start)
        self._batches = Batches(sources, self.batch_size, mix)
        self._starts = np.cumsum([0, *(len(images) for images in self.sets)])

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def parts(self) -> dict[str, int]:
        """The parts of each source in a batch, as ``--mix`` gives them."""
        return dict(zip(self.names, self._batches.parts, strict=True))

    @property
    def sizes(self) -> dict[str, int]:
        """How many training images each source has."""
        return {name: len(images) for name, images in zip(self.names, self.sets, strict=True)}

    def batch(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return row numbers and labels of batch ``step``, both int64 ``(batch_size,)`` on the CPU."""
        return self._batches.batch(step)

    def images(self, rows: torch.Tensor) -> NDArray[np.uint8]:
        """Return the images of rows, uint8 ``(B, H, W, 3)``, in their order."""
        numbers = rows.numpy()
        out = np.empty((len(numbers), *self.sets[0].images.shape[1:]), np.uint8)
        for images, start in zip(self.sets, self._starts, strict=False):
            mine = (numbers >= start) & (numbers < start + len(images))
            out[mine] = images.images[numbers[mine] - start]
        return out


def half_cosine(peak: float, at: float, total: float) -> float:
    """Return ``peak / 2 * (1 + cos(pi * at / total))``: ``peak`` at 0, nothing at ``total``."""
    return peak * 0.5 * (1 + math.cos(math.pi * at / total))


def optimise(
    context: Context,
    subject: str,
    *,
    steps: int,
    weights: Sequence[torch.Tensor],
    optimizer: torch.optim.Optimizer,
    rate: Callable[[int], float],
    loss: Callable[[int], torch.Tensor],
    identity: Any,
    clip_norm: float | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> list[tuple[int, float]]:
    """Take optimiser steps 0 to ``steps - 1`` on ``weights``, and return the curve; a killed training continues.

    Args:
        context: progress, and the folder for checkpoints.
        subject: the start of messages.
        steps: how many.
        weights: what is trained, leaves that take a gradient; changed in place.
        optimizer: over ``weights``.
        rate: learning rate of a step.
        loss: the loss of a step, a scalar; it must depend on its number and on ``weights`` alone.
        identity: JSON values that say which training this is: another one's checkpoint is not read.
        clip_norm: largest norm of the gradient, if any.
        checkpoint_seconds: time between two checkpoints.

    Returns:
        ``(step, mean loss since the point before)`` pairs; the last point is at ``steps``.

    Raises:
        BenchError: the loss is no longer finite.
    """
    identity_text = json.dumps([context.seed, context.device, context.precision, steps, identity])
    state = checkpoint.load(context.scratch, identity_text, context.device) or {}
    curve: list[tuple[int, float]] = [(at, value) for at, value in state.get("curve", ())]
    total, since = state.get("total", torch.zeros((), device=context.device)), state.get("since", 0)
    if state:
        optimizer.load_state_dict(state["optimizer"])
        for weight, saved in zip(weights, state["weights"], strict=True):
            weight.data.copy_(saved)
    every, last = -(-steps // _POINTS), time.monotonic()
    for step in context.progress(range(state.get("step", 0), steps), label="training", unit="step"):
        for group in optimizer.param_groups:
            group["lr"] = rate(step)
        optimizer.zero_grad(set_to_none=True)
        found = loss(step)
        found.backward()
        if clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(weights, clip_norm)
        optimizer.step()
        total, since = total + found.detach(), since + 1
        if (step + 1) % every == 0 or step + 1 == steps:
            curve.append((step + 1, _finite(float(total) / since, step + 1, subject)))
            total, since = torch.zeros((), device=context.device), 0
        if time.monotonic() - last >= checkpoint_seconds and step + 1 < steps:
            state = {"step": step + 1, "weights": [weight.detach() for weight in weights], "total": total}
            state |= {"since": since, "optimizer": optimizer.state_dict(), "curve": list(curve)}
            checkpoint.save(context.scratch, identity_text, state)
            last = time.monotonic()
    checkpoint.clear(context.scratch)
    return curve


def _finite(loss: float, step: int, subject: str) -> float:
    if not math.isfinite(loss):
        raise BenchError(f"{subject}: the training diverged before step {step} (loss {loss}); lower learning_rate")
    return loss


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
        self._task, self._context, self._trains = task, context, learner.trains
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
        """Return the outcome of logits ``(N_test, C)``, and have zero-shot classification scored too.

        A learner that trains also reports the classes that no training image shows.

        Args:
            logits: of the test images, from the last step.
            details: JSON that the learner reports about its training.
            facts: ``steps``, ``images_seen``, ``parameters`` and ``curve`` of the outcome.
        """
        self._task.evaluate("zero_shot", lambda: self.zero_shot(self.test))
        reported = {"template": self.template, "precision": self._context.precision, **details}
        if self._trains and (absent := absent_classes(self._task, self._context, self.subject)):
            reported["classes_without_images"] = absent
        return TrainResult(probabilities(logits), details=reported, **facts)

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
