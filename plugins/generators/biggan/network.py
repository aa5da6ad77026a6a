"""The BigGAN generator for CIFAR (Brock et al. 2019; Zhao et al. 2020, DiffAugment), parametrised.

A checkpoint, embedded or published, opens as a frozen function from latents and classes to images.

Names of parameters and buffers are those of the published checkpoints (``linear``, ``blocks.i.0.conv1``,
``output_layer.2``, ...; ``u0`` and ``sv0`` for the spectral norms, ``stored_mean`` and ``stored_var`` for batch
normalisation), so that such a file loads strictly. With ``BigGANConfig()`` it has 72 entries and 4,304,387 parameters
for 10 classes, 4,580,867 for 100.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchbench.errors import BenchError, UsageError
from benchbench.models.opening import unread
from benchbench.plugins import DatasetInfo

from .layout import BigGANConfig, BigGANLayout, check_shapes, config_of, read_biggan_layout

BN_EPS = 1e-5
SN_EPS = 1e-8


class SpectralNorm:
    """Divides ``weight`` by its largest singular value, estimated by one power iteration from the buffer ``u0``.

    In training mode the iteration also moves ``u0``; in eval mode it stays local, so that a call changes nothing.
    """

    weight: Tensor
    u0: Tensor
    sv0: Tensor
    training: bool
    #: What :meth:`kernel` returned once, in place of computing it for every forward pass; see :func:`open_biggan`.
    fixed: Tensor | None = None

    def _init_norm(self) -> None:
        assert isinstance(self, nn.Module)
        rows = self.weight.shape[0]
        self.register_buffer("u0", torch.randn(1, rows))
        self.register_buffer("sv0", torch.ones(1))

    def normalised(self) -> Tensor:
        """Return the weight over its singular value."""
        matrix = self.weight.flatten(1)
        with torch.no_grad():
            v = F.normalize(self.u0 @ matrix, eps=SN_EPS)
            u = F.normalize(v @ matrix.t(), eps=SN_EPS)
            if self.training:
                self.u0.copy_(u)
        sigma = (v @ matrix.t() @ u.t()).squeeze()
        if self.training:
            with torch.no_grad():
                self.sv0.fill_(sigma)
        return self.weight / sigma

    def kernel(self) -> Tensor:
        """Return what the layer multiplies its input with."""
        return self.normalised() if self.fixed is None else self.fixed


class SNConv2d(nn.Conv2d, SpectralNorm):
    """A convolution with spectral normalisation."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3) -> None:
        nn.Conv2d.__init__(self, inputs, outputs, kernel, padding=kernel // 2)
        self._init_norm()

    def forward(self, x: Tensor) -> Tensor:
        """Convolve ``(N, C, H, W)``; the side stays."""
        return F.conv2d(x, self.kernel(), self.bias, padding=self.padding)


class EnlargingConv2d(SNConv2d):
    """A 3x3 convolution, with spectral normalisation, of a map enlarged twice by nearest neighbours."""

    def kernel(self) -> Tensor:
        """Return the kernel of the transposed convolution that does both."""
        return upsampling_kernel(self.normalised()) if self.fixed is None else self.fixed

    def forward(self, x: Tensor) -> Tensor:
        """Enlarge and convolve ``(N, C, H, W)``."""
        return F.conv_transpose2d(x, self.kernel(), self.bias, stride=2, padding=1)


class SNLinear(nn.Linear, SpectralNorm):
    """A linear map with spectral normalisation."""

    def __init__(self, inputs: int, outputs: int) -> None:
        nn.Linear.__init__(self, inputs, outputs)
        self._init_norm()

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, inputs)`` to ``(N, outputs)``."""
        return F.linear(x, self.kernel(), self.bias)


class _Norm(nn.Module):
    """Batch normalisation with a gain and a bias; batch statistics in training, stored ones in eval mode."""

    stored_mean: Tensor
    stored_var: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("stored_mean", torch.zeros(width))
        self.register_buffer("stored_var", torch.ones(width))

    def normalised(self, x: Tensor, gain: Tensor, bias: Tensor) -> Tensor:
        """Normalise ``(N, C, H, W)``, in eval mode by one scale and shift; gain and bias are ``(C,)`` or ``(N, C)``."""
        if self.training:
            x = F.batch_norm(x, self.stored_mean, self.stored_var, None, None, True, 0.1, BN_EPS)
        else:
            gain = gain / torch.sqrt(self.stored_var + BN_EPS)
            bias = bias - self.stored_mean * gain
        return torch.addcmul(bias[..., None, None], x, gain[..., None, None])


class ConditionalNorm(_Norm):
    """Batch normalisation whose gain and bias are looked up per class: ``out * (1 + gain(y)) + bias(y)``."""

    def __init__(self, width: int, n_classes: int) -> None:
        super().__init__(width)
        self.gain = nn.Embedding(n_classes, width)
        self.bias = nn.Embedding(n_classes, width)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Normalise ``(N, C, H, W)`` of classes ``y``, int64 ``(N,)``."""
        return self.normalised(x, 1 + self.gain(y), self.bias(y))


class AffineNorm(_Norm):
    """Batch normalisation with one gain and bias for all classes."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.gain = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``(N, C, H, W)``."""
        return self.normalised(x, self.gain, self.bias)


def upsampling_kernel(weight: Tensor) -> Tensor:
    """Return the 4x4 kernel, stride 2, of the transposed convolution that equals "enlarge twice, then convolve".

    ``weight`` is the 3x3 kernel of a convolution with one pixel of zeros around, after an enlargement by nearest
    neighbours; the result is that kernel summed over 2x2 windows: 4 products per pixel and channel in place of 9.
    """
    kernel = F.pad(weight, (1, 1, 1, 1))
    kernel = kernel[..., :-1, :] + kernel[..., 1:, :]
    kernel = kernel[..., :-1] + kernel[..., 1:]
    return kernel.flip(-1, -2).transpose(0, 1)


