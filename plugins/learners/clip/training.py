"""What the learners on a frozen CLIP share when they train.

The opened model, the head made of the classes' prompts, encoded images; batches and the loop of those that optimise
something small.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from benchbench.errors import BenchError
from benchbench.files import drop_pages
from benchbench.models.clip.model import open_clip_model
from benchbench.models.clip.pixels import random_crops
from benchbench.models.prompts import class_prompts
from benchbench.plugins import Images, TrainResult
from benchbench.plugins.context import derive_seed
from benchbench.plugins.images import batches
from benchbench.training.data import Batches, Source, training_sets
from benchbench.training.evaluate import probabilities
from benchbench.training.learning import MOST, Learning, drawn

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from benchbench.plugins import Context, ImageSet, Task

    from .base import ClipLearner


#: Images that a CLIP sees at once. Fixed, since sums in floating point depend on it.
BATCH = 64
#: Points of a curve at most.
_POINTS = 20


class Pool(Batches):
    """The training images of a task as batches of row numbers: real ones before generated ones, numbered from 0.

    So images stay on disk until a batch takes them.

    Attributes:
        sets: the images of each source.
        all_labels: int64 ``(N,)``, by row number.
    """

    def __init__(self, task: Task, size: int, seed: int) -> None:
        """Order the images.

        Args:
            task: with both sources, its ``mix`` says how they share a batch, and a part of 0 leaves one out.
            size: images per batch; more than there are take some of them again.
            seed: decides the order, as in every training: the permutations of two generators are the same.
        """
        self.sets = training_sets(task)
        sources: list[Source] = []
        for name, images in self.sets.items():
            start = sum(len(source.labels) for source in sources)
            rows = torch.arange(start, start + len(images))
            sources.append(Source(name, rows, torch.from_numpy(np.array(images.labels)), seed))
        self.all_labels = torch.cat([source.labels for source in sources])
        super().__init__(sources, size, task.mix)

    def __len__(self) -> int:
        return len(self.all_labels)

    def pixels(self, rows: torch.Tensor) -> NDArray[np.uint8]:
        """Return the images of rows, uint8 ``(B, H, W, 3)``, in their order."""
        numbers, start = rows.numpy(), 0
        out = np.empty((len(numbers), *next(iter(self.sets.values())).images.shape[1:]), np.uint8)
        for images in self.sets.values():
            mine = (numbers >= start) & (numbers < start + len(images))
            out[mine] = images.images[numbers[mine] - start]
            drop_pages(images.images)
            start += len(images)
        return out


def half_cosine(peak: float, at: float, total: float) -> float:
    """Return ``peak / 2 * (1 + cos(pi * at / total))``: ``peak`` at 0, nothing at ``total``."""
    return peak * 0.5 * (1 + math.cos(math.pi * at / total))


class Setting:
    """One training's CLIP, its zero-shot head and its test images, encoded once.

    Attributes:
        task: what is trained on.
        context: of the training.
        clip: the opened model, frozen.
        subject: the start of messages: ``"coop:clip=glyph-clip"``.
        scale: what cosines are multiplied by: the model's own, which is 100 in OpenAI's.
        head: the classes' prompts as unit rows, float32 ``(C, D)``.
        test: the test images as unit rows, float32 ``(N_test, D)``.
    """

    def __init__(self, learner: ClipLearner, task: Task, context: Context) -> None:
        """Open the CLIP, and encode prompts and test images.

        Args:
            learner: names the CLIP, and maybe the ``template`` of the prompts; the dataset's otherwise.
            task: the test images and the dataset.
            context: where the CLIP lies, device and precision.

        Raises:
            UsageError: the folder holds no CLIP, or a prompt is longer than it reads.
            BenchError: its weights are damaged.
        """
        self.subject = f"{learner.registered}:clip={learner.clip}"
        self.task, self.context, self._trains = task, context, learner.trains
        self.clip = open_clip_model(
            context.foundation(learner.clip), self.subject, device=context.device, precision=context.precision
        )
        self.scale = self.clip.logit_scale
        self.template = getattr(learner, "template", None) or task.info.prompt
        prompts = class_prompts(task.info, self.template)
        self.clip.tokens(prompts)  # refuses one that would be cut
        self.head = torch.from_numpy(self.clip.encode_texts(prompts)).to(context.device)
        self.test = self.encode(task.test, "encoding test images")

    def encode(self, images: Images | ImageSet, label: str) -> torch.Tensor:
        """Return unit rows, float32 ``(N, D)`` on the device, in order and without augmentation."""
        rows = [torch.zeros((0, self.clip.width))]
        for part in self.context.progress(list(batches(len(images), BATCH)), label=label, unit="batch"):
            rows.append(torch.from_numpy(self.clip.encode_images(images.images[part.start : part.stop], batch=BATCH)))
            drop_pages(images.images)
        return torch.cat(rows).to(self.context.device)

    def encode_crops(self, images: NDArray[np.uint8], scale: tuple[float, float], rng: torch.Generator) -> torch.Tensor:
        """Return embeddings of random crops, mirrored or not where that keeps the class; not normalised.

        Args:
            images: uint8 ``(B, H, W, 3)``.
            scale: smallest and largest share of the area that a crop has.
            rng: on the CPU.

        Returns:
            float32 ``(B, D)`` on the device, without a gradient.
        """
        flip = self.task.info.flip_keeps_class
        rows = []
        for part in batches(len(images), BATCH):
            block = images[part.start : part.stop]
            pixels = random_crops(block, self.clip.preprocessing, scale=scale, flip=flip, rng=rng)
            rows.append(self.clip.image_features(pixels.to(self.context.device)))
        return torch.cat(rows)

    def zero_shot(self, features: torch.Tensor) -> torch.Tensor:
        """Return the logits of zero-shot classification, ``(N, C)``, for unit rows (Radford et al. 2021, 3.1.2)."""
        return self.scale * features @ self.head.T

    def optimise(
        self,
        pool: Pool,
        *,
        steps: int,
        optimizer: torch.optim.Optimizer,
        rate: Callable[[int], float],
        loss: Callable[[int], torch.Tensor],
        answer: Callable[[torch.Tensor], torch.Tensor],
        clip_norm: float | None = None,
    ) -> dict[str, Any]:
        """Take optimiser steps 0 to ``steps - 1`` on the weights of ``optimizer``; a killed training continues.

        Args:
            pool: the training images.
            steps: how many.
            optimizer: over what is trained, leaves that take a gradient; changed in place.
            rate: learning rate of a step.
            loss: the loss of a step, a scalar; it must depend on its number and on the weights alone.
            answer: logits ``(N, C)`` for images, as unit rows ``(N, D)``, with the weights as they are.
            clip_norm: largest norm of the gradient, if any.

        Returns:
            ``steps``, ``images_seen``, ``parameters``, ``curve`` and ``learning`` of the outcome. The curve is of
            ``(step, mean loss since the point before)`` pairs; the last point is at ``steps``.

        Raises:
            BenchError: the loss is no longer finite.
        """
        weights = [weight for group in optimizer.param_groups for weight in group["params"]]
        curve: list[tuple[int, float]] = []
        total, every = torch.zeros((), device=self.context.device), -(-steps // _POINTS)
        rows = drawn(len(pool), MOST, derive_seed(self.context.seed, "learning"))
        looked_at = self.encode(Images(pool.pixels(rows), self.task.info.classes), "encoding training images")
        learning = Learning(pool.all_labels[rows].to(looked_at.device), steps)
        kept = (*weights, optimizer, curve, total, learning.curve)
        for step in self.context.resume(range(steps), *kept, label="training"):
            for group in optimizer.param_groups:
                group["lr"] = rate(step)
            optimizer.zero_grad(set_to_none=True)
            value = loss(step)
            value.backward()
            if clip_norm is not None:
                torch.nn.utils.clip_grad_norm_(weights, clip_norm)
            optimizer.step()
            total += value.detach()
            done = step + 1
            if done in learning.steps:
                with torch.no_grad():
                    learning.note(done, answer(looked_at))
                learning.settle()
            if done % every == 0 or done == steps:
                mean = float(total) / (done - (curve[-1][0] if curve else 0))
                if not math.isfinite(mean):
                    raise BenchError(
                        f"{self.subject}: the training diverged before step {done} (loss {mean}); lower learning_rate"
                    )
                curve.append((done, mean))
                total.zero_()
        trained = sum(weight.numel() for weight in weights)
        facts = {"steps": steps, "images_seen": steps * pool.size, "parameters": trained, "curve": curve}
        return facts | {"learning": learning.details()}

    def outcome(
        self, logits: torch.Tensor, details: dict[str, Any], learning: dict[str, Any] | None = None, **facts: Any
    ) -> TrainResult:
        """Return the outcome of logits ``(N_test, C)``, and have zero-shot classification scored too.

        A learner that trains also reports the classes that no training image shows.

        Args:
            logits: of the test images, from the last step.
            details: JSON that the learner reports about its training.
            learning: how far the training images were learned, if anything was trained.
            facts: what else :meth:`optimise` returned, if anything was trained.
        """
        self.task.evaluate("zero_shot", lambda: self.zero_shot(self.test))
        reported = {"template": self.template, "precision": self.context.precision, **details}
        reported |= {"learning": learning} if learning else {}
        counts = np.zeros(len(self.task.info.classes), np.int64)
        for images in (self.task.real, self.task.synthetic):
            counts += images.counts if images is not None else 0
        # A filter may leave a class out.
        absent = [name for name, count in zip(self.task.info.classes, counts, strict=True) if not count]
        if self._trains and absent:
            shown = ", ".join(absent[:5]) + (", ..." if len(absent) > 5 else "")
            self.context.log(f"{self.subject}: no training image of {shown}; only the prompts speak for them")
            reported["classes_without_images"] = absent
        return TrainResult(probabilities(logits), details=reported, **facts)
