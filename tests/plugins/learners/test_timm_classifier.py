"""The learner ``timm``: names, presets and training of the paper's five."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from datasetinfos import dataset_info

from benchbench.errors import UsageError
from benchbench.plugins import Context, ImageSet, Task
from benchbench.plugins.parameters import build as build_plugin
from benchbench.plugins.parameters import parameters
from benchbench.running.scoring import score
from benchbench.training.recipes import learning_rates
from benchbench_plugins.learners.timm.architectures import build
from benchbench_plugins.learners.timm.learner import TimmClassifier
from benchbench_plugins.learners.timm.stems import PAPER_ARCHITECTURES

INFO = dataset_info(4, class_counts=(10,) * 4)


def stripes(count: int, seed: int) -> ImageSet:
    """Stripes of four widths in random phase and colour: no single pixel tells the class."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count, dtype=np.int64) % 4
    columns = np.arange(16)[None] + rng.integers(0, 16, (count, 1))
    waves = (columns >> labels[:, None]) & 1
    colours = rng.integers(80, 256, (count, 1, 1, 3))
    images = (waves[:, None, :, None] * colours).repeat(16, axis=1) + rng.integers(0, 20, (count, 16, 16, 3))
    return ImageSet(images.clip(0, 255).astype(np.uint8), labels, INFO.classes)


@pytest.mark.parametrize("arch", PAPER_ARCHITECTURES)
def test_every_weight_learns_at_16_px(arch):
    torch.manual_seed(0)
    model = build(arch, 16, 10)
    if arch == "efficientnetb0":
        model.body.apply(lambda module: setattr(module, "drop_prob", 0.0) if hasattr(module, "drop_prob") else None)
    images = torch.randn(6, 3, 16, 16)
    torch.nn.functional.cross_entropy(model(images), torch.arange(6)).backward()
    for name, weight in model.named_parameters():
        assert weight.grad is not None, name
        assert torch.isfinite(weight.grad).all(), name
    model.eval()
    with torch.no_grad():
        assert torch.allclose(model.head(model.features(images)), model(images), atol=1e-5)


def test_the_five_are_known_without_torch():
    code = """
import sys
from benchbench_plugins.learners.timm.learner import TimmClassifier
names = TimmClassifier(resolution=8).architectures(["vgg16", "all", "ResNet18"], None)
assert names == ("vgg16", "resnet18", "mobilenetv2", "shufflenetv2", "efficientnetb0"), names
try:
    TimmClassifier(resolution=7).architectures(["mobilenetv2"], None)
except ValueError:
    raise
except Exception as error:
    assert str(error) == "mobilenetv2: cannot take images of 7 px; the smallest it takes is 8 px", error
else:
    raise AssertionError("7 px were taken")
assert not {"torch", "timm", "torchvision"} & set(sys.modules), "heavy import"
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_where_images_lie_is_no_part_of_a_key():
    """Both ways give the same bits (tests/training/test_streaming.py), so that one result stands for both."""
    where = next(item for item in parameters(TimmClassifier) if item.name == "images")
    assert where.choices == ("auto", "resident", "streamed")
    assert not where.enters_key("train")


def test_presets_and_the_dataset_decide_the_recipe():
    paper = build_plugin(TimmClassifier, {}, subject="timm", preset="paper")
    recipe = paper.resolve(INFO).training_recipe()
    assert (recipe.steps, recipe.batch_size, recipe.optimizer) == (50_000, 128, "sgd")
    assert (recipe.learning_rate, recipe.momentum, recipe.weight_decay) == (0.1, 0.9, 5e-4)
    assert (recipe.warmup_steps, recipe.evaluations) == (1_000, 20)
    medical = paper.resolve(replace(INFO, optimizer="adamw")).training_recipe()
    assert (medical.optimizer, medical.learning_rate, medical.weight_decay) == ("adamw", 1e-3, 5e-4)
    for ready, peak in ((recipe, 0.1), (medical, 1e-3)):  # what the authors' schedule realises, Zhou et al. 2023, B.2
        rates = [learning_rates(ready)[step] / peak for step in (0, 1_000, 25_000, 50_000)]
        assert rates == pytest.approx([0.001, 0.999, 0.501, 0.001], abs=5e-4)
    own = build_plugin(TimmClassifier, {"learning_rate": "0.5", "optimizer": "sgd"}, subject="timm", preset="paper")
    assert own.resolve(replace(INFO, optimizer="adamw")).training_recipe().learning_rate == 0.5
    assert own.resolve(INFO).resolution == 16
    with pytest.raises(UsageError, match="timm:steps=0: must be at least 1"):
        build_plugin(TimmClassifier, {"steps": "0"}, subject="timm")


def test_training_end_to_end(tmp_path):
    task = Task(
        real=stripes(40, 0),
        synthetic=None,
        mix=None,
        validation=stripes(0, 1),
        test=stripes(40, 2).without_labels(),
        info=INFO,
        arch="shufflenetv2",
        augmentations=(),
        preset="quick",
    )
    context = Context(seed=1, folder=tmp_path, scratch=tmp_path / "scratch", info=INFO)
    learner = TimmClassifier(steps=60)
    outcome = learner.train(task, context)
    assert score(outcome, task, stripes(40, 2).labels).accuracy > 0.5  # chance is 0.25
    assert outcome.steps == 60
    assert outcome.details["resolution"] == 16
    assert outcome.parameters == 352_042 - 6 * 1_025  # four classes instead of ten
    with pytest.raises(ValueError, match="needs an architecture"):
        learner.train(replace(task, arch=None), context)


def test_estimate_scales_with_work():
    quick, paper = TimmClassifier(), TimmClassifier(steps=1_000)
    assert quick.training_seconds("vit_tiny_patch16_224", INFO) is None
    short, long = quick.training_seconds("resnet18", INFO), paper.training_seconds("resnet18", INFO)
    assert short is not None
    assert long == pytest.approx(10 * short)
    # resnet18 meets images of 64 px with a stride of 2, shufflenetv2 with the stem of 16 px.
    for arch, side, factor in (("resnet18", 32, 8**0.5), ("resnet18", 64, 8**0.5), ("shufflenetv2", 64, 8)):
        assert TimmClassifier(resolution=side).training_seconds(arch, INFO) == pytest.approx(
            factor * quick.training_seconds(arch, INFO)
        )
    wide, wider = (TimmClassifier(resolution=side).training_seconds("vgg16", INFO) for side in (64, 128))
    assert wider == pytest.approx(4 * wide)
