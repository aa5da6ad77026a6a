"""``coop``: a prompt learned from a few images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from benchbench.plugins import Context, DatasetInfo, Task, TrainResult, param

from ._clip_learner import ClipLearner

if TYPE_CHECKING:
    from typing import Self


@dataclass(frozen=True)
class CoOp(ClipLearner):
    """Context optimisation: the words before the class name are vectors, trained through the frozen CLIP.

    Zhou et al. 2022, "Learning to Prompt for Vision-Language Models", section 3.2: one context of ``n_ctx`` vectors for
    all classes, the class name and a full stop behind it, cross-entropy on the cosines with randomly cropped images.
    SGD; the first epoch at a rate of 0.00001, then a cosine by epochs. The context of the last step is what counts.

    ``paper`` follows the authors' few-shot settings: 16 vectors, 50 epochs for one shot, 100 for 2 and 4, 200 for more,
    whatever the images, real or generated; a last batch that is not full continues in the next epoch, where the
    authors drop it. ``quick`` has fewer vectors, since the embedded CLIP reads 20 tokens, a limit of steps, and larger
    crops: a twelfth of a digit is no digit. Its values were chosen on the digits' validation part.
    """

    registered: ClassVar[str] = "coop"
    axes: ClassVar[frozenset[str]] = frozenset({"mix"})

    n_ctx: int = param(5, paper=16, low=1, help="Context vectors before the class name.")
    ctx_init: str | None = param(
        None, help="Words that the context starts from; their tokens replace n_ctx. None is noise of deviation 0.02."
    )
    epochs: int | None = param(None, low=1, help="Passes over the images; none: 50, 100 or 200 by images per class.")
    max_steps: int | None = param(400, paper=None, low=1, help="Optimiser steps at most; none is no limit.")
    batch_size: int = param(32, low=1, help="Images per step, real and generated together.")
    learning_rate: float = param(1e-3, paper=2e-3, above=0.0, help="Learning rate of the second epoch.")
    momentum: float = param(0.9, low=0.0, high=0.999, help="Momentum of SGD.")
    weight_decay: float = param(5e-4, low=0.0, help="L2 penalty on the context.")
    min_crop: float = param(
        0.8, paper=0.08, above=0.0, high=1.0, help="Smallest share of an image's area that a random crop has."
    )

    def resolve(self, info: DatasetInfo) -> Self:
        """Check that the class names fit the CLIP behind the context, where that can be told without opening it.

        Raises:
            UsageError: a class name is too long.
        """
        from ._clip_plan import check_names

        check_names(self.clip, self.registered, info, self.n_ctx, self.ctx_init)
        return self

    def training_seconds(self, arch: str | None, info: DatasetInfo) -> float | None:
        """Estimate the CPU seconds of a training of full length on one core; ``None`` but for the embedded CLIP."""
        if self.clip != "glyph-clip" or self.max_steps is None:
            return None
        return 6.0 + self.max_steps * (self.batch_size * 0.00025 + len(info.classes) * 0.0005)

    def train(self, task: Task, context: Context) -> TrainResult:
        """Train a context on the task and score every test image once.

        Raises:
            UsageError: the folder holds no CLIP, or a prompt is longer than it reads.
            BenchError: its weights are damaged, or the training diverged.
        """
        from ._clip_context import ContextRecipe, train_context

        recipe = ContextRecipe(
            n_ctx=self.n_ctx,
            ctx_init=self.ctx_init,
            epochs=self.epochs,
            max_steps=self.max_steps,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            min_crop=self.min_crop,
        )
        return train_context(recipe, self.clip, None, task, context)
