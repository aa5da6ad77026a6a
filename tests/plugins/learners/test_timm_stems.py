"""The table of stems: maps, weights and outputs against the authors' networks, torchvision's and timm's."""

from __future__ import annotations

from functools import cache

import pytest
import timm
import torch
import torchvision
from torch import nn

from benchbench_plugins.learners.timm.architectures import build
from benchbench_plugins.learners.timm.learner import TimmClassifier
from benchbench_plugins.learners.timm.stems import PAPER_ARCHITECTURES, RULES

SIDES = (8, 16, 28, 32, 64, 96, 224, 256, 17, 33, 45, 97)
#: Side of the map into the first stage and out of the last; the authors' at 28, 32, 96 and 256 px.
INTO = (8, 16, 32, 32, 32, 48, 56, 64, 17, 33, 45, 49)
OUT = (1, 2, 4, 4, 4, 6, 7, 8, 3, 5, 6, 7)
RESNET18 = {side: (into, out) for side, into, out in zip(SIDES, INTO, OUT, strict=True)}
LAST_MAPS = {
    "vgg16": (1, 1, 1, 1, 2, 3, 7, 8, 1, 1, 1, 3),
    "mobilenetv2": (1, 1, 2, 2, 4, 6, 14, 16, 2, 3, 3, 7),
    "shufflenetv2": (1, 1, 2, 2, 4, 6, 14, 16, 2, 3, 3, 7),
    "efficientnetb0": (1, 1, 2, 2, 4, 6, 14, 16, 2, 3, 3, 7),
}


def on_meta(arch, resolution):
    model = made(arch, resolution if arch in ("resnet18", "vgg16") else 32)
    return model, torch.zeros(2, 3, resolution, resolution, device="meta")


@cache
def made(arch, resolution):
    with torch.device("meta"):
        return build(arch, resolution, 10).eval()


def copy_in_order(source: nn.Module, target: nn.Module) -> None:
    """Copy weights and statistics of one network into another whose layers come in the same order."""
    given = [value for value in source.state_dict().values() if value.ndim]
    taken = [value for value in target.state_dict().values() if value.ndim]
    assert [value.shape for value in given] == [value.shape for value in taken]
    for value, place in zip(given, taken, strict=True):
        place.copy_(value)


def shake(net: nn.Module) -> nn.Module:
    """Give batch norms statistics that matter."""
    torch.manual_seed(0)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.1)
    return net.eval()


@pytest.mark.parametrize("side", SIDES)
def test_resnet18_maps(side):
    model, images = on_meta("resnet18", side)
    into, out = model.body[:4](images), model.body(images)
    assert (into.shape[2:], out.shape[2:]) == ((RESNET18[side][0],) * 2, (RESNET18[side][1],) * 2)
    assert (RULES["resnet18"].stem(side).map(side), RULES["resnet18"].output(side)) == RESNET18[side]


@pytest.mark.parametrize("arch", LAST_MAPS)
def test_last_maps(arch):
    for side, expected in zip(SIDES, LAST_MAPS[arch], strict=True):
        model, images = on_meta(arch, side)
        assert model.body(images).shape[2:] == (expected, expected), side
        assert RULES[arch].output(side) == expected, side


@pytest.mark.parametrize("arch", PAPER_ARCHITECTURES)
def test_every_size_in_between_gives_a_map_and_logits(arch):
    rule = RULES[arch]
    assert rule.smallest == 8
    for side in (9, 13, 27, 63, 65, 129):
        model, images = on_meta(arch, side)
        assert model.body(images).shape[2:] == (rule.output(side),) * 2
        assert model(images).shape == (2, 10)
    with pytest.raises(ValueError, match="at least 8 px"):
        rule.stem(7)


@pytest.mark.parametrize(
    ("arch", "sides", "weights"),
    [
        ("resnet18", (16, 28, 32, 33), 11_173_962),
        ("resnet18", (64, 96, 97, 224, 256), 11_181_642),
        ("vgg16", (16, 28, 32, 224), 14_728_266),
        ("mobilenetv2", (32,), 2_296_490),
        ("shufflenetv2", (32,), 352_042),
        ("efficientnetb0", (32,), 3_599_686 - 1_088),  # an expansion that the authors' forward never uses
    ],
)
def test_weights_are_the_authors(arch, sides, weights):
    for side in sides:
        model, _ = on_meta(arch, side)
        assert sum(weight.numel() for weight in model.parameters()) == weights
        authors = RULES[arch].authors.get(side, weights)
        assert authors - weights == (1_088 if arch == "efficientnetb0" and side in RULES[arch].authors else 0)


