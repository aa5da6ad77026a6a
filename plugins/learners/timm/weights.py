"""Published weights as a starting point: a folder in timm's hub format, from a hub's cache or a user's disk."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchbench.errors import UsageError
from benchbench.models.timm_hub import Checkpoint, filled, read_checkpoint

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


def describe(folder: Path, name: str, arch: str) -> Checkpoint:
    """Read the configuration of weights in timm's hub format; cheap, no weight is read.

    Args:
        folder: with ``config.json`` and ``model.safetensors``.
        name: a hub id or a path, for messages; records have a folder's own name only.
        arch: the architecture asked for, which must be the one in the folder.

    Raises:
        UsageError: no such files, damaged, or of another network.
    """
    checkpoint = read_checkpoint(folder, name)
    wanted = timm_name(arch).partition(".")[0]
    if checkpoint.architecture != wanted:
        raise UsageError(
            f"{name}: these are weights of {checkpoint.architecture}; --arch {arch} needs those of {wanted}"
        )
    return checkpoint


def build(checkpoint: Checkpoint, resolution: int, classes: int) -> TimmNetwork:
    """Return the checkpoint's network with its weights and a new head.

    All weights are loaded (:func:`~benchbench.models.timm_hub.filled`), the old head too. Only then the head is
    replaced, initialised from the global generator, also when it has the right number of classes: it stands for others.
    The stem for small images changes no weight.

    Raises:
        BenchError: the weights do not fit the network, or are not finite.
    """
    from . import networks

    make = partial(networks.build, checkpoint.architecture, resolution, checkpoint.classes)
    model = filled(checkpoint, make, resolution, "timm:resolution=")
    model.net.reset_classifier(classes)
    return model
