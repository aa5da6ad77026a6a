"""The loop of the learners that optimise something small on a frozen CLIP; a killed one continues where it was."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

from benchbench.errors import BenchError
from benchbench.plugins import Context
from benchbench.training import checkpoint

#: Seconds of training between two checkpoints; a shorter training never writes one.
CHECKPOINT_SECONDS = 60.0
#: Points of a curve at most.
_POINTS = 20


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
) -> list[tuple[int, float, float | None]]:
    """Take optimiser steps 0 to ``steps - 1`` on ``weights``, and return the curve.

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
        ``(step, mean loss since the point before, None)`` triples; the last point is at ``steps``.

    Raises:
        BenchError: the loss is no longer finite.
    """
    told = json.dumps([context.seed, context.device, context.precision, steps, identity])
    state = checkpoint.load(context.scratch, told, context.device) or {}
    curve: list[tuple[int, float, float | None]] = [(at, value, None) for at, value in state.get("curve", ())]
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
            curve.append((step + 1, _finite(float(total) / since, step + 1, subject), None))
            total, since = torch.zeros((), device=context.device), 0
        if time.monotonic() - last >= checkpoint_seconds and step + 1 < steps:
            state = {"step": step + 1, "weights": [weight.detach() for weight in weights], "total": total}
            state |= {"since": since, "optimizer": optimizer.state_dict(), "curve": [point[:2] for point in curve]}
            checkpoint.save(context.scratch, told, state)
            last = time.monotonic()
    checkpoint.clear(context.scratch)
    return curve


def _finite(loss: float, step: int, subject: str) -> float:
    if not math.isfinite(loss):
        raise BenchError(f"{subject}: the training diverged before step {step} (loss {loss}); lower learning_rate")
    return loss
