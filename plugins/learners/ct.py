"""``ct``: classifier tuning, a linear head on a frozen CLIP."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from benchbench.plugins import Context, DatasetInfo, Task, TrainResult, param

from ._clip_learner import PromptedLearner


@dataclass(frozen=True)
class ClassifierTuning(PromptedLearner):
    """Classifier tuning: a linear head on frozen CLIP embeddings, which begins as zero-shot classification.

    He et al. 2023, "Is Synthetic Data from Generative Models Ready for Image Recognition?", section 3: real images are
    learned by cross-entropy. Generated ones are learned by ``s CE(softmax(t / T), z) + (1 - s) CE(y, z)``, with the
    logits t of zero-shot classification, so that a wrong image costs less; T divides the teacher's logits alone. With
    ``--mix`` of both, a step adds the two terms, ``weight_real`` and ``weight_synthetic`` times. Embeddings are taken
    once, without augmentation. AdamW, gradients cut to norm 1, a cosine over all steps.

    The values of ``paper`` are the authors' published commands. What their code does besides is not reproduced: class
    names without their first two letters, a schedule counted with another batch size than the training's, embeddings
    cached by class name alone, and the best epoch by accuracy on the test part. Here the last step counts.
    """

    registered: ClassVar[str] = "ct"
    axes: ClassVar[frozenset[str]] = frozenset({"mix"})

    epochs: int = param(
        30, low=1, help="Passes over the generated images; over the real ones where there are no others."
    )
    batch_size: int = param(512, low=1, help="Images per step, real and generated together.")
    batch_size_real: int = param(32, low=1, help="Images per step where there are only real ones.")
    learning_rate: float = param(0.03, paper=1e-3, above=0.0, help="Peak learning rate with real images.")
    learning_rate_synthetic: float = param(
        0.03, paper=2e-3, above=0.0, help="Peak learning rate on generated images alone."
    )
    weight_decay: float = param(0.1, low=0.0, help="Decoupled decay of the head.")
    warmup_steps: int = param(0, low=0, help="Steps of linear warm-up.")
    soft_share: float = param(0.5, low=0.0, high=1.0, help="Share s of the zero-shot target for generated images.")
    temperature: float = param(2.0, above=0.0, help="Temperature T of the zero-shot target.")
    weight_real: float = param(1.0, low=0.0, help="Weight of the term of real images.")
    weight_synthetic: float = param(1.0, low=0.0, help="Weight of the term of generated images.")

    def training_seconds(self, arch: str | None, info: DatasetInfo) -> float | None:
        """Estimate the CPU seconds on one core; ``None`` but for the embedded CLIP."""
        return 7.0 + info.counts["test"] * 0.0005 if self.clip == "glyph-clip" else None

    def train(self, task: Task, context: Context) -> TrainResult:
        """Train a head on the task and score every test image once.

        Raises:
            UsageError: the folder holds no CLIP, or a prompt is longer than it reads.
            BenchError: its weights are damaged, or the training diverged.
        """
        from ._clip_head import HeadRecipe, train_head

        recipe = HeadRecipe(
            epochs=self.epochs,
            batch_size=self.batch_size if task.synthetic is not None else self.batch_size_real,
            learning_rate=self.learning_rate if task.real is not None else self.learning_rate_synthetic,
            weight_decay=self.weight_decay,
            warmup_steps=self.warmup_steps,
            soft_share=self.soft_share,
            temperature=self.temperature,
            weight_real=self.weight_real,
            weight_synthetic=self.weight_synthetic,
        )
        return train_head(recipe, self.clip, self.template, task, context)
