"""The parameters and the plan that the learners on a CLIP share; imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar

from benchbench.models.clip.layout import EXTRAS, check_text_lengths, clip_packages, local_layout
from benchbench.models.prompts import Prompted
from benchbench.plugins import Context, DatasetInfo, Learner, Requirements, Task, TrainResult, param

if TYPE_CHECKING:
    from typing import Self

    from .training import Setting

#: Side in px from which on encoding thousands of images is no work for a CPU.
_LARGE = 128


@dataclass(frozen=True)
class ClipLearner(Learner):
    """A learner that starts from a CLIP."""

    #: The registered name, the start of messages.
    registered: ClassVar[str] = ""
    axes: ClassVar[frozenset[str]] = frozenset()
    #: CoOp's authors average over their seeds 1, 2 and 3, each another draw.
    draws: ClassVar[int] = 3

    clip: str = param(
        "glyph-clip",
        paper="timm/resnet50_clip.openai",
        help="CLIP that it starts from: an embedded name, a folder or a hub id.",
    )

    def needs(self) -> Requirements:
        """Return the CLIP, the package that opens it, and an accelerator for a large one.

        Raises:
            UsageError: the CLIP is on this machine and is none.
        """
        layout = local_layout(self.clip, self.registered)
        return Requirements(
            packages=("torch", *clip_packages(self.clip, self.registered)),
            foundations=(self.clip,),
            extras=EXTRAS,
            accelerator=layout is not None and layout.resolution >= _LARGE,
        )

    def train(self, task: Task, context: Context) -> TrainResult:
        """Open the CLIP, train on the task's images where there is something to train, and classify the test images.

        Raises:
            UsageError: the folder holds no CLIP, or a text is longer than it reads.
            BenchError: its weights are damaged, or the training diverged.
        """
        import torch

        from .training import Setting

        tf32 = context.precision == "tf32"
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=tf32):
            return self._trained(Setting(self, task, context))

    def _trained(self, setting: Setting) -> TrainResult:
        raise NotImplementedError

    def recipe(self, **realised: Any) -> dict[str, Any]:
        """Return how it trains, as records keep it: its parameters but the CLIP and its prompt, and ``realised``."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        return {name: value for name, value in values.items() if name not in ("clip", "template")} | realised


@dataclass(frozen=True)
class StepMatched(Learner):
    """A learner that trains for as many steps of as many images in every row; extend it before the CLIP's class.

    A class that extends it has ``epochs`` and ``batch_size``, and says in ``matched`` what the real images of the
    baseline ask for.
    """

    steps: int | None = param(
        None, low=1, help="Optimiser steps, the same for every row; none: what epochs of the real images take."
    )
    match: str = param(
        "steps",
        choices=("steps", "epochs"),
        help="What all rows have in common. steps: each takes as many as the real images ask for, of as many images; "
        "epochs: each passes as often over its own images, as in the authors' code, so that more images take more.",
    )

    def for_training(self, arch: str | None, info: DatasetInfo, n_real: int) -> Self:
        """Return this learner with the steps and the batch size that ``n_real`` real images ask for."""
        return self if self.match == "epochs" else self.matched(n_real, len(info.classes))

    def matched(self, n_real: int, classes: int) -> Self:
        """Return this learner with ``steps`` and ``batch_size`` as for so many images, unless they are set."""
        raise NotImplementedError

    def ready(self, task: Task) -> Self:
        """Return this learner for its training, which the plan has filled in; without a plan, by the images given."""
        given = [len(images) for images in (task.real, task.synthetic) if images is not None]
        if self.match == "epochs":
            return self.matched(sum(given), len(task.info.classes))
        return self if self.steps else self.matched(given[0], len(task.info.classes))


@dataclass(frozen=True)
class PromptedLearner(Prompted, ClipLearner):
    """A learner on a CLIP that asks it by one prompt per class."""

    def resolve(self, info: DatasetInfo) -> Self:
        """Check that the prompts fit the CLIP, where that can be checked without opening it.

        Raises:
            UsageError: a prompt is longer than the CLIP reads.
        """
        check_text_lengths(self.clip, self.registered, self.prompts(info))
        return self
