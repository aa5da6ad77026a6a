"""Any other network of timm's registry, from scratch, adapted to small images."""

from __future__ import annotations

import re
from bisect import bisect_left
from functools import lru_cache
from typing import Any

import timm
import torch
from torch import nn

from benchbench.errors import UsageError, nearest
from benchbench.models.timm_hub import fixed

from .stems import PAPER_ARCHITECTURES

#: Below this side a stem of stride 2 and a pool would leave too little of an image.
SMALL = 64
#: Sides that the search for the smallest one tries before it looks between them: the grids that networks are made on.
SIDES = (8, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512)


class TimmNetwork(nn.Module):
    """A timm network with its penultimate features by name."""

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.net = net

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Return penultimate features ``(B, D)`` of normalised images ``(B, 3, H, W)``."""
        return self.net.forward_head(self.net.forward_features(images), pre_logits=True).flatten(1)

    def logits_and_features(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what ``forward`` and ``features`` do, in one pass through the body; the head, which is light, has two.

        In eval mode only: a dropout in the head draws anew for each.
        """
        maps = self.net.forward_features(images)
        return self.net.forward_head(maps), self.net.forward_head(maps, pre_logits=True).flatten(1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits ``(B, classes)``."""
        return self.net(images)


def canonical(name: str) -> str:
    """Return timm's name of an architecture, without the tag that names pretrained weights.

    Raises:
        UsageError: timm has no such architecture; the message names the nearest ones.
    """
    base = name.lower().partition(".")[0]
    if not timm.is_model(base):
        hint = nearest(base, list(dict.fromkeys([*PAPER_ARCHITECTURES, *timm.list_models()])))
        known = f"; known are all, {', '.join(PAPER_ARCHITECTURES)} and the names of timm.list_models()"
        raise UsageError(f"{name}: unknown architecture{hint or known}")
    return base


def build(name: str, resolution: int, classes: int, **options: Any) -> TimmNetwork:
    """Return a timm network for images of ``resolution`` px.

    Args:
        name: in ``timm.list_models()``.
        resolution: side of the images. A network of fixed input size is made for it as it is; the stem of any other
            keeps more of an image below 64 px.
        classes: number of logits.
        options: further arguments of ``timm.create_model``; without them timm initialises the network from the
            global generator.
    """
    if fixed(name):
        options["img_size"] = resolution
    net = timm.create_model(name, num_classes=classes, **options)
    if resolution < SMALL and not fixed(name):
        _keep_small(net)
    return TimmNetwork(net)


def _keep_small(net: Any) -> None:
    """Give the first convolution stride 1 and leave out the pool after it, unless it cuts patches.

    No weight changes its shape. A network of fixed input size derives tables from the strides: it is left alone.
    """
    names = net.default_cfg.get("first_conv") or ()
    for name in (names,) if isinstance(names, str) else names:
        conv = net.get_submodule(name)
        if isinstance(conv, nn.Conv2d) and conv.kernel_size != conv.stride:
            conv.stride = (1, 1)
    if isinstance(getattr(net, "maxpool", None), nn.MaxPool2d):
        net.maxpool = nn.Identity()


def check(name: str, resolution: int, classes: int) -> None:
    """Make sure that a timm network takes images of this size, without making its weights where timm allows it.

    Raises:
        UsageError: it does not, in timm's words, with the smallest size that it takes.
    """
    reason = refusal(name, resolution, classes)
    if reason is None:
        return
    above = next((side for side in _sides(name) if side > resolution and refusal(name, side, classes) is None), None)
    smallest = smallest_side(name, classes)
    hint = f"; the smallest it takes is {smallest} px" if smallest else ""
    if smallest and smallest < resolution and above:
        hint += f"; above {resolution} px it takes {above} px"
    raise UsageError(f"{name}: cannot take images of {resolution} px ({reason}){hint}")


@lru_cache(maxsize=64)
def smallest_side(name: str, classes: int) -> int | None:
    """Return the smallest side in px, from 8 up, that a timm network takes; ``None`` if it takes none that is tried.

    Between two sides of the grids that networks are made on, of which it takes the upper one, it is taken to have one
    threshold.
    """
    sides = _sides(name)
    works = next((side for side in sides if refusal(name, side, classes) is None), None)
    if works is None or works == sides[0]:
        return works
    between = range(sides[sides.index(works) - 1] + 1, works)
    return between.start + bisect_left(between, True, key=lambda side: refusal(name, side, classes) is None)


def _sides(name: str) -> tuple[int, ...]:
    config = timm.get_pretrained_cfg(name)
    own = (config.input_size[-1],) if config is not None else ()
    return tuple(sorted({*SIDES, *own}))


@lru_cache(maxsize=1024)
def refusal(name: str, resolution: int, classes: int) -> str | None:
    """Return why a timm network cannot take images of this size, in one line, or ``None`` when it can.

    Raises:
        UsageError: it takes them, and does not answer with one label per image.
    """
    try:
        try:
            shape = _logits(name, resolution, classes, "meta")
        except (NotImplementedError, RuntimeError) as error:
            if not isinstance(error, NotImplementedError) and "meta" not in str(error):
                raise
            shape = _logits(name, resolution, classes, "cpu")  # it looks at values, which meta tensors have not
    except Exception as error:  # whatever a network does when its map runs empty
        lines = str(error).strip().splitlines()  # of which only the first sentence is ours to show
        return re.split(r"(?<=[.!;])\s", lines[0])[0].rstrip(".!:; ")[:120] if lines else type(error).__name__
    if shape != (2, classes):
        raise UsageError(f"{name}: is no classifier of one label per image (logits {shape})")
    return None


def _logits(name: str, resolution: int, classes: int, device: str) -> tuple[int, ...]:
    # A network that takes several sizes is made once for all those that its stem treats alike.
    side = resolution if fixed(name) else SMALL if resolution >= SMALL else SMALL - 1
    with torch.random.fork_rng(devices=[]), torch.device(device), torch.no_grad():
        model = _tried(name, side, classes, device)
        images = torch.zeros(2, 3, resolution, resolution)
        model.features(images)
        return tuple(model(images).shape)


@lru_cache(maxsize=2)
def _tried(name: str, side: int, classes: int, device: str) -> TimmNetwork:
    return build(name, side, classes).eval()
