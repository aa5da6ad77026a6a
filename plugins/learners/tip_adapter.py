"""``tip-adapter``: a cache of a few images beside zero-shot CLIP, without training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from benchbench.plugins import Context, DatasetInfo, Learner, Needs, Outcome, Task, param

if TYPE_CHECKING:
    from typing import Self


@dataclass(frozen=True)
class TipAdapter(Learner):
    """A cache of the training images' embeddings, asked beside zero-shot CLIP. Nothing is trained.

    Zhang et al. 2022, "Tip-Adapter", section 3.1: the logits are ``100 f W + alpha exp(-beta (1 - f F)) L``, with the
    embedding f of an image, those of the prompts W, and of the training images F with their classes L; in the place of
    100 stands the CLIP's own scale, which is 100 in OpenAI's. A key is the mean embedding over random crops of at least
    half the area.

    Alpha and beta come from the authors' grid by the hits on a few validation images; of equally good pairs the one
    with the least cross-entropy is taken. A dataset without validation images keeps the values given here. The
    authors' search on a whole validation part is ``validation=all``.
    """

    axes: ClassVar[frozenset[str]] = frozenset()

    clip: str = param(
        "glyph-clip",
        paper="timm/resnet50_clip.openai",
        help="CLIP that it starts from: an embedded name, a folder or a hub id.",
    )
    template: str | None = param(None, help="Prompt with {} for the class; none is the dataset's.")
    augment_epochs: int = param(10, low=1, help="Random crops of each training image whose mean embedding is its key.")
    alpha: float = param(2.0, low=0.0, help="Weight of the cache, where no validation image decides it.")
    beta: float = param(1.0, above=0.0, help="Sharpness of the cache, where no validation image decides it.")
    validation: str = param(
        "few",
        choices=("few", "all", "none"),
        help="Validation images that decide alpha and beta: few is as many per class as training images, at most 4.",
    )

    def __post_init__(self) -> None:
        from ..foundations.loaders.templates import check_template

        check_template(self.template)

    def needs(self) -> Needs:
        """Return the CLIP and the package that opens it.

        Raises:
            UsageError: the CLIP is on this machine and is none.
        """
        from ._clip_plan import clip_needs

        return clip_needs(self.clip, "tip-adapter")

    def resolve(self, info: DatasetInfo) -> Self:
        """Check that the prompts fit the CLIP, where that can be told without opening it.

        Raises:
            UsageError: a prompt is longer than the CLIP reads.
        """
        from ._clip_plan import check_prompts

        check_prompts(self.clip, "tip-adapter", info, self.template)
        return self

    def training_seconds(self, arch: str | None, info: DatasetInfo) -> float | None:
        """Estimate the CPU seconds on one core for a few shots; ``None`` but for the embedded CLIP."""
        if self.clip != "glyph-clip":
            return None
        return 6.0 + info.counts["test"] * 0.0005 + len(info.classes) * 8 * self.augment_epochs * 0.0004

    def train(self, task: Task, context: Context) -> Outcome:
        """Make the cache and score every test image once.

        Raises:
            UsageError: the folder holds no CLIP, or a prompt is longer than it reads.
            BenchError: its weights are damaged.
        """
        from ._clip_adapter import AdapterRecipe, train_adapter

        recipe = AdapterRecipe(
            augment_epochs=self.augment_epochs, alpha=self.alpha, beta=self.beta, validation=self.validation
        )
        return train_adapter("tip-adapter", recipe, self.clip, self.template, task, context)