@pytest.mark.parametrize("side", [224, 256])
def test_resnet18_at_imagenet_sizes_is_the_published_network(side):
    ours = shake(build("resnet18", side, 10))
    images = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(1))
    for reference in (timm.create_model("resnet18", num_classes=10), torchvision.models.resnet18(num_classes=10)):
        copy_in_order(ours, reference.eval())
        with torch.inference_mode():
            assert torch.equal(ours(images), reference(images))


def test_vgg16_body_is_torchvisions():
    ours, reference = shake(build("vgg16", 64, 10)), torchvision.models.vgg16_bn(init_weights=False).eval()
    copy_in_order(ours.body, reference.features)
    images = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(ours.body(images), reference.features(images))


def test_shufflenetv2_is_torchvisions_but_for_the_first_stride():
    ours, reference = shake(build("shufflenetv2", 32, 10)), torchvision.models.shufflenet_v2_x0_5(num_classes=10).eval()
    copy_in_order(ours, reference)
    reference.conv1[0].stride = (1, 1)
    images = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        assert torch.equal(ours(images), reference(images))


def test_mobilenetv2_is_torchvisions_with_relu_and_the_authors_shortcuts():
    """With their additions made to do nothing and the first stride restored, the same function remains."""
    ours, reference = shake(build("mobilenetv2", 32, 10)), torchvision.models.mobilenet_v2(num_classes=10).eval()
    shortcuts = [module.shortcut for module in ours.modules() if hasattr(module, "shortcut")]
    assert [tuple(item[0].weight.shape[:2]) for item in shortcuts] == [(16, 32), (96, 64), (320, 160)]
    with torch.no_grad():
        for shortcut in shortcuts:
            shortcut[1].weight.zero_()
            shortcut[1].bias.zero_()
            shortcut[1].running_mean.zero_()
        first = ours.body[1].block  # it expands by a factor of 1, where torchvision's leaves the convolution out
        first.conv_pw.weight.copy_(torch.eye(32)[:, :, None, None])
        first.bn1.load_state_dict(nn.BatchNorm2d(32).state_dict())
        first.bn1.running_var.fill_(1 - first.bn1.eps)
    added = ("shortcut.", "body.1.block.conv_pw.", "body.1.block.bn1.")
    kept = {
        name: value
        for name, value in ours.state_dict().items()
        if value.ndim and not any(part in name for part in added)
    }
    taken = [value for value in reference.state_dict().values() if value.ndim]
    for value, place in zip(kept.values(), taken, strict=True):
        place.copy_(value)
    reference.features[0][0].stride = (1, 1)
    for module in reference.modules():
        for name, child in module.named_children():
            if isinstance(child, nn.ReLU6):
                setattr(module, name, nn.ReLU())
    images = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        assert torch.allclose(ours(images), reference(images), atol=1e-5)


def test_efficientnetb0_body_is_torchvisions_but_for_the_first_stride():
    ours, reference = shake(build("efficientnetb0", 32, 10)), torchvision.models.efficientnet_b0(num_classes=10).eval()
    copy_in_order(ours.body, reference.features[:-1])
    reference.features[0][0].stride = (1, 1)
    images = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        assert torch.allclose(ours.body(images), reference.features[:-1](images), atol=1e-5)


def test_the_shown_table():
    rows = TimmClassifier.table()
    assert {row["arch"] for row in rows} == {*PAPER_ARCHITECTURES, "any timm name"}
    resnets = [row for row in rows if row["arch"] == "resnet18"]
    assert [row["px"] for row in resnets] == ["8-27", "28", "29-63", "64-127", "128+"]
    shown = {side: cell for row in resnets for side in (28, 32, 64, 96, 224, 256) if (cell := row[f"{side} px"])}
    assert shown == {side: "{} > {}".format(*RESNET18[side]) for side in (28, 32, 64, 96, 224, 256)}
    assert [row["authors'"] for row in resnets] == ["-", "11,173,962", "11,173,962", "11,181,642", "11,181,642"]
    assert [row["parameters"] for row in resnets][1:] == [row["authors'"] for row in resnets][1:]
    small = next(row for row in rows if row["arch"] == "shufflenetv2")
    assert (small["parameters"], small["authors'"]) == ("352,042", "352,042")
    assert small["stem"] == "3x3 /1 pad 1, max pool 3x3 /2"
    assert small["32 px"] == "16 > 2"
