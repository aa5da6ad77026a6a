"""What generators on a Stable Diffusion model need and resolve alike; no plugin, and no torch."""

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
    from benchbench.models.diffusion.schedulers import check_scheduler

    check_scheduler(scheduler, subject)
    large = (resolution or 0) >= 128
    return Needs(foundations=(model,) if model else (), memory_gib=8.0 if large else 0.0, accelerator=large)


def model_and_side(plugin: Any, info: DatasetInfo) -> tuple[str, int]:
    """Return the foundation and the side in px at which it works: the plugin's own, or else the dataset's.

    The dataset's side is lowered to the model's native one where that is smaller (512 px for SD v1-4).
    """
    from benchbench.models.diffusion.layout import usual_side

    model = plugin.model or info.foundation
    return model, plugin.resolution or usual_side(model, info.generate_resolution)


def resolved(plugin: P, info: DatasetInfo, subject: str) -> P:
    """Return a plugin with its ``model``, ``resolution`` and ``template`` filled in from the dataset.

    Raises:
        UsageError: ``model`` is on this machine and cannot be used, or not at this resolution.
    """
    from benchbench.models.diffusion.layout import check_at_plan

    known: Any = plugin
    model, resolution = model_and_side(known, info)
    check_at_plan(model, resolution, subject, text=True)
    ready: P = replace(known, model=model, resolution=resolution, template=known.template or info.prompt)
    return ready
