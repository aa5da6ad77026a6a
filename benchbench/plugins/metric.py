"""The page of a metric's author."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from .base import Plugin
from .column import Column
from .context import Context
from .images import ImageSet


@dataclass(frozen=True)
class Metric(Plugin):
    """Scores generated images against the dataset's whole training part."""

    kind: ClassVar[str] = "metric"

    def columns(self) -> Sequence[Column]:
        """Return the numbers of ``score`` that tables show, the most telling first.

        A metric that declares none has every number it returns shown under its key.
        """
        return ()

    def least_images(self) -> int:
        """Return how many images of either side it needs; with fewer, the plan leaves it out and says so."""
        return 1

    def score(self, real: ImageSet, synthetic: ImageSet, context: Context) -> Mapping[str, Any]:
        """Return JSON: numbers by the keys of ``columns``, ``extractor`` (its id), ``n_score`` and ``n_reference``.

        ``real`` and ``synthetic`` are disjoint, also for the baseline that scores real images.
        """
        raise NotImplementedError
