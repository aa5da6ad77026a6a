"""How far a network has learned its own training images: which ones, when, and what "still rising" means."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from tiny import TinyNet, tiny_context, tiny_info, tiny_recipe, tiny_task

from benchbench.plugins import Augmentation
from benchbench.plugins.context import derive_seed
from benchbench.training import learning
from benchbench.training.data import Source
from benchbench.training.evaluate import logits_of
from benchbench.training.learning import grid, looked_at, rising
from benchbench.training.loop import Training, train_classifier


@dataclass(frozen=True)
class Blind(Augmentation):
    """Shows the network nothing."""

    def apply(self, images, targets, rng, info):
        return torch.zeros_like(images), targets


def source(count: int, name: str = "real") -> Source:
    pixels = torch.arange(count).to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 8, 8).contiguous()
    return Source(name, pixels, torch.arange(count) % 3, seed=0)


def test_the_grid_has_eight_points_and_ends_with_the_last_step():
    assert sorted(grid(100)) == [12, 25, 37, 50, 62, 75, 87, 100]
    assert sorted(grid(3)) == [1, 2, 3]
    assert sorted(grid(1)) == [1]


def test_a_point_is_the_accuracy_on_the_training_images_as_they_are(tmp_path):
    task = tiny_task(augmentations=[Blind()])
    training = Training(TinyNet, task, tiny_context(tmp_path), tiny_recipe(16), 8)
    images, labels = torch.from_numpy(task.real.images.transpose(0, 3, 1, 2).copy()), torch.from_numpy(task.real.labels)
    expected = {}
    for step in range(16):
        training.advance(step)
        found = logits_of(training.model, images, tiny_info(), torch.autocast("cpu", enabled=False)).argmax(1)
        expected[step + 1] = float((found == labels).float().mean())
    told = training.finish().details["learning"]
    assert told["curve"] == [[step, pytest.approx(expected[step])] for step in range(2, 17, 2)]
    assert told["train_accuracy"] == told["curve"][-1][1]
    assert told["images"] == 30


def test_a_network_learns_them_and_the_outcome_says_so(tmp_path):
    short = train_classifier(TinyNet, tiny_task(), tiny_context(tmp_path), tiny_recipe(4, learning_rate=1e-3), 8)
    long = train_classifier(TinyNet, tiny_task(), tiny_context(tmp_path), tiny_recipe(60), 8)
    assert long.details["learning"]["train_accuracy"] == 1.0
    assert long.details["learning"]["rising"] is False
    assert short.details["learning"]["train_accuracy"] < 0.9


def test_images_of_all_sources_are_drawn_from_and_no_more_than_cost_little():
    both, recipe = [source(100), source(200, "synthetic")], tiny_recipe(400, batch_size=10)
    images, labels = looked_at(both, recipe, 1)
    assert len(images) == len(labels) == 400 * 10 // 40
    assert (labels == images[:, 0, 0, 0] % 3).all(), "each image has its label"
    assert torch.equal(images, looked_at(both, recipe, 1)[0])
    assert not torch.equal(images, looked_at(both, recipe, 2)[0])
    assert len(looked_at(both, tiny_recipe(2), 1)[1]) == 32
    assert len(looked_at([source(20)], tiny_recipe(2), 1)[1]) == 20
    long = tiny_recipe(50_000, batch_size=128)
    assert len(looked_at([source(1_000)], long, 1)[1]) == 512
    assert torch.equal(looked_at(both, long, 1)[0], torch.cat([both[0].images, both[1].images]))


def test_looking_changes_nothing(tmp_path, monkeypatch):
    def weights():
        training = Training(TinyNet, tiny_task(), tiny_context(tmp_path), tiny_recipe(), 8)
        for step in range(12):
            training.advance(step)
        return training.model.state_dict()

    often = weights()
    monkeypatch.setattr(learning, "grid", lambda steps: frozenset({steps}))
    once = weights()
    assert all(torch.equal(often[name], once[name]) for name in often)


def test_images_on_disk_are_looked_at_too(tmp_path):
    def told(images):
        outcome = train_classifier(TinyNet, tiny_task(), tiny_context(tmp_path), tiny_recipe(), 8, images)
        return outcome.details["learning"]

    assert told("streamed") == told("resident")


def test_a_killed_training_keeps_its_points(tmp_path):
    def training():
        return Training(TinyNet, tiny_task(), tiny_context(tmp_path), tiny_recipe(16), 8)

    whole, first, second = training(), training(), training()
    for step in range(16):
        whole.advance(step)
    for step in range(7):
        first.advance(step)
    first.save()
    second.resume()
    for step in range(7, 16):
        second.advance(step)
    assert second.finish().details["learning"] == whole.finish().details["learning"]


@pytest.mark.parametrize(
    ("shares", "expected"),
    [
        ((0.1, 0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.8), True),
        ((0.1, 0.3, 0.8, 0.9, 0.98, 0.99, 1.0, 1.0), False),  # learned
        ((0.1, 0.3, 0.6, 0.79, 0.8, 0.8, 0.8, 0.8), False),  # wrong labels are not learned, and longer does not help
        ((0.1, 0.3, 0.6, 0.79, 0.8, 0.82, 0.82, 0.85), True),
        ((0.9,), True),  # a single step
    ],
)
def test_rising_is_what_the_second_half_of_the_steps_added(shares, expected):
    points = [(step, share) for step, share in zip(range(1, len(shares) + 1), shares, strict=True)]
    assert rising(points) is expected


def test_the_seed_of_the_training_decides_which_images(tmp_path):
    training = Training(TinyNet, tiny_task(count=90), tiny_context(tmp_path, 5), tiny_recipe(), 8)
    expected, _ = looked_at(training.batches.sources, training.recipe, derive_seed(5, "learning"))
    assert torch.equal(training.looked_at, expected)
