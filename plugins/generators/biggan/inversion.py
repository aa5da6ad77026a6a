"""GAN inversion: a latent for each real image (Zhou et al. 2023, appendix B.2.1; Zhao & Bilen 2022, IT-GAN).

Batches of 50 consecutive images finish one after the other. Adam's state is per entry and every step visits every
image of its batch, so each image has its own Adam; losses are per image, so nothing flows between images.

psi, the feature network of GAN inversion: a ConvNet trained on the real subset, or an embedded classifier.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from benchbench.errors import BenchError
from benchbench.files import write_atomic
from benchbench.models.resize import resized
from benchbench.plugins.context import Context
from benchbench.plugins.images import ImageSet, batches

from ...foundations.glyph_cnn_model import at_its_side, open_glyph_cnn
from .network import open_biggan

if TYPE_CHECKING:
    from . import BigGAN


#: Images that are inverted at once, and by whose number the loss is divided, the authors' batch size: it decides how
#: much Adam's eps weighs.
BATCH = 50
#: Kernels for very few rows round in another way, so that fewer are filled up.
FEWEST = 8
RESULT = "latents.safetensors"


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
        rows = np.array([*self._images, *[self._images[-1]] * (FEWEST - len(self._images))], np.int64)
        pixels = resized(np.asarray(self.train.images[rows]), self.generator.config.resolution, "bicubic")
        scaled = torch.from_numpy(pixels).permute(0, 3, 1, 2).float().to(self.context.device) / 255
        with torch.no_grad():
            self._targets = self._normalise(scaled).contiguous(memory_format=torch.channels_last)
            self._target_features = self.psi(self._targets)
        self._labels = torch.from_numpy(self.train.labels[rows]).to(self.context.device)
        size = self.generator.config.dim_z
        drawn = [torch.randn(size, generator=self.context.torch_rng("latent", int(row))) for row in rows]
        self._z = torch.nn.Parameter(torch.stack(drawn).to(self.context.device))
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

    def _features(self) -> Features:
        """Open the embedded classifier as psi, its penultimate features, or train a ConvNet on the real subset."""
        plugin, context = self.plugin, self.context
        if plugin.features != "train":
            try:
                model = open_glyph_cnn(load_file(context.foundation(plugin.features) / "model.safetensors"))
            except (OSError, KeyError, SafetensorError, RuntimeError) as error:
                raise BenchError(
                    f"biggan:features={plugin.features}: model.safetensors cannot be read "
                    f"({str(error).splitlines()[0][:120]})"
                ) from None
            model.to(context.device)
            return lambda x: model.features(at_its_side(x * self._std + self._mean))
        images = resized(np.asarray(self.train.images), self.generator.config.resolution, "bicubic")
        net, loss = train_features(images, self.train.labels, context, plugin, self._normalise)
        context.report(psi_loss=round(loss, 6))
        return net.embed

    def _normalise(self, images: Tensor) -> Tensor:
        return (images - self._mean) / self._std


def report_losses(context: Context, latents: dict[str, NDArray]) -> None:
    """Report the mean of both losses over the images."""
    losses = {f"mean_{name}": float(latents[name].mean()) for name in ("feature_loss", "pixel_loss")}
    context.report(**{name: round(value, 6) for name, value in losses.items()})


def _publish(context: Context, plugin: BigGAN, results: list[dict[str, Tensor]]) -> None:
    """Join the batches of the shard; refuse latents that are not finite."""
    joined = {name: torch.cat([item[name] for item in results]) for name in results[0]}
    if not all(bool(torch.isfinite(table).all()) for table in joined.values()):
        raise BenchError(
            f"biggan:learning_rate={plugin.learning_rate:g}: the latents diverged (not finite, with "
            f"lambda_pixel={plugin.lambda_pixel:g}); take a smaller one"
        )
    report_losses(context, {name: table.numpy() for name, table in joined.items()})
    write_atomic(context.folder / RESULT, save({"index": torch.tensor(context.shard), **joined}))


#: Maps images normalised by the dataset's mean and deviation, ``(B, 3, R, R)``, to features ``(B, d_f)``.
Features = Callable[[Tensor], Tensor]

PASSES = 200
_LR, _MOMENTUM, _DECAY = 0.01, 0.9, 5e-4
#: Strengths of the differentiable augmentation "color_crop_cutout_flip_scale_rotate" of IT-GAN (Zhao & Bilen 2022).
BRIGHTNESS, SATURATION, CONTRAST = 1.0, 2.0, 0.5
SHIFT, CUTOUT, SCALE, DEGREES = 0.125, 0.5, 1.2, 15.0
OPERATIONS = ("color", "crop", "cutout", "flip", "scale", "rotate")


class ConvNet(nn.Module):
    """Three times [3x3 convolution, instance normalisation, ReLU, 2x2 average], then a linear classifier.

    The ConvNet of Zhao & Bilen 2022 (IT-GAN); 320,010 parameters for width 128, 10 classes and 32 px.
    """

    def __init__(self, width: int, n_classes: int, resolution: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs in (3, width, width):
            layers += [
                nn.Conv2d(inputs, width, 3, padding=1),
                nn.GroupNorm(width, width),
                nn.ReLU(inplace=True),
                nn.AvgPool2d(2),
            ]
        self.body = nn.Sequential(*layers)
        self.classifier = nn.Linear(width * (resolution // 8) ** 2, n_classes)

    def embed(self, x: Tensor) -> Tensor:
        """Return features ``(B, width * (R / 8)^2)`` of normalised images ``(B, 3, R, R)``."""
        return self.body(x).flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``(B, n_classes)``."""
        return self.classifier(self.embed(x))


