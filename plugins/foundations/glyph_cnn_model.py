"""The architecture of glyph-cnn, a small classifier of characters whose features serve metrics.

It lives apart from the code that trains it, so that reading the weights needs torch and nothing else.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SIDE = 32


def _block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


class GlyphCNN(nn.Module):
    """Five convolutions, 32x32 to 4x4, then 128 features and a linear classifier; 0.21 million parameters."""

    def __init__(self, num_classes: int = 84, width: int = 24) -> None:
        super().__init__()
        self.stem = _block(1, width)
        self.stage1 = _block(width, 2 * width)
        self.stage2 = _block(2 * width, 3 * width)
        self.stage3 = _block(3 * width, 4 * width)
        self.stage4 = _block(4 * width, 4 * width)
        self.embed = nn.Linear(4 * width, 128)
        self.head = nn.Linear(128, num_classes)

    def features(self, x: Tensor) -> Tensor:
        """Return features `(N, 128)` of images `(N, 3, 32, 32)` in [0, 1].

        Colours are averaged: characters differ in form.
        """
        x = (x.mean(1, keepdim=True) - 0.25) / 0.35
        x = F.max_pool2d(self.stem(x), 2)
        x = F.max_pool2d(self.stage1(x), 2)
        x = F.max_pool2d(self.stage2(x), 2)
        x = self.stage4(self.stage3(x)).mean((2, 3))
        return self.embed(x)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits `(N, num_classes)` of images `(N, 3, 32, 32)` in [0, 1]."""
        return self.head(F.relu(self.features(x)))


def open_glyph_cnn(weights: Mapping[str, Tensor]) -> GlyphCNN:
    """Return the network with its weights, frozen and in eval mode; the global random state stays."""
    with torch.random.fork_rng(devices=[]):  # layers draw their initial weights from the global state
        model = GlyphCNN(num_classes=len(weights["head.bias"]), width=len(weights["stem.0.weight"]))
    model.load_state_dict(weights)
    return model.requires_grad_(False).eval()


def at_its_side(images: Tensor) -> Tensor:
    """Return float images `(N, 3, H, W)` as `(N, 3, 32, 32)`.

    Other sizes are resized bilinearly with antialiasing, half-pixel centres, and not rounded.
    """
    if images.shape[-2:] == (SIDE, SIDE):
        return images
    return F.interpolate(images, (SIDE, SIDE), mode="bilinear", align_corners=False, antialias=True)
