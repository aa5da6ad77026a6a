"""The BigGAN generator for CIFAR (Brock et al. 2019; Zhao et al. 2020, DiffAugment), parametrised.

A checkpoint, embedded or published, opens as a frozen function from latents and classes to images.

Names of parameters and buffers are those of the published checkpoints (``linear``, ``blocks.i.0.conv1``,
``output_layer.2``, ...; ``u0`` and ``sv0`` for the spectral norms, ``stored_mean`` and ``stored_var`` for batch
normalisation), so that such a file loads strictly. With ``BigGANConfig()`` it has 72 entries and 4,304,387 parameters
for 10 classes, 4,580,867 for 100.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
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

    ``weight`` is the 3x3 kernel of a convolution with one pixel of zeros around, after an enlargement by nearest
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


def open_biggan(place: Path, name: str, info: DatasetInfo, *, device: str = "cpu") -> FrozenGenerator:
    """Open a generator for a dataset.

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
    if indices is None:
        if model.config.n_classes != len(info.classes):
            raise UsageError(
                f"{layout.name}: has {model.config.n_classes} classes; the dataset {info.name} has "
                f"{len(info.classes)}; give a generator trained on it"
            )
        indices = tuple(range(len(info.classes)))
    return FrozenGenerator(model, indices, device)


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


class FrozenGenerator:
    """``G(z, y)`` in eval mode with all that does not depend on ``z`` computed once.

    The spectrally normalised weights, the kernels of convolutions after an enlargement, and a scale and shift per
    class for each batch normalisation. Equal to the network's own forward pass up to rounding.

    Attributes:
        config: the network's shape.
        device: where it is.
    """

    def __init__(self, model: BigGANGenerator, indices: Sequence[int], device: str = "cpu") -> None:
        self.config: BigGANConfig = model.config
        self.device = torch.device(device)
        self._indices = torch.tensor(indices, device=self.device)
        model = model.to(self.device).eval()
        self._linear = model.linear.normalised().detach(), model.linear.bias.detach()
        self._blocks = [_Block(entry[0]) for entry in model.blocks]  # type: ignore[index]
        norm, last = model.output_layer[0], model.output_layer[2]
        assert isinstance(norm, AffineNorm)
        assert isinstance(last, SNConv2d)
        scale = norm.gain / torch.sqrt(norm.stored_var + BN_EPS)
        self._out_scale = scale.detach()[:, None, None]
        self._out_shift = (norm.bias - norm.stored_mean * scale).detach()[:, None, None]
        self._out = _frozen(last, last.normalised())

    def __call__(self, z: Tensor, labels: Tensor) -> Tensor:
        """Return images ``(N, 3, R, R)`` in [-1, 1]; gradients flow to ``z``.

        Args:
            z: float32 ``(N, dim_z)`` on ``device``.
            labels: int64 ``(N,)``, classes of the dataset.
        """
        y = self._indices[labels]
        side = self.config.bottom_width
        h = F.linear(z, *self._linear).view(len(z), -1, side, side).contiguous(memory_format=torch.channels_last)
        for block in self._blocks:
            h = block(h, y)
        h = F.relu(torch.addcmul(self._out_shift, h, self._out_scale))
        return torch.tanh(F.conv2d(h, *self._out, padding=1))


class _Block:
    """A frozen residual block."""

    def __init__(self, block: GBlock) -> None:
        self.norm1, self.norm2 = _folded(block.bn1), _folded(block.bn2)
        self.conv1 = _frozen(block.conv1, upsampling_kernel(block.conv1.normalised()))
        self.conv2 = _frozen(block.conv2, block.conv2.normalised())
        self.conv_sc = _frozen(block.conv_sc, block.conv_sc.normalised())

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        h = F.conv_transpose2d(F.relu(_affine(x, self.norm1, y)), *self.conv1, stride=2, padding=1)
        h = F.conv2d(F.relu(_affine(h, self.norm2, y)), *self.conv2, padding=1)
        return h + enlarge(F.conv2d(x, *self.conv_sc))


def _folded(norm: ConditionalNorm) -> tuple[Tensor, Tensor]:
    """Return scale and shift per class, each ``(n_classes, C)``."""
    scale = (1 + norm.gain.weight) / torch.sqrt(norm.stored_var + BN_EPS)
    return scale.detach(), (norm.bias.weight - norm.stored_mean * scale).detach()


def _affine(h: Tensor, norm: tuple[Tensor, Tensor], y: Tensor) -> Tensor:
    scale, shift = norm
    return torch.addcmul(shift[y][:, :, None, None], h, scale[y][:, :, None, None])


def _frozen(conv: SNConv2d, kernel: Tensor) -> tuple[Tensor, Tensor]:
    assert conv.bias is not None
    return kernel.detach().contiguous(memory_format=torch.channels_last), conv.bias.detach()
