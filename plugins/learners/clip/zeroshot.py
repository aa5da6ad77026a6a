"""``clip-zeroshot``: classification by the prompts of the classes alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from benchbench.plugins import TrainResult

from .base import PromptedLearner

if TYPE_CHECKING:
    from .training import Setting


@dataclass(frozen=True)
class ClipZeroShot(PromptedLearner):
    """Zero-shot CLIP: the class whose prompt fits an image best. No training image matters, real or generated.

    Radford et al. 2021, section 3.1: softmax over the classes of the scaled cosine between an image and one prompt
    per class, the dataset's template. The baseline of the few-shot learners.
    """

    registered: ClassVar[str] = "clip-zeroshot"
    trains: ClassVar[bool] = False

    def _trained(self, setting: Setting) -> TrainResult:
        return setting.outcome(setting.zero_shot(setting.test), {})
