"""Any network of timm: names, sizes that it takes or is refused at, and one step of training."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
import torch
from test_timm_classifier import INFO

from benchbench.errors import UsageError
from benchbench_plugins.learners.timm import networks
from benchbench_plugins.learners.timm.learner import TimmClassifier

#: One small network of each family.
FAMILIES = (
    *("vit_tiny_patch16_224", "deit_tiny_distilled_patch16_224", "swin_tiny_patch4_window7_224", "mixer_s32_224"),
    *("convnext_atto", "regnetx_002", "densenet121", "mobilenetv3_small_050", "edgenext_xx_small", "mobilevit_xxs"),
    *("tf_efficientnetv2_b0", "seresnet18", "repvgg_a0", "vgg11", "pit_ti_224", "levit_128s"),
)
TRAINED = (
    *("vit_tiny_patch16_224", "deit_tiny_distilled_patch16_224", "mixer_s32_224", "convnext_atto", "regnetx_002"),
    *("mobilenetv3_small_050", "edgenext_xx_small", "densenet121", "test_vit", "swin_tiny_patch4_window7_224"),
)


def at(side: int):
    return replace(INFO, classify_resolution=side)


@pytest.mark.parametrize("name", FAMILIES)
def test_families_take_32_64_and_224_px(name):
    assert {side: networks.refusal(name, side, 4) for side in (32, 64, 224)} == dict.fromkeys((32, 64, 224))


@pytest.mark.parametrize("name", TRAINED)
def test_training_moves_the_weights_and_features_have_a_name(name):
    torch.manual_seed(0)
    model = networks.build(name, 32, 4)
    images, labels = torch.randn(4, 3, 32, 32), torch.arange(4)
    before = [weight.detach().clone() for weight in model.parameters()]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(2):  # a head or a last norm that starts at zero passes no gradient at first
        torch.nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()
    moved = [not torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True)]
    assert sum(moved) > 0.7 * len(moved)
    model.eval()
    with torch.inference_mode():
        features = model.features(images)
        assert features.shape[0] == 4
        assert features.ndim == 2
        assert torch.isfinite(features).all()
        assert model(images).shape == (4, 4)


@pytest.mark.parametrize("name", FAMILIES)
def test_logits_and_features_take_one_pass(name, monkeypatch):
    torch.manual_seed(0)
    model = networks.build(name, 32, 4).eval()
    images = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        expected = model(images), model.features(images)
        passes, inner = [], model.net.forward_features
        monkeypatch.setattr(model.net, "forward_features", lambda x: passes.append(1) or inner(x))
        logits, features = model.logits_and_features(images)
    assert passes == [1]
    assert torch.equal(logits, expected[0])
    assert torch.equal(features, expected[1])


def test_small_images_keep_more_of_a_convolutional_network_and_no_weight_changes():
    """At 32 px the stem leaves the whole image: 8 px behind stages of stride 4, where timm's own would leave 1."""
    with torch.device("meta"):
        small, large = networks.build("resnet10t", 32, 4), networks.build("resnet10t", 64, 4)
        assert small.net.forward_features(torch.zeros(1, 3, 32, 32)).shape[-1] == 4
        assert large.net.forward_features(torch.zeros(1, 3, 64, 64)).shape[-1] == 2
    shapes = [[tuple(weight.shape) for weight in model.parameters()] for model in (small, large)]
    assert shapes[0] == shapes[1]


def test_names():
    learner = TimmClassifier()
    assert learner.architectures(["resnet10t", "shufflenetv2"], INFO) == ("resnet10t", "shufflenetv2")
    assert learner.architectures(["ResNet10t"], INFO) == ("resnet10t",)
    with pytest.raises(
        UsageError, match=r"^ResNet10t.c3_in1k: the tag c3_in1k names published weights, .* use resnet10t"
    ):
        learner.architectures(["ResNet10t.c3_in1k"], INFO)
    with pytest.raises(UsageError, match=r"^resnet81: unknown architecture \(did you mean 'resnet18'"):
        learner.architectures(["resnet81"], INFO)
    with pytest.raises(UsageError, match=r"^efficientnet-b0: unknown .*'efficientnet"):
        learner.architectures(["efficientnet-b0"], INFO)


@pytest.mark.parametrize(
    ("name", "side", "ending"),
    [
        ("vgg11", 16, "; the smallest it takes is 32 px"),
        ("vit_tiny_patch16_224", 12, "; the smallest it takes is 16 px"),
        ("inception_v3", 17, "; the smallest it takes is 39 px"),
        ("levit_128s", 17, "; the smallest it takes is 16 px; above 17 px it takes 32 px"),
    ],
)
def test_a_size_that_a_network_cannot_take_is_refused_with_the_smallest_it_takes(name, side, ending):
    began = time.monotonic()
    with pytest.raises(UsageError) as caught:
        TimmClassifier().architectures([name], at(side))
    assert time.monotonic() - began < 30  # about 3 s on an idle machine
    text = str(caught.value)
    assert text.startswith(f"{name}: cannot take images of {side} px (")
    assert text.endswith(ending)
    assert "\n" not in text
    smallest = networks.smallest_side(name, 4)
    assert networks.refusal(name, smallest, 4) is None
    assert networks.refusal(name, smallest - 1, 4) is not None


def test_the_papers_five_are_refused_below_8_px():
    for name in ("resnet18", "all"):
        with pytest.raises(UsageError, match=r"^resnet18: cannot take images of 7 px; the smallest it takes is 8 px$"):
            TimmClassifier().architectures([name], at(7))
    assert TimmClassifier(resolution=8).architectures(["all"], at(7))[0] == "resnet18"


def test_trying_a_network_leaves_no_trace_in_the_global_generator():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    networks.refusal("test_vit", 48, 3)
    assert torch.equal(torch.rand(3), expected)
