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
class PromptedLearner(Prompted, ClipLearner):
    """A learner on a CLIP that asks it by one prompt per class."""

    def resolve(self, info: DatasetInfo) -> Self:
        """Check that the prompts fit the CLIP, where that can be checked without opening it.

        Raises:
            UsageError: a prompt is longer than the CLIP reads.
        """
        check_text_lengths(self.clip, self.registered, self.prompts(info))
        return self
