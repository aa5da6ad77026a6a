"""The parameters and the plan that the learners on a CLIP share; imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from benchbench.plugins import DatasetInfo, Learner, Requirements, param

if TYPE_CHECKING:
    from typing import Self


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
        """Return the CLIP and the package that opens it.

        Raises:
            UsageError: the CLIP is on this machine and is none.
        """
        from ._clip_plan import clip_needs

        return clip_needs(self.clip, self.registered)


@dataclass(frozen=True)
class PromptedLearner(ClipLearner):
    """A learner on a CLIP that asks it by one prompt per class."""

    template: str | None = param(None, help="Prompt with {} for the class; none is the dataset's.")

    def __post_init__(self) -> None:
        """Raise ``UsageError`` for a template without exactly one place for the class."""
        from benchbench.models.prompts import check_template

        check_template(self.template)

    def resolve(self, info: DatasetInfo) -> Self:
        """Check that the prompts fit the CLIP, where that can be told without opening it.

        Raises:
            UsageError: a prompt is longer than the CLIP reads.
        """
        from ._clip_plan import check_prompts

        check_prompts(self.clip, self.registered, info, self.template)
        return self


@dataclass(frozen=True)
class CacheLearner(PromptedLearner):
    """A learner that asks a cache of the training images' embeddings beside zero-shot CLIP."""

    augment_epochs: int = param(10, low=1, help="Random crops of each training image whose mean embedding is its key.")
    alpha: float = param(
        2.0, low=0.0, help="Weight of the cache where no validation image decides it; tip-adapter-f trains with it too."
    )
    beta: float = param(
        1.0,
        above=0.0,
        help="Sharpness of the cache where no validation image decides it; tip-adapter-f trains with it too.",
    )
    validation: str = param(
        "few",
        choices=("few", "all", "none"),
        help="Validation images that decide alpha and beta: few is as many per class as training images, at most 4.",
    )
