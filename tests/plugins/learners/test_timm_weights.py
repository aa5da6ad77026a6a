"""Fine-tuning: weights in timm's hub format, from a folder and from a hub's cache."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from test_timm_classifier import INFO, stripes
from timm.models import save_for_hf

from benchbench.errors import BenchError, UsageError
from benchbench.plugins import Task
from benchbench.plugins import locate as foundations
from benchbench.plugins.context import Context
from benchbench.plugins.parameters import build as build_plugin
from benchbench_plugins.learners.timm import networks
from benchbench_plugins.learners.timm import weights as timm_weights
from benchbench_plugins.learners.timm.learner import TimmClassifier


def write(folder, name="resnet10t", classes=7, seed=0, **options):
    """Write a real, randomly initialised network of timm as its hub has it."""
    torch.manual_seed(seed)
    net = timm.create_model(name, num_classes=classes, **options)
    save_for_hf(net, folder, safe_serialization=True)
    return net


def edit(folder, **changes):
    config = json.loads((folder / "config.json").read_text())
    inner = config["pretrained_cfg"]
    for key, value in changes.items():
        (inner if key in ("mean", "std") else config)[key] = value
    (folder / "config.json").write_text(json.dumps(config))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights") / "mine"
    return folder, write(folder)


@pytest.fixture
def copy(saved, tmp_path):
    folder = tmp_path / "copy"
    folder.mkdir()
    for file in saved[0].iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty hub cache, and no way to a hub."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.invalid")
    foundations.locate.cache_clear()
    yield tmp_path / "hub"
    foundations.locate.cache_clear()


def task(arch, info=INFO):
    parts = {"real": stripes(16, 0), "validation": stripes(0, 1), "test": stripes(8, 2).without_labels()}
    return Task(synthetic=None, mix=None, info=info, arch=arch, augmentations=(), preset="quick", **parts)


def context(folder):
    return Context(seed=1, folder=folder, scratch=folder / "scratch", info=INFO)


# -- what is loaded ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [4, 7])
def test_every_weight_but_the_head_is_the_checkpoints(saved, classes):
    """Also below 64 px, and also where the checkpoint has our number of classes: its classes are others."""
    folder, net = saved
    checkpoint = timm_weights.describe(folder, str(folder), "resnet10t")
    assert (checkpoint.classes, checkpoint.side, checkpoint.name) == (7, 176, "mine")
    for side in (16, 96):
        model = timm_weights.build(checkpoint, side, classes)
        given, taken = net.state_dict(), model.net.state_dict()
        assert torch.equal(given["conv1.0.weight"], taken["conv1.0.weight"])
        assert {key for key in given if key not in taken or not torch.equal(given[key], taken[key])} == {
            "fc.weight",
            "fc.bias",
        }
        assert taken["fc.weight"].shape == (classes, 512)
        assert model.net.conv1[0].stride == ((1, 1) if side == 16 else (2, 2))


def test_positions_are_interpolated_and_nothing_else_changes(tmp_path):
    net = write(tmp_path / "vit", "test_vit", img_size=160)
    checkpoint = timm_weights.describe(tmp_path / "vit", "vit", "test_vit")
    model = timm_weights.build(checkpoint, 48, 4)
    given, taken = net.state_dict(), model.net.state_dict()
    differ = {key for key in given if given[key].shape != taken[key].shape or not torch.equal(given[key], taken[key])}
    assert differ == {"pos_embed", "head.weight", "head.bias"}
    assert model(torch.zeros(2, 3, 48, 48)).shape == (2, 4)


def test_weights_without_a_head_are_a_start_too(tmp_path):
    write(tmp_path / "body", classes=0)
    checkpoint = timm_weights.describe(tmp_path / "body", "body", "resnet10t")
    assert checkpoint.classes == 0
    assert timm_weights.build(checkpoint, 16, 4)(torch.zeros(2, 3, 16, 16)).shape == (2, 4)


def test_training_starts_from_them_and_says_so(saved, tmp_path):
    """A rate of next to nothing leaves the checkpoint's features, on images normalised as the checkpoint's were."""
    folder, net = saved
    learner = TimmClassifier(weights=str(folder), steps=2, batch_size=4, learning_rate=1e-12).resolve(INFO)
    assert learner.pretrained
    info = replace(INFO, mean=(0.1, 0.2, 0.3), std=(0.9, 0.8, 0.7))
    seen = []
    built = timm_weights.build

    def spy(*arguments):
        seen.append(built(*arguments))
        return seen[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timm_weights, "build", spy)
        outcome = learner.train(task("resnet10t", info), context(tmp_path))
    (model,) = seen
    assert torch.allclose(model.net.layer1[0].conv1.weight, net.layer1[0].conv1.weight, atol=1e-7)
    assert outcome.details["pretrained"] == {
        "weights": "mine",
        "architecture": "resnet10t",
        "licence": timm.get_pretrained_cfg("resnet10t").license or "unknown",
        "head": "new: the weights have 7 classes, the dataset 4",
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
    }
    images = torch.from_numpy(stripes(8, 2).images).permute(0, 3, 1, 2).float() / 255
    mean, std = torch.tensor((0.485, 0.456, 0.406)), torch.tensor((0.229, 0.224, 0.225))
    with torch.inference_mode():
        logits = model.eval()((images - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1))
    assert outcome.probabilities == pytest.approx(logits.softmax(1).numpy(), abs=1e-5)


def test_the_rate_is_lower_from_weights():
    for preset, optimizer, rate in (
        ("paper", "sgd", 0.01),
        ("paper", "adamw", 1e-4),
        ("quick", "sgd", 0.003),
        ("quick", "adamw", 3e-4),
    ):
        learner = build_plugin(TimmClassifier, {"pretrained": "true"}, subject="timm", preset=preset)
        info = replace(INFO, optimizer=optimizer)
        recipe = learner.resolve(info).for_training("resnet18", info, 50).training_recipe()
        assert (recipe.optimizer, recipe.learning_rate) == (optimizer, rate)
    own = build_plugin(TimmClassifier, {"weights": "x", "learning_rate": "0.5"}, subject="timm")
    assert own.for_training("resnet18", INFO, 50).training_recipe().learning_rate == 0.5


# -- where they come from ----------------------------------------------------------------------------------------------


def test_published_weights_are_named_by_hub_id(hub):
    learner = TimmClassifier(pretrained=True)
    names = ("resnet18", "vgg16", "mobilenetv2", "efficientnetb0", "resnet18.tv_in1k", "resnet10t")
    info = replace(INFO, classify_resolution=32)
    assert learner.architectures([name.upper() for name in names], info) == names
    assert [learner.foundations(arch, INFO) for arch in names] == [
        ("timm/resnet18.a1_in1k",),
        ("timm/vgg16_bn.tv_in1k",),
        ("timm/mobilenetv2_100.ra_in1k",),
        ("timm/efficientnet_b0.ra_in1k",),
        ("timm/resnet18.tv_in1k",),
        ("timm/resnet10t.c3_in1k",),
    ]
    assert TimmClassifier().foundations("resnet18", INFO) == ()
    assert learner.foundations(None, INFO) == ()
    own = TimmClassifier(weights="./mine")
    assert own.foundations("resnet18", INFO) == ()
    assert own.needs().foundations == ("./mine",)


def test_a_hub_snapshot_and_a_folder_open_alike(saved, hub, tmp_path):
    folder, _ = saved
    root = hub / "models--timm--resnet10t.c3_in1k"
    (root / "refs").mkdir(parents=True)
    (root / "refs" / "main").write_text("abc")
    (root / "snapshots").mkdir()
    (root / "snapshots" / "abc").symlink_to(folder)
    learners = [TimmClassifier(pretrained=True, steps=2, batch_size=4), TimmClassifier(weights=str(folder), steps=2)]
    learners[1] = replace(learners[1], batch_size=4)
    assert [learner.architectures(["resnet10t"], INFO) for learner in learners] == [("resnet10t",)] * 2
    found = [learner.train(task("resnet10t"), context(tmp_path / str(k))) for k, learner in enumerate(learners)]
    assert [outcome.details["pretrained"]["weights"] for outcome in found] == ["timm/resnet10t.c3_in1k", "mine"]
    assert found[0].curve == found[1].curve
    assert np.array_equal(found[0].probabilities, found[1].probabilities)


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (["all"], "shufflenetv2: timm has no such network, hence no weights; pretrained takes --arch resnet18,vgg16,"),
        (["resnet18.nope"], "resnet18.nope: no such weights in timm; its tags are a1_in1k, "),
        (["resnet81"], "resnet81: unknown architecture (did you mean 'resnet18'"),
        (["test_byobnet"], None),
        (["vgg16"], "vgg16: cannot take images of 16 px when it starts from weights (timm's vgg16_bn); the smallest"),
        (["vgg16_bn"], "vgg16_bn: cannot take images of 16 px ("),
        (["seresnet18"], "seresnet18: timm publishes no weights for it in its own format; give yours with weights="),
    ],
)
def test_what_timm_does_not_publish_is_refused(hub, names, problem):
    learner = TimmClassifier(pretrained=True)
    if problem is None:
        assert learner.architectures(names, INFO) == tuple(names)
        return
    info = replace(INFO, classify_resolution=32) if names == ["all"] else INFO
    with pytest.raises(UsageError) as caught:
        learner.architectures(names, info)
    assert str(caught.value).startswith(problem)
    assert "\n" not in str(caught.value)


def test_a_file_in_the_place_of_its_folder_is_told(tmp_path):
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"")
    words = "^mine: is a file; give the folder that holds it, with config.json and model.safetensors$"
    with pytest.raises(UsageError, match=words):
        timm_weights.describe(file, "mine", "resnet18")


@pytest.mark.parametrize("arch", timm_weights.PUBLISHED)
def test_what_is_written_down_of_the_published_weights_is_timms(arch):
    """A newer timm that prefers others shows here; results under one name must not change silently."""
    name, smallest = timm_weights.PUBLISHED[arch]
    base = name.partition(".")[0]
    assert timm.get_pretrained_cfg(base).hf_hub_id == f"timm/{name}"
    assert networks.smallest_side(base, 10) == smallest


def test_a_plan_from_published_weights_imports_no_torch(hub):
    code = """