def augmented(images: Tensor, rng: torch.Generator, *, flip: bool, operation: str | None = None) -> Tensor:
    """Return float ``(B, 3, H, W)`` changed by one operation, drawn from ``rng`` unless it is given.

    psi is trained with one random operation per batch, as in IT-GAN, whose parameters are drawn per image. Nothing
    needs to be differentiable here.

    Args:
        images: float32 in [0, 1], on the CPU.
        rng: the only source of randomness.
        flip: whether mirror images keep their class; without it, flips are not drawn.
        operation: one of ``OPERATIONS``.
    """
    choices = [name for name in OPERATIONS if flip or name != "flip"]
    operation = operation or choices[int(torch.randint(len(choices), (), generator=rng))]
    n = len(images)

    def uniform(low: float, high: float) -> Tensor:
        return torch.rand(n, 1, 1, 1, generator=rng) * (high - low) + low

    if operation == "color":
        images = images + uniform(-0.5, 0.5) * BRIGHTNESS
        grey = images.mean(1, keepdim=True)
        images = grey + (images - grey) * uniform(0, SATURATION)
        middle = images.mean((1, 2, 3), keepdim=True)
        return middle + (images - middle) * uniform(1 - CONTRAST, 1 + CONTRAST)
    if operation == "cutout":
        return images * _outside_square(images, rng)
    if operation == "flip":
        return torch.where(uniform(0, 1) < 0.5, images.flip(3), images)
    theta = torch.eye(2, 3).repeat(n, 1, 1)
    if operation == "crop":
        side = images.shape[-1]
        reach = int(side * SHIFT + 0.5)
        # Whole pixels: a crop moves an image and blurs nothing. The grid spans 2 units over the side.
        theta[:, :, 2] = torch.randint(-reach, reach + 1, (n, 2), generator=rng) * (2 / side)
    elif operation == "scale":
        theta[:, 0, 0] = uniform(1 / SCALE, SCALE)[:, 0, 0, 0]
        theta[:, 1, 1] = uniform(1 / SCALE, SCALE)[:, 0, 0, 0]
    else:
        angle = uniform(-DEGREES, DEGREES)[:, 0, 0, 0] * (math.pi / 180)
        cos, sin = angle.cos(), angle.sin()
        theta[:, :, :2] = torch.stack([torch.stack([cos, -sin], 1), torch.stack([sin, cos], 1)], 1)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def _outside_square(images: Tensor, rng: torch.Generator) -> Tensor:
    """Return a mask ``(B, 1, H, W)``, 0 in a square of half the side, anywhere, cut at the border."""
    n, _, height, width = images.shape
    centre = torch.rand(n, 2, generator=rng) * torch.tensor([height, width])
    rows = (torch.arange(height) + 0.5 - centre[:, :1]).abs() <= height * CUTOUT / 2
    columns = (torch.arange(width) + 0.5 - centre[:, 1:]).abs() <= width * CUTOUT / 2
    return 1 - (rows[:, None, :, None] & columns[:, None, None, :]).float()


def train_features(
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    context: Context,
    plugin: BigGAN,
    normalise: Callable[[Tensor], Tensor],
) -> tuple[ConvNet, float]:
    """Train psi on the whole training subset; the shard has no influence.

    Args:
        images: uint8 ``(N, R, R, 3)``.
        labels: int64 ``(N,)``.
        context: gives randomness, device and progress.
        plugin: the channels, steps of the optimiser, and images per step (all of them, if they are fewer).
        normalise: maps images in [0, 1] to what psi sees.

    Returns:
        The network, frozen, and its mean loss over the last tenth of the steps.
    """
    size = min(plugin.feature_batch, len(images))
    steps = plugin.feature_steps or PASSES * -(-len(images) // size)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(context.rng("psi").integers(2**63)))
        net = ConvNet(plugin.feature_width, len(context.info.classes), images.shape[1])
    net.to(context.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.SGD(net.parameters(), _LR, momentum=_MOMENTUM, weight_decay=_DECAY)
    rng, targets = context.torch_rng("psi", "batches"), torch.from_numpy(labels)
    order: list[int] = []
    losses: list[float] = []
    state = (net, optimizer, rng, order, losses)
    for step in context.resume(range(steps), *state, label="learning features"):
        if step == (steps + 1) // 2:
            # The authors make a new optimiser at half time, which also forgets the momentum.
            optimizer.state.clear()
            optimizer.param_groups[0]["lr"] = _LR / 10
        if len(order) < size:
            order += torch.randperm(len(images), generator=rng).tolist()
        rows = order[:size]
        del order[:size]
        pixels = torch.from_numpy(images[rows]).permute(0, 3, 1, 2).float() / 255
        pixels = augmented(pixels, rng, flip=context.info.flip_keeps_class)
        pixels = normalise(pixels.to(context.device)).contiguous(memory_format=torch.channels_last)
        loss = F.cross_entropy(net(pixels), targets[rows].to(context.device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step >= steps - max(1, steps // 10):
            losses.append(loss.item())
    return net.requires_grad_(False), float(np.mean(losses))
