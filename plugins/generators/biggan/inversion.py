"""GAN inversion: a latent for each real image (Zhou et al. 2023, appendix B.2.1; Zhao & Bilen 2022, IT-GAN).

Batches of 50 consecutive images finish one after the other. Adam's state is per entry and every step visits every
image of its batch, so each image has an Adam of its own; losses are per image, so nothing flows between images. A
batch leaves a file in ``context.scratch`` every ``save_every`` seconds and when it is done, and the bytes written do
not depend on having been interrupted.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file, save
from torch import Tensor

from benchbench.errors import BenchError
from benchbench.files import write_atomic
from benchbench.models.resize import resized
from benchbench.plugins.context import Context
from benchbench.plugins.images import ImageSet, batches

from .features import Features, open_features, restored_features, train_features
from .model import open_biggan

#: Images that are inverted at once, and by whose number the loss is divided, the authors' batch size: it decides how
#: much Adam's eps weighs.
BATCH = 50
#: Kernels for very few rows round in another way, so that fewer are filled up.
_FEWEST = 8
RESULT, FACTS = "latents.safetensors", "inversion.json"


@dataclass(frozen=True)
class InversionSettings:
    """The parameters of the inversion; see ``BigGAN`` for their meaning."""

    model: str
    steps: int
    learning_rate: float
    lambda_pixel: float
    features: str
    feature_width: int
    feature_steps: int | None
    feature_batch: int


def invert(
    train: ImageSet,
    context: Context,
    settings: InversionSettings,
    *,
    save_every: float = 30.0,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Invert the images of ``context.shard`` and write latents and losses into ``context.folder``.

    Args:
        train: the whole training subset, which psi is trained on.
        context: ``shard``, ``folder``, ``scratch``, ``seed``, ``info`` and ``device`` are used.
        settings: the parameters.
        save_every: seconds between two checkpoints in ``context.scratch``.
        clock: where time is read.

    Raises:
        BenchError: the latents diverged.
    """
    parts = [context.shard[part.start : part.stop] for part in batches(len(context.shard), BATCH)]
    finished = [context.scratch / f"batch-{number:05d}.safetensors" for number in range(len(parts))]
    state = context.scratch / "batch.safetensors"
    inverter = _Inverter(train, context, settings)
    latents: Latents | None = None
    saved_at = clock()
    steps = ((number, step) for number in range(len(parts)) for step in range(settings.steps))
    for number, step in context.progress(steps, total=len(parts) * settings.steps, label="inverting", unit="step"):
        if finished[number].exists():
            continue
        if latents is None:
            latents = inverter.start(parts[number])
            if state.exists():
                latents.restore(number, load_file(state))
        if step < latents.steps:
            continue
        inverter.step(latents)
        if latents.steps == settings.steps:
            write_atomic(finished[number], save(inverter.result(latents)))
            state.unlink(missing_ok=True)
            latents = None
        elif clock() - saved_at >= save_every:
            write_atomic(state, save(latents.state(number)))
            saved_at = clock()
    _publish(context, settings, [load_file(path) for path in finished])


class Latents:
    """The latents of a batch and the state of their Adam."""

    def __init__(self, images: range, z: Tensor, learning_rate: float) -> None:
        self.images, self.steps = images, 0
        self.z = torch.nn.Parameter(z)
        self.optimizer = torch.optim.Adam([self.z], lr=learning_rate, betas=(0.9, 0.999))

    def state(self, number: int) -> dict[str, NDArray]:
        """Return everything needed to continue after this step, bit for bit."""
        adam = self.optimizer.state[self.z]
        return {
            "position": np.array([number, self.steps], np.int64),
            "z": _array(self.z),
            "exp_avg": _array(adam["exp_avg"]),
            "exp_avg_sq": _array(adam["exp_avg_sq"]),
        }

    def restore(self, number: int, saved: dict[str, NDArray]) -> None:
        """Continue from ``state(number)``; a state of another batch is left alone."""
        if int(saved["position"][0]) != number:
            return
        place, self.steps = self.z.device, int(saved["position"][1])
        with torch.no_grad():
            self.z.copy_(torch.from_numpy(saved["z"]))
        self.optimizer.state[self.z] = {
            "step": torch.tensor(float(self.steps)),
            "exp_avg": torch.from_numpy(saved["exp_avg"]).to(place),
            "exp_avg_sq": torch.from_numpy(saved["exp_avg_sq"]).to(place),
        }


