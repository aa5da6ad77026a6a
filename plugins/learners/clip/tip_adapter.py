"""``tip-adapter`` and ``tip-adapter-f``: a cache of a few images added to zero-shot CLIP, as it is or fine-tuned."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from benchbench.plugins import ImageSet, TrainResult, param

from .base import PromptedLearner, StepMatched

if TYPE_CHECKING:
    from typing import Self

    import torch

    from .training import Pool, Setting

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
class CacheLearner(PromptedLearner):
    """A learner that asks a cache of the training images' embeddings together with zero-shot CLIP."""

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
        paper="all",
        choices=("few", "all", "none"),
        help="Validation images that decide alpha and beta, whose labels --shots does not count: few is as many per "
        "class as training images, at most 4.",
    )

    def _trained(self, setting: Setting) -> TrainResult:
        import numpy as np
        import torch
        from torch.nn import functional as F

        from .training import BATCH, Pool

        task, context = setting.task, setting.context
        pool = Pool(task, BATCH, context.seed)
        keys = cache_keys(setting, pool, self.augment_epochs)
        values = F.one_hot(pool.all_labels, len(task.info.classes)).float().to(keys.device)
        keys, facts = self._tuned(setting, keys, values)
        shots = len(keys) / len(task.info.classes)
        held_out = few_validation(task.validation, self.validation, shots, context.torch_rng("validation"))
        with torch.no_grad():
            choice = Choice(self.alpha, self.beta, None)
            if len(held_out):
                features = setting.encode(held_out, "encoding validation images")
                labels = torch.from_numpy(np.array(held_out.labels)).to(features.device)
                choice = search(features, keys, values, setting.zero_shot(features), labels)
            parts = setting.test.split(rows_at_once(keys))
            answers = torch.cat([cache_logits(part @ keys.T, values, choice.beta) for part in parts])
            scores = setting.zero_shot(setting.test) + choice.alpha * answers
        details: dict[str, Any] = {"recipe": self.recipe(), "alpha": choice.alpha, "beta": choice.beta}
        details |= {"training_images": pool.counts, "validation_images": len(held_out)}
        if choice.accuracy is not None:
            details["validation_accuracy"] = choice.accuracy
        return setting.outcome(scores, details, **facts)

    def _tuned(self, setting: Setting, keys: torch.Tensor, values: torch.Tensor) -> tuple[torch.Tensor, dict[str, Any]]:
        """Return the keys ``(K, D)``, and what the outcome tells of their training: nothing where there is none."""
        return keys, {}


@dataclass(frozen=True)
class TipAdapter(CacheLearner):
    """A cache of the training images' embeddings, added to zero-shot CLIP. Nothing is trained.

    Zhang et al. 2022, "Tip-Adapter", section 3.1: the logits are ``100 f W + alpha exp(-beta (1 - f F)) L``, with the
    embedding f of an image, those of the prompts W, and of the training images F with their classes L; in the place of
    100 stands the CLIP's own scale, which is 100 in OpenAI's. A key is the mean embedding over random crops of at least
    half the area.

    Alpha and beta come from the authors' grid by the hits on a few validation images; of equally good pairs the one
    with the least cross-entropy is taken. A dataset without validation images keeps the values given here. The
    authors' search on a whole validation part is ``validation=all``.
    """

    registered: ClassVar[str] = "tip-adapter"


@dataclass(frozen=True)
class TipAdapterF(StepMatched, CacheLearner):
    """Tip-Adapter whose keys are fine-tuned: the cache is where training starts, everything else is frozen.

    Zhang et al. 2022, "Tip-Adapter", section 3.2: AdamW with a cosine per step on the cross-entropy of
    ``100 f W + alpha exp(-beta (1 - f F)) L``, of random crops of at least half the area, at the alpha and beta given
    here; ``paper`` takes the 100 epochs that the authors took for EuroSAT. In the place of 100 stands the CLIP's own
    scale. After the last step alpha and beta are chosen as for ``tip-adapter``, on a few validation images.

    Every row takes the steps that the epochs over the real images are, in batches of one size. Under ``match=epochs``
    they are passes over the images of the row, whatever these are.
    """

    registered: ClassVar[str] = "tip-adapter-f"

    epochs: int = param(50, paper=100, low=1, help="Passes over the real images; under match=epochs over the row's.")
    max_steps: int | None = param(200, paper=None, low=1, help="Optimiser steps at most; none is no limit.")
    batch_size: int = param(256, low=1, help="Images per step; all real ones where there are fewer.")
    learning_rate: float = param(1e-3, above=0.0, help="Learning rate of the first step.")
    weight_decay: float = param(0.01, low=0.0, help="Decoupled decay of the keys.")

    def matched(self, n_real: int, classes: int) -> Self:
        """Return this learner with the steps of ``epochs`` whole passes over so many images."""
        size = min(self.batch_size, n_real)
        steps = self.epochs * -(-n_real // size)
        return replace(self, steps=self.steps or min(steps, self.max_steps or steps), batch_size=size)

    def _trained(self, setting: Setting) -> TrainResult:
        return CacheLearner._trained(self.ready(setting.task), setting)

    def _tuned(self, setting: Setting, keys: torch.Tensor, values: torch.Tensor) -> tuple[torch.Tensor, dict[str, Any]]:
        """Train the keys by cross-entropy at the initial alpha and beta (Zhang et al. 2022, section 3.2)."""
        import torch
        from torch.nn import functional as F

        from .training import Pool, half_cosine

        context = setting.context
        keys, pool = keys.clone().requires_grad_(), Pool(setting.task, self.batch_size, context.seed)
        steps = self.steps or 1

        def logits(features: torch.Tensor) -> torch.Tensor:
            answers = cache_logits(features @ keys.T, values, self.beta)
            return setting.zero_shot(features) + self.alpha * answers

        def loss(step: int) -> torch.Tensor:
            rows, labels = pool.batch(step)
            rng = context.torch_rng("augmentation", step)
            features = F.normalize(setting.encode_crops(pool.pixels(rows), (CROP, 1.0), rng))
            return F.cross_entropy(logits(features), labels.to(features.device))

        return keys, setting.optimise(
            pool,
            steps=steps,
            optimizer=torch.optim.AdamW([keys], lr=self.learning_rate, eps=1e-4, weight_decay=self.weight_decay),
            rate=lambda step: half_cosine(self.learning_rate, step, steps),
            loss=loss,
            answer=logits,
        )


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
    import torch

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
    import torch
    from torch.nn import functional as F

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
    import numpy as np
    import torch

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


def cache_keys(setting: Setting, pool: Pool, augment_epochs: int) -> torch.Tensor:
    """Return the keys of the training images, unit rows ``(K, D)`` (Zhang et al. 2022, section 3.1).

    A key is the mean embedding of an image over ``augment_epochs`` random crops, then normalised.
    """
    import torch
    from torch.nn import functional as F

    from .training import BATCH

    pieces, context = [], setting.context
    for start in context.progress(range(0, len(pool), BATCH), label="encoding training images", unit="batch"):
        images = pool.pixels(torch.arange(start, min(start + BATCH, len(pool))))
        rng = context.torch_rng("keys", start)
        crops = [setting.encode_crops(images, (CROP, 1.0), rng) for _ in range(augment_epochs)]
        pieces.append(torch.stack(crops).mean(dim=0))
    return F.normalize(torch.cat(pieces))
