"""From the records of a row to its trainings, and the estimates that follow from them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from handmade import TEST_IMAGES, record

from benchbench.results.record import Record, pack_hits
from benchbench.results.trainings import accuracy_of, difference_of, trainings_of


def training(gen: str, correct: int, *, answers: str = "", data: str = "d", **cell) -> Record:
    """Return a record whose wrong images are the last ones."""
    made = record(gen, correct=correct, **cell)
    return dataclasses.replace(
        made, result=dataclasses.replace(made.result, answers=answers), steps=made.steps | {"data": [data * 64]}
    )


def test_the_trainings_of_a_row():
    records = [training("real", 150, draw=1), training("real", 140, replicate=1, answers="x")]
    row = trainings_of([*records, record("real", draw=2, error="it broke")])
    assert {place: int(hits.sum()) for place, hits in row.hits.items()} == {(1, 0): 150, (0, 1): 140}
    assert row.answers == {(1, 0): "", (0, 1): "x"}
    assert (row.whole, row.shared_test, row.ratio) == (False, True, 0.25)
    assert accuracy_of(row).value == pytest.approx(72.5)
    assert accuracy_of(trainings_of([])) is None


def test_draws_that_are_splits_have_test_images_of_their_own():
    row = trainings_of([training("real", 150, draw=n, data="abc"[n], whole=True, n_real=800) for n in range(3)])
    assert (row.whole, row.shared_test, row.ratio) == (True, False, TEST_IMAGES / 800)
    ours = trainings_of([training("x", 152 + n, draw=n, data="abc"[n], whole=True, n_real=800) for n in range(3)])
    assert difference_of([(ours, row)]).se == pytest.approx(0.5 * (1 / 3 + 0.25) ** 0.5)  # +1, +1.5, +2 points


def test_pairs_are_copies_where_both_rows_are():
    """A learner without randomness beside one that has some: each pair tells something."""
    still = trainings_of([training("real", 140, replicate=n, answers="a", whole=True) for n in range(3)])
    moving = trainings_of([training("x", 150 + n, replicate=n, answers=str(n), whole=True) for n in range(3)])
    assert accuracy_of(still).seeds == 1
    assert difference_of([(moving, still)]).seeds == 3
    both = difference_of([(trainings_of([training("x", 150, replicate=n, whole=True) for n in range(3)]), still)])
    assert (both.seeds, both.note) == (1, "for these training images")
    assert both.df == pytest.approx(TEST_IMAGES - 1)  # seeds change nothing: the test images are left
    assert both.se == pytest.approx(100 * np.std(np.arange(TEST_IMAGES) < 10, ddof=1) / TEST_IMAGES**0.5)


def test_one_seed_is_not_taken_for_a_learner_without_randomness():
    rows = [trainings_of([training(gen, 140, whole=True)]) for gen in ("x", "real")]
    assert accuracy_of(rows[0]).low is None
    assert difference_of([]) is None


def test_several_architectures_in_one_difference():
    def row(gen: str, correct: int, arch: str):
        return trainings_of([training(gen, correct + n, draw=n, arch=arch) for n in range(3)])

    pairs = [(row("x", 150, arch), row("real", 140, arch)) for arch in ("resnet18", "vgg16")]
    found = difference_of(pairs)
    assert (found.value, found.draws, found.trainings) == (pytest.approx(5.0), 3, 6)
    assert pack_hits(pairs[0][0].hits[0, 0]) == record(correct=150).result.hits
