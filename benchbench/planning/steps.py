"""``Step``: one unit of work as plain JSON, and its key.

The body says everything that decides the bytes of a result; its sha256 is the key. What else a worker needs (where
files lie, the device) travels with it and never enters the key.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from ..plugins import DatasetInfo

#: Raised whenever the harness itself would give other numbers for the same body.
PROTOCOL = {"version": 1, "threads": 1}
#: Raised whenever a training leaves other files or numbers of its answers; its seed does not depend on it.
KEPT = 1

STAGES = ("data", "fit", "sample", "transform", "train", "reference", "score")


@dataclass(frozen=True)
class Step:
    """One unit of work.

    Attributes:
        stage: one of ``STAGES``.
        label: for people: ``"train resnet18 on diffinv"``.
        body: what decides the result; JSON.
        run: what a worker needs besides (plugin locations, dataset facts, device, inputs by role); JSON.
        inputs: keys of the steps that have to be done before.
        timing: steps of one timing class take time in proportion to ``units``.
        units: images or 1.
        guess: estimated CPU seconds before any such step was measured here, ``None`` when unknown.
    """

    stage: str
    label: str
    body: Mapping[str, Any]
    run: Mapping[str, Any]
    inputs: tuple[str, ...]
    timing: str
    units: float = 1.0
    guess: float | None = None

    @cached_property
    def key(self) -> str:
        """The sha256 of the canonical body, 64 hex digits."""
        return digest(self.body)

    def to_json(self) -> dict[str, Any]:
        """Return the step as a worker is given it."""
        return {
            "stage": self.stage,
            "key": self.key,
            "label": self.label,
            "body": dict(self.body),
            "run": dict(self.run),
        }


def digest(value: Any) -> str:
    """Return the sha256 of a JSON value in canonical form (sorted keys, no spaces)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def info_to_json(info: DatasetInfo) -> dict[str, Any]:
    """Return a dataset's facts as JSON."""
    return {name: dict(value) if name == "counts" else value for name, value in asdict(info).items()}


def info_from_json(value: Mapping[str, Any]) -> DatasetInfo:
    """Read what :func:`info_to_json` wrote, lists back to tuples."""
    facts: dict[str, Any] = {name: tuple(item) if isinstance(item, list) else item for name, item in value.items()}
    return DatasetInfo(**facts)
