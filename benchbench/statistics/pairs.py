"""All pairs of two sets of features, block by block, on every core or on an accelerator.

Each block is computed by one thread, which has no helpers, and results are taken in the order of the blocks. So no
number depends on how many threads there are. No matrix of all pairs exists.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .checks import Features, block, blocks

if TYPE_CHECKING:
    from torch import Tensor

Vector = NDArray[np.float64]

#: Side of a block of pairs: what a core's cache holds is fastest. Accelerators want larger ones.
SIDE = 512


def in_order(items: Sequence[slice], *state: Any, label: str) -> Iterable[slice]:
    """Return the rows of blocks as they are: nothing is saved and nothing reported."""
    return items


@dataclass(frozen=True)
class Compute:
    """What blocks are computed with; no choice changes a number by more than rounding, ``threads`` none at all.

    Attributes:
        device: ``"cpu"`` or ``"cuda"``.
        threads: blocks at once, each on a core of its own.
        steps: yields the rows of blocks that are left to do; :meth:`benchbench.plugins.Context.resume` also saves the
            arrays that it is given, so that a killed run continues.
    """

    device: str = "cpu"
    threads: int = 1
    steps: Callable[..., Iterable[slice]] = in_order


ONE_CORE = Compute()


def each_block(
    first: Features,
    second: Features | None,
    work: Callable[[slice, slice, Tensor, Tensor], Any],
    *state: NDArray[Any],
    side: int,
    compute: Compute,
    label: str,
    centre: Vector | None = None,
) -> Iterator[tuple[slice, slice, Any]]:
    """Yield rows, columns and what ``work(rows, columns, X, Y)`` returns, for each block of pairs, in order.

    Of a set with itself (``second`` is ``None``) only the blocks on and above the diagonal.

    Args:
        first: float32 or float64 ``(N, d)``.
        second: the same ``(M, d)``, or ``None``.
        work: is called by several threads; X and Y are float64 ``(rows, d)`` and ``(columns, d)`` on the device, less
            ``centre``. Nothing that the consumer changes is changed while it works on a row of blocks.
        state: the arrays that the consumer changes, for ``compute.steps``.
        side: rows and columns of a block.
        compute: device, threads and steps.
        label: what progress calls it.
        centre: float64 ``(d,)``, subtracted from every vector.
    """
    import torch

    other = first if second is None else second
    threads = torch.get_num_threads()
    pool = ThreadPoolExecutor(compute.threads, initializer=torch.set_num_threads, initargs=(1,))

    def tensor(features: Features, rows: slice) -> Tensor:
        part = block(features, rows, centre)
        return torch.from_numpy(part if part.flags.writeable else part.copy()).to(compute.device)

    try:
        for rows in compute.steps(list(blocks(len(first), side)), *state, label=label):
            X = tensor(first, rows)
            columns = [part for part in blocks(len(other), side) if second is not None or part.start >= rows.start]
            found = list(pool.map(lambda part, rows=rows, X=X: work(rows, part, X, tensor(other, part)), columns))
            for part, result in zip(columns, found, strict=True):
                yield rows, part, result
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)  # where a library has one number for all its threads


def squared_distances(X: Tensor, Y: Tensor, widen: float = 1.0) -> Tensor:
    """Return ``|x - y|^2`` for all pairs of rows, with the squared norms times ``widen``."""
    distances = X @ Y.T
    distances.mul_(-2.0)
    distances.add_((X * X).sum(dim=1)[:, None], alpha=widen)
    return distances.add_((Y * Y).sum(dim=1)[None, :], alpha=widen)
