"""What generators that sample a text-to-image model need and resolve alike; no plugin, and no torch."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeVar

from benchbench.plugins import DatasetInfo, Needs

P = TypeVar("P")


def sampling_needs(model: str | None, resolution: int | None, scheduler: str, subject: str) -> Needs:
    """Return the foundation, and at 128 px or more that a CPU would take long.

    Raises:
        UsageError: ``scheduler`` is no diffusers scheduler that can sample here.
    """
    from ..foundations.loaders.schedulers import check_scheduler

    check_scheduler(scheduler, subject)
    large = (resolution or 0) >= 128
    return Needs(foundations=(model,) if model else (), memory_gib=8.0 if large else 0.0, accelerator=large)


def resolved(plugin: P, info: DatasetInfo, subject: str) -> P:
    """Return a plugin with its ``model``, ``resolution`` and ``template`` filled in from the dataset.

    Raises:
        UsageError: ``model`` is on this machine and cannot be used, or not at this resolution.
    """
    from ..foundations.loaders.diffusion_layout import check_at_plan

    known: Any = plugin
    model = known.model or info.foundation
    resolution = known.resolution or info.generate_resolution
    check_at_plan(model, resolution, subject, text=True)
    ready: P = replace(known, model=model, resolution=resolution, template=known.template or info.prompt)
    return ready
