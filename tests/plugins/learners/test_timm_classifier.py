"""The learner ``timm``: names, presets and training of the paper's five."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

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
from benchbench_plugins.learners.timm.learner import TimmClassifier, _plateau
from benchbench_plugins.learners.timm.recipes import FINE_TUNING, LONGER, OTHER, QUICK
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
from benchbench_plugins.learners.timm.recipes import FINE_TUNING, OTHER, QUICK
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


def realised(learner, arch="resnet18", info=INFO, n_real=50):
    return learner.resolve(info).for_training(arch, info, n_real).training_recipe()


def test_presets_and_the_dataset_decide_the_recipe():
    paper = build_plugin(TimmClassifier, {}, subject="timm", preset="paper")
    recipe = realised(paper, n_real=40_000)
    assert (recipe.steps, recipe.batch_size, recipe.optimizer) == (50_000, 128, "sgd")
    assert (recipe.learning_rate, recipe.momentum, recipe.weight_decay) == (0.1, 0.9, 5e-4)
    assert (recipe.warmup_steps, recipe.evaluations) == (1_000, 20)
    medical = realised(paper, info=replace(INFO, optimizer="adamw"))
    assert (medical.optimizer, medical.learning_rate, medical.weight_decay) == ("adamw", 1e-3, 5e-4)
    for ready, peak in ((recipe, 0.1), (medical, 1e-3)):  # what the authors' schedule realises, Zhou et al. 2023, B.2
        rates = [learning_rates(ready)[step] / peak for step in (0, 1_000, 25_000, 50_000)]
        assert rates == pytest.approx([0.001, 0.999, 0.501, 0.001], abs=5e-4)
    own = build_plugin(TimmClassifier, {"learning_rate": "0.5", "optimizer": "sgd"}, subject="timm", preset="paper")
    assert realised(own, info=replace(INFO, optimizer="adamw")).learning_rate == 0.5
    assert own.resolve(INFO).resolution == 16
    with pytest.raises(UsageError, match="timm:steps=0: must be at least 1"):
        build_plugin(TimmClassifier, {"steps": "0"}, subject="timm")


@pytest.mark.parametrize("arch", PAPER_ARCHITECTURES)
def test_a_quick_training_is_as_long_as_the_network_and_the_real_images_ask_for(arch):
    quick = realised(TimmClassifier(), arch)
    assert (quick.steps, quick.batch_size, quick.learning_rate) == tuple(vars(QUICK[arch]).values())[:3]
    assert realised(TimmClassifier(), arch, n_real=200).steps == 2 * quick.steps
    assert realised(TimmClassifier(steps=7), arch, n_real=200).steps == 7
    assert realised(TimmClassifier(batch_size=8, learning_rate=0.3), arch).steps == quick.steps
    filled = TimmClassifier().resolve(INFO).for_training(arch, INFO, 50)
    assert filled.for_training(arch, INFO, 200) == filled


def test_the_docs_tell_the_quick_recipes():
    page = (Path(__file__).parents[3] / "docs" / "learners.md").read_text("utf-8")
    told = page.partition("<!-- quick recipes -->\n")[2].partition("<!-- end -->")[0].splitlines()[2:]
    assert told == [
        f"| `{arch}` | {QUICK[arch].steps} | {QUICK[arch].batch_size} | {QUICK[arch].learning_rate:g} "
        f"| {QUICK[arch].steps * QUICK[arch].seconds:.0f} | {QUICK[arch].plateau[0]}, {QUICK[arch].plateau[1]} |"
        for arch in PAPER_ARCHITECTURES
    ]


@pytest.mark.parametrize("arch", PAPER_ARCHITECTURES)
def test_plateaus_are_those_of_the_search(arch):
    """The mean of the recipe and of its longer self, over the draws and seeds that both were trained on."""
    quick = QUICK[arch]
    lines = (Path(__file__).parents[3] / "results/benchmarks/recipe_search.jsonl").read_text("utf-8").splitlines()
    found: dict[int, dict[tuple[int, int], float]] = {quick.steps: {}, LONGER * quick.steps: {}}
    for item in map(json.loads, lines):
        recipe = (item["arch"], item["batch"], item["rate"], item["precision"], item["shots"])
        if recipe == (arch, quick.batch_size, quick.learning_rate, "fp32", 5) and item["steps"] in found:
            found[item["steps"]][item["draw"], item["seed"]] = item["validation"]
    both = found[quick.steps].keys() & found[LONGER * quick.steps].keys()
    assert len({draw for draw, _ in both}) >= 4, "four draws at least"
    means = [
        statistics.fmean(
            statistics.fmean(values[key] for key in both if key[0] == draw) for draw in {draw for draw, _ in both}
        )
        for values in found.values()
    ]
    assert quick.plateau == tuple(round(value, 1) for value in means)


def test_a_plateau_is_told_of_trainings_like_those_of_the_search_alone():
    task = Task(stripes(50, 0), None, None, None, stripes(4, 1).without_labels(), INFO, "vgg16", (), "quick")
    task = replace(task, info=replace(INFO, name="digits"))

    def told(learner=None, **changes):
        other = replace(task, **changes)
        count = 50 if other.real is None else len(other.real)
        asked = (learner or TimmClassifier()).resolve(other.info)
        return _plateau(asked.for_training(other.arch, other.info, count), other)

    short, long = QUICK["vgg16"].plateau
    assert told() == {"accuracy": short, "longer": long, "steps": 4 * QUICK["vgg16"].steps}
    assert told(TimmClassifier(images="streamed", evaluations=1)) == told()
    assert told(TimmClassifier(steps=7)) == told(TimmClassifier(learning_rate=0.5)) == told(arch="resnet10t") == {}
    assert told(real=stripes(52, 0)) == told(real=None) == told(info=INFO) == {}


def test_what_was_not_searched_has_a_recipe_of_its_own():
    adamw = realised(TimmClassifier(optimizer="adamw"), "vgg16")
    assert (adamw.steps, adamw.learning_rate) == (QUICK["vgg16"].steps, 3e-3)
    other, tuned = realised(TimmClassifier(), "resnet10t"), realised(TimmClassifier(pretrained=True), "resnet18")
    assert (other.steps, other.learning_rate) == (OTHER.steps, OTHER.learning_rate)
    assert (tuned.steps, tuned.learning_rate) == (FINE_TUNING.steps, FINE_TUNING.learning_rate)


@pytest.mark.parametrize(("tests", "evaluations"), [(100, 8), (1_000, 2), (100_000, 1)])
def test_the_test_part_is_scored_on_the_way_as_often_as_costs_little(tests, evaluations):
    info = replace(INFO, counts={**INFO.counts, "test": tests})
    learner = TimmClassifier(steps=400, batch_size=32)
    assert realised(learner, info=info).evaluations == evaluations
    assert realised(replace(learner, evaluations=3), info=info).evaluations == 3


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
    quick, longer = TimmClassifier(evaluations=1), TimmClassifier(steps=10 * QUICK["resnet18"].steps, evaluations=1)
    assert quick.training_seconds("vit_tiny_patch16_224", INFO) is None
    short, long = quick.training_seconds("resnet18", INFO), longer.training_seconds("resnet18", INFO)
    more_tests = replace(INFO, counts={**INFO.counts, "test": 2 * INFO.counts["test"]})
    scoring = quick.training_seconds("resnet18", more_tests) - short
    assert 0 < scoring < 0.1 * short
    assert long - scoring == pytest.approx(10 * (short - scoring))
    # resnet18 meets images of 64 px with a stride of 2, shufflenetv2 with the stem of 16 px.
    for arch, side, factor in (("resnet18", 32, 8**0.5), ("resnet18", 64, 8**0.5), ("shufflenetv2", 64, 8)):
        assert replace(quick, resolution=side).training_seconds(arch, INFO) == pytest.approx(
            factor * quick.training_seconds(arch, INFO)
        )
    wide, wider = (replace(quick, resolution=side).training_seconds("vgg16", INFO) for side in (64, 128))
    assert wider == pytest.approx(4 * wide)
