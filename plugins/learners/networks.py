"""Any other network of timm's registry, from scratch, adapted to small images."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import timm
import torch
from torch import nn

from benchbench.errors import UsageError, nearest

from .stems import PAPER_ARCHITECTURES

#: Below this side a stem of stride 2 and a pool would leave too little of an image.
SMALL = 64


class TimmClassifier(nn.Module):
    """A timm network with its penultimate features by name."""

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.net = net

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Return penultimate features ``(B, D)`` of normalised images ``(B, 3, H, W)``."""
        return self.net.forward_head(self.net.forward_features(images), pre_logits=True).flatten(1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits ``(B, classes)``."""
        return self.net(images)


def canonical(name: str) -> str:
    """Return timm's name of an architecture, without the tag of pretrained weights.

    Raises:
        UsageError: timm has no such architecture; the message names the nearest ones.
    """
    base = name.lower().partition(".")[0]
    if not timm.is_model(base):
        hint = nearest(base, list(dict.fromkeys([*PAPER_ARCHITECTURES, *timm.list_models()])))
        known = f"; known are all, {', '.join(PAPER_ARCHITECTURES)} and the names of timm.list_models()"
        raise UsageError(f"{name}: unknown architecture{hint or known}")
    return base


def build(name: str, resolution: int, classes: int) -> TimmClassifier:
    """Return a timm network for images of ``resolution`` px, initialised by timm from the global generator."""
    config = timm.get_pretrained_cfg(name)
    options: dict[str, Any] = {"num_classes": classes, "pretrained": False}
    if config is not None and config.fixed_input_size:
        options["img_size"] = resolution
    net = timm.create_model(name, **options)
    if resolution < SMALL:
        _keep_small(net)
    return TimmClassifier(net)


def _keep_small(net: Any) -> None:
    """Give the first convolution stride 1 and leave out the pool behind it, unless it cuts patches."""
    names = net.default_cfg.get("first_conv") or ()
    for name in (names,) if isinstance(names, str) else names:
        conv = net.get_submodule(name)
        if isinstance(conv, nn.Conv2d) and conv.kernel_size != conv.stride:
            conv.stride = (1, 1)
    if isinstance(getattr(net, "maxpool", None), nn.MaxPool2d):
        net.maxpool = nn.Identity()


@lru_cache(maxsize=64)
def check(name: str, resolution: int, classes: int) -> None:
    """Make sure that a timm network takes images of this size, without making its weights where timm allows it.

    Raises:
        UsageError: it does not, in timm's words.
    """
    try:
        try:
            shape = _logits(name, resolution, classes, "meta")
        except (NotImplementedError, RuntimeError) as error:
            if not isinstance(error, NotImplementedError) and "meta" not in str(error):
                raise
            shape = _logits(name, resolution, classes, "cpu")  # it looks at values, which meta tensors have not
    except Exception as error:  # whatever a network does when its map runs empty
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UsageError(f"{name}: cannot take images of {resolution} px ({reason})") from None
    if shape != (2, classes):
        raise UsageError(f"{name}: is no classifier of one label per image (logits {shape})")


def _logits(name: str, resolution: int, classes: int, device: str) -> tuple[int, ...]:
    with torch.random.fork_rng(devices=[]), torch.device(device), torch.no_grad():
        model = build(name, resolution, classes).eval()
        images = torch.zeros(2, 3, resolution, resolution)
        model.features(images)
        return tuple(model(images).shape)
