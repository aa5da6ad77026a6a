"""Opens published weights of timm: a folder in timm's hub format, with ``config.json`` and ``model.safetensors``."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ..errors import BenchError, UsageError
from ..files import expanded
from .opening import refuses_odd_values

CONFIG, WEIGHTS = "config.json", "model.safetensors"
#: Arguments of ``timm.create_model`` that would read other files, pickles among them; a configuration may not set them.
FOREIGN = frozenset({"cache_dir", "checkpoint_path", "pretrained", "pretrained_cfg", "pretrained_cfg_overlay"})

T = TypeVar("T")


@dataclass(frozen=True)
class Checkpoint:
    """Weights in timm's hub format, as their ``config.json`` describes them.

    Attributes:
        name: how messages and records call it: a hub id, or a folder's own name.
        weights: the safetensors file.
        architecture: timm's name of the network.
        classes: logits of its head, 0 for none.
        mean: per-channel mean that it takes off pixels in [0, 1].
        std: per-channel standard deviation that it divides by.
        side: side in px of the images that it was trained on.
        licence: of the weights, as far as they tell.
        arguments: further arguments of ``timm.create_model`` that the network was made with.
        offset: classes before the first of the head (a background class), which timm drops.
    """

    name: str
    weights: Path
    architecture: str
    classes: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    side: int
    licence: str
    arguments: Mapping[str, Any]
    offset: int


@refuses_odd_values
def read_checkpoint(folder: Path, name: str) -> Checkpoint:
    """Read the configuration of weights in timm's hub format; cheap, no weight is read.

    Args:
        folder: with ``config.json`` and ``model.safetensors``.
        name: a hub id or a path, for messages; records have a folder's own name only.

    Raises:
        UsageError: no such files, damaged, or of a network that this timm does not have.
    """
    import timm

    path, weights = folder / CONFIG, folder / WEIGHTS
    if folder.is_file():
        raise UsageError(f"{name}: is a file; give the folder that holds it, with {CONFIG} and {WEIGHTS}")
    for file in (path, weights):
        if not file.is_file():
            raise UsageError(
                f"{name}: holds no {file.name}; weights are a folder in timm's hub format, "
                "as timm.models.save_for_hf(net, folder, safe_serialization=True) writes it"
            )
    try:
        config = json.loads(path.read_text("utf-8"))
        if not isinstance(config, dict):
            raise TypeError("it is no JSON object")
        inner = config.get("pretrained_cfg", config)
        architecture = str(config["architecture"])
        checkpoint = Checkpoint(
            name=folder.name if expanded(name).exists() else name,
            weights=weights,
            architecture=architecture,
            classes=int(config.get("num_classes", inner.get("num_classes", 1000))),
            mean=_triple(inner.get("mean", (0.485, 0.456, 0.406))),
            std=_triple(inner.get("std", (0.229, 0.224, 0.225))),
            side=int(inner.get("input_size", (3, 224, 224))[-1]),
            licence=str(inner.get("license") or config.get("license") or "unknown"),
            arguments=dict(config.get("model_args") or {}),
            offset=int(inner.get("label_offset", 0)),
        )
    except (ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
        what = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise UsageError(f"{name}: {CONFIG} is not a timm model's ({what})") from None
    if not timm.is_model(architecture):
        raise UsageError(f"{name}: {CONFIG} names {architecture!r}, which this timm {timm.__version__} does not have")
    if min(checkpoint.std) <= 0 or checkpoint.classes < 0:
        raise UsageError(f"{name}: {CONFIG} has a std that is not positive, or a negative number of classes")
    if foreign := sorted(FOREIGN & set(checkpoint.arguments)):
        raise UsageError(f"{name}: {CONFIG}: model_args must not set {', '.join(foreign)}")
    _check_header(checkpoint, name)
    return checkpoint


def _triple(values: Any) -> tuple[float, float, float]:
    numbers = tuple(float(value) for value in values)
    if len(numbers) != 3 or not all(map(math.isfinite, numbers)):
        raise ValueError(f"mean and std must be three numbers; got {values}")
    return numbers[0], numbers[1], numbers[2]


def _check_header(checkpoint: Checkpoint, name: str) -> None:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(checkpoint.weights, "pt") as file:
            empty = not list(file.keys())
    except (SafetensorError, OSError) as error:
        raise UsageError(f"{name}: {WEIGHTS} is damaged ({error}); copy or download it again") from None
    if empty:
        raise UsageError(f"{name}: {WEIGHTS} holds no weights")


def fixed(name: str) -> bool:
    """Return whether a network is made for one size of images, as most transformers are."""
    import timm

    config = timm.get_pretrained_cfg(name)
    return config is not None and bool(config.fixed_input_size)


def filled(checkpoint: Checkpoint, make: Callable[..., T], resolution: int, option: str) -> T:
    """Return a network with the weights of a checkpoint, the head that they have too.

    Every weight is loaded: a name or shape that does not fit is an error. Tables of positions are interpolated to
    ``resolution`` by timm.

    Args:
        checkpoint: the weights.
        make: given further arguments of ``timm.create_model``, returns a module of the checkpoint's architecture.
        resolution: side in px of the images that it is made for.
        option: what a user writes to set another side, up to the number, for the message.

    Raises:
        BenchError: the weights do not fit the network, or are not finite.
    """
    import timm
    import torch

    overlay = {
        "file": str(checkpoint.weights),
        "num_classes": checkpoint.classes,
        "label_offset": checkpoint.offset,
        "source": "",
        "custom_load": False,
    }
    arguments = {**checkpoint.arguments, "pretrained": True, "pretrained_cfg_overlay": overlay}
    arguments.pop("num_classes", None)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # torch on how timm indexes when it interpolates tables
            model = make(**arguments)
    except Exception as error:  # whatever timm's reading of foreign weights stumbles over
        text = " ".join(str(error).split()) or type(error).__name__
        text = text if len(text) <= 160 else f"{text[:160]}..."
        hint = ""
        if fixed(checkpoint.architecture) and resolution != checkpoint.side:
            hint = f"; they were trained at {checkpoint.side} px: try {option}{checkpoint.side}"
        raise BenchError(
            f"{checkpoint.name}: the weights do not fit {checkpoint.architecture} of timm {timm.__version__} "
            f"at {resolution} px ({text}){hint}"
        ) from None
    for name, weight in model.state_dict().items():  # type: ignore[attr-defined]
        if weight.is_floating_point() and not bool(torch.isfinite(weight).all()):
            raise BenchError(f"{checkpoint.name}: {WEIGHTS} is damaged: {name.removeprefix('net.')} is not finite")
    return model
