"""What a training keeps of its answers: log-probabilities of the test images, from which other measures can be made."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import BenchError, UsageError
from ..plugins.images import batches
from ..statistics.classifier import log_probabilities
from ..store.store import Store

if TYPE_CHECKING:
    from typing import Self

    from numpy.typing import NDArray

#: The file in a training's artifact.
FILE = "answers.npz"
#: Up to so many classes all are kept, above it the label and the most probable ones.
ALL_CLASSES, MOST_PROBABLE = 200, 20
#: Images whose float64 logs are in memory at once.
_IMAGES = 4096


@dataclass(frozen=True)
class Answers:
    """The answers of one training, for the test images in their order.

    Attributes:
        log_probabilities: float16 ``(N, K)``, natural logs, clipped at -30. K is the number of classes up to 200 of
            them; above, column 0 is that of the label and columns 1 to 20 are the largest, in descending order.
        classes: int32 ``(N, K)``, the class of each number; ``None`` where column k is class k.
        labels: int64 ``(N,)``.
    """

    log_probabilities: NDArray[np.float16]
    classes: NDArray[np.int32] | None
    labels: NDArray[np.int64]

    @classmethod
    def of(cls, probabilities: NDArray[np.float32], labels: NDArray[np.int64]) -> Self:
        """Return what is kept of probabilities float32 ``(N, C)`` and labels int64 ``(N,)``."""
        images, count = probabilities.shape
        few = count <= ALL_CLASSES
        kept = np.empty((images, count if few else 1 + MOST_PROBABLE), np.float16)
        classes = np.empty(kept.shape, np.int32)
        for part in batches(images, _IMAGES):
            rows = slice(part.start, part.stop)
            logs = log_probabilities(probabilities[rows])
            if not few:
                largest = np.argsort(-logs, axis=1, kind="stable")[:, :MOST_PROBABLE]
                classes[rows] = np.concatenate([labels[rows, None], largest], axis=1)
                logs = np.take_along_axis(logs, classes[rows], axis=1)
            kept[rows] = logs
        return cls(kept, None if few else classes, labels)

    @property
    def digest(self) -> str:
        """SHA-256 of the log-probabilities and of the classes where they are kept, 64 hexadecimal digits."""
        classes = b"" if self.classes is None else self.classes.tobytes()
        return hashlib.sha256(self.log_probabilities.tobytes() + classes).hexdigest()

    def save(self, folder: Path) -> None:
        """Write ``answers.npz``."""
        arrays = {name: value for name, value in vars(self).items() if value is not None}
        np.savez(folder / FILE, **arrays)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what ``save`` wrote.

        Raises:
            FileNotFoundError: there is none.
        """
        with np.load(folder / FILE, allow_pickle=False) as kept:
            return cls(**{name: kept.get(name) for name in cls.__annotations__})


def load_answers(key: str, results: str | Path = "results") -> Answers:
    """Return the log-probabilities that a training gave the test images, and the labels of these.

    Args:
        key: of its record, as in the column ``key`` of ``load_results(per_record=True)``.
        results: the results folder.

    Raises:
        UsageError: ``key`` is no key.
        BenchError: the training is not in the cache, or was made before answers were kept.
    """
    store = Store(Path(results) / "artifacts")
    try:
        folder = store.path(key)
    except ValueError as error:
        raise UsageError(str(error)) from None
    try:
        return Answers.load(folder)
    except OSError:
        raise BenchError(
            f"{folder}: no {FILE}; the training was removed, or was made before answers were kept; run it again"
        ) from None
