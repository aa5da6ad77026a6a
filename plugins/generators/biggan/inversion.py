"""GAN inversion: a latent for each real image (Zhou et al. 2023, appendix B.2.1; Zhao & Bilen 2022, IT-GAN).

Batches of 50 consecutive images finish one after the other. Adam's state is per entry and every step visits every
image of its batch, so each image has its own Adam; losses are per image, so nothing flows between images.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from torch import Tensor

from benchbench.errors import BenchError
from benchbench.files import write_atomic
from benchbench.models.resize import resized
from benchbench.plugins.context import Context
from benchbench.plugins.images import ImageSet, batches

from .features import Features, open_features, train_features
from .network import open_biggan

if TYPE_CHECKING:
    from . import BigGAN

#: Images that are inverted at once, and by whose number the loss is divided, the authors' batch size: it decides how
#: much Adam's eps weighs.
BATCH = 50
#: Kernels for very few rows round in another way, so that fewer are filled up.
_FEWEST = 8
RESULT, FACTS = "latents.safetensors", "inversion.json"


def invert(train: ImageSet, context: Context, plugin: BigGAN) -> None:
    """Invert the images of ``context.shard`` and write latents and losses into ``context.folder``.

    Args:
        train: the whole training subset, which psi is trained on.
        context: ``shard``, ``folder``, ``scratch``, ``seed``, ``info`` and ``device`` are used.
        plugin: the parameters.

    Raises:
        BenchError: the latents diverged.
    """
    inverter = _Inverter(train, context, plugin)
    steps = range(len(inverter.batches) * plugin.steps)
    for _ in context.resume(steps, inverter, label="inverting", unit="step"):
        inverter.step()
    _publish(context, plugin, inverter.finished)


class _Inverter:
    """The frozen networks, and the latents and the targets of the batch at hand."""

    def __init__(self, train: ImageSet, context: Context, plugin: BigGAN) -> None:
        self.train, self.context, self.plugin = train, context, plugin
        self.generator = open_biggan(
            context.foundation(plugin.model), plugin.model, context.info, device=context.device
        )
        info = context.info
        self._mean = torch.tensor(info.mean, device=context.device)[:, None, None]
        self._std = torch.tensor(info.std, device=context.device)[:, None, None]
        self.psi = self._features()
        self.batches = [context.shard[part.start : part.stop] for part in batches(len(context.shard), BATCH)]
        #: What each finished batch leaves: see :meth:`_result`.
        self.finished: list[dict[str, Tensor]] = []
        self._done = 0  # steps of the batch at hand

    def state_dict(self) -> dict[str, Any]:
        """Return everything needed to continue after this step, bit for bit."""
        state: dict[str, Any] = {"finished": self.finished, "done": self._done}
        if self._done:
            state |= {"z": self._z.detach(), "optimizer": self._optimizer.state_dict()}
        return state

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Continue from ``state_dict()``."""
        self.finished, self._done = saved["finished"], saved["done"]
        if self._done:
            self._start()
            with torch.no_grad():
                self._z.copy_(saved["z"])
            self._optimizer.load_state_dict(saved["optimizer"])

    def _start(self) -> None:
        """Draw the latents of the next batch and compute what its images and their features are."""
        self._images = self.batches[len(self.finished)]
        rows = np.array([*self._images, *[self._images[-1]] * (_FEWEST - len(self._images))], np.int64)
        pixels = resized(np.asarray(self.train.images[rows]), self.generator.config.resolution, "bicubic")
        scaled = torch.from_numpy(pixels).permute(0, 3, 1, 2).float().to(self.context.device) / 255
        with torch.no_grad():
            self._targets = self._normalise(scaled).contiguous(memory_format=torch.channels_last)
            self._target_features = self.psi(self._targets)
        self._labels = torch.from_numpy(self.train.labels[rows]).to(self.context.device)
        self._z = torch.nn.Parameter(self._initial(rows))
        self._optimizer = torch.optim.Adam([self._z], lr=self.plugin.learning_rate, betas=(0.9, 0.999))

    def step(self) -> None:
        """Take one step of Adam on the latents of the batch at hand."""
        if not self._done:
            self._start()
        feature, pixel = self._losses(self._z)
        total = (feature + self.plugin.lambda_pixel * pixel).sum() / BATCH
        (self._z.grad,) = torch.autograd.grad(total, self._z)
        self._optimizer.step()
        self._done += 1
        if self._done == self.plugin.steps:
            self.finished.append(self._result())
            self._done = 0

    @torch.no_grad()
    def _result(self) -> dict[str, Tensor]:
        """Return what a finished batch leaves: latents and both losses per image, as they are at the end."""
        feature, pixel = self._losses(self._z)
        tables = {"z": self._z.detach(), "feature_loss": feature, "pixel_loss": pixel}
        return {name: table[: len(self._images)].cpu().clone() for name, table in tables.items()}

    def _losses(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return both losses of each image: means over features and over pixels."""
        made = self._normalise((self.generator(z, self._labels) + 1) / 2)
        feature = (self.psi(made) - self._target_features).square().mean(1)
        return feature, (made - self._targets).square().mean((1, 2, 3))

    def _initial(self, rows: NDArray[np.int64]) -> Tensor:
        drawn = [
            torch.randn(self.generator.config.dim_z, generator=self.context.torch_rng("latent", int(row)))
            for row in rows
        ]
        return torch.stack(drawn).to(self.context.device)

    def _features(self) -> Features:
        plugin, context = self.plugin, self.context
        if plugin.features != "train":
            subject = f"biggan:features={plugin.features}"
            folder = context.foundation(plugin.features)
            return open_features(folder, subject, lambda x: x * self._std + self._mean, context.device)
        net, loss = train_features(
            resized(np.asarray(self.train.images), self.generator.config.resolution, "bicubic"),
            self.train.labels,
            context,
            self._normalise,
            width=plugin.feature_width,
            steps=plugin.feature_steps,
            batch=plugin.feature_batch,
        )
        context.report(psi_loss=round(loss, 6))
        return net.embed

    def _normalise(self, images: Tensor) -> Tensor:
        return (images - self._mean) / self._std


def _publish(context: Context, plugin: BigGAN, results: list[dict[str, Tensor]]) -> None:
    """Join the batches of the shard; refuse latents that are not finite."""
    joined = {name: torch.cat([item[name] for item in results]) for name in results[0]}
    if not all(bool(torch.isfinite(table).all()) for table in joined.values()):
        raise BenchError(
            f"biggan:learning_rate={plugin.learning_rate:g}: the latents diverged (not finite, with "
            f"lambda_pixel={plugin.lambda_pixel:g}); take a smaller one"
        )
    facts = {f"mean_{name}": round(float(joined[name].numpy().mean()), 6) for name in ("feature_loss", "pixel_loss")}
    context.report(**facts)
    write_atomic(context.folder / RESULT, save({"index": torch.tensor(context.shard), **joined}))
    (context.folder / FACTS).write_text(json.dumps({"steps": plugin.steps, **facts}, indent=2) + "\n", "utf-8")
