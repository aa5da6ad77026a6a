"""Test images among training images: found in every pixel and only there, told once, kept in records and tables."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import World

from benchbench.plugins.images import ImageSet
from benchbench.running.copies import NEAR
from benchbench.statistics.overlap import DIGESTS, copies_of, digests, known_digests, shared_notes, shared_with_test
from benchbench.store.store import Store

TWINS = '''
from __future__ import annotations
from dataclasses import dataclass
import numpy as np
from benchbench import Dataset, DatasetInfo, ImageSet, param

@dataclass(frozen=True)
class ToyTwins(Dataset):
    """Grey images of which the first test images are those of the other parts."""
    train: int = param(2, low=0, help="Test images taken from the training part.")
    validation: int = param(0, low=0, help="Test images taken from the validation part.")

    def info(self):
        return DatasetInfo("twins", ("dark", "light"), {"train": 8, "validation": 4, "test": 10}, (4, 4), 4, 4, 4,
                           (0.5,) * 3, (0.5,) * 3, True, "none")

    def load(self, split, context):
        grey = {"train": range(8), "validation": range(20, 24), "test": range(40, 50)}[split]
        grey = [*range(self.train), *range(20, 20 + self.validation), *grey][: len(grey)] if split == "test" else grey
        images = np.array(grey, dtype=np.uint8)[:, None, None, None] * np.ones((1, 4, 4, 3), np.uint8)
        return ImageSet(images, np.arange(len(images)) % 2, ("dark", "light"))
'''


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path / "plugins", tmp_path / "results")
    (made.folder / "toytwins.py").write_text(TWINS, "utf-8")
    return made


def images_of(values):
    pixels = np.array(values, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), dtype=np.uint8)
    return ImageSet(pixels, np.zeros(len(pixels), dtype=np.int64), ("one",))


@settings(max_examples=40, deadline=None)
@given(*[st.lists(st.integers(0, 9), max_size=8)] * 3)
def test_copies_are_those_that_comparing_pixels_finds(train, validation, test):
    parts = {"train": train, "validation": validation, "test": test}
    found = shared_with_test({name: digests(images_of(values)) for name, values in parts.items()})
    assert found == {
        "test_in_train": sum(value in train for value in test),
        "test_in_validation": sum(value in validation for value in test),
    }
    known = digests(images_of(test))
    assert copies_of(known, [digests(images_of(train))]) == sum(value in test for value in train)


def test_one_pixel_makes_another_image():
    images = np.zeros((3, 8, 8, 3), dtype=np.uint8)
    images[1, 7, 7, 2] = 1
    assert len(set(digests(ImageSet(images, np.zeros(3, dtype=np.int64), ("one",))).tolist())) == 2


def test_what_is_shared_is_a_sentence_each():
    assert shared_notes({"test_in_train": 0, "near_in_train": 0}) == []
    exact = "Test images that equal another in every pixel: 1,200 with a training image."
    assert shared_notes({"test_in_train": 1200}) == [exact]
    both = {"test_in_train": 1, "test_in_validation": 2, "near_in_train": 0, "near_in_validation": 3}
    assert shared_notes(both) == [
        "Test images that equal another in every pixel: 1 with a training image and 2 with a validation image.",
        "Test images that nearly equal another (thumbnails of 8x8 px correlate by 0.995 or more): "
        "3 with a validation image.",
    ]


def test_an_overlap_is_in_facts_record_and_table(world):
    records = world.run(data="toytwins:validation=3")
    store = Store(world.results / "artifacts")
    (key,) = {key for record in records for key in record.steps["data"]}
    facts = {"test_in_train": 2, "test_in_validation": 3, "near_in_train": 0, "near_in_validation": 0}
    assert store.meta(key)["facts"] == facts
    for record in records:
        (told,) = record.facts["data"]
        assert {name: told[name] for name in facts} == facts
        assert record.result.details.get("test_copies", 0) == (2 if record.cell.baseline else 0)
    text = (world.results / "leaderboard.md").read_text("utf-8")
    sentence = "Test images that equal another in every pixel: 2 with a training image and 3 with a validation image."
    assert text.count(sentence) == 1


def test_images_are_hashed_once_and_old_stores_are_read(world):
    (record, _) = world.run(data="toytwins")
    store = Store(world.results / "artifacts")
    folder = store.path(record.steps["data"][0])
    for part in (folder / "train", folder / "test", *map(store.path, record.steps["sample"])):
        part.chmod(0o755)
        known = known_digests(part)
        np.testing.assert_array_equal(np.load(part / DIGESTS), known)
        np.testing.assert_array_equal(known, digests(ImageSet.load(part)))
        (part / DIGESTS).unlink()
        np.testing.assert_array_equal(known_digests(part), known)


def test_a_learner_that_trains_on_nothing_trains_on_no_copy(world):
    (record,) = world.run(data="toytwins", learner="toyzero", gen="real", metric="none")
    assert record.facts["data"][0]["test_in_train"] == 2
    assert "test_copies" not in record.result.details


def test_none_is_said_too(world):
    (record, _) = world.run(data="toytwins:train=0")
    assert record.facts["data"][0]["test_in_train"] == 0
    assert "test_copies" not in record.result.details
    assert "every pixel" not in (world.results / "leaderboard.md").read_text("utf-8")


PICTURES = """
    def load(self, split, context):
        start = {"train": 0, "validation": 20, "test": 0}[split]
        count = context.info.counts[split]
        images = np.stack([np.random.default_rng(start + at).integers(20, 220, (4, 4, 3)) for at in range(count)])
        if split == "test":
            images[1:4] += 2  # of the training images 1 to 3; image 0 is the same, 8 and 9 are of their own
            images[4:8] = images[4:8][:, :, ::-1]
        return ImageSet(images.astype(np.uint8), np.arange(count) % 2, ("dark", "light"))
"""


def test_near_copies_are_counted_beside_exact_ones(world):
    twins = (world.folder / "toytwins.py").read_text("utf-8")
    (world.folder / "toynear.py").write_text(twins[: twins.index("    def load")] + PICTURES, "utf-8")
    (world.folder / "toyagain.py").write_text(AGAIN, "utf-8")
    records = {record.cell.baseline: record for record in world.run(data="toynear", gen="toyagain", metric="none")}
    (facts,) = records[True].facts["data"]
    assert (facts["test_in_train"], facts["near_in_train"], facts["near_in_validation"]) == (1, 3, 0)
    counts = {name: [records[kind].result.details.get(name) for kind in (True, False)] for name in COUNTS}
    assert counts == {"test_copies": [1, 5], "near_copies": [3, 15]}
    text = (world.results / "leaderboard.md").read_text("utf-8")
    how = "(thumbnails of 8x8 px correlate by 0.995 or more)"
    assert f"Test images that nearly equal another {how}: 3 with a training image." in text
    assert f"Up to 15 of its training images nearly equal a test image {how}." in text
    near = Store(world.results / "artifacts").path(records[True].steps["data"][0]) / "train" / NEAR
    assert np.flatnonzero(np.load(near)).tolist() == [1, 2, 3]


COUNTS = ("test_copies", "near_copies")

AGAIN = '''
from dataclasses import dataclass
import numpy as np
from benchbench import Generator

@dataclass(frozen=True)
class ToyAgain(Generator):
    """The training images again and again."""

    def sample(self, train, context):
        yield train.subset(np.arange(context.n_syn) % len(train))
'''
