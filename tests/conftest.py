"""What holds for every test: one thread for each process, and the long files first."""

from __future__ import annotations

import os

import pytest

# Several test processes share the cores; torch would start as many threads in each as there are cores. Set before
# any test imports torch, and inherited by the commands that tests run.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that hold a slow test, so that no process is left alone with one at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)  # the order within a file stays
