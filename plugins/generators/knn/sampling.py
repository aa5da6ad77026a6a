"""Stage 2: choose among the retrieved pictures and yield them with the labels of their queries."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchbench.errors import BenchError
from benchbench.plugins.context import Context
from benchbench.plugins.images import ImageSet

from .retrieve import Retrieved

if TYPE_CHECKING:
    from . import KNN

CHUNK = 500


def sample_neighbours(knn: KNN, train: ImageSet, context: Context) -> Iterator[ImageSet]:
    """Yield at most ``context.n_syn`` pictures, all nearest neighbours before all second ones.

    Raises:
        BenchError: a class is left without a picture; says which and why.
    """
    shards = [Retrieved.load(folder) for folder in context.fitted]
    candidates = _candidates(shards)
    labels = [int(label) for label in train.labels]
    selection = select(candidates, labels, knn, _resemblance(shards, context, knn))
    _refuse_empty_classes(selection, train, knn)
    used = selection.chosen[: context.n_syn]
    keys = {item.digest: item.key for item in selection.chosen}
    context.report(
        used=len(used),
        found=len(selection.chosen),
        distinct=len({item.digest for item in used}),
        duplicates=selection.duplicates,
        too_far=selection.too_far,
        broken=len({item["key"] for shard in shards for item in shard.broken}),
        two_class_pictures=len(selection.shared),
        examples=[
            {"key": keys[digest], "classes": [train.classes[label] for label in selection.labels[digest]]}
            for digest in selection.shared[:10]
        ],
        mean_similarity=round(float(np.mean([item.similarity for item in used])), 4),
        training_copies=len({item.digest for row in candidates for item in row if item.is_copy}),
    )
    for chunk in context.chunks(len(used), CHUNK):
        several = used[chunk.start : chunk.stop]
        yield ImageSet(
            np.stack([shards[item.shard].images[item.place] for item in several]),
            np.array([labels[item.query] for item in several], dtype=np.int64),
            train.classes,
            [_origin(item, shards, labels[item.query], selection, train.classes) for item in several],
        )


def _candidates(shards: Sequence[Retrieved]) -> list[list[Candidate]]:
    """Return the candidates of each training image, best first."""
    candidates: list[list[Candidate]] = []
    for number, shard in enumerate(shards):
        for row in shard.hits:
            query = len(candidates)
            candidates.append([])
            for rank, place, similarity in row:
                picture = shard.pictures[place]
                key, digest, copy = picture["key"], picture["digest"], picture["copy"]
                candidates[-1].append(Candidate(query, rank, key, digest, similarity, number, place, copy))
    return candidates


def _resemblance(
    shards: Sequence[Retrieved], context: Context, knn: KNN
) -> Callable[[Candidate, Candidate], bool] | None:
    """Return whether two pictures, as they will be trained on, are near-duplicates; ``None`` when not asked for."""
    least = knn.dedup_similarity
    if least is None:
        return None
    from benchbench.models.clip.model import open_clip_model

    from .pools.pictures import embed_pictures

    clip = open_clip_model(context.foundation(knn.clip), knn.clip, device=context.device)
    rows: list[NDArray[np.float32]] = []
    for shard in shards:
        parts = [shard.images[start : start + 64] for start in range(0, len(shard.images), 64)]
        rows.append(np.concatenate([embed_pictures(clip, list(part), 64) for part in parts]))

    def resembles(one: Candidate, other: Candidate) -> bool:
        return float(rows[one.shard][one.place] @ rows[other.shard][other.place]) >= least

    return resembles


def _refuse_empty_classes(selection: Selection, train: ImageSet, knn: KNN) -> None:
    queried = {int(label) for label in train.labels}
    empty = sorted(queried - {int(train.labels[item.query]) for item in selection.chosen})
    if not empty:
        return
    names = ", ".join(train.classes[label] for label in empty[:5]) + (", ..." if len(empty) > 5 else "")
    if selection.too_far:
        raise BenchError(
            f"knn:min_similarity={knn.min_similarity:g}: leaves no picture for {len(empty)} of {len(queried)} "
            f"classes ({names}); lower it"
        )
    if selection.copies:
        raise BenchError(
            f"knn: leaves no picture for {len(empty)} of {len(queried)} classes ({names}): {selection.copies} that "
            "were found equal a training image; give spare=N for further neighbours, another pool, or keep_queries=true"
        )
    raise BenchError(f"knn: no picture could be had for {len(empty)} of {len(queried)} classes ({names})")


def _origin(
    item: Candidate, shards: Sequence[Retrieved], label: int, selection: Selection, classes: tuple[str, ...]
) -> dict[str, Any]:
    origin: dict[str, Any] = {"source": item.query, "key": item.key, "rank": item.rank}
    origin["similarity"] = round(item.similarity, 6)
    picture = shards[item.shard].pictures[item.place]
    origin |= {name: picture[name] for name in ("caption", "url") if picture.get(name)}
    others = [classes[other] for other in selection.labels[item.digest] if other != label]
    return {**origin, "also": others} if others else origin


@dataclass(frozen=True)
class Candidate:
    """A picture that the pool answered to a query.

    Attributes:
        query: index of the training image.
        rank: 0 for the nearest, as the pool answered, duplicates counted.
        key: the picture's key in the pool.
        digest: equal for pictures that agree in every pixel.
        similarity: cosine with the query.
        shard: which shard of ``fit`` retrieved it.
        place: which of that shard's pictures it is.
        is_copy: whether it equals a training image.
    """

    query: int
    rank: int
    key: str
    digest: str
    similarity: float
    shard: int = 0
    place: int = 0
    is_copy: bool = False


@dataclass
class Selection:
    """What is chosen, and how much was left out and why.

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
        several = [digest for digest, labels in self.labels.items() if len(labels) > 1]
        return sorted(several, key=lambda digest: (-len(self.labels[digest]), digest))


