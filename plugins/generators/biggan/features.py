"""psi, the feature network of GAN inversion: a ConvNet trained on the real subset, or an embedded classifier."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from benchbench.errors import BenchError
from benchbench.plugins.context import Context

from ...foundations.glyph_cnn_model import GlyphCNN

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
    normalise: Callable[[Tensor], Tensor],
    *,
    width: int,
    steps: int | None,
    batch: int,
) -> tuple[ConvNet, float]:
    """Train psi on the whole training subset; the shard has no influence.

    Args:
        images: uint8 ``(N, R, R, 3)``.
        labels: int64 ``(N,)``.
        context: gives randomness, device and progress.
        normalise: maps images in [0, 1] to what psi sees.
        width: channels.
        steps: of the optimiser; ``None`` is 200 passes.
        batch: images per step; all of them, if they are fewer.

    Returns:
        The network, frozen, and its mean loss over the last tenth of the steps.
    """
    size = min(batch, len(images))
    steps = steps or PASSES * -(-len(images) // size)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(context.rng("psi").integers(2**63)))
        net = ConvNet(width, len(context.info.classes), images.shape[1])
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


def open_features(folder: Path, subject: str, denormalise: Callable[[Tensor], Tensor], device: str) -> Features:
    """Open the classifier in ``folder`` as psi: its penultimate features.

    Raises:
        BenchError: its weights cannot be read.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        weights = load_file(folder / "model.safetensors")
        with torch.random.fork_rng(devices=[]):
            model = GlyphCNN(num_classes=len(weights["head.bias"]), width=len(weights["stem.0.weight"]))
        model.load_state_dict(weights)
    except (OSError, KeyError, SafetensorError, RuntimeError) as error:
        raise BenchError(f"{subject}: model.safetensors cannot be read ({str(error).splitlines()[0][:120]})") from None
    model.to(device).eval().requires_grad_(False)

    def features(x: Tensor) -> Tensor:
        pixels = denormalise(x)
        if pixels.shape[-1] != 32:
            pixels = F.interpolate(pixels, (32, 32), mode="bilinear", align_corners=False, antialias=True)
        return model.features(pixels)

    return features
