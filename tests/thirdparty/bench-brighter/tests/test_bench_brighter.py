"""The package's own tests: what an author writes. Run them in its folder, after ``pip install .``"""

from __future__ import annotations

import numpy as np
import pytest
from bench_brighter.augmentation import Dimmer
from bench_brighter.executor import Aside
from bench_brighter.generator import Brighter
from bench_brighter.levels import scale
from bench_brighter.metric import Brightness
from bench_brighter.report import Brightest

from benchbench.testing import conformance


def test_brighter_keeps_its_promises() -> None:
    conformance(Brighter, name="brighter", strict=True)
    conformance(Brighter, name="brighter", values={"factor": 0.5, "rounds": 2}, strict=True)


def test_dimmer_keeps_its_promises() -> None:
    conformance(Dimmer, name="dimmer", strict=True)


@pytest.mark.parametrize(("cls", "name"), [(Brightness, "brightness"), (Aside, "aside"), (Brightest, "brightest")])
def test_the_others_keep_their_promises(cls: type, name: str) -> None:
    conformance(cls, name=name, strict=True)


def test_scale_clips() -> None:
    assert scale(np.array([0, 100, 200], dtype=np.uint8), 1.5).tolist() == [0, 150, 255]
