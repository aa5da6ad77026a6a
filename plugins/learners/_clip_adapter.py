"""Tip-Adapter: a cache of the training images' embeddings, whose answers are added to zero-shot logits."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch.nn import functional as F

from benchbench.training.data import OrderStream

from ._clip_setting import BATCH, Setting, absent_classes, one_source, reproducible, unit
from ._clip_training import half_cosine, optimise

if TYPE_CHECKING:
    from benchbench.plugins import Context, ImageSet, Task, TrainResult

#: Smallest share of an image's area that a crop has.
CROP = 0.5
#: The authors' grid: from 0.1 in equal steps up to, and without, the second number.
BETAS = tuple(0.1 + index * (12 - 0.1) / 200 for index in range(200))
ALPHAS = tuple(0.1 + index * (10 - 0.1) / 20 for index in range(20))
#: Validation images per class at most under ``validation="few"``, as CoOp takes.
FEW = 4
#: Images and their cosines with all keys that are held at once, at most.
_ROWS, _COSINES = 1024, 1 << 25


@dataclass(frozen=True)
class AdapterRecipe:
    """How a cache is made and, with ``epochs``, fine-tuned; see the parameters of the two learners."""

    augment_epochs: int
    alpha: float
    beta: float
    validation: str
    epochs: int = 0
    max_steps: int | None = None
    batch_size: int = 256
    learning_rate: float = 1e-3
    weight_decay: float = 0.01


class Choice(NamedTuple):
    """Weight and sharpness of the cache, and their share of hits on validation images, ``None`` without such."""

    alpha: float
    beta: float
    accuracy: float | None


def cache_logits(affinity: torch.Tensor, values: torch.Tensor, beta: float) -> torch.Tensor:
    """Return ``exp(-beta * (1 - A)) V``, ``(N, C)`` (Zhang et al. 2022, equations 2 to 4).

    Args:
        affinity: A, cosines of N images with K keys, ``(N, K)``.
        values: V, classes of the keys, one-hot ``(K, C)``.
        beta: sharpness.
    """
    return torch.exp(-beta * (1 - affinity)) @ values


def rows_at_once(keys: torch.Tensor) -> int:
    """Return of how many images the cosines with keys ``(K, D)`` are held at once: a few hundred MB for any K."""
    return max(1, min(_ROWS, _COSINES // len(keys)))


def search(
    features: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, zero_shot: torch.Tensor, labels: torch.Tensor
) -> Choice:
    """Return the pair of the authors' grid with the most hits on validation images.

    Of pairs with equally many, which are frequent with few images, it is the one with the least cross-entropy. Images
    are taken in parts: the cosines of a whole validation part with many generated images would not fit.

    Args:
        features: of the validation images, unit rows ``(N, D)``.
        keys: unit rows ``(K, D)``.
        values: one-hot ``(K, C)``.
        zero_shot: logits of the validation images without the cache, ``(N, C)``.
        labels: int64 ``(N,)``.
    """
    alphas = torch.tensor(ALPHAS, device=features.device)
    hits = torch.zeros(len(BETAS), len(ALPHAS), dtype=torch.int64, device=features.device)
    losses = torch.zeros(len(BETAS), len(ALPHAS), dtype=torch.float64, device=features.device)
    size = rows_at_once(keys)
    for part, plain, right in zip(features.split(size), zero_shot.split(size), labels.split(size), strict=True):
        affinity = part @ keys.T
        for place, beta in enumerate(BETAS):
            logits = plain + alphas[:, None, None] * cache_logits(affinity, values, beta)
            hits[place] += (logits.argmax(dim=2) == right).sum(dim=1)
            each = F.cross_entropy(logits.flatten(0, 1), right.repeat(len(alphas)), reduction="none")
            losses[place] += each.view(len(alphas), -1).double().sum(dim=1)
    pairs = [(beta, alpha) for beta in BETAS for alpha in ALPHAS]
    scores = zip(hits.flatten().tolist(), (-losses).flatten().tolist(), strict=True)
    (hit, _), (beta, alpha) = max(zip(scores, pairs, strict=True), key=lambda scored: scored[0])
    return Choice(alpha, beta, hit / len(labels))


def few_validation(validation: ImageSet, which: str, shots: float, rng: torch.Generator) -> ImageSet:
    """Return the validation images that alpha and beta may be chosen on.

    Args:
        validation: the dataset's.
        which: ``"all"``, ``"none"`` or ``"few"``: of each class as many as training images, at most 4, as CoOp takes.
        shots: training images per class.
        rng: draws the few.
    """
    if which == "all":
        return validation
    if which == "none":
        return validation.subset([])
    count = max(1, min(FEW, round(shots)))
    chosen: list[int] = []
    for label in range(len(validation.classes)):
        members = np.flatnonzero(validation.labels == label)
        order = torch.randperm(len(members), generator=rng).numpy()
        chosen += [int(index) for index in members[order[:count]]]
    return validation.subset(sorted(chosen))


class Cache:
    """Keys and values of the training images (Zhang et al. 2022, section 3.1).

    Attributes:
        source: ``"real"`` or ``"synthetic"``.
        images: the training images.
        keys: unit rows, float32 ``(K, D)``: the mean embedding of each image over random crops, then normalised.
        values: one-hot, float32 ``(K, C)``.
    """

    def __init__(self, setting: Setting, task: Task, context: Context, augment_epochs: int) -> None:
        """Encode every training image ``augment_epochs`` times, each time differently cropped."""
        self.source, self.images = one_source(task)
        pieces = []
        starts = range(0, len(self.images), BATCH)
        for start in context.progress(starts, label="encoding training images", unit="batch"):
            part = np.asarray(self.images.images[start : start + BATCH])
            rng = context.torch_rng("keys", start)
            crops = [setting.encode_crops(part, (CROP, 1.0), rng) for _ in range(augment_epochs)]
            pieces.append(torch.stack(crops).mean(dim=0))
        self.keys = unit(torch.cat(pieces))
        self.labels = torch.from_numpy(np.array(self.images.labels))
        self.values = F.one_hot(self.labels, len(task.info.classes)).float().to(self.keys.device)


def train_adapter(
    learner: str, recipe: AdapterRecipe, clip: str, template: str | None, task: Task, context: Context
) -> TrainResult:
    """Make a cache of the task's images, fine-tune its keys where asked, and classify the test images with it.

    Raises:
        UsageError: the folder holds no CLIP, or a prompt is too long.
        BenchError: the training diverged, or the weights are damaged.
    """
    with reproducible():
        return _train(recipe, Setting(learner, clip, template, task, context), task, context)


def _train(recipe: AdapterRecipe, setting: Setting, task: Task, context: Context) -> TrainResult:
    cache = Cache(setting, task, context, recipe.augment_epochs)
    keys, curve, steps, size = cache.keys, [], 0, min(recipe.batch_size, len(cache.labels))
    if recipe.epochs:
        keys = cache.keys.clone().requires_grad_()
        steps = recipe.epochs * -(-len(cache.labels) // size)
        steps = min(steps, recipe.max_steps or steps)
        curve = _tune(recipe, setting, cache, keys, steps, size, context)
    with torch.no_grad():
        choice = _choose(recipe, setting, cache, keys, task, context)
        parts = setting.test.split(rows_at_once(keys))
        answers = torch.cat([cache_logits(part @ keys.T, cache.values, choice.beta) for part in parts])
        found = setting.zero_shot(setting.test) + choice.alpha * answers
    details: dict[str, Any] = {"recipe": asdict(recipe), "alpha": choice.alpha, "beta": choice.beta}
    details["training_images"] = {cache.source: len(cache.labels)}
    if choice.accuracy is not None:
        details["validation_accuracy"] = choice.accuracy
    if absent := absent_classes(task, context, setting.subject):
        details["classes_without_images"] = absent
    facts = {"steps": steps, "images_seen": steps * size, "parameters": keys.numel() if recipe.epochs else 0}
    return setting.outcome(found, details, curve=curve, **facts)


def _tune(
    recipe: AdapterRecipe,
    setting: Setting,
    cache: Cache,
    keys: torch.Tensor,
    steps: int,
    size: int,
    context: Context,
) -> list[tuple[int, float, float | None]]:
    """Train the keys by cross-entropy at the initial alpha and beta (Zhang et al. 2022, section 3.2)."""
    order = OrderStream(len(cache.labels), context.seed, "order", cache.source, 0)

    def loss(step: int) -> torch.Tensor:
        rows = order.take(step * size, size).numpy()
        rng = context.torch_rng("augmentation", step)
        features = unit(setting.encode_crops(cache.images.images[rows], (CROP, 1.0), rng))
        answers = cache_logits(features @ keys.T, cache.values, recipe.beta)
        return F.cross_entropy(
            setting.zero_shot(features) + recipe.alpha * answers, cache.labels[rows].to(features.device)
        )

    return optimise(
        context,
        setting.subject,
        steps=steps,
        weights=[keys],
        optimizer=torch.optim.AdamW([keys], lr=recipe.learning_rate, eps=1e-4, weight_decay=recipe.weight_decay),
        rate=lambda step: half_cosine(recipe.learning_rate, step, steps),
        loss=loss,
        identity=["tip-adapter-f", asdict(recipe), cache.source, len(cache.labels)],
    )


def _choose(
    recipe: AdapterRecipe, setting: Setting, cache: Cache, keys: torch.Tensor, task: Task, context: Context
) -> Choice:
    shots = len(cache.labels) / len(task.info.classes)
    held_out = few_validation(task.validation, recipe.validation, shots, context.torch_rng("validation"))
    if not len(held_out):
        return Choice(recipe.alpha, recipe.beta, None)
    features = setting.encode(held_out, "encoding validation images")
    labels = torch.from_numpy(np.array(held_out.labels)).to(features.device)
    return search(features, keys, cache.values, setting.zero_shot(features), labels)
