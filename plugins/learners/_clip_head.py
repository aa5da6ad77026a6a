"""Classifier tuning: a linear head on frozen embeddings, which begins as zero-shot classification."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional as F

from ._clip_pool import Pool
from ._clip_setting import Setting, absent_classes, reproducible
from ._clip_training import half_cosine, optimise

if TYPE_CHECKING:
    from benchbench.plugins import Context, Task, TrainResult

#: Largest norm of the gradient.
CLIP_NORM = 1.0


@dataclass(frozen=True)
class HeadRecipe:
    """How a head is trained; see the parameters of the learner ``ct``. ``learning_rate`` is decided here."""

    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    warmup_steps: int
    soft_share: float
    temperature: float
    weight_real: float
    weight_synthetic: float


class Head(torch.nn.Module):
    """A linear layer with bias on unit rows; before the first step its logits are those of zero-shot."""

    def __init__(self, zero_shot: torch.Tensor, scale: float) -> None:
        """Begin with ``scale`` times the unit rows ``(C, D)`` of the classes' prompts, and no bias."""
        super().__init__()
        self.weight = torch.nn.Parameter(scale * zero_shot)
        self.bias = torch.nn.Parameter(torch.zeros(len(zero_shot), device=zero_shot.device))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return logits ``(B, C)`` for unit rows ``(B, D)``."""
        return F.linear(features, self.weight, self.bias)


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
    soft = torch.softmax(teacher / temperature, dim=1)
    hard = F.one_hot(labels, student.shape[1]).to(soft.dtype)
    return F.cross_entropy(student, share * soft + (1 - share) * hard)


def head_rate(peak: float, step: int, steps: int, warmup: int) -> float:
    """Return the learning rate of a step: linear over ``warmup`` steps, then half a cosine down to nothing."""
    if step < warmup:
        return peak * (step + 1) / warmup
    return half_cosine(peak, step - warmup, max(1, steps - warmup))


def train_head(recipe: HeadRecipe, clip: str, template: str | None, task: Task, context: Context) -> TrainResult:
    """Train a head on the embeddings of the task's images and classify the test images with it.

    Raises:
        UsageError: the folder holds no CLIP, or a prompt is too long.
        BenchError: the training diverged, or the weights are damaged.
    """
    with reproducible():
        return _train(recipe, Setting("ct", clip, template, task, context), task, context)


def _train(recipe: HeadRecipe, setting: Setting, task: Task, context: Context) -> TrainResult:
    pool = Pool(task, recipe.batch_size, context.seed)
    encoded = [
        setting.encode(images, f"encoding {name} images") for name, images in zip(pool.names, pool.sets, strict=True)
    ]
    features = torch.cat(encoded)
    is_real = torch.cat(
        [torch.full((len(images),), name == "real") for name, images in zip(pool.names, pool.sets, strict=True)]
    )
    steps = recipe.epochs * _steps_of_epoch(pool)
    head = Head(setting.head, setting.scale)

    def loss(step: int) -> torch.Tensor:
        rows, labels = pool.batch(step)
        real, inputs, targets = is_real[rows].to(features.device), features[rows], labels.to(features.device)
        logits, total = head(inputs), torch.zeros((), device=features.device)
        if bool(is_real[rows].any()):
            total = total + recipe.weight_real * F.cross_entropy(logits[real], targets[real])
        if not bool(is_real[rows].all()):
            made = ~real
            with torch.no_grad():
                teacher = setting.zero_shot(inputs[made])
            soft = soft_target_loss(logits[made], teacher, targets[made], recipe.soft_share, recipe.temperature)
            total = total + recipe.weight_synthetic * soft
        return total

    weights = list(head.parameters())
    curve = optimise(
        context,
        setting.subject,
        steps=steps,
        weights=weights,
        optimizer=torch.optim.AdamW(weights, lr=recipe.learning_rate, weight_decay=recipe.weight_decay),
        rate=lambda step: head_rate(recipe.learning_rate, step, steps, recipe.warmup_steps),
        loss=loss,
        identity=["ct", asdict(recipe), pool.sizes, pool.parts],
        clip_norm=CLIP_NORM,
    )
    with torch.no_grad():
        found = head(setting.test)
    details: dict[str, Any] = {"recipe": {**asdict(recipe), "batch_size": pool.batch_size, "steps": steps}}
    details |= {"training_images": pool.sizes, "mix": pool.parts}
    if absent := absent_classes(task, context, setting.subject):
        details["classes_without_images"] = absent
    trained = sum(weight.numel() for weight in weights)
    seen = steps * pool.batch_size
    return setting.outcome(found, details, steps=steps, images_seen=seen, parameters=trained, curve=curve)


def _steps_of_epoch(pool: Pool) -> int:
    """Return the batches that hold as many generated images as there are; without such, as many real ones."""
    name = "synthetic" if "synthetic" in pool.names else "real"
    whole = pool.sizes[name] * sum(pool.parts.values())
    return -(-whole // (pool.batch_size * pool.parts[name]))
