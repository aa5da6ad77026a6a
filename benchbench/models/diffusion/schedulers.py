"""Which diffusers schedulers can sample here, read from diffusers' own text, and how many steps they take.

Planning uses this, so it imports no torch.
"""

from __future__ import annotations

import importlib.util
import re
from functools import lru_cache
from pathlib import Path

from ...errors import UsageError, nearest

_CLASS = re.compile(r"^class (\w+Scheduler)\(.*\bConfigMixin\b", re.MULTILINE)
#: They read a noise schedule but run backwards, need other inputs, or draw noise for a whole batch at once
#: (DPMSolverSDE), which would make an image depend on its neighbours.
_UNFIT = re.compile(r"Inverse|CogVideoX|UnCLIP|DPMSolverSDE")


@lru_cache(maxsize=1)
def scheduler_names() -> tuple[str, ...]:
    """Return the names of the installed diffusers schedulers that work on a discrete noise schedule, sorted.

    These are the classes whose module knows both ``beta_schedule`` and ``prediction_type``, so that the noise
    schedule and the prediction type of any foundation reach them through ``from_config``.
    """
    spec = importlib.util.find_spec("diffusers")
    if spec is None or not spec.submodule_search_locations:
        return ()
    names: set[str] = set()
    for module in Path(next(iter(spec.submodule_search_locations)), "schedulers").glob("scheduling_*.py"):
        text = module.read_text("utf-8")
        if "flax" not in module.name and "beta_schedule" in text and "prediction_type" in text:
            names.update(name for name in _CLASS.findall(text) if not _UNFIT.search(name))
    return tuple(sorted(names))


def check_scheduler(name: str, subject: str) -> None:
    """Raise ``UsageError``, with the nearest names, unless ``name`` is a scheduler that can be used.

    Args:
        name: class name of a scheduler.
        subject: the plugin that asks, the start of the message.
    """
    known = scheduler_names()
    if known and name not in known:
        hint = nearest(name, known) or f"; one of {', '.join(known)}"
        raise UsageError(f"{subject}:scheduler={name}: not a diffusers scheduler for Stable Diffusion{hint}")


def steps_taken(num_inference_steps: int, strength: float) -> int:
    """Return how many of the steps an image-to-image chain takes: the share ``strength`` in (0, 1], rounded down."""
    return min(int(num_inference_steps * strength + 1e-9), num_inference_steps)
