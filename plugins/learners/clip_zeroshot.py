"""``clip-zeroshot``: classification by the prompts of the classes alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from benchbench.plugins import Context, DatasetInfo, Learner, Needs, Outcome, Task, param

if TYPE_CHECKING:
    from typing import Self


@dataclass(frozen=True)
class ClipZeroShot(Learner):
    """Zero-shot CLIP: the class whose prompt fits an image best. No training image matters, real or generated.

    Radford et al. 2021, section 3.1: softmax over the classes of the scaled cosine between an image and one prompt
    per class, the dataset's template. The baseline of the few-shot learners beside it.
    """

    axes: ClassVar[frozenset[str]] = frozenset()
    trains: ClassVar[bool] = False

    clip: str = param(
        "glyph-clip",
        paper="timm/resnet50_clip.openai",
        help="CLIP that classifies: an embedded name, a folder or a hub id.",
    )
    template: str | None = param(None, help="Prompt with {} for the class; none is the dataset's.")

    def __post_init__(self) -> None:
        from ..foundations.loaders.templates import check_template

        check_template(self.template)

    def needs(self) -> Needs:
        """Return the CLIP and the package that opens it.

        Raises:
            UsageError: the CLIP is on this machine and is none.
        """
        from ._clip_plan import clip_needs

        return clip_needs(self.clip, "clip-zeroshot")

    def resolve(self, info: DatasetInfo) -> Self:
        """Check that the prompts fit the CLIP, where that can be told without opening it.

        Raises:
            UsageError: a prompt is longer than the CLIP reads.
        """
        from ._clip_plan import check_prompts

        check_prompts(self.clip, "clip-zeroshot", info, self.template)
        return self

    def training_seconds(self, arch: str | None, info: DatasetInfo) -> float | None:
        """Estimate CPU seconds on one core with the embedded CLIP; ``None`` with any other."""
        return 6.0 + info.counts["test"] * 0.0005 if self.clip == "glyph-clip" else None

    def train(self, task: Task, context: Context) -> Outcome:
        """Classify every test image once.

        Raises:
            UsageError: the folder holds no CLIP, or a prompt is longer than it reads.
            BenchError: its weights are damaged.
        """
        from ._clip_setting import Setting, reproducible

        with reproducible():
            setting = Setting("clip-zeroshot", self.clip, self.template, task, context)
            return setting.outcome(setting.zero_shot(setting.test), {})
