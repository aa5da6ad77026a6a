"""What pictures of augmentations are made of: batches as the loop makes them, and growth under way."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from datasetinfos import dataset_info

from benchbench.errors import BenchError
from benchbench.pictures.augmented import MAGNIFIED, as_classified, augmented_group, grown_groups, real_group
from benchbench.plugins import Augmentation, Learner, TrainResult
from benchbench.plugins.context import Context
from benchbench.plugins.images import ImageSet
from benchbench.training.loop import train_classifier
from benchbench.training.recipes import Recipe

CLASSES = ("dark", "grey", "light")
INFO = dataset_info(CLASSES, 8, class_counts=(3, 3, 3), classify_resolution=4)


def shades(count: int = 3, side: int = 4) -> ImageSet:
    """Image ``i`` is of grey ``60 i + 40`` and of class ``i % 3``."""
    labels = np.arange(count, dtype=np.int64) % 3
    grey = (60 * labels + 40).astype(np.uint8)[:, None, None, None]
    return ImageSet(np.broadcast_to(grey, (count, side, side, 3)).copy(), labels, CLASSES)


class Brighter(Augmentation):
    def apply(self, images, targets, rng, info):
        return images.float() + 300 * torch.rand((), generator=rng), targets


class Half(Augmentation):
    def apply(self, images, targets, rng, info):
        soft = torch.nn.functional.one_hot(targets, 3).float()
        return images, 0.75 * soft + 0.25 * soft.roll(1, 0)


class Renamed(Augmentation):
    def apply(self, images, targets, rng, info):
        return images, torch.zeros_like(targets)


def tiles(group) -> list[list[int]]:
    return [[int(tile.pixels[0, 0, 0]) for tile in row] for row in group.rows]


def test_images_are_shown_as_classifiers_see_them():
    whole = shades(3, side=8)
    seen = as_classified(whole, INFO)
    assert seen.images.shape == (3, 4, 4, 3)
    assert tiles(real_group(seen)) == [[40], [100], [160]]


def test_versions_come_from_the_seed_and_their_number():
    first, again, other = (augmented_group([Brighter()], shades(), INFO, 4, seed) for seed in (0, 0, 1))
    assert tiles(first) == tiles(again) != tiles(other)
    assert all(len(row) == 4 and len(set(row)) > 1 for row in tiles(first)[:1])
    assert max(max(row) for row in tiles(first)) == 255  # clamped, not wrapped
    assert tiles(augmented_group([Brighter()], shades(), INFO, 2, 0)) == [row[:2] for row in tiles(first)]


def test_soft_and_changed_labels_are_told_and_others_are_not():
    assert all(not tile.parts for row in augmented_group([Brighter()], shades(), INFO, 1, 0).rows for tile in row)
    soft = augmented_group([Half()], shades(), INFO, 1, 0).rows
    assert soft[0][0].parts == (("dark", 0.75), ("light", 0.25), ("grey", 0.0))
    renamed = augmented_group([Renamed()], shades(), INFO, 1, 0).rows
    assert [row[0].parts for row in renamed] == [(), (("dark", 1.0),), (("dark", 1.0),)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda i, t: (i[1:], t), r"must return images \(3, 3, 4, 4\) and a target for each; got \(2, 3, 4, 4\)"),
        (lambda i, t: (i, t[1:]), r"got \(3, 3, 4, 4\) and targets \(2,\)"),
        (lambda i, t: (i, torch.ones(3, 5) / 5), r"soft targets must be \(B, 3\); got \(3, 5\)"),
    ],
)
def test_a_broken_augmentation_is_refused(change, message):
    class Broken(Augmentation):
        def apply(self, images, targets, rng, info):
            return change(images, targets)

    with pytest.raises(BenchError, match=message):
        augmented_group([Broken()], shades(), INFO, 1, 0)


# -- Growth ------------------------------------------------------------------------------------------------------------


class Adding(Augmentation):
    """Adds 5 grey levels to every image, twice."""

    def phases(self, steps):
        return tuple(step for step in (steps // 4, steps // 2) if 0 < step < steps)

    def grow(self, model, images, labels, rng, info):
        return images + 5, labels


@dataclass(frozen=True)
class Capped(Adding):
    """Grows the last ``most`` images alone."""

    most: int = 64

    def grow(self, model, images, labels, rng, info):
        return images[-self.most :] + 5, labels[-self.most :]


class Turned(Adding):
    """As many as there were, in another order."""

    def grow(self, model, images, labels, rng, info):
        return images.flip(0) + 5, labels.flip(0)


@dataclass(frozen=True)
class Tiny(Learner):
    steps: int = 8

    def train(self, task, context):
        class Net(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.head = torch.nn.Linear(48, 3)

            def features(self, images):
                return images.flatten(1)

            def forward(self, images):
                return self.head(self.features(images))

        recipe = Recipe(self.steps, 4, "sgd", 0.01, 0.9, 0.0, 0, 1)
        outcome = train_classifier(Net, task, context, recipe, 4)
        assert isinstance(outcome, TrainResult)
        return outcome


def grown(folder: Path, *chain: Augmentation, steps: int = 8, shown: ImageSet | None = None):
    context = Context(seed=1, folder=folder / "out", scratch=folder / "scratch", info=INFO)
    return grown_groups(Tiny(steps), "tiny", chain, shades(9, 8), shown or shades(), context)


def test_each_round_grows_what_the_last_one_made_of_an_image(tmp_path):
    groups, unpaired, steps = grown(tmp_path, Brighter(), Adding())
    assert (unpaired, steps) == ([], 8)
    assert [group.heading for group in groups] == ["before step 2", "before step 4"]
    assert tiles(groups[0]) == [[grey + 5, 128 + 5 * MAGNIFIED] for grey in (40, 100, 160)]
    assert tiles(groups[1]) == [[grey + 10, 128 + 10 * MAGNIFIED] for grey in (40, 100, 160)]


def pair(first: int, second: int) -> ImageSet:
    """Two images of one class."""
    images = np.array([first, second], np.uint8)[:, None, None, None]
    return ImageSet(np.broadcast_to(images, (2, 4, 4, 3)).copy(), np.ones(2, np.int64), CLASSES)


def test_no_image_stands_beside_what_grew_from_another(tmp_path):
    """Of two images of one class, a cap of one grows the second: by its label it could be either's."""
    assert grown(tmp_path, Capped(most=1), shown=pair(40, 100)) == ([], [2, 4], 8)
    assert grown(tmp_path, Turned()) == ([], [2, 4], 8)
    groups, unpaired, _ = grown(tmp_path, Capped(most=2), shown=pair(40, 100))
    assert unpaired == []
    assert tiles(groups[0]) == [[45, 128 + 5 * MAGNIFIED], [105, 128 + 5 * MAGNIFIED]]


def test_too_short_a_training_grows_nothing(tmp_path):
    assert grown(tmp_path, Adding(), steps=1) == ([], [], 1)


def test_the_training_is_the_one_it_would_be_unwatched(tmp_path):
    curves = []

    @dataclass(frozen=True)
    class Noted(Tiny):
        def train(self, task, context):
            curves.append(super().train(task, context))
            return curves[-1]

    context = Context(seed=1, folder=tmp_path / "out", scratch=tmp_path / "scratch", info=INFO)
    grown_groups(Noted(), "tiny", [Brighter(), Adding()], shades(9, 8), shades(), context)
    assert curves[0].details["training_images"] == {"real": 36}
    watched = curves[0].curve

    @dataclass(frozen=True)
    class Unwatched(Tiny):
        def train(self, task, context):
            plain = replace(task, augmentations=tuple(link.inner for link in task.augmentations))
            curves.append(super().train(plain, context))
            return curves[-1]

    grown_groups(Unwatched(), "tiny", [Brighter(), Adding()], shades(9, 8), shades(), context)
    assert curves[1].curve == watched
