"""Opens a BigGAN generator, embedded or published, as a frozen function from latents and classes to images."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchbench.errors import BenchError, UsageError
from benchbench.models.opening import unread
from benchbench.plugins import DatasetInfo

from .model_layout import BigGANConfig, BigGANLayout, check_shapes, config_of, read_biggan_layout
from .network import BN_EPS, AffineNorm, BigGANGenerator, ConditionalNorm, GBlock, SNConv2d, enlarge, upsampling_kernel

__all__ = ["FrozenGenerator", "load_biggan", "open_biggan"]


def open_biggan(place: Path, name: str, info: DatasetInfo, subject: str, *, device: str = "cpu") -> FrozenGenerator:
    """Open a generator for a dataset.

    Args:
        place: a folder with ``config.json`` and ``model.safetensors``, a published ``.pth`` file (the plain state
            dict of ``G_ema``), or a folder with one such file.
        name: how the user named it.
        info: the dataset. A folder's classes are matched by name with its classes. A ``.pth`` has no names: the
            number must be equal, and the order is taken to be the dataset's.
        subject: the plugin that asks, the start of a message.
        device: where to.

    Raises:
        UsageError: not a BigGAN, or not of these classes.
        BenchError: a weight is not finite.
    """
    layout = read_biggan_layout(place, f"{subject}:model={name}")
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
        found: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, LookupError, AttributeError):  # bytes that only begin like a pickle
        raise UsageError(
            f"{subject}: holds Python objects, or is no checkpoint, and is not opened; a plain state dict is needed: "
            "torch.save(G_ema.state_dict(), FILE)"
        ) from None
    except (OSError, RuntimeError, EOFError, ValueError) as error:
        raise UsageError(f"{subject}: {_unread(error)}") from None
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        held = f"a dict of {', '.join(map(str, list(found)[:4]))}" if isinstance(found, dict) else type(found).__name__
        raise UsageError(f"{subject}: holds {held}; the plain state dict of G_ema is needed, tensors by name")
    return found


def _unread(error: Exception) -> str:
    """Say why a file was not read, in our words: a library's own end in the middle or ask for a bug report."""
    return f"cannot be read ({unread(error) or 'truncated or damaged'}); fetch it again"


class FrozenGenerator:
    """``G(z, y)`` in eval mode with all that does not depend on ``z`` computed once.

    The spectrally normalised weights, the kernels of convolutions behind an enlargement, and a scale and shift per
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

    @property
    def dim_z(self) -> int:
        """Length of a latent vector."""
        return self.config.dim_z

    @property
    def resolution(self) -> int:
        """Side of the images in px."""
        return self.config.resolution

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
