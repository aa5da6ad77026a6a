"""The paper's five classifiers, built from timm's blocks (ShuffleNetV2 from torchvision's) in its authors' variants.

How each architecture meets small images: one table, read by the builders and shown by ``bench show timm``.

The five architectures of the paper (Diffusion Inversion, Zhou et al. 2023, figure 7c) come in the variants its authors
trained, which keep more of a small image than the ImageNet originals: stems of stride 1 and fewer pools.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import cast

import torch
from timm.models._efficientnet_blocks import ConvBnAct, DepthwiseSeparableConv, InvertedResidual, SqueezeExcite
from timm.models.resnet import BasicBlock, ResNet
from timm.models.vgg import VGG
from torch import nn
from torchvision.models.shufflenetv2 import shufflenet_v2_x0_5

#: (expansion, channels, blocks, stride) of each stage; Sandler et al. 2018, table 2, less the first stage's stride.
MOBILENETV2_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
#: (kernel, channels, blocks, stride) of each stage; Tan and Le 2019, table 1. The first does not expand, others by 6.
EFFICIENTNETB0_STAGES = (
    (3, 16, 1, 1),
    (3, 24, 2, 2),
    (5, 40, 2, 2),
    (3, 80, 3, 2),
    (5, 112, 3, 1),
    (5, 192, 4, 2),
    (3, 320, 1, 1),
)


class Classifier(nn.Module):
    """A convolutional body, global average pooling and one linear layer."""

    def __init__(self, body: nn.Module, width: int, classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.body = body
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, classes)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Return penultimate features ``(B, D)`` of normalised images ``(B, 3, H, W)``."""
        return self.body(images).mean(dim=(2, 3))

    def logits_and_features(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what ``forward`` and ``features`` do, in one pass."""
        features = self.features(images)
        return self.head(self.dropout(features)), features

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits ``(B, classes)``."""
        return self.logits_and_features(images)[0]


def build(arch: str, resolution: int, classes: int) -> Classifier:
    """Return one of the paper's architectures for images of ``resolution`` px, freshly initialised.

    Weights follow PyTorch's own defaults, as in the authors' plain modules, not timm's schemes for long ImageNet
    training; the global generator decides them.

    Args:
        arch: a name in ``PAPER_ARCHITECTURES``.
        resolution: side of the images; the table in ``stems`` says what adapts.
        classes: number of logits.
    """
    builders: dict[str, Callable[[Stem, int, int], Classifier]] = {
        "resnet18": _resnet18,
        "vgg16": _vgg16,
        "mobilenetv2": _mobilenetv2,
        "shufflenetv2": _shufflenetv2,
        "efficientnetb0": _efficientnetb0,
    }
    rule = RULES[arch]
    model = builders[arch](rule.stem(resolution), rule.pools(resolution), classes)
    for module in model.modules():
        reset = getattr(module, "reset_parameters", None)
        if callable(reset):
            reset()
    return model


def _resnet18(stem: Stem, pools: int, classes: int) -> Classifier:
    net = ResNet(BasicBlock, [2, 2, 2, 2], num_classes=0, zero_init_last=False)
    conv = nn.Conv2d(3, 64, stem.kernel, stem.stride, stem.padding, bias=False)
    pool = net.maxpool if stem.pool else nn.Identity()
    layers = (net.layer1, net.layer2, net.layer3, net.layer4)
    return Classifier(nn.Sequential(conv, net.bn1, net.act1, pool, *layers), 512, classes)


def _vgg16(stem: Stem, pools: int, classes: int) -> Classifier:
    plan: list[int | str] = []
    for blocks, width, index in ((2, 64, 1), (2, 128, 2), (3, 256, 3), (3, 512, 4), (3, 512, 5)):
        plan += [width] * blocks + (["M"] if index <= pools else [])
    net = VGG(plan, num_classes=0, norm_layer=nn.BatchNorm2d)
    return Classifier(net.features, 512, classes)


class ProjectedResidual(nn.Module):
    """An inverted residual of stride 1 that changes the width, with a 1x1 shortcut in place of none."""

    def __init__(self, block: nn.Module, inputs: int, outputs: int) -> None:
        super().__init__()
        self.block = block
        self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the block's output plus its projected input."""
        return self.block(x) + self.shortcut(x)


def _mobilenetv2(stem: Stem, pools: int, classes: int) -> Classifier:
    width = 32
    layers: list[nn.Module] = [ConvBnAct(3, width, stem.kernel, stride=stem.stride)]
    for expansion, channels, blocks, first in MOBILENETV2_STAGES:
        for index in range(blocks):
            stride = first if index == 0 else 1
            block: nn.Module = InvertedResidual(width, channels, stride=stride, exp_ratio=expansion)
            projected = stride == 1 and width != channels
            layers.append(ProjectedResidual(block, width, channels) if projected else block)
            width = channels
    layers.append(ConvBnAct(width, 1280, 1))
    return Classifier(nn.Sequential(*layers), 1280, classes)


def _shufflenetv2(stem: Stem, pools: int, classes: int) -> Classifier:
    net = shufflenet_v2_x0_5(weights=None)
    conv = cast(nn.Conv2d, net.conv1[0])
    conv.stride = (stem.stride, stem.stride)
    body = nn.Sequential(net.conv1, net.maxpool, net.stage2, net.stage3, net.stage4, net.conv5)
    return Classifier(body, 1024, classes)


def _efficientnetb0(stem: Stem, pools: int, classes: int) -> Classifier:
    width, act = 32, nn.SiLU
    layers: list[nn.Module] = [ConvBnAct(3, width, stem.kernel, stride=stem.stride, act_layer=act)]
    total = sum(blocks for _, _, blocks, _ in EFFICIENTNETB0_STAGES)
    for stage, (kernel, channels, blocks, first) in enumerate(EFFICIENTNETB0_STAGES):
        for index in range(blocks):
            # Squeezing is a quarter of the block's input, not of its expanded width; stochastic depth grows to 0.2.
            squeeze = partial(SqueezeExcite, rd_channels=width // 4)
            options = {
                "dw_kernel_size": kernel,
                "stride": first if index == 0 else 1,
                "act_layer": act,
                "se_layer": squeeze,
                "drop_path_rate": 0.2 * (len(layers) - 1) / total,
            }
            if stage == 0:
                layers.append(DepthwiseSeparableConv(width, channels, **options))
            else:
                layers.append(InvertedResidual(width, channels, exp_ratio=6.0, **options))
            width = channels
    return Classifier(nn.Sequential(*layers), width, classes, dropout=0.2)


#: Sides in px that the authors' networks were made for: MedMNIST, CIFAR, STL-10 and ImageNet or Imagenette.
SIDES = (28, 32, 96, 256)
#: The architectures of ``--arch all``, in the paper's order.
PAPER_ARCHITECTURES = ("resnet18", "vgg16", "mobilenetv2", "shufflenetv2", "efficientnetb0")


@dataclass(frozen=True)
class Stem:
    """The first layers for a range of resolutions.

    Attributes:
        low: smallest side in px that the row holds for.
        high: largest side, ``None`` without limit.
        kernel: side of the first convolution.
        stride: its stride.
        padding: its zero padding.
        pool: whether a 3x3 max pool of stride 2 follows.
    """

    low: int
    high: int | None
    kernel: int
    stride: int
    padding: int
    pool: bool = False

    def map(self, resolution: int) -> int:
        """Return the side of the feature map that leaves the stem."""
        side = (resolution + 2 * self.padding - self.kernel) // self.stride + 1
        return (side + 1) // 2 if self.pool else side

    @property
    def sides(self) -> str:
        """The range in words: ``"29-63"``, ``"28"``, ``"128+"``."""
        if self.high is None:
            return f"{self.low}+"
        return f"{self.low}-{self.high}" if self.high > self.low else str(self.low)

    def __str__(self) -> str:
        pool = ", max pool 3x3 /2" if self.pool else ""
        return f"{self.kernel}x{self.kernel} /{self.stride} pad {self.padding}{pool}"


@dataclass(frozen=True)
class Rule:
    """What is known of an architecture before it is built.

    Attributes:
        stems: one row per range of resolutions, ascending.
        halvings: how often the body after the stem halves the map; VGG leaves out those that would empty it.
        rounds_up: whether an odd side 2k + 1 becomes k + 1 (convolutions) rather than k (VGG's pools).
        authors: weights of the authors' network with 10 classes, by the side of its images.
        note: why ours has another number of weights, or what adapts besides the stem.
    """

    stems: tuple[Stem, ...]
    halvings: int
    rounds_up: bool
    authors: Mapping[int, int]
    note: str = ""

    @property
    def smallest(self) -> int:
        """The smallest side in px that it takes."""
        return self.stems[0].low

    def stem(self, resolution: int) -> Stem:
        """Return the row for a resolution."""
        for row in self.stems:
            if row.low <= resolution and (row.high is None or resolution <= row.high):
                return row
        raise ValueError(f"must be at least {self.smallest} px; got {resolution}")

    def pools(self, resolution: int) -> int:
        """Return how many of the body's halvings leave a map of at least 1x1 (all of them where sides round up)."""
        side = self.stem(resolution).map(resolution)
        if self.rounds_up:
            return self.halvings
        return min(self.halvings, side.bit_length() - 1)

    def output(self, resolution: int) -> int:
        """Return the side of the last feature map."""
        side = self.stem(resolution).map(resolution)
        for _ in range(self.pools(resolution)):
            side = (side + 1) // 2 if self.rounds_up else side // 2
        return side


_SMALL = Stem(8, None, kernel=3, stride=1, padding=1)

RULES: dict[str, Rule] = {
    "resnet18": Rule(
        stems=(
            Stem(8, 27, kernel=3, stride=1, padding=1),
            Stem(28, 28, kernel=3, stride=1, padding=3),
            Stem(29, 63, kernel=3, stride=1, padding=1),
            Stem(64, 127, kernel=7, stride=2, padding=3),
            Stem(128, None, kernel=7, stride=2, padding=3, pool=True),
        ),
        halvings=3,
        rounds_up=True,
        authors={28: 11_173_962, 32: 11_173_962, 96: 11_181_642, 256: 11_181_642},
    ),
    "vgg16": Rule(
        stems=(_SMALL,),
        halvings=5,
        rounds_up=False,
        authors=dict.fromkeys((32, 96, 256), 14_728_266),
        note="batch norm, one linear head; the last pools are left out where they would empty the map "
        "(the authors' network fails below 32 px)",
    ),
    "mobilenetv2": Rule(stems=(_SMALL,), halvings=4, rounds_up=True, authors=dict.fromkeys(SIDES, 2_296_490)),
    "shufflenetv2": Rule(
        stems=(Stem(8, None, kernel=3, stride=1, padding=1, pool=True),),
        halvings=3,
        rounds_up=True,
        authors=dict.fromkeys(SIDES, 352_042),
        note="width 0.5, from torchvision",
    ),
    "efficientnetb0": Rule(
        stems=(_SMALL,),
        halvings=4,
        rounds_up=True,
        authors=dict.fromkeys(SIDES, 3_599_686),
        note="no 1280-wide head convolution; the authors' count has 1,088 weights that their forward pass never uses "
        "(the expansion of the first block, whose ratio is 1)",
    ),
}

#: What happens to any other timm network.
OTHERS = (
    "below 64 px the first convolution takes stride 1 and a max pool right behind it is left out, unless it cuts "
    "patches (kernel = stride); a network of fixed input size, as most transformers are, is made for the resolution"
)
