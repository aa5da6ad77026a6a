"""JSON lines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def write_lines(path: Path, items: Sequence[Any]) -> None:
    """Write JSON values, one a line."""
    path.write_text("".join(json.dumps(item, sort_keys=True) + "\n" for item in items), "utf-8")


def read_lines(path: Path) -> list[Any]:
    """Read what :func:`write_lines` wrote."""
    return [json.loads(line) for line in path.read_text("utf-8").split("\n") if line]