import sys
from types import SimpleNamespace
from benchbench_plugins.learners.timm.learner import TimmClassifier
learner, info = TimmClassifier(pretrained=True, resolution=32), SimpleNamespace(classes=("a", "b"))
names = learner.architectures(["ResNet18", "vgg16"], info)
assert learner.foundations(names[0], info) == ("timm/resnet18.a1_in1k",)
assert not {"torch", "timm", "torchvision"} & set(sys.modules), "heavy import"
"""
    subprocess.run([sys.executable, "-c", code], check=True)


# -- what is wrong with them -------------------------------------------------------------------------------------------


def break_header(folder):
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda folder: (folder / "config.json").unlink(), "holds no config.json; weights are a folder in timm's hub"),
        (lambda folder: (folder / "model.safetensors").unlink(), "holds no model.safetensors; "),
        (lambda folder: (folder / "config.json").write_text("{"), "config.json is not a timm model's ("),
        (
            lambda folder: (folder / "config.json").write_text("[1]"),
            "config.json is not a timm model's (it is no JSON object)",
        ),
        (lambda folder: (folder / "config.json").write_text("{}"), "config.json is not a timm model's (no 'archit"),
        (lambda folder: (folder / "config.json").write_bytes(b"\xff\xfe\xff"), "config.json is not a timm model's ("),
        (lambda folder: edit(folder, architecture="resnet18"), "these are weights of resnet18; --arch resnet10t needs"),
        (lambda folder: edit(folder, architecture="nonet"), "config.json names 'nonet', which this timm "),
        (lambda folder: edit(folder, mean=[0.5]), "config.json is not a timm model's (mean and std must be three"),
        (lambda folder: edit(folder, std=[0.5, 0, 1]), "config.json has a std that is not positive"),
        (lambda folder: edit(folder, num_classes=-1), "config.json has a std that is not positive, or a negative"),
        (
            lambda folder: edit(folder, model_args={"checkpoint_path": "evil.pth"}),
            "config.json: model_args must not set checkpoint_path",
        ),
        (break_header, "model.safetensors is damaged ("),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"no weights"), "model.safetensors is damaged ("),
        (lambda folder: save_file({}, folder / "model.safetensors"), "model.safetensors holds no weights"),
    ],
)
def test_damage_that_a_plan_can_see(copy, damage, problem):
    damage(copy)
    with pytest.raises(UsageError) as caught:
        TimmClassifier(weights=str(copy)).architectures(["resnet10t"], INFO)
    assert str(caught.value).startswith(f"timm:weights={copy}: {problem}")
    assert "\n" not in str(caught.value)


def rewrite(folder, change):
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda weights: weights.pop("layer1.0.conv1.weight"), "Missing key"),
        (lambda weights: weights.update(other=torch.zeros(1)), "Unexpected key"),
        (lambda weights: weights.update({"bn1.bias": torch.zeros(3)}), "size mismatch for bn1.bias"),
        (lambda weights: weights.update({"fc.bias": torch.zeros(3)}), "size mismatch for fc.bias"),
        (lambda weights: weights["bn1.bias"].fill_(float("nan")), "bn1.bias is not finite"),
    ],
)
def test_damage_that_only_loading_sees(copy, change, problem):
    rewrite(copy, change)
    checkpoint = timm_weights.describe(copy, str(copy), "resnet10t")
    with pytest.raises(BenchError) as caught:
        timm_weights.build(checkpoint, 16, 4)
    assert str(caught.value).startswith("copy: ")
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)


def test_weights_made_for_another_size_say_which(tmp_path):
    write(tmp_path / "mixer", "mixer_s32_224")
    checkpoint = timm_weights.describe(tmp_path / "mixer", "mixer", "mixer_s32_224")
    with pytest.raises(BenchError, match=r"they were trained at 224 px: try timm:resolution=224$"):
        timm_weights.build(checkpoint, 64, 4)
