"""psi, the feature network of GAN inversion: a ConvNet trained on the real subset, or an embedded classifier."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from benchbench.errors import BenchError
from benchbench.plugins.context import Context

from ...foundations.glyph_cnn_model import GlyphCNN
from .augment import augmented

#: Maps images normalised by the dataset's mean and deviation, ``(B, 3, R, R)``, to features ``(B, d_f)``.
Features = Callable[[Tensor], Tensor]

PASSES = 200
_LR, _MOMENTUM, _DECAY = 0.01, 0.9, 5e-4


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
    rng, order = context.torch_rng("psi", "batches"), torch.empty(0, dtype=torch.int64)
    targets, losses = torch.from_numpy(labels), []
    for step in context.progress(range(steps), label="learning features", unit="step"):
        if step == (steps + 1) // 2:
            # The authors make a new optimiser at half time, which also forgets the momentum.
            optimizer = torch.optim.SGD(net.parameters(), _LR / 10, momentum=_MOMENTUM, weight_decay=_DECAY)
        if len(order) < size:
            order = torch.cat([order, torch.randperm(len(images), generator=rng)])
        rows, order = order[:size], order[size:]
        pixels = torch.from_numpy(images[rows.numpy()]).permute(0, 3, 1, 2).float() / 255
        pixels = augmented(pixels, rng, flip=context.info.flip_keeps_class)
        pixels = normalise(pixels.to(context.device)).contiguous(memory_format=torch.channels_last)
        loss = F.cross_entropy(net(pixels), targets[rows].to(context.device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step >= steps - max(1, steps // 10):
            losses.append(loss.item())
    return net.requires_grad_(False), float(np.mean(losses))


def restored_features(weights: Mapping[str, NDArray], resolution: int, device: str) -> Features:
    """Return psi of the weights that training left, by name."""
    n_classes, width = len(weights["classifier.bias"]), len(weights["body.0.bias"])
    with torch.random.fork_rng(devices=[]):
        net = ConvNet(width, n_classes, resolution)
    net.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
    net.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return net.requires_grad_(False).embed


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
