"""``benchmarks/scale.py``: its table marks what exceeds a target or grows too fast, and nothing else."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "scale.py"


@pytest.mark.parametrize(
    ("larger", "growth", "over"),
    [(4.0, "1.00", False), (4.7, "1.18", False), (4.9, "1.23", True), (6.0, "1.50", True)],
)
def test_growth_is_the_cost_divided_by_the_size(larger, growth, over):
    table = runpy.run_path(str(SCRIPT))["table"]
    rows = [{"row": "plan", "size": 5000, "CPU s": 1.0}, {"row": "plan", "size": 20000, "CPU s": larger}]
    first, second = table(rows).splitlines()[2:]
    assert first == "| plan | 5,000 | CPU s | 1.0 |  |  |"
    mark = " **over**" if over else ""
    target = " **over**" if larger > 5 else ""
    assert second == f"| plan | 20,000 | CPU s | {larger:.1f}{target} | 5 | {growth}{mark} |"


def test_fidelity_is_quadratic_and_has_no_growth():
    table = runpy.run_path(str(SCRIPT))["table"]
    rows = [{"row": "fidelity, score", "size": size, "CPU s": cost} for size, cost in ((10, 1.0), (20, 4.0))]
    assert "over" not in table(rows)
