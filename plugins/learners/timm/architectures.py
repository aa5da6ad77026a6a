"""The paper's five classifiers, built from timm's blocks (ShuffleNetV2 from torchvision's) in its authors' variants."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import cast

import torch
from timm.models._efficientnet_blocks import ConvBnAct, DepthwiseSeparableConv, InvertedResidual, SqueezeExcite
from timm.models.resnet import BasicBlock, ResNet
from timm.models.vgg import VGG
from torch import nn
from torchvision.models.shufflenetv2 import shufflenet_v2_x0_5

from .stems import RULES, Stem

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
