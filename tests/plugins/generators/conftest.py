import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from mini_sd import write_mini_sd

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


@pytest.fixture(scope="session")
def mini(tmp_path_factory):
    return write_mini_sd(tmp_path_factory.mktemp("mini"))


@pytest.fixture(scope="session")
def mini_v(tmp_path_factory):
    return write_mini_sd(tmp_path_factory.mktemp("mini-v"), prediction_type="v_prediction")


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
