"""Stage 2: choose among the retrieved pictures and hand them out with the labels of their queries."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchbench.errors import BenchError
from benchbench.plugins.context import Context
from benchbench.plugins.images import ImageSet

from .selection import Candidate, Selection, select
from .shards import Retrieved

CHUNK = 500


@dataclass(frozen=True)
class SelectionSettings:
    """Parameters of this stage; see the plugin."""

    k: int
    clip: str
    deduplicate: bool
    dedup_similarity: float | None
    min_similarity: float | None
    keep_queries: bool = False


def sample_neighbours(train: ImageSet, context: Context, settings: SelectionSettings) -> Iterator[ImageSet]:
    """Yield at most ``context.n_syn`` pictures, all nearest neighbours before all second ones.

    Raises:
        BenchError: a class is left without a picture; says which and why.
    """
    shards = [Retrieved.load(folder) for folder in context.fitted]
    places, candidates = _candidates(shards)
    labels = [int(label) for label in train.labels]
    if len(candidates) != len(labels):
        raise BenchError(f"knn: neighbours of {len(candidates)} images were retrieved, there are {len(labels)}")
    copies = {at for at, (shard, place) in places.items() if shards[shard].pictures[place]["copy"]}
    found = select(
        candidates,
        labels,
        settings.k,
        deduplicate=settings.deduplicate,
        least=settings.min_similarity,
        resembles=_resemblance(shards, places, context, settings),
        copies=() if settings.keep_queries else copies,
    )
    _refuse_empty_classes(found, train, settings)
    used = found.chosen[: context.n_syn]
    _report(context, shards, found, used, train)
    context.report(
        training_copies=len({item.digest for row in candidates for item in row if (item.query, item.rank) in copies})
    )
    for chunk in context.chunks(len(used), CHUNK):
        several = used[chunk.start : chunk.stop]
        at = [places[item.query, item.rank] for item in several]
        yield ImageSet(
            np.stack([shards[shard].images[place] for shard, place in at]),
            np.array([labels[item.query] for item in several], dtype=np.int64),
            train.classes,
            [
                _origin(item, shards[shard].pictures[place], labels[item.query], found, train.classes)
                for item, (shard, place) in zip(several, at, strict=True)
            ],
        )


def _candidates(
    shards: Sequence[Retrieved],
) -> tuple[dict[tuple[int, int], tuple[int, int]], list[list[Candidate]]]:
    """Return where each hit's picture is, by query and rank, and the candidates of each training image."""
    places: dict[tuple[int, int], tuple[int, int]] = {}
    candidates: list[list[Candidate]] = []
    for number, shard in enumerate(shards):
        for row in shard.hits:
            query = len(candidates)
            candidates.append([])
            for rank, place, similarity in row:
                told = shard.pictures[place]
                places[query, rank] = (number, place)
                candidates[-1].append(Candidate(query, rank, told["key"], told["digest"], similarity))
    return places, candidates


def _resemblance(
    shards: Sequence[Retrieved],
    places: dict[tuple[int, int], tuple[int, int]],
    context: Context,
    settings: SelectionSettings,
) -> Callable[[Candidate, Candidate], bool] | None:
    """Return whether two pictures, as they will be trained on, are near-duplicates; ``None`` when not asked for."""
    if settings.dedup_similarity is None:
        return None
    from ...retrieval.embed import embed_pictures, open_clip

    clip = open_clip(context.foundation(settings.clip), settings.clip, context.device)
    rows: list[NDArray[np.float32]] = []
    for shard in shards:
        parts = [shard.images[start : start + 64] for start in range(0, len(shard.images), 64)]
        rows.append(np.concatenate([embed_pictures(clip, list(part), 64) for part in parts]))

    def resembles(one: Candidate, other: Candidate) -> bool:
        (shard, place), (shard2, place2) = places[one.query, one.rank], places[other.query, other.rank]
        return float(rows[shard][place] @ rows[shard2][place2]) >= float(settings.dedup_similarity or 0)

    return resembles


def _refuse_empty_classes(found: Selection, train: ImageSet, settings: SelectionSettings) -> None:
    queried = {int(label) for label in train.labels}
    empty = sorted(queried - {int(train.labels[item.query]) for item in found.chosen})
    if not empty:
        return
    names = ", ".join(train.classes[label] for label in empty[:5]) + (", ..." if len(empty) > 5 else "")
    if found.too_far:
        raise BenchError(
            f"knn:min_similarity={settings.min_similarity:g}: leaves no picture for {len(empty)} of {len(queried)} "
            f"classes ({names}); lower it"
        )
    if found.copies:
        raise BenchError(
            f"knn: leaves no picture for {len(empty)} of {len(queried)} classes ({names}): {found.copies} that were "
            "found equal a training image; give spare=N for further neighbours, another pool, or keep_queries=true"
        )
    raise BenchError(f"knn: no picture could be had for {len(empty)} of {len(queried)} classes ({names})")


def _origin(
    item: Candidate, told: dict[str, Any], label: int, found: Selection, classes: tuple[str, ...]
) -> dict[str, Any]:
    origin: dict[str, Any] = {
        "source": item.query,
        "key": item.key,
        "rank": item.rank,
        "similarity": round(item.similarity, 6),
    }
    origin |= {name: told[name] for name in ("caption", "url") if told.get(name)}
    others = [classes[other] for other in found.labels[item.digest] if other != label]
    return {**origin, "also": others} if others else origin


def _report(
    context: Context, shards: Sequence[Retrieved], found: Selection, used: Sequence[Candidate], train: ImageSet
) -> None:
    keys = {item.digest: item.key for item in found.chosen}
    context.report(
        used=len(used),
        found=len(found.chosen),
        distinct=len({item.digest for item in used}),
        duplicates=found.duplicates,
        too_far=found.too_far,
        broken=len({item["key"] for shard in shards for item in shard.broken}),
        two_class_pictures=len(found.shared),
        examples=[
            {"key": keys[digest], "classes": [train.classes[label] for label in found.labels[digest]]}
            for digest in found.shared[:10]
        ],
        mean_similarity=round(float(np.mean([item.similarity for item in used])), 4),
    )