class GBlock(nn.Module):
    """A residual block that doubles the side."""

    def __init__(self, inputs: int, outputs: int, n_classes: int) -> None:
        super().__init__()
        self.conv1 = EnlargingConv2d(inputs, outputs)
        self.conv2 = SNConv2d(outputs, outputs)
        self.conv_sc = SNConv2d(inputs, outputs, 1)
        self.bn1 = ConditionalNorm(inputs, n_classes)
        self.bn2 = ConditionalNorm(outputs, n_classes)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Map ``(N, inputs, S, S)`` to ``(N, outputs, 2S, 2S)``."""
        h = self.conv1(F.relu(self.bn1(x, y)))
        h = self.conv2(F.relu(self.bn2(h, y)))
        # A 1x1 convolution and the enlargement commute: convolve the smaller map.
        return h + F.interpolate(self.conv_sc(x), scale_factor=2)


class BigGANGenerator(nn.Module):
    """``G(z, y)``: latents and class indices to images."""

    def __init__(self, config: BigGANConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or BigGANConfig()
        widths = config.widths
        self.linear = SNLinear(config.dim_z, widths[0] * config.bottom_width**2)
        self.blocks = nn.ModuleList(nn.ModuleList([GBlock(a, b, config.n_classes)]) for a, b in pairwise(widths))
        self.output_layer = nn.Sequential(AffineNorm(widths[-1]), nn.ReLU(), SNConv2d(widths[-1], 3))

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        """Return images ``(N, 3, R, R)`` in [-1, 1] of latents ``(N, dim_z)`` and classes int64 ``(N,)``."""
        side = self.config.bottom_width
        h = self.linear(z).view(len(z), -1, side, side).contiguous(memory_format=torch.channels_last)
        for block in self.blocks:
            assert isinstance(block, nn.ModuleList)
            h = block[0](h, y)
        return torch.tanh(self.output_layer(h))


def open_biggan(place: Path, name: str, info: DatasetInfo, *, device: str = "cpu") -> BigGANGenerator:
    """Open a generator for a dataset, whose labels it takes, in eval mode; what does not depend on z is computed once.

    Args:
        place: a folder with ``config.json`` and ``model.safetensors``, a published ``.pth`` file (the plain state
            dict of ``G_ema``), or a folder with one such file.
        name: how the user named it.
        info: the dataset. A folder's classes are matched by name with its classes. A ``.pth`` has no names: the
            number must be equal, and the order is taken to be the dataset's.
        device: where to.

    Raises:
        UsageError: not a BigGAN, or not of these classes.
        BenchError: a weight is not finite.
    """
    layout = read_biggan_layout(place, f"biggan:model={name}")
    indices = layout.class_indices(info)
    model = load_biggan(layout)
    if indices is None and model.config.n_classes != len(info.classes):
        raise UsageError(
            f"{layout.name}: has {model.config.n_classes} classes; the dataset {info.name} has "
            f"{len(info.classes)}; give a generator trained on it"
        )
    for layer in model.to(device).modules():
        if isinstance(layer, nn.Embedding) and indices is not None:
            layer.weight = nn.Parameter(layer.weight[list(indices)], requires_grad=False)
        elif isinstance(layer, SpectralNorm):
            kernel = layer.kernel()
            layer.fixed = kernel.contiguous(memory_format=torch.channels_last) if kernel.ndim == 4 else kernel
    return model


def load_biggan(layout: BigGANLayout) -> BigGANGenerator:
    """Load the network in fp32, eval mode, every name and shape as it must be.

    Raises:
        UsageError: the file is no plain state dict, or not of a BigGAN generator; says what differs.
        BenchError: a weight is not finite.
    """
    subject = f"{layout.name}: {layout.weights.name}"
    state = _pickled(layout.weights, subject) if layout.config is None else _safe(layout.weights, subject)
    shapes = {key: tuple(value.shape) for key, value in state.items()}
    config = layout.config or config_of(shapes, subject)
    check_shapes(shapes, config, subject)
    state = {key: value.to(torch.float32) for key, value in state.items()}
    for key, value in state.items():
        if not torch.isfinite(value).all():
            raise BenchError(f"{subject}: {key} is not finite; the file is damaged")
    with torch.random.fork_rng(devices=[]):  # layers draw their initial weights from the global state
        model = BigGANGenerator(config)
    model.load_state_dict(state, strict=True)
    return model.eval().requires_grad_(False)


def _safe(path: Path, subject: str) -> Mapping[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise UsageError(f"{subject}: {_unread(error)}") from None


def _pickled(path: Path, subject: str) -> Mapping[str, Tensor]:
    """Read a checkpoint without running any code that it may contain."""
    try:
        state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, LookupError, AttributeError):  # bytes that only begin like a pickle
        raise UsageError(
            f"{subject}: holds Python objects, or is no checkpoint, and is not opened; a plain state dict is needed: "
            "torch.save(G_ema.state_dict(), FILE)"
        ) from None
    except (OSError, RuntimeError, EOFError, ValueError) as error:
        raise UsageError(f"{subject}: {_unread(error)}") from None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        held = f"a dict of {', '.join(map(str, list(state)[:4]))}" if isinstance(state, dict) else type(state).__name__
        raise UsageError(f"{subject}: holds {held}; the plain state dict of G_ema is needed, tensors by name")
    return state


def _unread(error: Exception) -> str:
    """Say why a file was not read, in our words: those of a library may be cut off or ask for a bug report."""
    return f"cannot be read ({unread(error) or 'truncated or damaged'}); fetch it again"
