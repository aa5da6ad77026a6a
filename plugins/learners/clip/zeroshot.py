"""``clip-zeroshot``: classification by the prompts of the classes alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from benchbench.plugins import Context, Task, TrainResult

from .base import PromptedLearner


@dataclass(frozen=True)
class ClipZeroShot(PromptedLearner):
    """Zero-shot CLIP: the class whose prompt fits an image best. No training image matters, real or generated.

    Radford et al. 2021, section 3.1: softmax over the classes of the scaled cosine between an image and one prompt
    per class, the dataset's template. The baseline of the few-shot learners beside it.
    """

    registered: ClassVar[str] = "clip-zeroshot"
    trains: ClassVar[bool] = False

    def train(self, task: Task, context: Context) -> TrainResult:
        """Classify every test image once.

        Raises:
            UsageError: the folder holds no CLIP, or a prompt is longer than it reads.
            BenchError: its weights are damaged.
        """
        from .setting import Setting, reproducible

        with reproducible():
            setting = Setting(self, task, context, self.template)
            return setting.outcome(setting.zero_shot(setting.test), {})
