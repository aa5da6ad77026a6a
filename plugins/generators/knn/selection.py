"""Which of the retrieved pictures are used, and in which order; no image is opened here."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Candidate:
    """A picture that was found for a query.

    Attributes:
        query: index of the training image.
        rank: 0 for the nearest, as the pool answered, duplicates counted.
        key: the picture's key in the pool.
        digest: equal for pictures that agree in every pixel.
        similarity: cosine with the query.
    """

    query: int
    rank: int
    key: str
    digest: str
    similarity: float


@dataclass
class Selection:
    """The outcome.

    Attributes:
        chosen: in the order in which they are used.
        duplicates: candidates that were left out because the class had the picture already.
        too_far: candidates below the least similarity.
        copies: candidates that were left out because they equal a training image.
        labels: for each picture, by digest, the labels that it was chosen for, ascending.
    """

    chosen: list[Candidate] = field(default_factory=list)
    duplicates: int = 0
    too_far: int = 0
    copies: int = 0
    labels: dict[str, tuple[int, ...]] = field(default_factory=dict)

    @property
    def shared(self) -> list[str]:
        """Digests of the pictures that were chosen for more than one class, most classes first."""
        found = [digest for digest, labels in self.labels.items() if len(labels) > 1]
        return sorted(found, key=lambda digest: (-len(self.labels[digest]), digest))


def select(
    candidates: Sequence[Sequence[Candidate]],
    labels: Sequence[int],
    k: int,
    *,
    deduplicate: bool = True,
    least: float | None = None,
    resembles: Callable[[Candidate, Candidate], bool] | None = None,
    copies: Collection[tuple[int, int]] = (),
) -> Selection:
    """Choose at most ``k`` pictures for each query, each picture once within a class.

    All nearest neighbours come before all second ones. Within a rank the classes take turns, so that the first ``n``
    of the selection are as balanced as they can be.

    Args:
        candidates: for each training image its candidates, best first; none where every picture was broken.
        labels: label of each training image.
        k: how many a query may use; further candidates stand in for those that are left out.
        deduplicate: whether a class uses the same picture, by key or by equal pixels, once.
        least: candidates below this similarity are not used.
        resembles: whether two pictures of a class are near-duplicates, of which the later one is left out.
        copies: query and rank of the candidates that equal a training image and are not used.
    """
    found = Selection()
    used: Counter[int] = Counter()
    seen: dict[int, set[str]] = defaultdict(set)
    kept: dict[int, list[Candidate]] = defaultdict(list)
    order = _turns(labels)
    for rank in range(max((len(row) for row in candidates), default=0)):
        for query in order:
            row = candidates[query]
            if rank >= len(row) or used[query] >= k:
                continue
            item, label = row[rank], labels[query]
            if (item.query, item.rank) in copies:
                found.copies += 1
                continue
            if least is not None and item.similarity < least:
                found.too_far += 1
                continue
            known = deduplicate and (f"key {item.key}" in seen[label] or f"pixels {item.digest}" in seen[label])
            if known or (resembles and any(resembles(other, item) for other in kept[label])):
                found.duplicates += 1
                continue
            seen[label] |= {f"key {item.key}", f"pixels {item.digest}"}
            kept[label].append(item)
            used[query] += 1
            found.chosen.append(item)
    classes: dict[str, set[int]] = defaultdict(set)
    for item in found.chosen:
        classes[item.digest].add(labels[item.query])
    found.labels = {digest: tuple(sorted(several)) for digest, several in classes.items()}
    return found


def _turns(labels: Sequence[int]) -> list[int]:
    """Return the queries so that the first of each class come first, then the second ones, and so on."""
    place: Counter[int] = Counter()
    turn = []
    for query, label in enumerate(labels):
        turn.append((place[label], label, query))
        place[label] += 1
    return [query for _, _, query in sorted(turn)]
