import numpy as np
import pytest
from generator_info import INFO

from benchbench.plugins.context import Context
from benchbench.plugins.images import ImageSet


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
