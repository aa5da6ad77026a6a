"""``ct``: classifier tuning, a linear head on a frozen CLIP."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from benchbench.plugins import TrainResult, param

from .base import PromptedLearner, StepMatched

if TYPE_CHECKING:
    from typing import Self

    import torch

    from .training import Pool, Setting

#: Largest norm of the gradient.
CLIP_NORM = 1.0


@dataclass(frozen=True)
class ClassifierTuning(StepMatched, PromptedLearner):
    """Classifier tuning: a linear head on frozen CLIP embeddings, which begins as zero-shot classification.

    He et al. 2023, "Is Synthetic Data from Generative Models Ready for Image Recognition?", section 3: real images are
    learned by cross-entropy. Generated ones are learned by ``s CE(softmax(t / T), z) + (1 - s) CE(y, z)``, with the
    logits t of zero-shot classification, so that a wrong image costs less; T divides the teacher's logits alone. With
    ``--mix`` of both, a step adds the two terms, ``weight_real`` and ``weight_synthetic`` times. Embeddings are taken
    once, without augmentation. AdamW, gradients cut to norm 1, a cosine over all steps.

    Every row takes the steps that the authors' epochs over the real images are, in batches of one size. Under
    ``match=epochs``, as in their code, a row with generated images passes over those, in batches of
    ``batch_size_synthetic``: many times the images of training on real ones alone.

    The values of ``paper`` are the authors' published commands. What their code does besides is not reproduced: class
    names without their first two letters, a schedule counted with another batch size than the training's, embeddings
    cached by class name alone, and the best epoch by accuracy on the test part. Here the last step counts.
    """

    registered: ClassVar[str] = "ct"
    axes: ClassVar[frozenset[str]] = frozenset({"mix"})

    epochs: int = param(
        30,
        low=1,
        help="Passes over the real images, which decide the steps of every row; under match=epochs over the generated "
        "ones, where there are any.",
    )
    batch_size: int = param(32, low=1, help="Images per step, real and generated together.")
    batch_size_synthetic: int = param(
        512, low=1, help="Images per step with generated ones among them, under match=epochs."
    )
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

    def matched(self, n_real: int, classes: int) -> Self:
        """Return this learner with the steps of ``epochs`` whole passes over so many real images."""
        size = min(self.batch_size, n_real)
        return replace(self, steps=self.steps or self.epochs * -(-n_real // size), batch_size=size)

    def recipe(self, **realised: Any) -> dict[str, Any]:
        """Return how it trains, as records keep it, without the two parameters that the training chose between."""
        others = ("batch_size_synthetic", "learning_rate_synthetic")
        return {name: value for name, value in super().recipe(**realised).items() if name not in others}

    def _length(self, pool: Pool) -> int:
        """Return the steps under ``match=epochs``: as many batches an epoch as hold as many generated images as are."""
        made = pool.counts["synthetic"] * sum(pool.parts)
        return self.steps or self.epochs * -(-made // (pool.size * pool.mix["synthetic"]))

    def _trained(self, setting: Setting) -> TrainResult:
        import torch
        from torch.nn import functional as F

        from .training import Pool

        task = setting.task
        ready, longest = self, task.synthetic is not None and self.match == "epochs"
        if longest:
            ready = replace(ready, batch_size=self.batch_size_synthetic)
        if task.real is None:
            ready = replace(ready, learning_rate=self.learning_rate_synthetic)
        ready = ready.ready(task)
        pool = Pool(task, ready.batch_size, setting.context.seed)
        steps = self._length(pool) if longest else ready.steps or 1
        sets = pool.sets.items()
        features = torch.cat([setting.encode(images, f"encoding {name} images") for name, images in sets])
        is_real = torch.cat([torch.full((len(images),), name == "real") for name, images in sets])
        # A linear layer that begins as zero-shot classification.
        weight = (setting.scale * setting.head).requires_grad_()
        bias = weight.new_zeros(len(weight)).requires_grad_()

        def loss(step: int) -> torch.Tensor:
            rows, labels = pool.batch(step)
            real, inputs, targets = is_real[rows].to(features.device), features[rows], labels.to(features.device)
            logits, total = F.linear(inputs, weight, bias), torch.zeros((), device=features.device)
            if bool(is_real[rows].any()):
                total = total + self.weight_real * F.cross_entropy(logits[real], targets[real])
            if not bool(is_real[rows].all()):
                made = ~real
                with torch.no_grad():
                    teacher = setting.zero_shot(inputs[made])
                soft = soft_target_loss(logits[made], teacher, targets[made], self.soft_share, self.temperature)
                total = total + self.weight_synthetic * soft
            return total

        facts = setting.optimise(
            pool,
            steps=steps,
            optimizer=torch.optim.AdamW([weight, bias], lr=ready.learning_rate, weight_decay=self.weight_decay),
            rate=lambda step: head_rate(ready.learning_rate, step, steps, self.warmup_steps),
            loss=loss,
            answer=lambda features: F.linear(features, weight, bias),
            clip_norm=CLIP_NORM,
        )
        with torch.no_grad():
            scores = F.linear(setting.test, weight, bias)
        recipe = ready.recipe(batch_size=pool.size, steps=steps)
        return setting.outcome(scores, {"recipe": recipe, "training_images": pool.counts, "mix": pool.mix}, **facts)


def soft_target_loss(
    student: torch.Tensor, teacher: torch.Tensor, labels: torch.Tensor, share: float, temperature: float
) -> torch.Tensor:
    """Return ``s CE(softmax(t / T), z) + (1 - s) CE(y, z)`` (He et al. 2023, soft-target cross-entropy), a scalar.

    The temperature is on the teacher alone, and there is no factor of its square.

    Args:
        student: z, logits ``(B, C)``.
        teacher: t, logits ``(B, C)`` of zero-shot classification.
        labels: y, int64 ``(B,)``.
        share: s, in [0, 1].
        temperature: T.
    """
    import torch
    from torch.nn import functional as F

    soft = torch.softmax(teacher / temperature, dim=1)
    hard = F.one_hot(labels, student.shape[1]).to(soft.dtype)
    return F.cross_entropy(student, share * soft + (1 - share) * hard)


def head_rate(peak: float, step: int, steps: int, warmup: int) -> float:
    """Return the learning rate of a step: linear over ``warmup`` steps, then half a cosine down to nothing."""
    from .training import half_cosine

    if step < warmup:
        return peak * (step + 1) / warmup
    return half_cosine(peak, step - warmup, max(1, steps - warmup))
