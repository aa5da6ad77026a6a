"""Stage 1 of Diffusion Inversion (Zhou et al. 2023, section 3): one conditioning per image.

The networks are frozen. The VAE's posterior of each image is encoded once and sampled at every visit, which is the
same distribution as encoding anew each time. Work is cut into units whose rows share an optimiser: a batch of images
(``per-image``) or a group (``dense-adamw``), see :class:`Unit`. Units finish one after the other, so a kill costs at
most ``save_every`` seconds, and the bytes written do not depend on it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file, save

from benchbench.errors import BenchError
from benchbench.files import write_atomic
from benchbench.models.autoencoder import signed
from benchbench.models.diffusion.parts import Parts, encode_prompts, load_parts
from benchbench.models.resize import resized
from benchbench.plugins.context import Context
from benchbench.plugins.images import ImageSet, batches

from .embeddings import write_embeddings
from .noise import WINDOW, Draws, draw_window
from .objective import Objective

#: The per-image loss is divided by this, the authors' batch size, so that Adam's eps weighs the same at any
#: batch.
REFERENCE_BATCH = 50


@dataclass(frozen=True)
class InversionSettings:
    """The parameters of stage 1, all resolved; see ``DiffusionInversion`` for their meaning."""

    model: str
    num_tokens: int
    resolution: int
    interpolation: str
    learning_rate: float
    weight_decay: float
    checkpoints: tuple[int, ...]
    optimizer: str
    group_size: int
    batch_size: int
    loss_weighting: str
    timestep_sampling: str
    initial: str
    initial_prompt: str

    def units(self, shard: range) -> list[range]:
        """Return the ranges of images whose embeddings are learned together."""
        size = self.batch_size if self.optimizer == "per-image" else self.group_size
        return [shard[part.start : part.stop] for part in batches(len(shard), size)]


def invert(
    train: ImageSet,
    context: Context,
    settings: InversionSettings,
    *,
    save_every: float = 30.0,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Learn the embeddings of the shard's images and write them, per checkpoint, into ``context.folder``.

    Args:
        train: the whole training subset.
        context: ``shard``, ``folder``, ``scratch``, ``seed``, ``device`` and ``precision`` are used.
        settings: the parameters.
        save_every: seconds between two checkpoints in ``context.scratch``.
        clock: where time is read.
    """
    folder = context.foundation(settings.model)
    parts = load_parts(folder, settings.model, device=context.device, precision=context.precision)
    learner = _Learner(train, context, settings, parts)
    units = settings.units(context.shard)
    visits = settings.checkpoints[-1]
    state = context.scratch / "unit.safetensors"
    finished = [context.scratch / f"unit-{number:05d}.safetensors" for number in range(len(units))]
    unit: Unit | None = None
    saved_at = clock()
    steps = ((number, visit) for number in range(len(units)) for visit in range(visits))
    for number, visit in context.progress(steps, total=len(units) * visits, label="inverting", unit="visit"):
        if finished[number].exists():
            continue
        if unit is None:
            unit = learner.start(units[number])
            if state.exists():
                unit.restore(number, load_file(state))
        if visit < unit.visits:
            continue
        learner.visit(unit)
        if unit.visits == visits:
            write_atomic(finished[number], save(unit.result()))
            state.unlink(missing_ok=True)
            unit = None
        elif clock() - saved_at >= save_every:
            write_atomic(state, save(unit.state(number)))
            saved_at = clock()
    _publish(context, settings, parts, [load_file(path) for path in finished])


