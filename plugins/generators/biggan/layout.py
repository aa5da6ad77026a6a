"""What a BigGAN checkpoint must hold to be used here, checked without loading a weight where that is possible."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchbench.errors import UsageError, nearest
from benchbench.models.opening import refuses_odd_values
from benchbench.plugins import DatasetInfo

PICKLED = (".pth", ".pt")
_CONFIG, _WEIGHTS = "config.json", "model.safetensors"
_PUBLISHED = "a published checkpoint is one .pth file, such as DiffAugment-biggan-cifar10.pth"

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class BigGANConfig:
    """The shape of a generator; the defaults are the published CIFAR-10 models'.

    Attributes:
        n_classes: number of classes.
        G_ch: base width; the published models have 64.
        dim_z: length of the latent vector.
        bottom_width: side in px of the map that the first layer makes.
        multipliers: widths in units of ``G_ch``: of the first map, then of each block. One block doubles the side.
    """

    n_classes: int = 10
    G_ch: int = 64
    dim_z: int = 128
    bottom_width: int = 4
    multipliers: tuple[int, ...] = (4, 4, 4, 4)

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of the first map and of each block's output."""
        return tuple(self.G_ch * m for m in self.multipliers)

    @property
    def resolution(self) -> int:
        """Side of the images in px."""
        return self.bottom_width << (len(self.multipliers) - 1)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the names and shapes of a checkpoint, in the order of the published ones."""
        widths = self.widths
        names = _normalised("linear", widths[0] * self.bottom_width**2, self.dim_z)
        for i, (inputs, outputs) in enumerate(pairwise(widths)):
            block = f"blocks.{i}.0"
            names |= _normalised(f"{block}.conv1", outputs, inputs, 3, 3)
            names |= _normalised(f"{block}.conv2", outputs, outputs, 3, 3)
            names |= _normalised(f"{block}.conv_sc", outputs, inputs, 1, 1)
            for norm, width in (("bn1", inputs), ("bn2", outputs)):
                names |= {f"{block}.{norm}.stored_{what}": (width,) for what in ("mean", "var")}
                names |= {f"{block}.{norm}.{what}.weight": (self.n_classes, width) for what in ("gain", "bias")}
        names |= {f"output_layer.0.{what}": (widths[-1],) for what in ("gain", "bias", "stored_mean", "stored_var")}
        return names | _normalised("output_layer.2", 3, widths[-1], 3, 3)


def _normalised(name: str, outputs: int, *rest: int) -> dict[str, tuple[int, ...]]:
    return {
        f"{name}.weight": (outputs, *rest),
        f"{name}.bias": (outputs,),
        f"{name}.u0": (1, outputs),
        f"{name}.sv0": (1,),
    }


@dataclass(frozen=True)
class BigGANLayout:
    """A checkpoint on disk.

    Attributes:
        name: what the user wrote, the start of messages.
        weights: the file with the weights.
        config: its shape; ``None`` for a ``.pth``, whose shape is read off when it is loaded.
        classes: names in the order of the labels; ``None`` for a ``.pth``, which has none.
    """

    name: str
    weights: Path
    config: BigGANConfig | None
    classes: tuple[str, ...] | None

    def class_indices(self, info: DatasetInfo) -> tuple[int, ...] | None:
        """Return for each class of a dataset the generator's index; ``None`` when that has no names.

        Args:
            info: the dataset.

        Raises:
            UsageError: the generator lacks one of the classes.
        """
        if self.classes is None:
            return None
        if any(name not in self.classes for name in info.classes):
            raise UsageError(
                f"{self.name}: knows the classes {_few(self.classes)}; the dataset {info.name} has "
                f"{_few(info.classes)}; give a generator trained on them ({_PUBLISHED})"
            )
        return tuple(self.classes.index(name) for name in info.classes)


def _few(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= 4 else f"{', '.join(names[:3])}, ... {names[-1]}"


@refuses_odd_values
def read_biggan_layout(place: Path, name: str) -> BigGANLayout:
    """Find the checkpoint at ``place`` and check what can be known without loading weights.

    Args:
        place: a folder with ``config.json`` and ``model.safetensors``, a ``.pth`` file, or a folder holding one.
        name: what the user wrote, the start of a message.

    Raises:
        UsageError: none of these, or its configuration or shapes are not a BigGAN's.
    """
    if place.is_file():
        if place.suffix not in PICKLED:
            raise UsageError(f"{name}: not a BigGAN: {_PUBLISHED}, an embedded one a folder with {_CONFIG}")
        return BigGANLayout(name, place, None, None)
    if not (place / _CONFIG).is_file():
        pickled = sorted(path for path in place.iterdir() if path.suffix in PICKLED)
        if len(pickled) != 1:
            problem = (
                f"holds {len(pickled)} .pth files; name one of them" if pickled else f"has no {_CONFIG} and no .pth"
            )
            raise UsageError(f"{name}: not a BigGAN: {problem}; {_PUBLISHED}")
        return BigGANLayout(name, pickled[0], None, None)
    config, classes = _read_config(place / _CONFIG, name)
    weights = place / _WEIGHTS
    if not weights.is_file():
        raise UsageError(f"{name}: {_WEIGHTS} is missing beside {_CONFIG}")
    check_shapes(_header_shapes(weights, name), config, f"{name}: {_WEIGHTS}")
    return BigGANLayout(name, weights, config, classes)


def _read_config(path: Path, name: str) -> tuple[BigGANConfig, tuple[str, ...]]:
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{name}: {path.name} is not readable JSON ({error})") from None
    if not isinstance(content, dict) or content.get("architecture") != "BigGANGenerator":
        what = content.get("architecture") if isinstance(content, dict) else None
        raise UsageError(f"{name}: {path.name}: architecture is {what!r}; a BigGAN's is 'BigGANGenerator'")
    sizes = {key: content.get(key) for key in ("n_classes", "G_ch", "dim_z", "bottom_width")}
    for key, value in sizes.items():
        if not _is_size(value):
            raise UsageError(f"{name}: {path.name}: {key} is {value!r}; it must be a whole number of at least 1")
    multipliers, classes = content.get("multipliers"), content.get("classes")
    if not isinstance(multipliers, list) or len(multipliers) < 2 or not all(map(_is_size, multipliers)):
        raise UsageError(f"{name}: {path.name}: multipliers is {multipliers!r}; it must list two or more whole numbers")
    if not isinstance(classes, list) or len(set(map(str, classes))) != sizes["n_classes"]:
        raise UsageError(f"{name}: {path.name}: classes must list {sizes['n_classes']} different names (n_classes)")
    return BigGANConfig(**sizes, multipliers=tuple(multipliers)), tuple(map(str, classes))  # type: ignore[arg-type]


def _is_size(value: Any) -> bool:
    return type(value) is int and value >= 1


def _header_shapes(path: Path, name: str) -> Shapes:
    """Read the shapes in the header of a safetensors file, which is JSON after its length."""
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(min(length, 1 << 24)))
        return {key: tuple(item["shape"]) for key, item in header.items() if key != "__metadata__"}
    except (OSError, struct.error, ValueError, TypeError, KeyError, AttributeError):
        raise UsageError(f"{name}: {path.name} is not a safetensors file") from None


def check_shapes(shapes: Shapes, config: BigGANConfig, subject: str) -> None:
    """Compare names and shapes with those that ``config`` asks for.

    Raises:
        UsageError: one is missing, too many or of another shape; the first is named.
    """
    expected = config.shapes()
    missing = [key for key in expected if key not in shapes]
    surplus = [key for key in shapes if key not in expected]
    wrong = [key for key in expected if key in shapes and shapes[key] != expected[key]]
    if wrong:
        key, more = wrong[0], _more(wrong)
        problem = f"{key} has shape {_shape(shapes[key])}, not {_shape(expected[key])}{more}"
    elif missing:
        problem = f"lacks {missing[0]}{_more(missing)}{nearest(missing[0], tuple(surplus))}"
    elif surplus:
        problem = f"has {surplus[0]}{_more(surplus)}, which a BigGAN generator has not"
    else:
        return
    raise UsageError(f"{subject}: {problem}; expected is the state dict of a BigGAN-CIFAR generator (G_ema)")


def _more(names: Sequence[str]) -> str:
    return f" and {len(names) - 1} more" if len(names) > 1 else ""


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "a single number"


def config_of(shapes: Shapes, subject: str) -> BigGANConfig:
    """Read the configuration off the shapes of a state dict; ``check_shapes`` then says whether all fit.

    Raises:
        UsageError: the names are not a BigGAN generator's.
    """
    try:
        inputs: list[int] = []
        while (first := f"blocks.{len(inputs)}.0.conv1.weight") in shapes:
            inputs.append(shapes[first][1])
        widths = (*inputs, shapes["output_layer.2.weight"][1])
        rows, dim_z = shapes["linear.weight"]
        n_classes = shapes["blocks.0.0.bn1.gain.weight"][0]
        bottom_width = math.isqrt(rows // widths[0])
    except (KeyError, IndexError, ValueError, ZeroDivisionError):
        known = BigGANConfig().shapes()
        lacking = next((key for key in known if key not in shapes), "blocks")
        held = f"it holds {_few(tuple(shapes))}" if shapes else "it is empty"
        raise UsageError(
            f"{subject}: not the state dict of a BigGAN-CIFAR generator (G_ema): no usable {lacking}; {held}"
        ) from None
    unit = math.gcd(*widths)
    # The authors count in quarters of the width that all their maps have.
    unit = unit // 4 if len(set(widths)) == 1 and unit % 4 == 0 else unit
    return BigGANConfig(n_classes, unit, dim_z, bottom_width, tuple(width // unit for width in widths))


def check_features(folder: Path, subject: str) -> None:
    """Check that ``folder`` holds a feature network that can be opened here.

    Raises:
        UsageError: it does not.
    """
    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
        architecture = config.get("architecture") if isinstance(config, dict) else None
    except (OSError, ValueError):
        architecture = None
    if architecture != "GlyphCNN" or not (folder / "model.safetensors").is_file():
        problem = f"its config.json says architecture {architecture!r}" if architecture else "no readable config.json"
        raise UsageError(
            f"{subject}: not a feature network of the kind of glyph-cnn ({problem}); or say features=train"
        )
