"""``benchmarks/metrics_speed.py`` runs, and both sides of it give the same values."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "metrics_speed.py"


def test_toy_size(tmp_path: Path) -> None:
    pytest.importorskip("prdc")
    out = tmp_path / "speed.json"
    options = ["--count", "60", "--width", "8", "--pairs", "1", "--out", str(out)]
    done = subprocess.run([sys.executable, str(SCRIPT), *options], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = json.loads(out.read_text("utf-8"))["rows"]
    assert [row["name"] for row in rows] == ["prdc", "prdc, real known", "scipy sqrtm"]
    assert all(row["largest_difference"] < 1e-9 and row["wall_ratio"] > 0 for row in rows)
    assert all(row["name"] in done.stdout for row in rows)
