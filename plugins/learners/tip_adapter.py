"""``tip-adapter``: a cache of a few images beside zero-shot CLIP, without training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from benchbench.plugins import Context, DatasetInfo, Task, TrainResult

from ._clip_learner import CacheLearner


@dataclass(frozen=True)
class TipAdapter(CacheLearner):
    """A cache of the training images' embeddings, asked beside zero-shot CLIP. Nothing is trained.

    Zhang et al. 2022, "Tip-Adapter", section 3.1: the logits are ``100 f W + alpha exp(-beta (1 - f F)) L``, with the
    embedding f of an image, those of the prompts W, and of the training images F with their classes L; in the place of
    100 stands the CLIP's own scale, which is 100 in OpenAI's. A key is the mean embedding over random crops of at least
    half the area.

    Alpha and beta come from the authors' grid by the hits on a few validation images; of equally good pairs the one
    with the least cross-entropy is taken. A dataset without validation images keeps the values given here. The
    authors' search on a whole validation part is ``validation=all``.
    """

    registered: ClassVar[str] = "tip-adapter"

    def training_seconds(self, arch: str | None, info: DatasetInfo) -> float | None:
        """Estimate the CPU seconds on one core for a few shots; ``None`` but for the embedded CLIP."""
        if self.clip != "glyph-clip":
            return None
        return 6.0 + info.counts["test"] * 0.0005 + len(info.classes) * 8 * self.augment_epochs * 0.0004

    def train(self, task: Task, context: Context) -> TrainResult:
        """Make the cache and score every test image once.

        Raises:
            UsageError: the folder holds no CLIP, or a prompt is longer than it reads.
            BenchError: its weights are damaged.
        """
        from ._clip_adapter import AdapterRecipe, train_adapter

        recipe = AdapterRecipe(
            augment_epochs=self.augment_epochs, alpha=self.alpha, beta=self.beta, validation=self.validation
        )
        return train_adapter(self.registered, recipe, self.clip, self.template, task, context)
