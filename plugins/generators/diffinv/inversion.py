"""Stage 1 of Diffusion Inversion (Zhou et al. 2023, section 3): one conditioning per image.

The networks are frozen. The VAE's posterior of each image is encoded once and sampled at every visit, which is the
same distribution as encoding anew each time. Work is cut into units whose rows share an optimiser: a batch of images
(``per-image``) or a group (``dense-adamw``), see :class:`Unit`. Units finish one after the other.

A shard leaves one safetensors file for each checkpoint and a small JSON file.

The denoising loss is that of every prediction type and weighting. There is one random stream per image and window of
visits, whatever the batch or the shard: an image's timesteps and noises come from generators seeded by (seed, image,
window) alone. Drawing a window of visits at a time keeps that affordable (four kernels per image and 50 visits) and
needs no state in a checkpoint.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file, save

from benchbench.errors import BenchError
from benchbench.models.autoencoder import signed
from benchbench.models.diffusion.parts import Parts, encode_prompts, load_parts
from benchbench.models.resize import resized
from benchbench.plugins.context import Context, derive_seed
from benchbench.plugins.images import ImageSet, batches
from benchbench.plugins.parameters import values_of

if TYPE_CHECKING:
    from . import DiffusionInversion

#: The per-image loss is divided by this, the authors' batch size, so that Adam's eps weighs the same at any
#: batch.
REFERENCE_BATCH = 50
#: Visits per window; also the number of strata of stratified timesteps.
WINDOW = 50


def invert(train: ImageSet, context: Context, plugin: DiffusionInversion) -> None:
    """Learn the embeddings of the shard's images and write them, per checkpoint, into ``context.folder``.

    Args:
        train: the whole training subset.
        context: ``shard``, ``folder``, ``scratch``, ``seed``, ``device`` and ``precision`` are used.
        plugin: resolved for the dataset.

    Raises:
        BenchError: the embeddings diverged.
    """
    model = str(plugin.model)
    parts = load_parts(context.foundation(model), model, device=context.device, precision=context.precision)
    learner = _Learner(train, context, plugin, parts)
    visits = range(len(learner.units) * plugin.checkpoints[-1])
    for _ in context.resume(visits, learner, label="inverting", unit="visit"):
        learner.visit()
    _publish(context, plugin, parts, learner)


class Unit:
    """Embeddings that share an optimiser, and what is needed to go on with them.

    ``per-image``: one batch; every visit is a step for each row, so each image has its own Adam.

    ``dense-adamw`` (the authors' ``nn.Linear`` over one-hot rows): one group with fixed mini-batches in
    order; each step moves *every* row of the group, those outside the mini-batch with a gradient of zero,
    that is by momentum and weight decay.
    """

    def __init__(self, images: range, embeddings: torch.Tensor, plugin: DiffusionInversion) -> None:
        self.images = images
        self.checkpoints = plugin.checkpoints
        self.embeddings = torch.nn.Parameter(embeddings)
        self.optimizer = torch.optim.AdamW([self.embeddings], lr=plugin.learning_rate, weight_decay=plugin.weight_decay)
        self.per_image = plugin.optimizer == "per-image"
        size = len(images) if self.per_image else plugin.batch_size or len(images)
        self.batches = list(batches(len(images), size))
        self.visits = 0
        self.losses = torch.zeros(-(-plugin.checkpoints[-1] // WINDOW), device=embeddings.device)
        self.kept: dict[int, torch.Tensor] = {}

    def step(self, batch: range, gradient: torch.Tensor) -> None:
        """Apply one AdamW step given the gradient of the rows in ``batch``, ``(len(batch), K, D)``."""
        self.embeddings.grad = torch.zeros_like(self.embeddings)
        self.embeddings.grad[batch.start : batch.stop] = gradient
        self.optimizer.step()

    def end_visit(self) -> None:
        """Count a visit and keep the embeddings if this is a checkpoint."""
        self.visits += 1
        if self.visits in self.checkpoints:
            self.kept[self.visits] = self.embeddings.detach().cpu().clone()

    def state_dict(self) -> dict[str, Any]:
        """Return everything needed to continue after this visit, bit for bit."""
        return {
            "visits": self.visits,
            "embeddings": self.embeddings.detach(),
            "optimizer": self.optimizer.state_dict(),
            "losses": self.losses,
            "kept": self.kept,
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Continue from ``state_dict()``."""
        self.visits, self.kept = saved["visits"], saved["kept"]
        with torch.no_grad():
            self.embeddings.copy_(saved["embeddings"])
            self.losses.copy_(saved["losses"])
        self.optimizer.load_state_dict(saved["optimizer"])


class _Learner:
    """Takes the units of a shard one after the other through their visits."""

    def __init__(self, train: ImageSet, context: Context, plugin: DiffusionInversion, parts: Parts) -> None:
        self.train, self.context, self.plugin, self.parts = train, context, plugin, parts
        self.objective = Objective(parts.layout.scheduler, plugin.loss_weighting, parts.device)
        self.side = plugin.resolution or 0
        latent = parts.layout.latent_size(self.side, "diffinv")
        self.shape = (parts.layout.latent_channels, latent, latent)
        size = (plugin.batch_size if plugin.optimizer == "per-image" else plugin.group_size) or 0
        self.units = [context.shard[part.start : part.stop] for part in batches(len(context.shard), size)]
        #: For each finished unit its loss curve and its embeddings by checkpoint.
        self.finished: list[tuple[torch.Tensor, dict[int, torch.Tensor]]] = []
        self._unit: Unit | None = None
        self._prompt: torch.Tensor | None = None
        self._draws: Draws | None = None  # of the window of visits at hand

    def state_dict(self) -> dict[str, Any]:
        """Return what the finished units left, and the state of the one at hand."""
        return {"finished": self.finished, "unit": self._unit and self._unit.state_dict()}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Continue from ``state_dict()``."""
        self.finished = saved["finished"]
        if saved["unit"]:
            self._unit = self._start()
            self._unit.load_state_dict(saved["unit"])

    def _start(self) -> Unit:
        """Encode the images of the next unit and initialise their embeddings."""
        images = self.units[len(self.finished)]
        chosen = np.array(self.train.images[images.start : images.stop])
        means, stds = [], []
        for part in batches(len(images), REFERENCE_BATCH):
            pixels = resized(chosen[part.start : part.stop], self.side, self.plugin.interpolation)
            mean, std = self.parts.posterior(signed(pixels, self.parts.device))
            means.append(mean)
            stds.append(std)
        self._posterior = torch.cat(means), torch.cat(stds)
        self._draws = None
        return Unit(images, self._initial(images), self.plugin)

    def visit(self) -> None:
        """Take one optimiser step for each mini-batch of the unit at hand, so that its images are visited once."""
        unit = self._unit = self._unit or self._start()
        window, at = divmod(unit.visits, WINDOW)
        if at == 0 or self._draws is None:
            self._draws = draw_window(
                self.context.seed,
                unit.images,
                window,
                shape=self.shape,
                num_train_timesteps=self.objective.num_train_timesteps,
                stratified=self.plugin.timestep_sampling == "stratified",
                device=self.parts.device,
            )
        draws = self._draws
        mean, std = self._posterior
        total = torch.zeros((), device=self.parts.device)
        for batch in unit.batches:
            rows = slice(batch.start, batch.stop)
            tokens = unit.embeddings.detach()[rows].requires_grad_()
            latents = mean[rows] + std[rows] * draws.posterior[at, rows]
            timesteps, noise = draws.timesteps[at, rows], draws.noise[at, rows]
            predicted = self.parts.predict(self.objective.noisy(latents, noise, timesteps), timesteps, tokens)
            losses = self.objective.losses(predicted, self.objective.target(latents, noise, timesteps), timesteps)
            scale = REFERENCE_BATCH if unit.per_image else len(batch)
            (gradient,) = torch.autograd.grad(losses.sum() / scale, tokens)
            unit.step(batch, gradient)
            total += losses.detach().sum()
        unit.losses[window] += total / len(unit.images)
        unit.end_visit()
        if unit.visits == self.plugin.checkpoints[-1]:
            self.finished.append((unit.losses.cpu(), unit.kept))
            self._unit = None

    def _initial(self, images: range) -> torch.Tensor:
        tokens, width = self.plugin.num_tokens, self.parts.layout.token_width
        if self.plugin.initial == "prompt":
            if self._prompt is None:
                folder, model = self.parts.layout.folder, str(self.plugin.model)
                self._prompt = encode_prompts(folder, model, [self.plugin.initial_prompt], tokens, "diffinv")
            return self._prompt.repeat(len(images), 1, 1).to(self.parts.device)
        # nn.Linear's default over a group's one-hot rows, whose scale depends on the size of the group.
        bound = float(self.plugin.group_size or 1) ** -0.5
        rows = [
            torch.rand(tokens, width, generator=self.context.torch_rng("initial", image)) * (2 * bound) - bound
            for image in images
        ]
        return torch.stack(rows).to(self.parts.device)


def _publish(context: Context, plugin: DiffusionInversion, parts: Parts, learner: _Learner) -> None:
    """Join the units of the shard and write them; refuse embeddings that are not finite.

    The file of a checkpoint holds ``embeddings``, float32 ``(n, K, D)``, and ``index``, int64 ``(n,)``, the training
    image that each row belongs to.
    """
    index = np.array(context.shard, np.int64)
    tables = {
        visits: np.concatenate([kept[visits].numpy() for _, kept in learner.finished]) for visits in plugin.checkpoints
    }
    if not all(np.isfinite(table).all() for table in tables.values()):
        raise BenchError(
            f"diffinv:learning_rate={plugin.learning_rate:g}: the embeddings diverged (not finite); take a smaller one"
        )
    visits = plugin.checkpoints[-1]
    lengths = np.minimum(WINDOW, visits - WINDOW * np.arange(-(-visits // WINDOW)))
    weights = np.array([len(unit) for unit in learner.units]) / len(index)
    curve = sum(
        weight * losses.numpy() / lengths for weight, (losses, _) in zip(weights, learner.finished, strict=True)
    )
    # The model's name may be a path, which must not reach a published file; the key holds its content.
    settings = values_of(plugin, stage="fit", changed_only=False)
    facts = {
        "settings": {name: value for name, value in settings.items() if name != "model"},
        "prediction_type": parts.layout.scheduler.get("prediction_type", "epsilon"),
        "token_width": parts.layout.token_width,
        "images": [int(index.min()), int(index.max()) + 1],
        "loss_window": WINDOW,
        "loss": [round(float(value), 6) for value in np.atleast_1d(curve)],
    }
    for visits, table in tables.items():
        (context.folder / embeddings_file(visits)).write_bytes(save({"embeddings": table, "index": index}))
    (context.folder / "inversion.json").write_text(json.dumps(facts, indent=1, sort_keys=True) + "\n", "utf-8")


def embeddings_file(visits: int) -> str:
    """Return the name of the file that holds the embeddings after ``visits`` visits per image."""
    return f"embeddings-{visits:06d}.safetensors"


def read_embeddings(folders: Sequence[Path], visits: int, count: int) -> NDArray[np.float32]:
    """Return the embeddings of all shards at one checkpoint, float32 ``(count, K, D)`` in image order.

    Raises:
        BenchError: the shards do not hold each of the ``count`` training images exactly once.
    """
    parts = [load_file(folder / embeddings_file(visits)) for folder in folders]
    index = np.concatenate([part["index"] for part in parts]) if parts else np.empty(0, np.int64)
    if not np.array_equal(np.sort(index), np.arange(count)):
        raise BenchError(
            f"diffinv: the fitted shards hold {len(index)} embeddings, not one for each of {count} images; "
            "remove them with `bench cache gc` and fit again"
        )
    return np.concatenate([part["embeddings"] for part in parts])[np.argsort(index)]


class Objective:
    """Noising, target and per-sample loss under a foundation's own noise schedule.

    Args:
        scheduler: the foundation's scheduler configuration; its ``prediction_type`` and betas are honoured.
        weighting: ``"none"``, the plain mean squared error of what the network predicts (the paper's);
            ``"velocity"``, the error of v whatever is predicted, which stresses high noise for epsilon models
            (Salimans and Ho 2022); ``"min-snr"``, the error of the clean latent times min(SNR, 5) (Hang et
            al. 2023).
        device: where timesteps will be.
    """

    def __init__(self, scheduler: Mapping[str, Any], weighting: str, device: torch.device) -> None:
        from diffusers import DDPMScheduler

        schedule = DDPMScheduler.from_config(dict(scheduler))
        self.prediction_type: str = schedule.config.prediction_type
        self.num_train_timesteps: int = schedule.config.num_train_timesteps
        kept = schedule.alphas_cumprod.double()
        self._signal = kept.sqrt().float().to(device)
        self._noise = (1 - kept).sqrt().float().to(device)
        self._weights = _weights(kept, self.prediction_type, weighting).float().to(device)

    def noisy(self, latents: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        """Return z_t = sqrt(abar_t) z + sqrt(1 - abar_t) eps, ``(B, C, h, w)``, for timesteps ``(B,)``."""
        return _wide(self._signal, timesteps) * latents + _wide(self._noise, timesteps) * noise

    def target(self, latents: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        """Return what the network should predict: eps, v = sqrt(abar_t) eps - sqrt(1 - abar_t) z, or z."""
        if self.prediction_type == "epsilon":
            return noise
        if self.prediction_type == "v_prediction":
            return _wide(self._signal, timesteps) * noise - _wide(self._noise, timesteps) * latents
        return latents

    def losses(self, predicted: torch.Tensor, target: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        """Return the weighted mean squared error of each sample, ``(B,)``."""
        return (predicted - target).square().mean(dim=(1, 2, 3)) * self._weights[timesteps]


def _wide(table: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
    return table[timesteps].view(-1, 1, 1, 1)


def _weights(kept: torch.Tensor, prediction_type: str, weighting: str) -> torch.Tensor:
    """Return w(t) on the error of the predicted quantity.

    An error of the clean latent x counts SNR times in eps and SNR + 1 times in v, so a weight on x is divided
    by that.
    """
    if weighting == "none":
        return torch.ones_like(kept)
    snr = kept / (1 - kept)
    on_clean = snr + 1 if weighting == "velocity" else snr.clamp(max=5.0)
    as_predicted = {"epsilon": snr, "v_prediction": snr + 1, "sample": torch.ones_like(snr)}[prediction_type]
    return on_clean / as_predicted.clamp(min=1e-8)


@dataclass(frozen=True)
class Draws:
    """What one window of visits consumes, for n images.

    Attributes:
        timesteps: int64 ``(WINDOW, n)``.
        posterior: standard normal ``(WINDOW, n, C, h, w)``, for sampling the VAE's posterior.
        noise: standard normal ``(WINDOW, n, C, h, w)``, added to the latents.
    """

    timesteps: torch.Tensor
    posterior: torch.Tensor
    noise: torch.Tensor


def draw_window(
    seed: int,
    images: Sequence[int],
    window: int,
    *,
    shape: tuple[int, int, int],
    num_train_timesteps: int,
    stratified: bool,
    device: torch.device,
) -> Draws:
    """Draw one window for the images of a batch, on the CPU, so that every device sees the same numbers.

    Args:
        seed: the step's seed.
        images: indices of the images in the training set.
        window: number of the window, visits ``window * WINDOW`` onwards.
        shape: ``(C, h, w)`` of a latent.
        num_train_timesteps: T; timesteps lie in 0..T-1.
        stratified: whether each window has one timestep in each of WINDOW equal parts of 0..T-1, in random
            order (lower gradient variance), instead of independent uniform ones (the paper's).
        device: where the draws are wanted.
    """
    count = len(images)
    timesteps = torch.empty(WINDOW, count, dtype=torch.int64)
    posterior = torch.empty(WINDOW, count, *shape)
    noise = torch.empty(WINDOW, count, *shape)
    rng = torch.Generator()
    for column, image in enumerate(images):
        rng.manual_seed(derive_seed(seed, "inversion", image, window))
        share = torch.rand(WINDOW, generator=rng, dtype=torch.float64)
        if stratified:
            order = torch.randperm(WINDOW, generator=rng)
            share = (order + share) / WINDOW
        timesteps[:, column] = (share * num_train_timesteps).long().clamp_(max=num_train_timesteps - 1)
        posterior[:, column] = torch.randn(WINDOW, *shape, generator=rng)
        noise[:, column] = torch.randn(WINDOW, *shape, generator=rng)
    return Draws(timesteps.to(device), posterior.to(device), noise.to(device))