def select(
    candidates: Sequence[Sequence[Candidate]],
    labels: Sequence[int],
    knn: KNN,
    resembles: Callable[[Candidate, Candidate], bool] | None = None,
) -> Selection:
    """Choose at most ``knn.k`` pictures for each query, each picture once within a class.

    All nearest neighbours come before all second ones. Within a rank the classes take turns, so that the first ``n``
    of the selection are as balanced as they can be.

    Args:
        candidates: for each training image its candidates, best first; none where every picture was broken. Those
            after the ``k``-th stand in for those that are left out.
        labels: label of each training image.
        knn: its ``k``, ``deduplicate``, ``min_similarity`` and ``keep_queries`` decide.
        resembles: whether two pictures of a class are near-duplicates, of which the later one is left out.
    """
    selection = Selection()
    used: Counter[int] = Counter()
    seen: dict[int, set[str]] = defaultdict(set)
    kept: dict[int, list[Candidate]] = defaultdict(list)
    order = _turns(labels)
    for rank in range(max((len(row) for row in candidates), default=0)):
        for query in order:
            row = candidates[query]
            if rank >= len(row) or used[query] >= knn.k:
                continue
            item, label = row[rank], labels[query]
            if item.is_copy and not knn.keep_queries:
                selection.copies += 1
                continue
            if knn.min_similarity is not None and item.similarity < knn.min_similarity:
                selection.too_far += 1
                continue
            known = knn.deduplicate and (f"key {item.key}" in seen[label] or f"pixels {item.digest}" in seen[label])
            if known or (resembles and any(resembles(other, item) for other in kept[label])):
                selection.duplicates += 1
                continue
            seen[label] |= {f"key {item.key}", f"pixels {item.digest}"}
            kept[label].append(item)
            used[query] += 1
            selection.chosen.append(item)
    classes: dict[str, set[int]] = defaultdict(set)
    for item in selection.chosen:
        classes[item.digest].add(labels[item.query])
    selection.labels = {digest: tuple(sorted(several)) for digest, several in classes.items()}
    return selection


def _turns(labels: Sequence[int]) -> list[int]:
    """Return the queries so that the first of each class come first, then the second ones, and so on."""
    place: Counter[int] = Counter()
    turn = []
    for query, label in enumerate(labels):
        turn.append((place[label], label, query))
        place[label] += 1
    return [query for _, _, query in sorted(turn)]
