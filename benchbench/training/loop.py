"""The loop that trains every classifier: fixed steps, batches ready on the device, no synchronisation per step.

All randomness of a step is derived from the training seed and the number of the step. A checkpoint therefore holds no
generator state, and a training that was killed and continued ends with the same bits as one that was not. The
training seed alone decides initialisation and data order, so that generators are compared in pairs.
"""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn import functional as F

from ..errors import BenchError
from ..files import atomic_file
from ..machine import training_room
from ..plugins import Task, TrainResult
from ..plugins.context import Context, derive_seed
from .data import Source, make_batches, training_sets
from .evaluate import logits_of, probabilities
from .grown import GrownFile, grown_pairs
from .inputs import Inputs
from .learning import Learning, looked_at
from .pixels import OnDisk, Pixels, placed, set_bytes
from .recipes import Recipe, learning_rates, make_optimizer

#: Seconds of training between two checkpoints; a shorter training never writes one.
CHECKPOINT_SECONDS = 60.0


def train_classifier(
    build: Callable[[], torch.nn.Module],
    task: Task,
    context: Context,
    recipe: Recipe,
    resolution: int,
    images: str = "auto",
) -> TrainResult:
    """Train a classifier on a task and classify every test image after the last step.

    Args:
        build: makes the model, at random from torch's global generator, which is seeded for it. It maps normalised
            float32 ``(B, 3, resolution, resolution)`` to logits ``(B, classes)``; ``model.features`` gives
            penultimate features ``(B, D)`` to augmentations that grow the set.
        task: images, augmentations and dataset.
        context: seed, device, precision and the folder for checkpoints.
        recipe: how to train.
        resolution: side in px at which images are trained on and scored.
        images: ``"resident"`` puts all of them on the device, ``"streamed"`` reads them from disk batch by batch,
            ``"auto"`` puts there what fits into :func:`benchbench.machine.training_room`. Results are the same.

    Raises:
        BenchError: the loss is no longer finite.
        ValueError: an augmentation broke its promise (shapes, types, phases).
    """
    with _reproducible(context.device, context.precision):
        training = Training(build, task, context, recipe, resolution, images)
        training.resume()
        saved = time.monotonic()
        label = f"training {task.arch or 'classifier'}"
        for step in context.progress(range(training.step, recipe.steps), label=label, unit="step"):
            training.advance(step)
            if time.monotonic() - saved >= CHECKPOINT_SECONDS and training.step < recipe.steps:
                training.save()
                saved = time.monotonic()
        outcome = training.finish()
        for file in (training.checkpoint, *(grown.path for grown in training.grown)):
            file.unlink(missing_ok=True)
    return outcome


