"""Subsets: balanced, nested, seeded by dataset and draw alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchbench.errors import UsageError
from benchbench.subsets import balanced_sample, check, disjoint_halves, select

CLASSES = tuple("abcde")
PINNED = [1, 4, 12, 23, 29, 34, 48, 52, 56, 61, 70, 73, 84, 90, 98]


@st.composite
def labelled(draw):
    """Labels of up to five classes, each with at least one image."""
    extra = draw(st.lists(st.integers(0, 4), max_size=40))
    return np.array(draw(st.permutations(list(range(5)) + extra)), dtype=np.int64)


def counts(labels, chosen, classes=5):
    return np.bincount(labels[chosen], minlength=classes)


@settings(max_examples=60, deadline=None)
@given(labelled(), st.integers(0, 3))
def test_shots_are_balanced_and_nested(labels, draw):
    before: set[int] = set()
    for shots in range(1, np.bincount(labels).min() + 1):
        chosen = select(labels, CLASSES, shots, None, draw, "toy")
        assert chosen.dtype == np.int64
        assert list(chosen) == sorted(set(chosen.tolist()))
        assert list(counts(labels, chosen)) == [shots] * 5
        assert before <= set(chosen.tolist())
        np.testing.assert_array_equal(chosen, select(labels, CLASSES, None, 5 * shots, draw, "toy"))
        before = set(chosen.tolist())


@settings(max_examples=60, deadline=None)
@given(labelled(), st.integers(0, 3))
def test_n_real_is_exact_balanced_and_nested(labels, draw):
    held = np.bincount(labels, minlength=5)
    before: set[int] = set()
    for n_real in range(5, len(labels) + 1):
        chosen = select(labels, CLASSES, None, n_real, draw, "toy")
        assert len(set(chosen.tolist())) == n_real
        found = counts(labels, chosen)
        # A class may fall behind the largest by more than one image only when it has given all it has.
        assert all(count >= found.max() - 1 or count == most for count, most in zip(found, held, strict=True))
        assert before <= set(chosen.tolist())
        before = set(chosen.tolist())


def test_remainder_goes_to_classes_of_the_draw():
    labels = np.repeat(np.arange(5), 20)
    extra = {tuple(counts(labels, select(labels, CLASSES, None, 7, draw, "toy")) - 1) for draw in range(30)}
    assert all(sum(item) == 2 for item in extra)
    assert len(extra) > 5


def test_seed_is_dataset_and_draw_alone():
    labels = np.repeat(np.arange(5), 20)
    first = select(labels, CLASSES, 3, None, 0, "toy")
    np.testing.assert_array_equal(first, select(labels, tuple("vwxyz"), 3, None, 0, "toy"))
    assert not np.array_equal(first, select(labels, CLASSES, 3, None, 1, "toy"))
    assert not np.array_equal(first, select(labels, CLASSES, 3, None, 0, "other"))
    # For ever: a changed order would silently be another experiment under the same name.
    assert first.tolist() == PINNED


def test_every_image_is_as_likely_as_any_other():
    labels = np.repeat(np.arange(5), 10)
    hits = np.zeros(50)
    for draw in range(400):
        hits[select(labels, CLASSES, 2, None, draw, "toy")] += 1
    # 80 expected, standard deviation 8.
    assert hits.min() > 80 - 5 * 8
    assert hits.max() < 80 + 5 * 8


def test_everything_without_options():
    np.testing.assert_array_equal(select(np.array([1, 0, 1]), ("a", "b"), None, None, 0, "toy"), [0, 1, 2])
    assert check((1, 2), ("a", "b"), None, None, "toy") == 3
    assert check((7, 9), ("a", "b"), 4, None, "toy") == 8
    assert check((7, 9), ("a", "b"), None, 5, "toy") == 5


@pytest.mark.parametrize(
    ("shots", "n_real", "message"),
    [
        (4, None, "toy: --shots=4: class 'b' has 3 training images; give at most 3"),
        (0, None, "toy: --shots=0: must be at least 1"),
        (-1, None, "toy: --shots=-1: must be at least 1"),
        (None, 9, "toy: --n-real=9: there are 8 training images; give at most 8"),
        (None, 1, "toy: --n-real=1: must be at least 2, one image for each class"),
        (1, 2, "toy: --shots=1 and --n-real=2 exclude each other; give one of them"),
    ],
)
def test_impossible_subsets_are_one_clear_line(shots, n_real, message):
    with pytest.raises(UsageError) as raised:
        check((5, 3), ("a", "b"), shots, n_real, "toy")
    assert str(raised.value) == message
    with pytest.raises(UsageError) as raised:
        select(np.array([0] * 5 + [1] * 3), ("a", "b"), shots, n_real, 0, "toy")
    assert str(raised.value) == message


def test_one_image_is_singular():
    with pytest.raises(UsageError, match=r"^toy: --shots=2: class 'a' has 1 training image; give at most 1$"):
        check((1, 3), ("a", "b"), 2, None, "toy")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 6), max_size=60), st.integers(0, 2**63 - 1), st.data())
def test_halves_are_disjoint_and_whole(labels, seed, data):
    array = np.array(labels, dtype=np.int64)
    n = data.draw(st.integers(0, len(labels)))
    chosen, rest = disjoint_halves(array, n, seed)
    np.testing.assert_array_equal(chosen, balanced_sample(array, n, seed))
    assert len(chosen) == n
    assert sorted([*chosen.tolist(), *rest.tolist()]) == list(range(len(labels)))
    held, found = np.bincount(array, minlength=7), counts(array, chosen, 7)
    assert all(count >= found.max() - 1 or count == most for count, most in zip(found, held, strict=True))


@pytest.mark.parametrize("n", [-1, 4])
def test_a_sample_larger_than_the_set_is_refused(n):
    with pytest.raises(ValueError, match=f"cannot choose {n} of 3 images"):
        balanced_sample(np.array([0, 1, 2]), n, 0)
