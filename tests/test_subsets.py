"""Subsets: balanced, nested, seeded by dataset and draw alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchbench.errors import UsageError
from benchbench.planning.subsets import balanced_sample, check, disjoint_halves, in_rounds, select

CLASSES = tuple("abcde")
PINNED_GROUPS = [2, 5, 7, 10, 14]
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
        (None, 9, "toy: --n-real=9: there are 8 training images; give at most 8"),
        (None, 1, "toy: --n-real=1: must be at least 2, one image for each class"),
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


NAMES = tuple("abcd")


def in_groups(labels, n_real, draw=0, dataset="toy", size=10):
    return select(labels, NAMES, None, n_real, draw, dataset, rule="groups", group_size=size)


@pytest.fixture
def mixed():
    """Labels of 207 images in random order: 20 groups of 10, and 7 images that fill none."""
    return np.random.default_rng(0).permutation(np.arange(207) % 4).astype(np.int64)


def test_groups_are_whole_runs_of_the_fixed_order_and_nested(mixed):
    before: set[int] = set()
    for count in range(2, 21):
        chosen = in_groups(mixed, 10 * count)
        assert chosen.dtype == np.int64
        starts = chosen.reshape(count, 10)[:, 0]
        assert (starts % 10 == 0).all()
        np.testing.assert_array_equal(chosen.reshape(count, 10), starts[:, None] + np.arange(10))
        assert list(chosen) == sorted(set(chosen.tolist()))
        assert before <= set(chosen.tolist())
        before = set(chosen.tolist())
    assert before == set(range(200))
    np.testing.assert_array_equal(in_groups(mixed, 207), np.arange(207))  # what fills no group comes with all alone


def test_groups_are_drawn_by_dataset_and_draw_alone(mixed):
    first = in_groups(mixed, 50)
    np.testing.assert_array_equal(first, in_groups(np.roll(mixed, 1), 50))  # no label decides, unlike when balanced
    assert not np.array_equal(first, in_groups(mixed, 50, draw=1))
    assert not np.array_equal(first, in_groups(mixed, 50, dataset="other"))
    assert (first[::10] // 10).tolist() == PINNED_GROUPS  # for ever
    assert len({tuple(counts(mixed, in_groups(mixed, 50, draw), 4)) for draw in range(10)}) > 3  # unbalanced


def test_every_group_is_as_likely_as_any_other(mixed):
    hits = np.zeros(20)
    for draw in range(400):
        hits[np.unique(in_groups(mixed, 50, draw) // 10)] += 1
    # 100 expected, standard deviation 8.7.
    assert hits.min() > 100 - 5 * 8.7
    assert hits.max() < 100 + 5 * 8.7


def test_groups_that_lack_a_class_are_refused():
    with pytest.raises(UsageError, match=r"^toy: .* the groups of draw 1 hold no image of class '"):
        in_groups(np.repeat([1, 0, 2, 3], 50), 20)


def test_groups_of_images_in_the_order_of_their_classes_are_mixed_and_the_same_for_every_draw():
    labels = np.repeat(np.arange(4), 50)
    chosen = in_groups(labels, 20)
    assert (counts(labels, chosen, 4) > 0).all()
    assert list(chosen) == sorted(set(chosen.tolist()))
    groups = {frozenset(in_groups(labels, 50, draw, size=50).tolist()) for draw in range(40)}
    assert len(groups) == 4
    assert frozenset.union(*groups) == set(range(200))
    before: set[int] = set()
    for n in (20, 50, 190, 200):
        assert before <= (before := set(in_groups(labels, n).tolist()))


@pytest.mark.parametrize(
    ("shots", "n_real", "size", "message"),
    [
        (5, None, 10, "groups do not count images per class (--shots=5); give --n-real, a multiple of 10 up to 200"),
        (None, None, 10, "give --n-real, a multiple of 10 up to 200"),
        (None, 55, 10, "--n-real=55: groups have 10 images; give a multiple of 10 up to 200"),
        (None, 5, 10, "--n-real=5: groups have 10 images; give a multiple of 10 up to 200"),
        (None, 0, 10, "--n-real=0: groups have 10 images; give a multiple of 10 up to 200"),
        (None, 210, 10, "--n-real=210: groups have 10 images; give a multiple of 10 up to 200"),
        (None, 150, 60, "--n-real=150: groups have 60 images; give a multiple of 60 up to 180, or 200"),
        (None, 100, None, "this dataset declares no groups; use --subset balanced"),
        (None, 100, 1000, "a group has 1000 images and there are 200 training images; use --subset balanced"),
    ],
)
def test_impossible_groups_are_one_clear_line(shots, n_real, size, message):
    with pytest.raises(UsageError) as raised:
        check((50, 50, 50, 50), NAMES, shots, n_real, "toy", rule="groups", group_size=size)
    assert str(raised.value) == f"toy: --subset=groups: {message}"
    with pytest.raises(UsageError, match=r"^toy: --subset=groups: "):
        select(np.arange(200) % 4, NAMES, shots, n_real, 0, "toy", rule="groups", group_size=size)


def test_groups_that_fit():
    assert check((50, 50), ("a", "b"), None, 30, "toy", rule="groups", group_size=10) == 30
    assert check((50, 57), ("a", "b"), None, 107, "toy", rule="groups", group_size=10) == 107


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=30), st.integers(1, 100), st.integers(0, 5))
def test_rounds_keep_the_proportions_of_the_labels(labels, n_syn, seed):
    labels = np.array(labels)
    places = in_rounds(labels, n_syn, seed)
    assert len(places) == n_syn
    used = np.bincount(places, minlength=len(labels))
    assert used.max() - used.min() <= 1
    made, real = np.bincount(labels[places], minlength=4), np.bincount(labels, minlength=4)
    if len(set(real[real > 0])) == 1:
        assert made[real > 0].max() - made[real > 0].min() <= 1
    assert (made[real == 0] == 0).all()
