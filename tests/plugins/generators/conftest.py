import numpy as np
import pytest

from benchbench.context import Context
from benchbench.images import ImageSet
from benchbench.plugins import DatasetInfo

INFO = DatasetInfo(
    name="toy",
    classes=("a", "b"),
    counts={"train": 4, "validation": 0, "test": 0},
    class_counts=(2, 2),
    resolution=16,
    classify_resolution=16,
    generate_resolution=32,
    mean=(0.5, 0.5, 0.5),
    std=(0.2, 0.2, 0.2),
    flip_keeps_class=True,
    foundation="mini",
)


@pytest.fixture
def info():
    return INFO


@pytest.fixture
def train():
    images = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), dtype=np.uint8)
    return ImageSet(images, np.array([0, 0, 1, 1]), ("a", "b"))


@pytest.fixture
def make_context(tmp_path, mini):
    """Return a function that makes contexts; the same name is the same folders, as after a kill."""

    def make(name, **changes):
        folder, scratch = tmp_path / name / "out", tmp_path / name / "scratch"
        folder.mkdir(parents=True, exist_ok=True)
        scratch.mkdir(parents=True, exist_ok=True)
        values = {"seed": 7, "info": INFO, "foundations": {"mini": mini}, "shard": range(4)}
        return Context(folder=folder, scratch=scratch, **{**values, **changes})

    return make
