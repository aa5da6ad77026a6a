"""Small image folders in the exact formats on disk, and a cache that no other test sees."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchbench.plugins import Context, Dataset


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("BENCH_CACHE", str(folder))
    monkeypatch.delenv("BENCH_DATA", raising=False)
    return folder


@pytest.fixture
def draw() -> Callable[..., Path]:
    """Return a function that writes one image of noise; the same seed writes the same bytes."""

    def write(path: Path, size: tuple[int, int] = (32, 32), seed: int = 0, mode: str = "RGB") -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        Image.fromarray(noise).convert(mode).save(path)
        return path

    return write


@pytest.fixture
def tree(draw: Callable[..., Path], tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes ``{"train/cat": 3, ...}`` below a folder, as 0.png, 1.png, ..."""

    def write(
        counts: dict[str, int], name: str = "pets", suffix: str = ".png", size: tuple[int, int] = (32, 32)
    ) -> Path:
        root = tmp_path / name
        seed = 0
        for folder, count in counts.items():
            (root / folder).mkdir(parents=True, exist_ok=True)
            for number in range(count):
                seed += 1
                draw(root / folder / f"{number}{suffix}", size=size, seed=seed)
        return root

    return write


@pytest.fixture
def context_of(tmp_path: Path) -> Callable[[Dataset], Context]:
    def make(dataset: Dataset) -> Context:
        return Context(seed=0, folder=tmp_path / "out", scratch=tmp_path / "scratch", info=dataset.info())

    return make
