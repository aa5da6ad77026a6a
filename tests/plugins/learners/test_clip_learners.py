"""What all learners on a CLIP promise beyond the contract: no look at the test part, errors in one line."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import few_shot
import numpy as np
import pytest
import torch
from mini_clip import write_mini_resnet, write_mini_vit

from benchbench.errors import BenchError, UsageError
from benchbench.plugins import Context
from benchbench.plugins.parameters import build
from benchbench.testing import tiny_info
from benchbench_plugins.learners.clip.coop import CoOp
from benchbench_plugins.learners.clip.ct import ClassifierTuning
from benchbench_plugins.learners.clip.tip_adapter import TipAdapter, TipAdapterF
from benchbench_plugins.learners.clip.zeroshot import ClipZeroShot

#: Each reduced to what a test affords.
LEARNERS = {
    "clip-zeroshot": (ClipZeroShot, {}),
    "coop": (CoOp, {"max_steps": 6, "batch_size": 8}),
    "tip-adapter": (TipAdapter, {"augment_epochs": 2}),
    "tip-adapter-f": (TipAdapterF, {"augment_epochs": 2, "epochs": 3}),
    "ct": (ClassifierTuning, {"epochs": 4}),
}
TRAINED = ("coop", "tip-adapter-f", "ct")
EACH = pytest.mark.parametrize("name", LEARNERS)


def make(name, **values):
    cls, reduced = LEARNERS[name]
    return build(cls, {**reduced, **values}, subject=name)


@EACH
def test_the_presets_name_the_published_model(name):
    paper = build(LEARNERS[name][0], {}, subject=name, preset="paper")
    assert paper.clip == "timm/resnet50_clip.openai"
    assert make(name).clip == "glyph-clip"
    assert make(name).axes == ({"mix"} if name in ("coop", "ct") else frozenset())
    assert make(name).trains == (name != "clip-zeroshot")
    assert make(name).needs().foundations == ("glyph-clip",)
    assert not make(name).needs().accelerator


def test_a_large_clip_asks_for_an_accelerator(tmp_path):
    assert make("ct", clip=str(write_mini_vit(tmp_path / "vit"))).needs().accelerator  # 224 px


@EACH
def test_reads_the_digits_it_is_trained_on(name, tmp_path):
    outcome, result = few_shot.trained(make(name), few_shot.task(), few_shot.context(tmp_path))
    assert result.accuracy > 0.5 if name == "coop" else result.accuracy > 0.85
    assert result.details["zero_shot_accuracy"] > 0.85
    assert result.details["template"] == "a photo of the digit {}"
    assert result.best_on_test is None
    assert (outcome.parameters > 0) == (outcome.steps > 0) == (outcome.images_seen > 0) == (name in TRAINED)
    if name in TRAINED:
        assert outcome.curve[-1][0] == outcome.steps
        assert result.curve[-1][2] == result.accuracy
        assert all(accuracy is None for _, _, accuracy in result.curve[:-1])


def test_zero_shot_needs_no_training_image(tmp_path):
    task = few_shot.task()
    asked = make("clip-zeroshot").train(task, few_shot.context(tmp_path / "with"))
    alone = make("clip-zeroshot").train(dataclasses.replace(task, real=None), few_shot.context(tmp_path / "without"))
    np.testing.assert_array_equal(asked.probabilities, alone.probabilities)
    assert "classes_without_images" not in alone.details


@EACH
def test_the_test_part_changes_nothing_but_its_probabilities(name, tmp_path):
    """Neither its images nor its size; labels it has none."""
    task = few_shot.task()
    first = make(name).train(task, few_shot.context(tmp_path))
    order = np.random.default_rng(0).permutation(len(task.test))
    for chosen in (order, np.arange(40)):
        test = dataclasses.replace(task.test, images=task.test.images[chosen])
        again = make(name).train(dataclasses.replace(task, test=test), few_shot.context(tmp_path, "two"))
        assert again.details == first.details
        assert again.curve == first.curve
        assert np.allclose(again.probabilities, first.probabilities[chosen], atol=1e-5)


@EACH
def test_the_seed_decides_and_global_states_do_not(name, tmp_path):
    runs = []
    for noise, seed in ((0, 3), (1, 3), (2, 4)):
        torch.manual_seed(noise)
        np.random.seed(noise)
        runs.append(make(name).train(few_shot.task(1), few_shot.context(tmp_path, str(noise), seed)))
    assert np.array_equal(runs[0].probabilities, runs[1].probabilities)
    assert runs[0].curve == runs[1].curve
    assert runs[0].details == runs[1].details
    if name in ("coop", "tip-adapter-f"):
        assert runs[0].curve != runs[2].curve


@EACH
def test_trains_on_generated_images_alone_of_uneven_classes(name, tmp_path):
    some = few_shot.made(4)
    uneven = some.subset(
        [*np.flatnonzero((some.labels != 7) & (some.labels != 2)), np.flatnonzero(some.labels == 2)[0]]
    )
    said = []
    context = few_shot.context(tmp_path, emit=said.append)
    outcome, result = few_shot.trained(make(name), few_shot.task(real=None, synthetic=uneven), context)
    assert result.accuracy > 0.4
    if name != "clip-zeroshot":
        assert outcome.details["classes_without_images"] == ["7"]
        assert outcome.details["training_images"] == {"synthetic": len(uneven)}
        lines = [event["text"] for event in said if event["what"] == "log"]
        assert any(line.startswith(f"{name}:clip=glyph-clip: no training image of 7;") for line in lines)


@pytest.mark.parametrize("name", ["coop", "ct"])
def test_a_mix_takes_both_and_a_part_of_nothing_neither(name, tmp_path):
    both = few_shot.task(synthetic=few_shot.made(), mix=(1, 3))
    outcome = make(name).train(both, few_shot.context(tmp_path))
    assert outcome.details["mix"] == {"real": 1, "synthetic": 3}
    assert outcome.details["training_images"] == {"real": 20, "synthetic": 60}


@dataclasses.dataclass
class Watched(Context):
    """Saves after every step, notes each, and can be killed at one."""

    save_every: float = 0.0
    kill_at: int | None = None
    taken: list[int] = dataclasses.field(default_factory=list)

    def resume(self, *args, **options):
        for step in super().resume(*args, **options):
            if step == self.kill_at:
                raise KeyboardInterrupt
            self.taken.append(step)
            yield step


@pytest.mark.parametrize("name", TRAINED)
def test_a_killed_training_continues_with_the_same_bits(name, tmp_path):
    longer = {"max_steps": 8} if name == "coop" else {"epochs": 8}
    whole = make(name, **longer).train(few_shot.task(), few_shot.context(tmp_path, "whole"))

    def context(**changes):
        plain = few_shot.context(tmp_path, "killed")
        return Watched(plain.seed, plain.folder, plain.scratch, plain.info, **changes)

    with pytest.raises(KeyboardInterrupt):
        make(name, **longer).train(few_shot.task(), context(kill_at=3))
    second = context()
    again = make(name, **longer).train(few_shot.task(), second)
    assert second.taken == [3, 4, 5, 6, 7]
    assert np.array_equal(whole.probabilities, again.probabilities)
    assert whole.curve == again.curve


@EACH
@pytest.mark.parametrize("library", ["transformers", "open_clip"])
def test_works_on_both_published_formats(name, library, tmp_path):
    """A random CLIP knows nothing; what counts is that each part of it is reached."""
    if library == "open_clip":
        pytest.importorskip("open_clip")
        folder = write_mini_resnet(tmp_path / "rn50")
    else:
        folder = write_mini_vit(tmp_path / "vit", image_size=32)
    learner = make(name, clip=str(folder))
    assert learner.needs().packages == ("torch", library)
    few = few_shot.task(1, test=few_shot.digits("test").subset(range(10)).without_labels())
    if name == "tip-adapter":
        few = dataclasses.replace(few, validation=few.validation.subset([]))
    outcome = learner.train(few, few_shot.context(tmp_path))
    assert outcome.probabilities.shape == (10, 10)
    assert all(np.isfinite(loss) for _, loss in outcome.curve)


@pytest.mark.parametrize("name", TRAINED)
def test_mixed_precision_comes_close(name, tmp_path):
    exact = make(name).train(few_shot.task(), few_shot.context(tmp_path))
    mixed = make(name).train(few_shot.task(), few_shot.context(tmp_path, "two", precision="bf16"))
    assert mixed.details["precision"] == "bf16"
    assert mixed.curve[0][1] != exact.curve[0][1]
    assert [loss for _, loss in mixed.curve] == pytest.approx([loss for _, loss in exact.curve], rel=0.1)


@EACH
def test_a_model_that_is_no_clip_is_refused_by_the_plan(name):
    with pytest.raises(UsageError, match=rf"^{name}:clip=glyph-cnn: .*expected the folder of a transformers CLIPModel"):
        make(name, clip="glyph-cnn").needs()


@EACH
def test_a_class_name_that_is_too_long_is_refused_by_the_plan_and_by_the_training(name, tmp_path):
    words = " ".join(["zero"] * 30)
    info = dataclasses.replace(few_shot.INFO, prompt_names=(*few_shot.INFO.prompt_names[:9], words))
    with pytest.raises(UsageError, match=rf"^{name}:clip=glyph-clip: '.*zero zero.*' takes \d+ tokens.*reads 20"):
        make(name).resolve(info)
    with pytest.raises(UsageError, match=rf"^{name}:clip=glyph-clip: '.*zero zero.*' takes \d+ tokens.*reads 20"):
        make(name).train(few_shot.task(info=info), few_shot.context(tmp_path))


def test_a_context_that_is_too_long_is_refused_by_the_plan():
    with pytest.raises(UsageError, match=r"^coop:clip=glyph-clip: 'zero\.' takes 4 tokens and 17 of context, .*n_ctx"):
        make("coop", n_ctx=17).resolve(few_shot.INFO)
    assert make("coop", n_ctx=16).resolve(few_shot.INFO) == make("coop", n_ctx=16)


@pytest.mark.parametrize("name", ["clip-zeroshot", "tip-adapter", "tip-adapter-f", "ct"])
def test_a_template_without_a_place_is_refused(name):
    with pytest.raises(UsageError, match=rf"^{name}: template=a photo: must have exactly one"):
        make(name, template="a photo")


@pytest.mark.parametrize("name", TRAINED)
def test_a_training_that_diverges_is_one_line(name, tmp_path):
    with pytest.raises(BenchError, match=rf"^{name}:clip=glyph-clip: the training diverged .*lower learning_rate"):
        make(name, learning_rate=1e30).train(few_shot.task(), few_shot.context(tmp_path))


def test_planning_imports_nothing_heavy():
    code = """
import sys
from benchbench_plugins.datasets.digits import Digits
from benchbench_plugins.learners.clip.coop import CoOp
from benchbench_plugins.learners.clip.ct import ClassifierTuning
info = Digits().info()
for plugin in (CoOp(), ClassifierTuning()):
    plugin.needs(), plugin.resolve(info)
assert not {"torch", "transformers", "open_clip"} & set(sys.modules), "heavy import"
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_conformance_has_classes_with_short_names():
    """Its made-up classes fit the embedded CLIP, so that its checks reach the training."""
    assert make("coop").resolve(tiny_info()) == make("coop")
