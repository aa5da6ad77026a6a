from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from benchbench_plugins.generators.knn import KNN
from benchbench_plugins.generators.knn.sampling import Candidate
from benchbench_plugins.generators.knn.sampling import select as select_with


def rows(*keys, similarity=0.9):
    """Candidates of each query from a text of one-letter keys; a capital has the pixels of its small letter."""
    return [
        [Candidate(query, rank, key, key.lower(), similarity) for rank, key in enumerate(row)]
        for query, row in enumerate(keys)
    ]


def select(candidates, labels, k, resembles=None, **values):
    return select_with(candidates, labels, KNN(k=k, **values), resembles)


def keys(found):
    return "".join(item.key for item in found.chosen)


def test_all_first_neighbours_come_before_second_ones_and_classes_take_turns():
    found = select(rows("ab", "cd", "ef", "gh"), [0, 0, 1, 1], 2)
    assert keys(found) == "aecgbfdh"
    assert found.duplicates == 0


def test_a_class_uses_a_picture_once_by_key_and_by_pixels():
    found = select(rows("ab", "ac", "Ad"), [0, 0, 0], 2)
    assert keys(found) == "abcd"
    assert found.duplicates == 2
    assert keys(select(rows("ab", "ac"), [0, 0], 2, deduplicate=False)) == "aabc"


def test_two_classes_may_use_one_picture_and_it_is_said():
    found = select(rows("ab", "Ac"), [1, 0], 2)
    assert keys(found) == "Aacb"
    assert found.labels["a"] == (0, 1)
    assert found.shared == ["a"]


def test_spare_candidates_stand_in_for_what_is_left_out():
    assert keys(select(rows("abcd", "abcd"), [0, 0], 1)) == "ab"
    assert keys(select(rows("abcd", "abcd"), [0, 0], 2)) == "abcd"


def test_what_is_too_far_or_resembles_another_is_left_out():
    near, far = rows("ab", "cd", similarity=0.5), rows("ab", "cd", similarity=0.4)
    found = select([near[0], far[1]], [0, 1], 2, min_similarity=0.5)
    assert (keys(found), found.too_far) == ("ab", 2)
    found = select(rows("abc"), [0], 3, resembles=lambda one, other: {one.key, other.key} == {"a", "b"})
    assert (keys(found), found.duplicates) == ("ac", 1)


def test_queries_whose_pictures_are_all_broken_are_passed_over():
    assert keys(select(rows("", "a"), [0, 0], 3)) == "a"
    assert select([], [], 3).chosen == []


problems = st.lists(st.tuples(st.text("abcdeABCDE", max_size=6), st.integers(0, 2)), max_size=8)


@given(problems, st.integers(1, 6))
def test_a_selection_keeps_its_promises(problem, k):
    candidates, labels = rows(*(row for row, _ in problem)), [label for _, label in problem]
    found = select(candidates, labels, k)
    ranks = [item.rank for item in found.chosen]
    assert ranks == sorted(ranks)
    used = [(labels[item.query], item.digest) for item in found.chosen]
    assert len(set(used)) == len(used)
    assert all(count <= k for count in Counter(item.query for item in found.chosen).values())
    # What a class could have used and did not, it has already, or the query had its k.
    taken = Counter(item.query for item in found.chosen)
    for query, row in enumerate(candidates):
        for item in row:
            assert (labels[query], item.digest) in used or taken[query] == k
    assert all(found.labels[item.digest].count(labels[item.query]) == 1 for item in found.chosen)


@given(problems, st.integers(1, 6))
def test_without_spare_the_pictures_are_the_union_of_all_lists(problem, k):
    candidates = rows(*(row[:k] for row, _ in problem))
    labels = [label for _, label in problem]
    found = select(candidates, labels, k)
    union = {(labels[item.query], item.digest) for row in candidates for item in row}
    assert {(labels[item.query], item.digest) for item in found.chosen} == union
    assert len(found.chosen) + found.duplicates == sum(map(len, candidates))
