"""``coop``: a prompt learned from a few images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from benchbench.models.clip.layout import check_text_lengths
from benchbench.plugins import DatasetInfo, TrainResult, param

from .base import ClipLearner, StepMatched

if TYPE_CHECKING:
    from typing import Self

    import torch

    from benchbench.models.clip.model import Clip

    from .training import Setting

#: Standard deviation of the context at the start, and learning rate of the first epoch.
STD, FIRST_RATE = 0.02, 1e-5


@dataclass(frozen=True)
class CoOp(StepMatched, ClipLearner):
    """Context optimisation: the words before the class name are vectors, trained through the frozen CLIP.

    Zhou et al. 2022, "Learning to Prompt for Vision-Language Models", section 3.2: one context of ``n_ctx`` vectors for
    all classes, the class name and a full stop after it, cross-entropy on the cosines with randomly cropped images.
    SGD; the first epoch at a rate of 0.00001, then a cosine by epochs. The context of the last step is what counts.

    ``paper`` follows the authors' few-shot settings: 16 vectors, 50 epochs for one shot, 100 for 2 and 4, 200 for more;
    a last batch that is not full continues in the next epoch, where the authors drop it. Every row takes the steps that
    these epochs of the real images are. Under ``match=epochs`` images count whatever they are, as in the authors' code,
    so that generated ones in greater number mean more steps. ``quick`` has fewer vectors, since the embedded CLIP reads
    20 tokens, a limit of steps, and larger crops: a twelfth of a digit is no digit. Its values were chosen on the
    digits' validation part.
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
        """Check that the class names fit the CLIP after the context, where that can be checked without opening it.

        Raises:
            UsageError: a class name is too long.
        """
        names = info.prompt_names or info.classes
        start, reserved = (f"{self.ctx_init} ", 0) if self.ctx_init else ("", self.n_ctx)
        check_text_lengths(self.clip, self.registered, [f"{start}{name}." for name in names], reserved)
        return self

    def matched(self, n_real: int, classes: int) -> Self:
        """Return this learner with the authors' epochs of so many images, and the steps that they are."""
        size = min(self.batch_size, n_real)
        of_epoch = max(1, n_real // size)
        epochs = self.epochs or authors_epochs(n_real, classes)
        steps = self.steps or min(epochs * of_epoch, self.max_steps or epochs * of_epoch)
        if not (self.steps and self.epochs):
            epochs = -(-steps // of_epoch)
        return replace(self, steps=steps, epochs=epochs, batch_size=size)

    def _trained(self, setting: Setting) -> TrainResult:
        import torch
        from torch.nn import functional as F

        from .training import Pool

        clip, task, context = setting.clip, setting.task, setting.context
        names = task.info.prompt_names or task.info.classes
        vectors = first_context(clip, self.n_ctx, self.ctx_init, context.torch_rng("context")).requires_grad_()
        tokens = prompt_tokens(clip, names, len(vectors))
        fixed = clip.token_embeddings(tokens)
        ready = self.ready(task)
        steps = ready.steps or 1
        epochs = ready.epochs or steps
        steps_of_epoch = -(-steps // epochs)
        pool = Pool(task, ready.batch_size, context.seed)

        def logits(features: torch.Tensor) -> torch.Tensor:
            head = F.normalize(clip.text_features(tokens, with_context(fixed, vectors)))
            return setting.scale * features @ head.T

        def loss(step: int) -> torch.Tensor:
            rows, labels = pool.batch(step)
            rng = context.torch_rng("augmentation", step)
            crops = setting.encode_crops(pool.pixels(rows), (self.min_crop, 1.0), rng)
            return F.cross_entropy(logits(F.normalize(crops)), labels.to(crops.device))

        facts = setting.optimise(
            pool,
            steps=steps,
            optimizer=torch.optim.SGD(
                [vectors], lr=self.learning_rate, momentum=self.momentum, weight_decay=self.weight_decay
            ),
            rate=lambda step: epoch_rate(self.learning_rate, step // steps_of_epoch, epochs),
            loss=loss,
            answer=logits,
        )
        with torch.no_grad():
            scores = logits(setting.test)
        recipe = ready.recipe(n_ctx=len(vectors))
        return setting.outcome(scores, {"recipe": recipe, "training_images": pool.counts, "mix": pool.mix}, **facts)


def prompt_tokens(clip: Clip, names: Sequence[str], n_ctx: int) -> torch.Tensor:
    """Return ids of ``[V]1 .. [V]M NAME.`` for each class, int64 ``(C, positions)``.

    One context of M = ``n_ctx`` tokens is shared by all classes, the class name is at the end. The start marker stands
    in the place of each context token.

    Raises:
        UsageError: a name is too long together with the context.
    """
    import torch

    plain = clip.tokens([f"{name}." for name in names], reserved=n_ctx)
    start = plain[:, :1]
    # The padding that falls off at the end is no longer than the context: `tokens` made sure of it.
    return torch.cat([start, start.expand(-1, n_ctx), plain[:, 1 : plain.shape[1] - n_ctx]], dim=1)


def with_context(fixed: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
    """Return embeddings ``(C, positions, D)`` of :func:`prompt_tokens` with a context ``(M, D)`` in its place."""
    import torch

    middle = context.expand(len(fixed), -1, -1)
    return torch.cat([fixed[:, :1], middle, fixed[:, 1 + len(context) :]], dim=1)


def first_context(clip: Clip, n_ctx: int, words: str | None, rng: torch.Generator) -> torch.Tensor:
    """Return the context before the first step, float32 ``(M, D)`` on the device.

    Args:
        clip: the opened CLIP.
        n_ctx: M, without ``words``.
        words: to take the token embeddings of; M is their number of tokens.
        rng: on the CPU, for the noise without ``words``.
    """
    import torch

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
    from .training import half_cosine

    return FIRST_RATE if epoch == 0 else half_cosine(peak, epoch - 1, epochs)
