"""Published weights as a starting point: a folder in timm's hub format, from a hub's cache or a user's disk."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchbench.errors import BenchError, UsageError
from benchbench.files import expanded
from benchbench.models.opening import refuses_odd_values

if TYPE_CHECKING:
    from .networks import TimmNetwork

#: timm's own network for a name of the paper, with the tag of its default weights and the smallest side in px that
#: it takes; timm has no ShuffleNetV2. From scratch these names mean the paper's variants, which no published weights
#: fit. Written down, so that a plan offline says what is missing without importing timm.
PUBLISHED = {
    "resnet18": ("resnet18.a1_in1k", 8),
    "vgg16": ("vgg16_bn.tv_in1k", 32),
    "mobilenetv2": ("mobilenetv2_100.ra_in1k", 8),
    "efficientnetb0": ("efficientnet_b0.ra_in1k", 8),
}
CONFIG, WEIGHTS = "config.json", "model.safetensors"
#: Arguments of ``timm.create_model`` that would read other files, pickles among them; a configuration may not set them.
FOREIGN = frozenset({"cache_dir", "checkpoint_path", "pretrained", "pretrained_cfg", "pretrained_cfg_overlay"})


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


def timm_name(arch: str) -> str:
    """Return timm's name, with a tag if there is one, of an architecture that starts from published weights.

    Raises:
        UsageError: timm has no such network.
    """
    if arch == "shufflenetv2":
        takes = ",".join(PUBLISHED)
        raise UsageError(f"shufflenetv2: timm has no such network, hence no weights; pretrained takes --arch {takes}")
    return PUBLISHED[arch][0] if arch in PUBLISHED else arch


def canonical(name: str) -> str:
    """Return the name of an architecture with its tag, a name of the paper as it is.

    Raises:
        UsageError: timm has no such network, or no such tag of it; the message names what there is.
    """
    lower = name.lower()
    if lower in PUBLISHED or timm_name(lower) != lower:
        return lower
    import timm

    from .networks import canonical as untagged

    base, _, tag = lower.partition(".")
    if untagged(base) and tag and not timm.is_model_pretrained(lower):
        tags = [item.partition(".")[2] for item in timm.list_pretrained(f"{base}.*")]
        known = f"; its tags are {', '.join(tags)}" if tags else "; timm publishes none of this network"
        raise UsageError(f"{name}: no such weights in timm{known}")
    return lower


def hub_id(arch: str) -> str:
    """Return the hub id of the weights that timm publishes for an architecture: its default ones without a tag.

    Raises:
        UsageError: timm publishes none in its own format.
    """
    if arch in PUBLISHED:
        return f"timm/{PUBLISHED[arch][0]}"
    import timm

    config = timm.get_pretrained_cfg(timm_name(arch))
    if config is None or not config.hf_hub_id or config.hf_hub_filename:
        raise UsageError(f"{arch}: timm publishes no weights for it in its own format; give yours with weights=FOLDER")
    return str(config.hf_hub_id)


def check_size(arch: str, resolution: int, classes: int) -> None:
    """Make sure that timm's network takes images of this size.

    Raises:
        UsageError: it does not; the message names the smallest that it takes.
    """
    if arch not in PUBLISHED:
        from .networks import check

        check(timm_name(arch).partition(".")[0], resolution, classes)
        return
    name, smallest = PUBLISHED[arch]
    if resolution < smallest:
        raise UsageError(
            f"{arch}: cannot take images of {resolution} px when it starts from weights (timm's "
            f"{name.partition('.')[0]}); the smallest it takes is {smallest} px"
        )


@refuses_odd_values
def describe(folder: Path, name: str, arch: str) -> Checkpoint:
    """Read the configuration of weights in timm's hub format; cheap, no weight is read.

    Args:
        folder: with ``config.json`` and ``model.safetensors``.
        name: a hub id or a path, for messages; records have a folder's own name only.
        arch: the architecture asked for, which must be the one in the folder.

    Raises:
        UsageError: no such files, damaged, or of another network.
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
    wanted = timm_name(arch).partition(".")[0]
    if architecture != wanted:
        raise UsageError(f"{name}: these are weights of {architecture}; --arch {arch} needs those of {wanted}")
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


def build(checkpoint: Checkpoint, resolution: int, classes: int) -> TimmNetwork:
    """Return the checkpoint's network with its weights and a new head.

    Every weight is loaded, the old head too: a name or shape that does not fit is an error. Tables of positions are
    interpolated to ``resolution`` by timm. Only then the head is replaced, initialised from the global generator, also
    when it has the right number of classes: it stands for others. The stem for small images changes no weight.

    Raises:
        BenchError: the weights do not fit the network, or are not finite.
    """
    import timm
    import torch

    from . import networks

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
            model = networks.build(checkpoint.architecture, resolution, checkpoint.classes, **arguments)
    except Exception as error:  # whatever timm's reading of foreign weights stumbles over
        text = " ".join(str(error).split()) or type(error).__name__
        text = text if len(text) <= 160 else f"{text[:160]}..."
        hint = ""
        if networks.fixed(checkpoint.architecture) and resolution != checkpoint.side:
            hint = f"; they were trained at {checkpoint.side} px: try timm:resolution={checkpoint.side}"
        raise BenchError(
            f"{checkpoint.name}: the weights do not fit {checkpoint.architecture} of timm {timm.__version__} "
            f"at {resolution} px ({text}){hint}"
        ) from None
    for name, weight in model.state_dict().items():
        if weight.is_floating_point() and not bool(torch.isfinite(weight).all()):
            raise BenchError(f"{checkpoint.name}: {WEIGHTS} is damaged: {name.partition('.')[2]} is not finite")
    model.net.reset_classifier(classes)
    return model
