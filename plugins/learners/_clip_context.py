"""Prompt learning (CoOp): context vectors before the class names, trained through the frozen text tower."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional as F

from ._clip_pool import Pool
from ._clip_setting import Setting, absent_classes, reproducible, unit
from ._clip_training import half_cosine, optimise

if TYPE_CHECKING:
    from benchbench.models.clip.model import Clip
    from benchbench.plugins import Context, Task, TrainResult

#: Standard deviation of the context at the start, and learning rate of the first epoch.
STD, FIRST_RATE = 0.02, 1e-5


@dataclass(frozen=True)
class ContextRecipe:
    """How a context is trained; see the parameters of the learner ``coop``."""

    n_ctx: int
    ctx_init: str | None
    epochs: int | None
    max_steps: int | None
    batch_size: int
    learning_rate: float
    momentum: float
    weight_decay: float
    min_crop: float


class Prompts:
    """``[V]1 .. [V]M NAME.`` for each class: one context shared by all classes, the class name at the end.

    Attributes:
        n_ctx: M.
        tokens: int64 ``(C, positions)``; the start marker stands in the place of each context token.
    """

    def __init__(self, clip: Clip, names: Sequence[str], n_ctx: int) -> None:
        """Tokenize the names.

        Raises:
            UsageError: a name is too long beside the context.
        """
        self.n_ctx = n_ctx
        plain = clip.tokens([f"{name}." for name in names], reserved=n_ctx)
        start = plain[:, :1]
        # The padding that falls off at the end is no longer than the context: `tokens` made sure of it.
        self.tokens = torch.cat([start, start.expand(-1, n_ctx), plain[:, 1 : plain.shape[1] - n_ctx]], dim=1)
        self._fixed = clip.token_embeddings(self.tokens)

    def embeddings(self, context: torch.Tensor) -> torch.Tensor:
        """Return what the text tower reads, float32 ``(C, positions, D)``, for a context ``(M, D)``."""
        classes = len(self._fixed)
        middle = context.expand(classes, -1, -1)
        return torch.cat([self._fixed[:, :1], middle, self._fixed[:, 1 + self.n_ctx :]], dim=1)


def first_context(clip: Clip, n_ctx: int, words: str | None, rng: torch.Generator) -> torch.Tensor:
    """Return the context before the first step, float32 ``(M, D)`` on the device.

    Args:
        clip: the opened CLIP.
        n_ctx: M, without ``words``.
        words: to take the token embeddings of; M is their number of tokens.
        rng: on the CPU, for the noise without ``words``.
    """
    if words:
        tokens = clip.tokens([words])
        return clip.token_embeddings(tokens[:, 1 : int(clip.token_counts(tokens)) - 1])[0]
    width = clip.token_embeddings(clip.tokens([""])).shape[-1]
    return STD * torch.randn(n_ctx, width, generator=rng).to(clip.device)


def authors_epochs(images: int, classes: int) -> int:
    """Return the epochs that the authors train for on so many images: 50 for one shot, 100 for 2 and 4, else 200."""
    shots = images / classes
    return 50 if shots < 1.5 else 100 if shots < 6 else 200


def epoch_rate(peak: float, epoch: int, epochs: int) -> float:
    """Return the learning rate of an epoch: constant and small in the first one, then half a cosine from ``peak``."""
    return FIRST_RATE if epoch == 0 else half_cosine(peak, epoch - 1, epochs)


def train_context(recipe: ContextRecipe, clip: str, template: str | None, task: Task, context: Context) -> TrainResult:
    """Train a context on the task's images and classify the test images by it.

    Raises:
        UsageError: the folder holds no CLIP, or a class name is too long.
        BenchError: the training diverged, or the weights are damaged.
    """
    with reproducible():
        return _train(recipe, Setting("coop", clip, template, task, context), task, context)


def _train(recipe: ContextRecipe, setting: Setting, task: Task, context: Context) -> TrainResult:
    clip, info = setting.clip, task.info
    vectors = first_context(clip, recipe.n_ctx, recipe.ctx_init, context.torch_rng("context")).requires_grad_()
    prompts = Prompts(clip, info.prompt_names or info.classes, len(vectors))
    pool = Pool(task, recipe.batch_size, context.seed)
    steps_of_epoch = max(1, len(pool) // pool.batch_size)
    epochs = recipe.epochs or authors_epochs(len(pool), len(info.classes))
    steps = min(epochs * steps_of_epoch, recipe.max_steps or epochs * steps_of_epoch)
    epochs = -(-steps // steps_of_epoch)

    def logits(features: torch.Tensor) -> torch.Tensor:
        head = unit(clip.text_features(prompts.tokens, prompts.embeddings(vectors)))
        return setting.scale * features @ head.T

    def loss(step: int) -> torch.Tensor:
        rows, labels = pool.batch(step)
        crops = setting.encode_crops(pool.images(rows), (recipe.min_crop, 1.0), context.torch_rng("augmentation", step))
        return F.cross_entropy(logits(unit(crops)), labels.to(crops.device))

    optimizer = torch.optim.SGD(
        [vectors], lr=recipe.learning_rate, momentum=recipe.momentum, weight_decay=recipe.weight_decay
    )
    curve = optimise(
        context,
        setting.subject,
        steps=steps,
        weights=[vectors],
        optimizer=optimizer,
        rate=lambda step: epoch_rate(recipe.learning_rate, step // steps_of_epoch, epochs),
        loss=loss,
        identity=["coop", vars(recipe), pool.sizes, pool.parts],
    )
    with torch.no_grad():
        found = logits(setting.test)
    details: dict[str, Any] = {"recipe": {**vars(recipe), "n_ctx": len(vectors), "epochs": epochs, "steps": steps}}
    details |= {"training_images": pool.sizes, "mix": pool.parts}
    if absent := absent_classes(task, context, setting.subject):
        details["classes_without_images"] = absent
    seen, trained = steps * pool.batch_size, vectors.numel()
    return setting.outcome(found, details, steps=steps, images_seen=seen, parameters=trained, curve=curve)
