"""What statistics need of the records of one row: which test images each of its trainings classified rightly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .record import Record, unpack_hits

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..statistics.designs import Spread
    from ..statistics.trainings import Estimate


@dataclass(frozen=True)
class RowTrainings:
    """The finished trainings of one row.

    Attributes:
        hits: bool ``(N,)`` by draw and replicate, copies included.
        answers: digest of the answers by draw and replicate, ``""`` where it is not known.
        whole: whether all real training images are used.
        shared_test: whether all draws have the same test images.
        ratio: test images per training image.

    """

    hits: Mapping[tuple[int, int], NDArray[np.bool_]]
    answers: Mapping[tuple[int, int], str]
    whole: bool
    shared_test: bool
    ratio: float


def trainings_of(records: Sequence[Record]) -> RowTrainings:
    """Return the finished trainings among the records of one row, of which none is superseded."""
    from ..statistics.trainings import RATIO

    done = [(record, record.result) for record in records if record.result is not None]
    hits = {(it.cell.draw, it.cell.replicate): unpack_hits(result.hits, result.n_test) for it, result in done}
    answers = {(it.cell.draw, it.cell.replicate): result.answers for it, result in done}
    whole = any(record.cell.whole for record, _ in done)
    ratios = [result.n_test / it.cell.n_real for it, result in done if whole and it.cell.n_real > 0]
    one_test = len({tuple(record.steps.get("data", ())) for record, _ in done}) < 2
    return RowTrainings(hits, answers, whole, one_test, max(ratios, default=RATIO))


def accuracy_of(row: RowTrainings) -> Estimate | None:
    """Return the mean accuracy of a row, copies of trainings counted once; ``None`` without a finished training."""
    from ..statistics.trainings import accuracy, distinct

    if not row.hits:
        return None
    kept = distinct(row.hits, row.answers)
    exact = len(kept) < len(row.hits)
    return accuracy(kept, whole=row.whole, shared_test=row.shared_test, ratio=row.ratio, exact=exact)


def difference_of(pairs: Sequence[tuple[RowTrainings, RowTrainings]]) -> Estimate | None:
    """Return the difference of a row to another one, averaged over several such pairs: of architectures, say.

    Two trainings of a draw are one where both rows have copies there; ``None`` where nothing is shared.
    """
    from ..statistics.trainings import mean_difference

    if not pairs:
        return None
    rows = [row for pair in pairs for row in pair]
    kept = [paired(ours, theirs) for ours, theirs in pairs]
    return mean_difference(
        [(ours, theirs) for ours, theirs, _ in kept],
        whole=all(row.whole for row in rows),
        shared_test=all(row.shared_test for row in rows),
        ratio=max(row.ratio for row in rows),
        exact=all(copies for _, _, copies in kept),
    )


Hits = dict[tuple[int, int], "NDArray[np.bool_]"]


def paired(ours: RowTrainings, theirs: RowTrainings) -> tuple[Hits, Hits, bool]:
    """Return the hits of two rows on the draws and replicates that both have, and whether copies were left out.

    A pair is a copy where both rows repeat another one of the draw: one of them may be without randomness.
    """
    import numpy as np

    from ..statistics.trainings import distinct

    shared = sorted(ours.hits.keys() & theirs.hits.keys())
    both = {key: np.concatenate([ours.hits[key], theirs.hits[key]]) for key in shared}
    known = {key: (ours.answers.get(key, ""), theirs.answers.get(key, "")) for key in shared}
    kept = distinct(both, {key: "".join(told) if all(told) else "" for key, told in known.items()})
    return (
        {key: ours.hits[key] for key in kept},
        {key: theirs.hits[key] for key in kept},
        len(kept) < len(shared),
    )


def spread_between(pairs: Sequence[tuple[RowTrainings, RowTrainings]]) -> Spread | None:
    """Return where the variance of the mean difference over pairs of rows comes from, ``None`` where nothing tells."""
    from ..statistics.designs import spread_of

    rows = [row for pair in pairs for row in pair]
    shared = all(row.shared_test for row in rows)
    ratio = None if shared else max(row.ratio for row in rows)
    return spread_of([paired(*pair)[:2] for pair in pairs], whole=all(row.whole for row in rows), split_anew=ratio)
