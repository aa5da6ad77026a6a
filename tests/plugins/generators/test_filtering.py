import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchbench.errors import UsageError
from benchbench_plugins.generators._filtering import facts, select

CLASSES = ("ant", "bee", "cat")


def choose(scores, labels, **changes):
    values = {
        "n_syn": 100,
        "threshold": 0.5,
        "min_per_class": 1,
        "best_first": False,
        "rng": np.random.default_rng(0),
        "subject": "lecf:clip_threshold",
    }
    return select(np.array(scores, np.float32), np.array(labels, np.int64), CLASSES, **{**values, **changes})


def test_exactly_the_threshold_does_not_pass():
    assert choose([0.5, 0.75, 0.25, 0.9], [0, 0, 1, 1]).tolist() == [1, 3]


def test_where_too_few_pass_the_best_ones_are_kept():
    found = choose([0.1, 0.3, 0.2, 0.9, 0.4], [0, 0, 0, 1, 1], min_per_class=2)
    assert sorted(found.tolist()) == [1, 2, 3, 4]


def test_the_classes_take_turns():
    assert choose([0.9] * 6, [0, 0, 0, 1, 1, 2]).tolist() == [0, 3, 5, 1, 4, 2]


def test_best_first_keeps_those_that_score_best():
    scores = [0.6, 0.99, 0.7, 0.98, 0.8]
    assert sorted(choose(scores, [0] * 5, n_syn=2, best_first=True).tolist()) == [1, 3]


def test_random_choices_come_from_the_generator():
    pools = [choose([0.9] * 40, [0] * 40, n_syn=5, rng=np.random.default_rng(seed)).tolist() for seed in (1, 1, 2)]
    assert pools[0] == pools[1] != pools[2]


def test_a_class_that_the_threshold_empties_is_named():
    with pytest.raises(UsageError, match=r"^lecf:clip_threshold=0.5: leaves no image of class 'bee'.*best score 0.400"):
        choose([0.9, 0.4], [0, 1], min_per_class=0)


def test_a_class_without_candidates_is_no_fault_of_the_filter():
    assert choose([0.9], [2]).tolist() == [0]


def test_a_threshold_of_one_leaves_the_best_of_each_class():
    assert sorted(choose([1.0, 0.2, 0.3], [0, 1, 1], threshold=1.0).tolist()) == [0, 2]


def test_facts_add_up():
    scores, labels = np.array([0.9, 0.1, 0.5, 0.2], np.float32), np.array([0, 0, 0, 1])
    assert facts(choose(scores, labels), scores, labels, 3, 0.5) == {
        "candidates": 4,
        "passed": 1,
        "kept": 2,
        "mean_clip_score": 0.425,
        "mean_clip_score_kept": 0.55,
        "passed_per_class": [1, 0, 0],
        "kept_per_class": [1, 1, 0],
        "below_threshold_per_class": [0, 1, 0],
    }


def shared(available, wanted):
    """Return how many images each class gives of ``available`` ones that all pass."""
    labels = np.repeat(np.arange(len(available)), available)
    classes = tuple(map(str, range(len(available))))
    rest = {"min_per_class": 0, "best_first": False, "rng": np.random.default_rng(0), "subject": "it"}
    kept = select(np.ones(len(labels), np.float32), labels, classes, n_syn=wanted, threshold=0.5, **rest)
    return np.bincount(labels[kept], minlength=len(available))


@pytest.mark.parametrize(
    ("available", "wanted", "shares"),
    [
        ([5, 5, 5], 6, [2, 2, 2]),
        ([5, 5, 5], 8, [3, 3, 2]),
        ([1, 9, 9], 9, [1, 4, 4]),
        ([1, 9, 2], 100, [1, 9, 2]),
        ([0, 3, 0], 2, [0, 2, 0]),
        ([4, 4, 4], 1, [1, 0, 0]),
    ],
)
def test_shares_are_as_even_as_the_classes_allow(available, wanted, shares):
    assert shared(available, wanted).tolist() == shares


@given(st.lists(st.integers(0, 30), min_size=1, max_size=8), st.integers(1, 120))
def test_no_two_classes_differ_unless_the_smaller_gives_all(available, wanted):
    shares = shared(available, wanted)
    assert shares.sum() == min(wanted, sum(available))
    assert (shares <= available).all()
    for share, whole in zip(shares, available, strict=True):
        assert share == whole or share >= shares.max() - 1


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.floats(0, 1, width=32), st.integers(0, 2)), min_size=1, max_size=40),
    st.integers(1, 50),
    st.floats(0, 1),
    st.integers(1, 4),
    st.booleans(),
)
def test_never_too_many_and_nothing_below_the_threshold_but_the_rescued(pairs, n_syn, threshold, minimum, best_first):
    scores = np.array([score for score, _ in pairs], np.float32)
    labels = np.array([label for _, label in pairs])
    found = choose(scores, labels, n_syn=n_syn, threshold=threshold, min_per_class=minimum, best_first=best_first)
    rescued = facts(found, scores, labels, 3, threshold)["below_threshold_per_class"]
    assert 1 <= len(found) <= n_syn
    assert len(set(found.tolist())) == len(found)
    again = choose(scores, labels, n_syn=n_syn, threshold=threshold, min_per_class=minimum, best_first=best_first)
    assert again.tolist() == found.tolist()
    for label in range(3):
        own = scores[labels == label].astype(float)
        kept = scores[[i for i in found if labels[i] == label]].astype(float)
        below = kept[kept <= threshold]
        assert len(below) == rescued[label]
        if len(below):  # only where too few pass, and then no better one is left out while a worse one stays
            assert (own > threshold).sum() < minimum
            assert len(kept) <= minimum
            assert sorted(below)[-1] <= sorted(own)[-1]
