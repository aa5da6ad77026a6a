"""The package's own tests: what an author writes. Run them in its folder, after ``pip install .``"""

from __future__ import annotations

import numpy as np
from bench_brighter.augmentation import Dimmer
from bench_brighter.generator import Brighter
from bench_brighter.levels import scale

from benchbench.testing import conformance


def test_brighter_keeps_its_promises() -> None:
    conformance(Brighter, name="brighter", strict=True)
    conformance(Brighter, name="brighter", values={"factor": 0.5, "rounds": 2}, strict=True)


def test_dimmer_keeps_its_promises() -> None:
    conformance(Dimmer, name="dimmer", strict=True)


def test_scale_clips() -> None:
    assert scale(np.array([0, 100, 200], dtype=np.uint8), 1.5).tolist() == [0, 150, 255]