class Unit:
    """Embeddings that share an optimiser, and what is needed to go on with them.

    ``per-image``: one batch; every visit is a step for each row, so each image has an Adam of its own.

    ``dense-adamw`` (the authors' ``nn.Linear`` over one-hot rows): one group with fixed mini-batches in
    order; each step moves *every* row of the group, those outside the mini-batch with a gradient of zero,
    that is by momentum and weight decay.
    """

    def __init__(self, images: range, embeddings: torch.Tensor, settings: InversionSettings) -> None:
        self.images = images
        self.checkpoints = settings.checkpoints
        self.embeddings = torch.nn.Parameter(embeddings)
        self.optimizer = torch.optim.AdamW(
            [self.embeddings], lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        per_image = settings.optimizer == "per-image"
        self.batches = [range(len(images))] if per_image else list(batches(len(images), settings.batch_size))
        self.per_image = per_image
        self.visits = 0
        self.losses = torch.zeros(-(-settings.checkpoints[-1] // WINDOW), device=embeddings.device)
        self.kept: dict[str, NDArray[np.float32]] = {}

    def step(self, batch: range, gradient: torch.Tensor) -> None:
        """Apply one AdamW step given the gradient of the rows in ``batch``, ``(len(batch), K, D)``."""
        if self.embeddings.grad is None:
            self.embeddings.grad = torch.zeros_like(self.embeddings)
        else:
            self.embeddings.grad.zero_()
        self.embeddings.grad[batch.start : batch.stop] = gradient
        self.optimizer.step()

    def end_visit(self) -> None:
        """Count a visit and keep the embeddings if this is a checkpoint."""
        self.visits += 1
        if self.visits in self.checkpoints:
            self.kept[f"kept.{self.visits}"] = _array(self.embeddings)

    def state(self, number: int) -> dict[str, NDArray]:
        """Return everything needed to continue after this visit, bit for bit."""
        adam = self.optimizer.state[self.embeddings]
        return {
            "position": np.array([number, self.visits], np.int64),
            "embeddings": _array(self.embeddings),
            "exp_avg": _array(adam["exp_avg"]),
            "exp_avg_sq": _array(adam["exp_avg_sq"]),
            "step": _array(adam["step"].reshape(1)),
            "losses": _array(self.losses),
            **self.kept,
        }

    def restore(self, number: int, saved: dict[str, NDArray]) -> None:
        """Continue from ``state(number)``; a state of another unit is left alone."""
        if int(saved["position"][0]) != number:
            return
        place = self.embeddings.device
        self.visits = int(saved["position"][1])
        with torch.no_grad():
            self.embeddings.copy_(torch.from_numpy(saved["embeddings"]))
        self.optimizer.state[self.embeddings] = {
            "step": torch.from_numpy(saved["step"])[0],
            "exp_avg": torch.from_numpy(saved["exp_avg"]).to(place),
            "exp_avg_sq": torch.from_numpy(saved["exp_avg_sq"]).to(place),
        }
        self.losses = torch.from_numpy(saved["losses"]).to(place)
        self.kept = {name: table for name, table in saved.items() if name.startswith("kept.")}

    def result(self) -> dict[str, NDArray]:
        """Return what a finished unit leaves behind: its embeddings per checkpoint and its loss curve."""
        return {"images": np.array(self.images, np.int64), "losses": _array(self.losses), **self.kept}


class _Learner:
    """Starts units and carries out their visits."""

    def __init__(self, train: ImageSet, context: Context, settings: InversionSettings, parts: Parts) -> None:
        self.train, self.context, self.settings, self.parts = train, context, settings, parts
        self.objective = Objective(parts.layout.scheduler, settings.loss_weighting, parts.device)
        side = parts.layout.latent_size(settings.resolution, "diffinv")
        self.shape = (parts.layout.latent_channels, side, side)
        self._prompt: torch.Tensor | None = None
        self._posterior: tuple[torch.Tensor, torch.Tensor] | None = None
        self._draws: tuple[int, Draws] | None = None

    def start(self, images: range) -> Unit:
        """Encode the images of a unit and initialise their embeddings."""
        chosen = np.array(self.train.images[images.start : images.stop])
        means, stds = [], []
        for part in batches(len(images), REFERENCE_BATCH):
            pixels = resized(chosen[part.start : part.stop], self.settings.resolution, self.settings.interpolation)
            mean, std = self.parts.posterior(signed(pixels, self.parts.device))
            means.append(mean)
            stds.append(std)
        self._posterior = torch.cat(means), torch.cat(stds)
        self._draws = None
        return Unit(images, self._initial(images), self.settings)

    def visit(self, unit: Unit) -> None:
        """Take one optimiser step for each mini-batch, so that every image is visited once."""
        draws = self._window(unit)
        at = unit.visits % WINDOW
        total = torch.zeros((), device=self.parts.device)
        for batch in unit.batches:
            rows = slice(batch.start, batch.stop)
            tokens = unit.embeddings.detach()[rows].requires_grad_()
            losses = self._losses(
                tokens, rows, draws.timesteps[at, rows], draws.posterior[at, rows], draws.noise[at, rows]
            )
            scale = REFERENCE_BATCH if unit.per_image else len(batch)
            (gradient,) = torch.autograd.grad(losses.sum() / scale, tokens)
            unit.step(batch, gradient)
            total += losses.detach().sum()
        unit.losses[unit.visits // WINDOW] += total / len(unit.images)
        unit.end_visit()

    def _losses(
        self,
        tokens: torch.Tensor,
        rows: slice,
        timesteps: torch.Tensor,
        posterior: torch.Tensor,
        noise: torch.Tensor,
    ) -> torch.Tensor:
        assert self._posterior is not None
        mean, std = self._posterior
        latents = mean[rows] + std[rows] * posterior
        noisy = self.objective.noisy(latents, noise, timesteps)
        predicted = self.parts.predict(noisy, timesteps, tokens)
        return self.objective.losses(predicted, self.objective.target(latents, noise, timesteps), timesteps)

    def _window(self, unit: Unit) -> Draws:
        window = unit.visits // WINDOW
        if self._draws is None or self._draws[0] != window:
            drawn = draw_window(
                self.context.seed,
                unit.images,
                window,
                shape=self.shape,
                num_train_timesteps=self.objective.num_train_timesteps,
                stratified=self.settings.timestep_sampling == "stratified",
                device=self.parts.device,
            )
            self._draws = window, drawn
        return self._draws[1]

    def _initial(self, images: range) -> torch.Tensor:
        tokens, width = self.settings.num_tokens, self.parts.layout.token_width
        if self.settings.initial == "prompt":
            if self._prompt is None:
                self._prompt = encode_prompts(
                    self.parts.layout.folder, self.settings.model, [self.settings.initial_prompt], tokens, "diffinv"
                )
            return self._prompt.repeat(len(images), 1, 1).to(self.parts.device)
        # nn.Linear's default over a group's one-hot rows, whose scale depends on the size of the group.
        bound = self.settings.group_size**-0.5
        rows = [
            torch.rand(tokens, width, generator=self.context.torch_rng("initial", image)) * (2 * bound) - bound
            for image in images
        ]
        return torch.stack(rows).to(self.parts.device)


def _publish(context: Context, settings: InversionSettings, parts: Parts, results: list[dict[str, NDArray]]) -> None:
    """Join the units of the shard; refuse embeddings that are not finite."""
    index = np.concatenate([item["images"] for item in results])
    tables = {visits: np.concatenate([item[f"kept.{visits}"] for item in results]) for visits in settings.checkpoints}
    if not all(np.isfinite(table).all() for table in tables.values()):
        raise BenchError(
            f"diffinv:learning_rate={settings.learning_rate:g}: the embeddings diverged (not finite); "
            "take a smaller one"
        )
    visits = settings.checkpoints[-1]
    lengths = np.minimum(WINDOW, visits - WINDOW * np.arange(-(-visits // WINDOW)))
    weights = np.array([len(item["images"]) for item in results]) / len(index)
    curve = sum(weight * item["losses"] / lengths for weight, item in zip(weights, results, strict=True))
    # The model's name may be a path, which must not reach a published file; the key holds its content.
    used = {name: value for name, value in asdict(settings).items() if name != "model"}
    facts = {
        "settings": used,
        "prediction_type": parts.layout.scheduler.get("prediction_type", "epsilon"),
        "token_width": parts.layout.token_width,
        "images": [int(index.min()), int(index.max()) + 1],
        "loss_window": WINDOW,
        "loss": [round(float(value), 6) for value in np.atleast_1d(curve)],
    }
    write_embeddings(context.folder, index, tables, facts)


def _array(tensor: torch.Tensor) -> NDArray:
    return tensor.detach().cpu().contiguous().numpy().copy()
