"""ME-ADA: the ascent in closed form on a linear model, its terms, what it adds and when."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from aug_info import make_batch, make_info, seeded

from benchbench.errors import BenchError
from benchbench.plugins import Context, Task
from benchbench.plugins.images import ImageSet
from benchbench.training.evaluate import Normalise
from benchbench.training.loop import train_classifier
from benchbench.training.recipes import Recipe
from benchbench_plugins.augmentations import meada
from benchbench_plugins.augmentations.meada import (
    MEADA,
    balanced_choice,
    logits_and_features,
    objective,
    quantised,
    siblings,
)
from benchbench_plugins.learners.timm.architectures import build
from benchbench_plugins.learners.timm.stems import PAPER_ARCHITECTURES

SIDE, CLASSES = 4, 3
INFO = make_info(CLASSES, SIDE)
WIDTH = 3 * SIDE**2


def ascent(steps, gamma=1.0, eta=10.0):
    return MEADA(ascent_steps=steps, gamma=gamma, eta=eta)


class Linear(torch.nn.Module):
    """Features are the pixels themselves, so that every gradient is known."""

    def __init__(self) -> None:
        super().__init__()
        self.head = torch.nn.Linear(WIDTH, CLASSES, dtype=torch.float32)
        with torch.no_grad():
            self.head.weight.copy_(0.3 * torch.randn(CLASSES, WIDTH, generator=seeded(1)))
            self.head.bias.copy_(torch.randn(CLASSES, generator=seeded(2)))

    def features(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(images))


class Curved(torch.nn.Module):
    """Batch norm, dropout, and features that ``forward`` does not ask for by name."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.net = torch.nn.Sequential(
                torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.BatchNorm2d(8), torch.nn.Tanh(), torch.nn.Dropout(0.5)
            )
            self.head = torch.nn.Linear(8 * SIDE**2, CLASSES)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        return self.net(images).flatten(1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.net(images).flatten(1))


