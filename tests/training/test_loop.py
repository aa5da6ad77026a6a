"""The loop: determinism, resuming, mixing, and the three interfaces that later work stands on."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from tiny import TinyNet, tiny_context, tiny_info, tiny_recipe, tiny_score, tiny_set, tiny_task

from benchbench.errors import BenchError
from benchbench.plugins import Augmentation, Learner, TrainResult
from benchbench.training import loop
from benchbench.training.evaluate import Normalise, logits_of, probabilities
from benchbench.training.loop import Training, train_classifier


class KilledError(Exception):
    pass


def weights(task, folder, recipe, seed=7) -> tuple[dict, TrainResult]:
    """Train without interruption; return the final weights and the outcome."""
    made = []

    def build():
        made.append(TinyNet())
        return made[-1]

    outcome = train_classifier(build, task, tiny_context(folder, seed), recipe, 8)
    return made[-1].state_dict(), outcome


def same(first: dict, second: dict) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


# -- Test-defined augmentations: mixing labels, growing the set, an own loss ------------------------------------------


@dataclass(frozen=True)
class MixUp(Augmentation):
    """Zhang et al. 2018 with a fixed share."""

    share: float = 0.7

    def apply(self, images, targets, rng, info):
        if targets.ndim == 1:
            targets = torch.nn.functional.one_hot(targets, len(info.classes)).float()
        order = torch.randperm(len(images), generator=rng, device=images.device)
        images = images.float()
        mixed = self.share * images + (1 - self.share) * images[order]
        return mixed, self.share * targets + (1 - self.share) * targets[order]


@dataclass(frozen=True)
class Adversarial(Augmentation):
    """ME-ADA in miniature: ascends the loss from every image and adds the result, twice."""

    def apply(self, images, targets, rng, info):
        return images, targets

    def phases(self, steps):
        return (steps // 3, 2 * steps // 3)

    def grow(self, model, images, labels, rng, info):
        assert not model.training
        normalise = Normalise(info, images.device.type)
        pixels = normalise(images).clone().requires_grad_(True)
        anchor = model.features(pixels).detach()
        distance = (model.features(pixels) - anchor).square().mean()
        loss = torch.nn.functional.cross_entropy(model(pixels), labels) - distance
        (slope,) = torch.autograd.grad(loss, pixels)
        noise = torch.rand(images.shape, generator=rng)
        return (images + 8 * slope.sign() + noise).clamp(0, 255).to(torch.uint8), labels


@dataclass(frozen=True)
class Squared(Augmentation):
    def apply(self, images, targets, rng, info):
        return images, targets

    def loss(self, logits, targets):
        return (logits - torch.nn.functional.one_hot(targets, logits.shape[1])).square().mean()


def test_a_label_mixing_augmentation_fits(tmp_path):
    task = tiny_task(augmentations=[MixUp()])
    _, outcome = weights(task, tmp_path, tiny_recipe(60))
    assert tiny_score(outcome, task).accuracy > 0.9
    _, plain = weights(tiny_task(), tmp_path, tiny_recipe(60))
    assert outcome.curve[-1][1] > plain.curve[-1][1] + 0.2  # the entropy of mixed labels stays in the loss


def test_two_label_mixing_augmentations_chain(tmp_path):
    task = tiny_task(augmentations=[MixUp(), MixUp(share=0.9)])
    _, outcome = weights(task, tmp_path, tiny_recipe(60))
    assert tiny_score(outcome, task).accuracy > 0.9


def test_soft_targets_of_one_class_equal_hard_ones(tmp_path):
    @dataclass(frozen=True)
    class OneHot(Augmentation):
        def apply(self, images, targets, rng, info):
            return images, torch.nn.functional.one_hot(targets, 3).float()

    hard, _ = weights(tiny_task(), tmp_path, tiny_recipe())
    soft, _ = weights(tiny_task(augmentations=[OneHot()]), tmp_path, tiny_recipe())
    assert all(torch.allclose(hard[name].float(), soft[name].float(), atol=1e-5) for name in hard)


@pytest.mark.parametrize("synthetic", [False, True])
def test_a_set_growing_augmentation_fits(tmp_path, synthetic):
    task = tiny_task(synthetic=synthetic, mix=(1, 1) if synthetic else None, augmentations=[Adversarial()])
    training = Training(TinyNet, task, tiny_context(tmp_path), tiny_recipe(12), 8)
    for step in range(12):
        training.advance(step)
    sizes = [len(source.labels) for source in training.batches.sources]
    assert sizes == ([120, 240] if synthetic else [120])  # everything doubles twice
    assert training.model.training
    assert torch.equal(training.batches.sources[0].labels[:30], training.batches.sources[0].labels[30:60])
    outcome = training.finish()
    assert outcome.steps == 12
    assert outcome.details["grown"] == ({"real": 90, "synthetic": 180} if synthetic else {"real": 90})


def test_an_own_loss_replaces_cross_entropy(tmp_path):
    _, squared = weights(tiny_task(augmentations=[Squared()]), tmp_path, tiny_recipe(3, evaluations=3))
    _, plain = weights(tiny_task(), tmp_path, tiny_recipe(3, evaluations=3))
    assert squared.curve[0][1] < plain.curve[0][1]
    assert squared.probabilities.shape == (31, 3)


def test_a_learner_without_architectures_fits(tmp_path):
    @dataclass(frozen=True)
    class NearestMean(Learner):
        """Knows no architecture, no augmentation and no mixing ratio."""

        axes = frozenset()

        def train(self, task, context):
            means = np.stack([task.real.images[task.real.labels == c].mean(axis=0) for c in range(3)])
            distances = ((task.test.images[:, None] - means[None]) ** 2).sum(axis=(2, 3, 4))
            return TrainResult(np.eye(3, dtype=np.float32)[distances.argmin(axis=1)])

    task = replace(tiny_task(), arch=None)
    result = tiny_score(NearestMean().train(task, tiny_context(tmp_path)), task)
    assert result.accuracy == 1.0
    assert result.best_on_test is None
    assert result.curve == ()


# -- Seeds and determinism ---------------------------------------------------------------------------------------------


def test_same_seed_same_bits_and_another_seed_others(tmp_path):
    torch.manual_seed(1)
    first, outcome = weights(tiny_task(), tmp_path, tiny_recipe())
    torch.manual_seed(2)
    state = torch.get_rng_state()
    second, again = weights(tiny_task(), tmp_path, tiny_recipe())
    other, _ = weights(tiny_task(), tmp_path, tiny_recipe(), seed=8)
    assert same(first, second)
    assert outcome.curve == again.curve
    assert not same(first, other)
    assert torch.equal(state, torch.get_rng_state())  # the caller's generator is left alone


def test_initialisation_does_not_depend_on_the_images(tmp_path):
    def start(task):
        return Training(TinyNet, task, tiny_context(tmp_path), tiny_recipe(), 8).model.state_dict()

    assert same(start(tiny_task()), start(tiny_task(real=False, synthetic=True)))


# -- What is reported --------------------------------------------------------------------------------------------------


def test_outcome_is_complete(tmp_path):
    task = tiny_task(synthetic=True, mix=(1, 3))
    _, outcome = weights(task, tmp_path, tiny_recipe(12, evaluations=4))
    result = tiny_score(outcome, task)
    assert outcome.probabilities.dtype == np.float32
    assert outcome.probabilities.shape == (len(task.test), 3)
    assert [point[0] for point in result.curve] == [3, 6, 9, 12]
    assert [point[:2] for point in result.curve] == list(outcome.curve)
    assert result.curve[-1][2] == result.accuracy
    assert result.best_on_test == max(point[2] for point in result.curve)
    assert (outcome.steps, outcome.images_seen) == (12, 120)
    assert outcome.parameters == sum(weight.numel() for weight in TinyNet().parameters())
    assert outcome.details["mix"] == {"real": 1, "synthetic": 3}
    assert "grown" not in outcome.details
    assert outcome.details["recipe"]["learning_rate"] == 0.05
    again = replace(task, answers={})
    _, last_only = weights(again, tmp_path, tiny_recipe(12, evaluations=1))
    assert tiny_score(last_only, again).best_on_test is None


def test_mixed_precision_trains_and_is_reported(tmp_path):
    context = replace(tiny_context(tmp_path), precision="bf16")
    task = tiny_task()
    outcome = train_classifier(TinyNet, task, context, tiny_recipe(60), 8)
    assert tiny_score(outcome, task).accuracy > 0.9
    assert outcome.details["precision"] == "bf16"


@pytest.mark.parametrize("precision", ["fp32", "bf16", "tf32"])
def test_convolutions_round_their_factors_only_where_tf32_is_asked_for(precision, tmp_path):
    seen = []

    def build():
        flags = torch.backends.cudnn
        seen.append((flags.allow_tf32, flags.deterministic, flags.benchmark))
        return TinyNet()

    outcome = train_classifier(
        build, tiny_task(), replace(tiny_context(tmp_path), precision=precision), tiny_recipe(2), 8
    )
    assert seen == [(precision == "tf32", True, False)]
    assert outcome.details["precision"] == precision


def test_evaluation_changes_nothing(tmp_path):
    often, _ = weights(tiny_task(), tmp_path, tiny_recipe(evaluations=12))
    once, _ = weights(tiny_task(), tmp_path, tiny_recipe(evaluations=1))
    assert same(often, once)


def test_scores_may_be_read_late(tmp_path, monkeypatch):
    """An accelerator reads a point of the curve when the next one is due: it must still hold what it held."""
    _, outcome = weights(tiny_task(), tmp_path, tiny_recipe())
    training = Training(TinyNet, tiny_task(), tiny_context(tmp_path), tiny_recipe(), 8)
    with monkeypatch.context() as late:
        late.setattr(Training, "_settle", lambda self: None)
        for step in range(12):
            training.advance(step)
        assert training.curve == []
    assert training.finish().curve == outcome.curve


def test_no_number_is_read_back_in_a_step(tmp_path, monkeypatch):
    training = Training(TinyNet, tiny_task(augmentations=[MixUp()]), tiny_context(tmp_path), tiny_recipe(), 8)
    training.advance(0)
    monkeypatch.setattr(Training, "_settle", lambda self: None)  # an accelerator reads the point before, now finished
    for name in ("item", "tolist", "cpu", "__float__", "__int__", "__bool__"):
        monkeypatch.setattr(torch.Tensor, name, lambda *_: pytest.fail("waited for the device"))
    for step in range(1, 6):
        training.advance(step)
    assert training.task.answers.keys() == {4}


def test_depthwise_convolutions_repeat_and_continue_bit_by_bit(tmp_path):
    class Light(TinyNet):
        def __init__(self):
            super().__init__()
            depthwise = torch.nn.Conv2d(6, 6, 3, 1, 1, groups=6)
            self.body = torch.nn.Sequential(*self.body, depthwise, torch.nn.BatchNorm2d(6), torch.nn.ReLU())

    def trained(stop):
        training = Training(Light, tiny_task(), tiny_context(tmp_path), tiny_recipe(), 8)
        for step in range(stop):
            training.advance(step)
        training.save()
        training = Training(Light, tiny_task(), tiny_context(tmp_path), tiny_recipe(), 8)
        training.resume()
        for step in range(stop, 12):
            training.advance(step)
        return training.model

    assert trained(3).body[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert same(trained(0).state_dict(), trained(5).state_dict())


def test_logits_do_not_depend_on_the_batch(monkeypatch):
    model, images = TinyNet(), torch.from_numpy(tiny_set(31, 3).images.transpose(0, 3, 1, 2).copy())
    precision = torch.autocast("cpu", enabled=False)
    whole = logits_of(model, images, tiny_info(), precision)
    assert whole.shape == (31, 3)
    monkeypatch.setattr("benchbench.training.evaluate.scoring_batch", lambda *_: 4)
    assert torch.allclose(logits_of(model, images, tiny_info(), precision), whole, atol=1e-6)
    assert logits_of(model, images[:0], tiny_info(), precision).shape == (0, 3)
    assert model.training


def test_probabilities_keep_the_order_of_logits_that_float32_cannot_tell_apart():
    inf = float("inf")
    logits = torch.tensor([[0.1, 0.2, 0.3], [0.0, 1e-9, 0.0], [1e-9, 2e-9, 2e-9], [90.0, -90.0, 90.0]])
    logits = torch.cat([logits, torch.tensor([[0.0, inf, inf], [1.0, 2.0, float("nan")], [-inf, -inf, -inf]])])
    assert len(torch.softmax(logits[1], 0).unique()) == 1
    found = probabilities(logits)
    assert found.dtype == np.float32
    assert found.argmax(axis=1).tolist() == logits.argmax(dim=1).tolist() == [2, 1, 1, 0, 1, 2, 0]
    assert found.sum(axis=1) == pytest.approx(1, abs=1e-6)
    assert found[0] == pytest.approx(np.exp([0.1, 0.2, 0.3]) / np.exp([0.1, 0.2, 0.3]).sum(), rel=1e-6)


def test_normalise_neither_shows_blocks_nor_the_batch_before(monkeypatch):
    images = torch.randint(0, 256, (7, 3, 8, 8), dtype=torch.uint8)
    whole = Normalise(tiny_info(), "cpu")(images).clone()
    monkeypatch.setattr("benchbench.training.evaluate.BLOCK_PIXELS", 400)
    normalise = Normalise(tiny_info(), "cpu")
    assert torch.equal(normalise(images), whole)
    assert torch.equal(normalise(images[2:5].float()), whole[2:5])
    assert normalise(images[:0]).shape == (0, 3, 8, 8)


def test_normalise_is_what_torchvision_computes():
    from torchvision.transforms.functional import normalize

    images = torch.randint(0, 256, (4, 3, 8, 8), dtype=torch.uint8)
    expected = normalize(images.float() / 255, tiny_info().mean, tiny_info().std)
    assert torch.allclose(Normalise(tiny_info(), "cpu")(images), expected, atol=1e-5)


# -- Kills -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("killed_at", [1, 5, 9, 11])
def test_killed_and_continued_is_bit_identical(tmp_path, monkeypatch, killed_at, optimizer):
    def task():
        return tiny_task(synthetic=True, mix=(1, 2), augmentations=[MixUp(), Adversarial()])

    recipe = tiny_recipe(12, optimizer=optimizer)
    first = task()
    expected, whole = weights(first, tmp_path / "whole", recipe)

    context = tiny_context(tmp_path / "killed")
    advance = Training.advance

    def until_killed(self, step):
        if step == killed_at:
            raise KilledError
        advance(self, step)

    monkeypatch.setattr(Training, "advance", until_killed)
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    with pytest.raises(KilledError):
        train_classifier(TinyNet, task(), context, recipe, 8)
    monkeypatch.undo()

    events, made = [], []
    context.emit = events.append

    def build():
        made.append(TinyNet())
        return made[-1]

    second = task()
    continued = train_classifier(build, second, context, recipe, 8)
    assert any(f"at step {killed_at} of 12" in event.get("text", "") for event in events)
    assert same(expected, made[-1].state_dict())
    assert np.array_equal(continued.probabilities, whole.probabilities)
    assert tiny_score(continued, second) == tiny_score(whole, first)
    assert len(first.answers) == 2
    assert list(context.scratch.iterdir()) == []


def test_no_checkpoint_is_kept_of_a_training_whose_files_changed(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    context, asked = tiny_context(tmp_path), []

    def changed(path):
        asked.append(path)
        if len(asked) == 3:
            raise BenchError("changed since the plan")

    context.before_keeping = changed
    with pytest.raises(BenchError, match="changed since the plan"):
        train_classifier(TinyNet, tiny_task(), context, tiny_recipe(12), 8)
    assert asked == [context.scratch / "training.pt"] * 3
    assert torch.load(context.scratch / "training.pt", weights_only=True)["step"] == 2


def test_checkpoint_of_another_training_or_a_damaged_one_is_ignored(tmp_path):
    context = tiny_context(tmp_path)
    training = Training(TinyNet, tiny_task(), context, tiny_recipe(), 8)
    training.advance(0)
    training.save()
    other = Training(TinyNet, tiny_task(), context, tiny_recipe(learning_rate=0.1), 8)
    other.resume()
    assert other.step == 0
    mine = Training(TinyNet, tiny_task(), context, tiny_recipe(), 8)
    mine.resume()
    assert mine.step == 1
    (context.scratch / "training.pt").write_bytes(b"torn")
    fresh = Training(TinyNet, tiny_task(), context, tiny_recipe(), 8)
    fresh.resume()
    assert fresh.step == 0


def test_a_short_training_never_writes_a_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setattr(Training, "save", lambda *_: pytest.fail("wrote a checkpoint"))
    weights(tiny_task(), tmp_path, tiny_recipe())


# -- What goes wrong ---------------------------------------------------------------------------------------------------


def test_divergence_is_said(tmp_path):
    with pytest.raises(BenchError, match=r"tiny: the training diverged .* learning_rate=1e\+18"):
        weights(tiny_task(), tmp_path, tiny_recipe(40, learning_rate=1e18))


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (lambda i, t: (i[:, :1], t), r"must return images \(10, 3, 8, 8\)"),
        (lambda i, t: (i[:4], t), "must return images"),
        (lambda i, t: (i, torch.ones(len(i), 5) / 5), r"must return soft targets \(B, 3\)"),
    ],
)
def test_a_broken_augmentation_is_named(tmp_path, broken, message):
    @dataclass(frozen=True)
    class Broken(Augmentation):
        def apply(self, images, targets, rng, info):
            return broken(images, targets)

    with pytest.raises(ValueError, match=message):
        weights(tiny_task(augmentations=[Broken()]), tmp_path, tiny_recipe())


def test_broken_growth_is_named(tmp_path):
    @dataclass(frozen=True)
    class Floating(Adversarial):
        def grow(self, model, images, labels, rng, info):
            return images.float(), labels

    @dataclass(frozen=True)
    class Early(Adversarial):
        def phases(self, steps):
            return (0,)

    with pytest.raises(ValueError, match=r"Floating.grow must return uint8"):
        weights(tiny_task(augmentations=[Floating()]), tmp_path, tiny_recipe())
    with pytest.raises(ValueError, match=r"Early.phases must be ascending steps in 1..11"):
        weights(tiny_task(augmentations=[Early()]), tmp_path, tiny_recipe())