class _Inverter:
    """The frozen networks, and the targets of the batch at hand."""

    def __init__(self, train: ImageSet, context: Context, settings: InversionSettings) -> None:
        self.train, self.context, self.settings = train, context, settings
        self.generator = open_biggan(
            context.foundation(settings.model), settings.model, context.info, "biggan", device=context.device
        )
        info = context.info
        self._mean = torch.tensor(info.mean, device=context.device)[:, None, None]
        self._std = torch.tensor(info.std, device=context.device)[:, None, None]
        self.psi = self._features()

    def start(self, images: range) -> Latents:
        """Draw the latents of a batch and compute what its images and their features are."""
        rows = np.array([*images, *[images[-1]] * (_FEWEST - len(images))], np.int64)
        pixels = resized(np.asarray(self.train.images[rows]), self.generator.resolution, "bicubic")
        scaled = torch.from_numpy(pixels).permute(0, 3, 1, 2).float().to(self.context.device) / 255
        with torch.no_grad():
            self._targets = self._normalise(scaled).contiguous(memory_format=torch.channels_last)
            self._target_features = self.psi(self._targets)
        self._labels = torch.from_numpy(self.train.labels[rows]).to(self.context.device)
        return Latents(images, self._initial(rows), self.settings.learning_rate)

    def step(self, latents: Latents) -> None:
        """Take one step of Adam on the latents."""
        feature, pixel = self._losses(latents.z)
        total = (feature + self.settings.lambda_pixel * pixel).sum() / BATCH
        (latents.z.grad,) = torch.autograd.grad(total, latents.z)
        latents.optimizer.step()
        latents.steps += 1

    @torch.no_grad()
    def result(self, latents: Latents) -> dict[str, NDArray]:
        """Return what a finished batch leaves behind: latents and both losses per image, as they are at the end."""
        feature, pixel = self._losses(latents.z)
        count = len(latents.images)
        return {
            "index": np.array(latents.images, np.int64),
            "z": _array(latents.z)[:count],
            "feature_loss": _array(feature)[:count],
            "pixel_loss": _array(pixel)[:count],
        }

    def _losses(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return both losses of each image: means over features and over pixels."""
        made = self._normalise((self.generator(z, self._labels) + 1) / 2)
        feature = (self.psi(made) - self._target_features).square().mean(1)
        return feature, (made - self._targets).square().mean((1, 2, 3))

    def _initial(self, rows: NDArray[np.int64]) -> Tensor:
        drawn = [
            torch.randn(self.generator.dim_z, generator=self.context.torch_rng("latent", int(row))) for row in rows
        ]
        return torch.stack(drawn).to(self.context.device)

    def _features(self) -> Features:
        settings = self.settings
        if settings.features != "train":
            folder = self.context.foundation(settings.features)
            subject = f"biggan:features={settings.features}"
            return open_features(folder, subject, lambda x: x * self._std + self._mean, self.context.device)
        trained = self.context.scratch / "psi.safetensors"
        if not trained.exists():
            write_atomic(trained, save(self._trained()))
        weights = load_file(trained)
        self.context.report(psi_loss=round(float(weights.pop("loss")[0]), 6))
        return restored_features(weights, self.generator.resolution, self.context.device)

    def _trained(self) -> dict[str, NDArray]:
        images = resized(np.asarray(self.train.images), self.generator.resolution, "bicubic")
        net, loss = train_features(
            images,
            self.train.labels,
            self.context,
            self._normalise,
            width=self.settings.feature_width,
            steps=self.settings.feature_steps,
            batch=self.settings.feature_batch,
        )
        return {"loss": np.array([loss])} | {name: _array(value) for name, value in net.state_dict().items()}

    def _normalise(self, images: Tensor) -> Tensor:
        return (images - self._mean) / self._std


def _publish(context: Context, settings: InversionSettings, results: list[dict[str, NDArray]]) -> None:
    """Join the batches of the shard; refuse latents that are not finite."""
    joined = {name: np.concatenate([item[name] for item in results]) for name in results[0]}
    if not all(np.isfinite(table).all() for table in joined.values()):
        raise BenchError(
            f"biggan:learning_rate={settings.learning_rate:g}: the latents diverged (not finite, with "
            f"lambda_pixel={settings.lambda_pixel:g}); take a smaller one"
        )
    facts = {f"mean_{name}": round(float(joined[name].mean()), 6) for name in ("feature_loss", "pixel_loss")}
    context.report(**facts)
    write_atomic(context.folder / RESULT, save(joined))
    (context.folder / FACTS).write_text(json.dumps({"steps": settings.steps, **facts}, indent=2) + "\n", "utf-8")


def _array(tensor: Tensor) -> NDArray:
    return tensor.detach().cpu().contiguous().numpy().copy()
