"""The facts of a small dataset, for tests that need some and are about something else."""

from __future__ import annotations

from typing import Any

from benchbench.plugins import DatasetInfo


def dataset_info(classes: tuple[str, ...] | int = 2, side: int = 16, **changes: Any) -> DatasetInfo:
    """Return facts of ``classes`` (their names, or how many) of two images each, ``side`` px, with ``changes``."""
    names = tuple(str(label) for label in range(classes)) if isinstance(classes, int) else classes
    each = changes.get("class_counts", (2,) * len(names))
    facts: dict[str, Any] = {
        "name": "toy",
        "classes": names,
        "counts": {"train": sum(each), "validation": 0, "test": sum(each)},
        "class_counts": each,
        "resolution": side,
        "classify_resolution": side,
        "generate_resolution": side,
        "mean": (0.5, 0.5, 0.5),
        "std": (0.25, 0.25, 0.25),
        "flip_keeps_class": True,
        "foundation": "none",
    }
    return DatasetInfo(**(facts | changes))
