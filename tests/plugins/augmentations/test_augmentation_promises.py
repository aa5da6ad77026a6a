"""Augmentations keep what their kind promises with other values too; test_promises_kept.py has the usual ones."""

from __future__ import annotations

import pytest

from benchbench.plugins.catalog import catalog, load
from benchbench.testing import conformance

OTHERS = {
    "cutmix": {"alpha": 0.3, "probability": 0.5},
    "cutout": {"eighth": "area", "inside": False, "probability": 0.5},
    "meada": {"rounds": 3, "interval": 2, "ascent_steps": 2, "max_images": 3},
    "mixup": {"alpha": 0.3, "per_image": True, "probability": 0.5},
}


@pytest.mark.parametrize("name", OTHERS)
def test_with_other_values(name):
    conformance(load(catalog().get("augmentation", name)), name=name, values=OTHERS[name], strict=True)