def middle(count: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    """Images far from black and white, so that nothing is clamped."""
    images, labels = make_batch(count, SIDE, CLASSES)
    return images // 4 + 96, labels


def grow(plugin: MEADA, *given) -> list[torch.Tensor]:
    """Return the images and labels that it yields, joined."""
    return [torch.cat(parts) for parts in zip(*plugin.grow(*given), strict=True)]


def normal(images: torch.Tensor) -> torch.Tensor:
    return Normalise(INFO, "cpu")(images).clone()


def by_hand(images, labels, steps, rate, gamma, eta) -> torch.Tensor:
    """Return normalised pixels after the ascent on ``Linear``, from the gradients as one writes them down."""
    model = Linear().double()
    weight, bias = model.head.weight.detach(), model.head.bias.detach()
    clean = normal(images).double().flatten(1)
    x = clean.clone()
    for _ in range(steps):
        p = torch.softmax(x @ weight.T + bias, dim=1)
        entropy = -(p * p.log()).sum(1, keepdim=True)
        wrong = p - torch.nn.functional.one_hot(labels, CLASSES)
        unsure = -p * (p.log() + entropy)
        slope = (wrong + eta * unsure) @ weight - gamma * 2 / WIDTH * (x - clean)
        x = x + rate / 128 * slope
    return x.view(images.shape)


@pytest.mark.parametrize(("steps", "gamma", "eta"), [(1, 1.0, 10.0), (4, 0.0, 0.0), (4, 0.0, 2.0), (5, 30.0, 0.5)])
def test_the_ascent_on_a_linear_model_in_closed_form(steps, gamma, eta):
    images, labels = middle()
    found = siblings(ascent(steps, gamma, eta), Linear().eval(), images, labels, INFO)
    exact = by_hand(images, labels, steps, 20.0, gamma, eta)
    shift, scale = (torch.tensor(values).double()[:, None, None] for values in (INFO.mean, INFO.std))
    exact = 255 * (exact * scale + shift)
    assert exact.min() > 0
    assert exact.max() < 255
    assert (found.double() - exact).abs().max() <= 0.5 + 1e-3
    assert (found != images).float().mean() > 0.5


def test_the_step_of_an_image_does_not_depend_on_the_batch(monkeypatch):
    images, labels = middle(50)
    together, _ = grow(ascent(3), Curved().eval(), images, labels, seeded(), INFO)
    monkeypatch.setattr(meada, "_batch_size", lambda images: 7)
    apart, _ = grow(ascent(3), Curved().eval(), images, labels, seeded(), INFO)
    assert (together.int() - apart.int()).abs().max() <= 1  # a rounding
    assert (together == apart).float().mean() > 0.999


def sharp() -> Curved:
    """A network whose predictions move: one that knows nothing is as unsure as can be."""
    model = Curved().eval()
    with torch.no_grad():
        model.head.weight.mul_(5)
    return model


def terms(model, images, labels, clean) -> tuple[float, float, float]:
    """Return mean cross-entropy, entropy and squared distance of features."""
    with torch.no_grad():
        logits, features = logits_and_features(model, normal(images))
        anchor = model.features(normal(clean))
    p = logits.softmax(1)
    wrong = torch.nn.functional.cross_entropy(logits, labels)
    return float(wrong), float(-(p * p.log()).sum(1).mean()), float((features - anchor).square().mean())


def test_every_term_pulls_its_way():
    images, labels = middle(60)
    model = sharp()

    def after(gamma, eta):
        made = siblings(ascent(10, gamma, eta), model, images, labels, INFO)
        return terms(model, made, labels, images)

    before, wrong, unsure, near = terms(model, images, labels, images), after(0, 0), after(0, 10), after(200, 0)
    assert wrong[0] > before[0] + 0.5  # cross-entropy rises
    assert unsure[1] > wrong[1] + 0.05  # entropy rises with eta
    assert unsure[1] > before[1]
    assert 0 < near[2] < 0.5 * wrong[2]  # features stay near with gamma


def test_the_objective_rises_with_every_step():
    images, labels = middle(40)
    model = sharp()
    with torch.no_grad():
        anchor = model.features(normal(images))
    values = []
    for steps in range(6):
        made = siblings(ascent(steps), model, images, labels, INFO)
        with torch.no_grad():
            values.append(float(objective(ascent(1), *logits_and_features(model, normal(made)), labels, anchor).mean()))
    assert values == sorted(values)
    assert values[-1] > values[0] + 0.1


class Both(Curved):
    """Offers logits and features in one pass."""

    def logits_and_features(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = self.features(images)
        return self.head(features), features


def test_one_pass_where_the_model_offers_it_and_two_otherwise():
    images = normal(middle()[0])
    for model, expected in ((Both().eval(), 1), (Curved().eval(), 2)):
        passes = []
        handle = model.net.register_forward_hook(lambda *_, passes=passes: passes.append(1))
        logits, features = logits_and_features(model, images)
        handle.remove()
        assert len(passes) == expected
        assert torch.equal(features, model.features(images))
        assert torch.equal(logits, model(images))


@pytest.mark.parametrize("arch", PAPER_ARCHITECTURES)
def test_the_papers_networks_give_what_forward_and_the_input_of_its_last_layer_give(arch):
    """Bit for bit, and so does the slope of the objective; one pass and no more."""
    torch.manual_seed(0)
    model = build(arch, 32, CLASSES).eval()
    pixels = torch.randn(3, 3, 32, 32, generator=seeded(), requires_grad=True)
    heard, passes = [], []
    handles = [
        model.head.register_forward_pre_hook(lambda _, inputs: heard.append(inputs[0])),
        model.body.register_forward_hook(lambda *_: passes.append(1)),
    ]
    found = logits_and_features(model, pixels)
    assert len(passes) == 1
    heard.clear()
    expected = model(pixels), heard[0]
    for handle in handles:
        handle.remove()
    assert all(map(torch.equal, found, expected))
    anchor = torch.zeros_like(found[1])
    slopes = [
        torch.autograd.grad(objective(ascent(1), *pair, torch.arange(3), anchor).sum(), pixels)
        for pair in (found, expected)
    ]
    assert torch.equal(slopes[0][0], slopes[1][0])
    assert slopes[0][0].abs().max() > 0


def test_the_model_is_left_as_it_was():
    images, labels = middle(20)
    model = Curved().eval()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    kept = images.clone(), labels.clone()
    made, names = grow(MEADA(), model, images, labels, seeded(), INFO)
    assert all(weight.grad is None and weight.requires_grad for weight in model.parameters())
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert not model.training
    assert torch.equal(images, kept[0])
    assert torch.equal(labels, kept[1])
    assert torch.equal(names, labels)
    assert names is not labels
    assert made.dtype == torch.uint8
    assert made.shape == images.shape


def test_quantising_rounds_and_clamps():
    images = torch.arange(256, dtype=torch.uint8).repeat(3, 1)[None, :, None]
    normalise = Normalise(INFO, "cpu")
    assert torch.equal(quantised(normalise(images).clone(), normalise), images)
    pixels = torch.tensor([-50.0, -0.6, 10.4, 10.6, 254.6, 300.0]).repeat(3, 1)[None, :, None]
    expected = [0, 0, 10, 11, 255, 255]
    assert quantised(normalise(pixels).clone(), normalise)[0, 1, 0].tolist() == expected


def test_no_step_is_the_image_itself_and_infinite_pixels_are_refused():
    images, labels = make_batch(10, SIDE, CLASSES)
    model = Linear().eval()
    assert torch.equal(siblings(ascent(0), model, images, labels, INFO), images)
    with pytest.raises(BenchError, match=r"^meada:ascent_rate=1e\+38: adversarial pixels are no longer finite; lower"):
        grow(MEADA(ascent_rate=1e38, gamma=1e3), model, images, labels, seeded(), INFO)


# -- How much, and when ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("plugin", "steps", "expected"),
    [
        (MEADA(), 100, (25, 50)),
        (MEADA(), 50_000, (12_500, 25_000)),
        (MEADA(rounds=1), 99, (33,)),
        (MEADA(rounds=5), 70, (10, 20, 30, 40, 50)),
        (MEADA(interval=10), 100, (10, 20)),
        (MEADA(interval=60), 100, (60,)),
        (MEADA(interval=100), 100, ()),
        (MEADA(), 1, ()),
        (MEADA(), 2, (1,)),
        (MEADA(), 3, (1, 2)),
        (MEADA(), 4, (1, 2)),
        (MEADA(rounds=9), 5, (1, 2, 3, 4)),
    ],
)
def test_phases(plugin, steps, expected):
    assert plugin.phases(steps) == expected


def test_a_capped_round_takes_a_balanced_choice():
    labels = torch.tensor([0] * 50 + [1] * 8 + [2] * 30)
    chosen = balanced_choice(labels, 20, seeded())
    assert sorted(torch.bincount(labels[chosen]).tolist()) == [6, 7, 7]
    assert chosen.tolist() == sorted(set(chosen.tolist()))
    assert not torch.equal(chosen, balanced_choice(labels, 20, seeded(1)))
    assert torch.equal(chosen, balanced_choice(labels, 20, seeded()))
    assert torch.bincount(labels[balanced_choice(labels, 40, seeded())]).tolist() == [16, 8, 16]


def test_the_cap_and_no_cap():
    images, labels = make_batch(40, SIDE, CLASSES)
    model = Linear().eval()
    made, names = grow(MEADA(max_images=12), model, images, labels, seeded(4), INFO)
    chosen = balanced_choice(labels, 12, seeded(4))
    assert torch.equal(names, labels[chosen])
    every, _ = grow(MEADA(max_images=None), model, images, labels, seeded(4), INFO)
    assert torch.equal(made, every[chosen])
    assert len(every) == 40
    for cap in (40, 41, None):
        assert torch.equal(grow(MEADA(max_images=cap), model, images, labels, seeded(5), INFO)[0], every)


# -- In the loop -------------------------------------------------------------------------------------------------------


def toy_set(count: int, seed: int) -> ImageSet:
    rng = np.random.default_rng(seed)
    labels = np.arange(count, dtype=np.int64) % CLASSES
    images = rng.integers(0, 40, (count, SIDE, SIDE, 3)) + 90 * labels[:, None, None, None]
    return ImageSet(images.astype(np.uint8), labels, INFO.classes)


def train(folder: Path, plugin: MEADA, steps: int = 16, synthetic: bool = False, seed: int = 3):
    grown: list[tuple[int, torch.Tensor]] = []

    class Watched(MEADA):
        def grow(self, model, images, labels, rng, info):
            made = grow(super(), model, images, labels, rng, info)
            grown.append((len(images), made[0]))
            return made

    watched = Watched(**{item.name: getattr(plugin, item.name) for item in fields(plugin)})
    task = Task(
        real=toy_set(30, 0),
        synthetic=toy_set(60, 1) if synthetic else None,
        mix=(1, 1) if synthetic else None,
        validation=toy_set(0, 2),
        test=toy_set(21, 3).without_labels(),
        info=INFO,
        arch="toy",
        augmentations=(watched,),
        preset="quick",
    )
    recipe = Recipe(steps, 10, "sgd", 0.05, 0.9, 0.0, 2, 1)
    context = Context(seed=seed, folder=folder / "out", scratch=folder / "scratch", info=INFO)
    outcome = train_classifier(Curved, task, context, recipe, SIDE)
    return outcome, grown


def test_the_set_doubles_each_round(tmp_path):
    outcome, grown = train(tmp_path, MEADA(max_images=None))
    assert [(before, len(made)) for before, made in grown] == [(30, 30), (60, 60)]
    assert outcome.details["training_images"] == {"real": 120}
    assert outcome.details["grown"] == {"real": 90}
    right = outcome.probabilities.argmax(axis=1) == toy_set(21, 3).labels
    assert right.mean() > 0.9


def test_real_and_generated_images_grow_apart_and_capped(tmp_path):
    outcome, grown = train(tmp_path, MEADA(max_images=40), synthetic=True)
    assert [(before, len(made)) for before, made in grown] == [(30, 30), (60, 40), (60, 40), (100, 40)]
    assert outcome.details["training_images"] == {"real": 100, "synthetic": 140}
    assert outcome.details["grown"] == {"real": 70, "synthetic": 80}


def test_the_same_seed_grows_the_same_images(tmp_path):
    plugin = MEADA(max_images=20)
    first, second, other = (train(tmp_path / str(n), plugin, seed=seed) for n, seed in enumerate((3, 3, 4)))
    assert all(torch.equal(one[1], two[1]) for one, two in zip(first[1], second[1], strict=True))
    assert first[0].curve == second[0].curve
    assert not torch.equal(first[1][0][1], other[1][0][1])


def test_a_training_of_one_step_never_grows(tmp_path):
    outcome, grown = train(tmp_path, MEADA(), steps=1)
    assert grown == []
    assert outcome.details["training_images"] == {"real": 30}
