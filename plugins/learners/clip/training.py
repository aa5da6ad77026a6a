"""Batches and the loop of the learners that optimise something small on a frozen CLIP."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from benchbench.errors import BenchError
from benchbench.training import checkpoint
from benchbench.training.data import Batches, Source

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from benchbench.plugins import Context, ImageSet, Task

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
    told = json.dumps([context.seed, context.device, context.precision, steps, identity])
    state = checkpoint.load(context.scratch, told, context.device) or {}
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
            checkpoint.save(context.scratch, told, state)
            last = time.monotonic()
    checkpoint.clear(context.scratch)
    return curve


def _finite(loss: float, step: int, subject: str) -> float:
    if not math.isfinite(loss):
        raise BenchError(f"{subject}: the training diverged before step {step} (loss {loss}); lower learning_rate")
    return loss
