"""What the plan asks of the learners on a CLIP; imports nothing heavy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchbench.models.clip.needs import EXTRAS, check_text_lengths, clip_packages, local_layout
from benchbench.models.prompts import class_prompts
from benchbench.plugins import Requirements

if TYPE_CHECKING:
    from benchbench.plugins import DatasetInfo

#: Side in px from which on encoding thousands of images is no work for a CPU.
_LARGE = 128


def clip_needs(clip: str, learner: str) -> Requirements:
    """Return what a learner on a CLIP needs: the model, the package that opens it, an accelerator for a large one.

    Raises:
        UsageError: the model is on this machine and is no CLIP.
    """
    layout = local_layout(clip, learner)
    return Requirements(
        packages=("torch", *clip_packages(clip, learner)),
        foundations=(clip,),
        extras=EXTRAS,
        accelerator=layout is not None and layout.resolution >= _LARGE,
    )


def check_prompts(clip: str, learner: str, info: DatasetInfo, template: str | None) -> None:
    """Refuse prompts that the CLIP would cut, where that can be told without opening it.

    Raises:
        UsageError: a prompt is too long, or the model is no CLIP.
    """
    if layout := local_layout(clip, learner):
        check_text_lengths(layout, class_prompts(info, template))


def check_names(clip: str, learner: str, info: DatasetInfo, n_ctx: int, words: str | None) -> None:
    """Refuse class names that the CLIP would cut behind a context of ``n_ctx`` tokens, or behind ``words``.

    Raises:
        UsageError: a name is too long, or the model is no CLIP.
    """
    if layout := local_layout(clip, learner):
        names = info.prompt_names or info.classes
        if words:
            check_text_lengths(layout, [f"{words} {name}." for name in names])
        else:
            check_text_lengths(layout, [f"{name}." for name in names], reserved=n_ctx)
