"""The page of a metric's author.

``Column``: what a metric declares of each of its numbers, and records keep.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from .base import Plugin
from .context import Context
from .images import ImageSet


@dataclass(frozen=True)
class Metric(Plugin):
    """Scores generated images against the dataset's whole training part."""

    kind: ClassVar[str] = "metric"
    #: Whether ``reference`` has to run before ``score``: a class that defines ``reference`` has one.
    has_reference: ClassVar[bool] = False
    #: Whether it is measured where nobody names a metric; a costly one waits for ``--metric``.
    usual: ClassVar[bool] = True

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        # A parameter may have that name: it was free before there was such a method.
        cls.has_reference = cls.reference is not Metric.reference and callable(cls.reference)

    def columns(self) -> Sequence[Column]:
        """Return the numbers of ``score`` that tables show, the most telling first.

        A metric that declares none has every number it returns shown under its key.
        """
        return ()

    def compares_all(self) -> bool:
        """Return whether it compares all images of a generator; by default as many as every row of the run has."""
        return False

    def least_images(self) -> int:
        """Return how many images of either side it needs; with fewer, the plan leaves it out and says so."""
        return 1

    def reference(self, real: ImageSet, context: Context) -> None:
        """Write into ``context.folder`` what ``score`` needs to know of the real images alone; optional.

        It is made once for a dataset and serves every generator, and once for each baseline, whose ``real`` is less
        the images that are compared. ``score`` finds the folder in ``context.reference``. The seed is that of the
        dataset, the same for every draw. Iterate over ``context.resume(items, ...)``, which continues after a kill.
        """

    def score(self, real: ImageSet, synthetic: ImageSet, context: Context) -> Mapping[str, Any]:
        """Return JSON: numbers by the keys of ``columns``, ``extractor`` (its id), ``n_score`` and ``n_reference``.

        ``real`` and ``synthetic`` are disjoint, also for the baseline that scores real images. ``real`` is what
        ``reference`` was given.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class Column:
    """One number of a metric as a column of every table.

    Attributes:
        key: its name in what ``score`` returns and in ``leaderboard.csv``; there ``METRIC.KEY`` where metrics share it.
        title: its heading in tables for people; name what it was measured with, as in ``"FD (my-network)"``.
        decimals: digits after the point.
        better: ``"more"`` or ``"less"``; ``None`` where neither is better.
    """

    key: str
    title: str
    decimals: int = 4
    better: str | None = None

    def __post_init__(self) -> None:
        if not all(isinstance(text, str) and text for text in (self.key, self.title)):
            raise ValueError("a column needs a key and a title, two texts")
        if type(self.decimals) is not int or not 0 <= self.decimals <= 12:
            raise ValueError(f"column {self.key}: decimals {self.decimals!r} must be a whole number from 0 to 12")
        if self.better not in ("more", "less", None):
            raise ValueError(f"column {self.key}: better {self.better!r} must be 'more', 'less' or None")
