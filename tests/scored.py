"""A metric as a run calls it: first ``reference``, then ``score``, each in folders of its own."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchbench.plugins import Metric
from benchbench.plugins.context import Context
from benchbench.plugins.images import ImageSet


def scored(metric: Metric, real: ImageSet, synthetic: ImageSet, context: Context) -> dict[str, Any]:
    """Return what ``score`` returns; ``context`` says seed, device, dataset and foundations."""
    with tempfile.TemporaryDirectory() as place:
        folders = [Path(place) / name for name in ("reference", "of-reference", "score", "of-score")]
        for folder in folders:
            folder.mkdir()
        metric.reference(real, replace(context, folder=folders[0], scratch=folders[1]))
        surroundings = replace(context, folder=folders[2], scratch=folders[3], reference=folders[0])
        return dict(metric.score(real, synthetic, surroundings))
