"""The BigGAN generator for CIFAR (Brock et al. 2019; Zhao et al. 2020, DiffAugment), parametrised.

Names of parameters and buffers are those of the published checkpoints (``linear``, ``blocks.i.0.conv1``,
``output_layer.2``, ...; ``u0`` and ``sv0`` for the spectral norms, ``stored_mean`` and ``stored_var`` for batch
normalisation), so that such a file loads strictly. With ``BigGANConfig()`` it has 72 entries and 4,304,387 parameters
for 10 classes, 4,580,867 for 100.
"""

from __future__ import annotations

from itertools import pairwise
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .model_layout import BigGANConfig

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


class SNConv2d(nn.Conv2d, SpectralNorm):
    """A convolution with spectral normalisation."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3) -> None:
        nn.Conv2d.__init__(self, inputs, outputs, kernel, padding=kernel // 2)
        self._init_norm()

    def forward(self, x: Tensor) -> Tensor:
        """Convolve ``(N, C, H, W)``; the side stays."""
        return F.conv2d(x, self.normalised(), self.bias, padding=self.padding)


class SNLinear(nn.Linear, SpectralNorm):
    """A linear map with spectral normalisation."""

    def __init__(self, inputs: int, outputs: int) -> None:
        nn.Linear.__init__(self, inputs, outputs)
        self._init_norm()

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, inputs)`` to ``(N, outputs)``."""
        return F.linear(x, self.normalised(), self.bias)


class _Norm(nn.Module):
    """Batch normalisation without an affine part; batch statistics in training, stored ones in eval mode."""

    stored_mean: Tensor
    stored_var: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("stored_mean", torch.zeros(width))
        self.register_buffer("stored_var", torch.ones(width))

    def normalise(self, x: Tensor) -> Tensor:
        return F.batch_norm(x, self.stored_mean, self.stored_var, None, None, self.training, 0.1, BN_EPS)


class ConditionalNorm(_Norm):
    """Batch normalisation whose gain and bias are looked up per class: ``out * (1 + gain(y)) + bias(y)``."""

    def __init__(self, width: int, n_classes: int) -> None:
        super().__init__(width)
        self.gain = nn.Embedding(n_classes, width)
        self.bias = nn.Embedding(n_classes, width)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Normalise ``(N, C, H, W)`` of classes ``y``, int64 ``(N,)``."""
        gain, bias = self.gain(y)[:, :, None, None], self.bias(y)[:, :, None, None]
        return torch.addcmul(bias, self.normalise(x), 1 + gain)


class AffineNorm(_Norm):
    """Batch normalisation with one gain and bias for all classes."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.gain = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``(N, C, H, W)``."""
        return torch.addcmul(self.bias[:, None, None], self.normalise(x), self.gain[:, None, None])


def upsampling_kernel(weight: Tensor) -> Tensor:
    """Return the 4x4 kernel, stride 2, of the transposed convolution that equals "enlarge twice, then convolve".

    ``weight`` is the 3x3 kernel of a convolution with one pixel of zeros around, behind an enlargement by nearest
    neighbours; the result is that kernel summed over 2x2 windows: 4 products per pixel and channel in place of 9.
    """
    kernel = F.pad(weight, (1, 1, 1, 1))
    kernel = kernel[..., :-1, :] + kernel[..., 1:, :]
    kernel = kernel[..., :-1] + kernel[..., 1:]
    return kernel.flip(-1, -2).transpose(0, 1)


def enlarge(x: Tensor) -> Tensor:
    """Enlarge ``(N, C, H, W)`` twice by nearest neighbours."""
    return F.interpolate(x, scale_factor=2)


class GBlock(nn.Module):
    """A residual block that doubles the side."""

    def __init__(self, inputs: int, outputs: int, n_classes: int) -> None:
        super().__init__()
        self.conv1 = SNConv2d(inputs, outputs)
        self.conv2 = SNConv2d(outputs, outputs)
        self.conv_sc = SNConv2d(inputs, outputs, 1)
        self.bn1 = ConditionalNorm(inputs, n_classes)
        self.bn2 = ConditionalNorm(outputs, n_classes)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Map ``(N, inputs, S, S)`` to ``(N, outputs, 2S, 2S)``."""
        kernel = upsampling_kernel(self.conv1.normalised())
        h = F.conv_transpose2d(F.relu(self.bn1(x, y)), kernel, self.conv1.bias, stride=2, padding=1)
        h = self.conv2(F.relu(self.bn2(h, y)))
        # A 1x1 convolution and the enlargement commute: convolve the smaller map.
        return h + enlarge(self.conv_sc(x))


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

    @property
    def parameter_count(self) -> int:
        """Number of trainable values."""
        return sum(prod(p.shape) for p in self.parameters())