class Training:
    """The state of one training between two steps."""

    def __init__(
        self,
        build: Callable[[], torch.nn.Module],
        task: Task,
        context: Context,
        recipe: Recipe,
        resolution: int,
        images: str = "auto",
    ) -> None:
        self.task, self.context, self.recipe = task, context, recipe
        self.resolution = resolution
        self.device = context.device
        self.checkpoint = context.scratch / "training.pt"
        #: Bytes that images may take on the device.
        self.room = {"resident": math.inf, "streamed": 0}[images] if images != "auto" else training_room(self.device)
        self.batches = make_batches(task, resolution, recipe.batch_size, context.seed, self.device, self.room)
        left = max(0, self.room - (0 if self.batches.on_disk else self._training_bytes()))
        self.test = placed(task.test.images, resolution, self.device, left)
        shape = self.batches.sources[0].images.shape[1:]
        #: What each source has grown by.
        self.grown = [GrownFile(context.scratch / f"grown-{x.name}.u8", shape) for x in self.batches.sources]
        torch.manual_seed(derive_seed(context.seed, "initialisation"))
        # Channels last suits tensor cores, and on a CPU the depthwise convolutions and batch norms of light networks.
        self.model = build().to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.model.train()
        self.optimizer = make_optimizer(recipe, self.model.parameters())
        self.rates = learning_rates(recipe)
        self.inputs = Inputs(self.batches, task.augmentations, task.info)
        self.rng = torch.Generator(device=self.device)
        self.phases = _phases(task, recipe.steps)
        seed = derive_seed(context.seed, "learning")
        self.looked_at, labels = looked_at(self.batches.sources, recipe, seed)
        self.learning = Learning(labels, recipe.steps)
        self.step = 0
        self.curve: list[tuple[int, float]] = []
        self._pending: list[tuple[int, torch.Tensor, int]] = []
        self.loss_sum = torch.zeros((), device=self.device)
        self.loss_steps = 0

    def advance(self, step: int) -> None:
        """Run optimiser step ``step`` (0-based); where scheduled, grow the set before it and evaluate after it."""
        for which in self.phases.get(step, ()):
            self._grow(step, which)
        self._seed("step", step)  # dropout and stochastic depth
        self.rng.manual_seed(derive_seed(self.context.seed, "augmentation", step))
        pixels, targets = self.inputs(step, self.rng)
        for group in self.optimizer.param_groups:
            group["lr"] = self.rates[step]
        self.optimizer.zero_grad(set_to_none=True)
        with self._autocast():
            logits = self.model(pixels)
        loss = self._loss(logits.float(), targets)
        loss.backward()
        self.optimizer.step()
        self.loss_sum += loss.detach()
        self.loss_steps += 1
        self.step = step + 1
        if self.step in self.learning.steps:
            self.learning.note(self.step, self._logits(self.looked_at))
        if self.step in self.recipe.evaluation_steps:
            self.task.evaluate(self.step, lambda: self._logits(self.test))
            self._record()

    def finish(self) -> TrainResult:
        """Classify the test images after the last step and return the outcome."""
        logits = self._logits(self.test)
        self._record()
        self._settle()
        weights = (weight.numel() for weight in self.model.parameters() if weight.requires_grad)
        return TrainResult(
            probabilities=probabilities(logits),
            steps=self.step,
            images_seen=self.step * self.recipe.batch_size,
            parameters=sum(weights),
            curve=tuple(self.curve),
            details=self._details(),
        )

    def _details(self) -> dict[str, Any]:
        sources = self.batches.sources
        details = {
            "recipe": dataclasses.asdict(self.recipe),
            "resolution": self.resolution,
            "precision": self.context.precision,
            "mix": self.batches.mix,
            "training_images": self.batches.counts,
            "learning": self.learning.details(),
        }
        if any(source.rounds for source in sources):
            details["grown"] = {source.name: len(source.labels) - source.original for source in sources}
        return details

    def save(self) -> None:
        """Leave a checkpoint in the scratch folder: a kill meanwhile leaves the one before or this one."""
        self._settle()
        self.context.before_keeping(self.checkpoint)
        state = {
            "identity": self._identity(),
            "step": self.step,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "curve": [list(point) for point in self.curve],
            "learning": [list(point) for point in self.learning.curve],
            "answers": [[at, classes] for at, classes in self.task.answers.items()],
            "loss_sum": self.loss_sum,
            "loss_steps": self.loss_steps,
            "sources": [source.state() for source in self.batches.sources],
            "grown": [file.state() for file in self.grown],
        }
        self.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(self.checkpoint) as stream:
            torch.save(state, stream)

    def resume(self) -> None:
        """Continue from the checkpoint in the scratch folder, if there is one of this training."""
        try:
            state = torch.load(self.checkpoint, map_location=self.device, weights_only=True)
        except Exception:  # there is none, or it is damaged, which costs its steps and not the run
            return
        if state["identity"] != self._identity():
            return
        files = zip(self.grown, state["grown"], strict=True)
        if not all([file.restore(grown) for file, grown in files]):
            self.grown = [GrownFile(file.path, file.shape) for file in self.grown]
            return
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.curve = [(step, loss) for step, loss in state["curve"]]
        self.learning.curve = [(step, share) for step, share in state["learning"]]
        for step, classes in state["answers"]:
            self.task.evaluate(step, lambda classes=classes: classes)  # type: ignore[misc]
        self.loss_sum, self.loss_steps = state["loss_sum"], state["loss_steps"]
        for which, grown in enumerate(state["sources"]):
            if grown["rounds"]:
                self._add(which, **grown)
        self.step = state["step"]
        self.context.log(f"continuing {self.task.arch or 'a training'} at step {self.step} of {self.recipe.steps}")

    def _identity(self) -> str:
        sizes = {source.name: source.original for source in self.batches.sources}
        facts = [self.context.seed, dataclasses.asdict(self.recipe), self.resolution, self.task.arch, sizes]
        return json.dumps([*facts, self.batches.parts, self.device, self.context.precision])

    def _seed(self, *what: object) -> None:
        seed = derive_seed(self.context.seed, *what)
        if self.device == "cpu":  # the same draws as torch.manual_seed, which spends 0.1 ms on absent accelerators
            torch.default_generator.manual_seed(seed)
        else:
            torch.manual_seed(seed)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device, dtype=torch.bfloat16, enabled=self.context.precision == "bf16")

    def _loss(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        for augmentation in self.task.augmentations:
            loss = augmentation.loss(logits, targets)
            if loss is not None:
                return loss
        return F.cross_entropy(logits, targets)

    def _logits(self, images: Pixels) -> torch.Tensor:
        return logits_of(self.model, images, self.task.info, self._autocast())

    def _record(self) -> None:
        """Note a point of the curve; an accelerator goes on training, and its numbers are read at the next point."""
        if self.device != "cpu":
            self._settle()
        self._pending.append((self.step, self.loss_sum, self.loss_steps))
        self.loss_sum, self.loss_steps = torch.zeros((), device=self.device), 0
        if self.device == "cpu":
            self._settle()

    def _settle(self) -> None:
        """Read the noted points, the one place that waits for the device, and refuse a training that diverged."""
        for step, total, steps in self._pending:
            loss = float(total) / max(1, steps)
            if not math.isfinite(loss):
                rate = self.recipe.learning_rate
                raise BenchError(
                    f"{self.task.arch or 'classifier'}: the training diverged before step {step} "
                    f"(loss {loss}); lower learning_rate={rate:g} or raise warmup_steps"
                )
            self.curve.append((step, loss))
        self._pending.clear()
        self.learning.settle()

    def _grow(self, step: int, which: int) -> None:
        """Let augmentation number ``which`` add to each source by itself, so that the mix keeps its ratio."""
        augmentation = self.task.augmentations[which]
        self.model.eval()
        for index, source in enumerate(self.batches.sources):
            self.rng.manual_seed(derive_seed(self.context.seed, "grow", step, which, source.name))
            self._seed("grow", step, which, source.name)
            labels, given = [source.labels[:0]], source.labels.to(self.device)
            pairs = grown_pairs(augmentation, self.model, source.images, given, self.rng, self.task.info)
            for new, names in pairs:
                _check_grown(augmentation, source, new, names)
                self.grown[index].append(new)
                labels.append(names.to(source.labels))
            self._add(index, torch.cat(labels), self.batches.position(index, step), source.rounds + 1)
        self.model.train()

    def _add(self, which: int, labels: torch.Tensor, position: int, rounds: int) -> None:
        """Let batches take what source ``which`` has grown by; sets that no longer fit are left on disk."""
        sources, grown = self.batches.sources, self.grown[which].images()
        extra = set_bytes(len(labels), self.resolution)
        if not self.batches.on_disk and self._training_bytes() + extra > self.room:
            for source, given, file in zip(sources, training_sets(self.task).values(), self.grown, strict=True):
                source.leave_on_disk(OnDisk(given.images, self.resolution, self.device, file.images()))
        sources[which].add(grown, labels, position, rounds)

    def _training_bytes(self) -> int:
        return sum(set_bytes(count, self.resolution) for count in self.batches.counts.values())


def _check_grown(augmentation: object, source: Source, images: torch.Tensor, labels: torch.Tensor) -> None:
    name = type(augmentation).__name__
    if images.dtype != torch.uint8 or images.shape[1:] != source.images.shape[1:]:
        wanted = ", ".join(str(side) for side in source.images.shape[1:])
        raise ValueError(
            f"{name}.grow must return uint8 images (M, {wanted}); got {images.dtype} {tuple(images.shape)}"
        )
    if labels.dtype != torch.int64 or labels.shape != (len(images),):
        raise ValueError(
            f"{name}.grow must return int64 labels ({len(images)},); got {labels.dtype} {tuple(labels.shape)}"
        )


def _phases(task: Task, steps: int) -> dict[int, list[int]]:
    """Return, for each step before which the set grows, the positions of the augmentations that grow it."""
    due: dict[int, list[int]] = {}
    for which, augmentation in enumerate(task.augmentations):
        phases = augmentation.phases(steps)
        if list(phases) != sorted(set(phases)) or any(not 1 <= step < steps for step in phases):
            name = type(augmentation).__name__
            raise ValueError(f"{name}.phases must be ascending steps in 1..{steps - 1}; got {tuple(phases)}")
        for step in phases:
            due.setdefault(step, []).append(which)
    return due


@contextmanager
def _reproducible(device: str, precision: str) -> Iterator[None]:
    """Leave torch's global generators as they were, and take cuDNN's deterministic kernels meanwhile."""
    tf32 = precision == "tf32"
    cuda: list[Any] = [torch.cuda.current_device()] if device.startswith("cuda") else []
    with (
        torch.random.fork_rng(devices=cuda),
        torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=tf32),
    ):
        yield
