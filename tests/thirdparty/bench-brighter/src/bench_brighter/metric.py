"""The metric ``brightness``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchbench.plugins import Column, Context, ImageSet, Metric, param


@dataclass(frozen=True)
class Brightness(Metric):
    """How many times brighter generated images are than real ones, on average."""

    floor: float = param(1.0, above=0.0, help="Grey level that the real mean counts as at least.")

    def columns(self) -> Sequence[Column]:
        """Return the one number; neither more nor less of it is better."""
        return (Column("brightness", "times as bright", 2),)

    def score(self, real: ImageSet, synthetic: ImageSet, context: Context) -> Mapping[str, Any]:
        """Divide the mean grey levels."""
        if not len(real) or not len(synthetic):
            raise ValueError("brightness needs at least one real and one generated image")
        ratio = float(np.mean(synthetic.images)) / max(float(np.mean(real.images)), self.floor)
        return {"brightness": ratio, "extractor": "pixels", "n_score": len(synthetic), "n_reference": len(real)}
