"""The augmentations that change images by themselves, through the training loop's parts."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from aug_info import make_batch, make_info, seeded

from benchbench.plugins import param
from benchbench.testing import conformance
from benchbench.training import inputs
from benchbench.training.data import Batches, Source
from benchbench.training.evaluate import Normalise
from benchbench.training.inputs import Inputs
from benchbench_plugins.augmentations.cutout import CutOut
from benchbench_plugins.augmentations.default import CropFlip
from benchbench_plugins.augmentations.meada import MEADA
from benchbench_plugins.augmentations.mixup import MixUp

CHAINS = [
    (CropFlip(),),
    (CropFlip(), CutOut()),
    (CutOut(probability=0.5, inside=False), MEADA(), CropFlip(padding=1)),
    (CropFlip(), MixUp(), CutOut()),
]


@pytest.mark.parametrize("part", [1, 3000, 1 << 20])
@pytest.mark.parametrize("chain", CHAINS, ids=lambda chain: "+".join(type(link).__name__ for link in chain))
def test_parts_do_not_show(monkeypatch, chain, part):
    monkeypatch.setattr(inputs, "PART_BYTES", part)
    images, labels = make_batch(14, 16)
    info = make_info(side=16)
    batches = Batches([Source("real", images, labels, 0)], 10, None)
    make = Inputs(batches, chain, info)
    for step in range(3):
        pixels, targets = make(step, seeded(step))
        pixels, targets = pixels.clone(), targets.clone()
        expected, wanted = batches.batch(step)
        rng = seeded(step)
        for link in chain:
            expected, wanted = link.apply(expected, wanted, rng, info)
        assert torch.equal(pixels, Normalise(info, "cpu")(expected))
        assert torch.equal(targets, wanted)


def test_a_class_that_replaces_apply_keeps_its_promises():
    """Its inherited ``imagewise`` is never asked, and may not even fit its parameters."""

    @dataclass(frozen=True)
    class Fraction(CropFlip):
        """Pads by a share of the side."""

        padding: float = param(0.25, low=0.0, help="Zeros on each side, as a share of it.")

        def apply(self, images, targets, rng, info):
            whole = CropFlip(padding=round(self.padding * images.shape[-1]))
            return whole.apply(images, targets, rng, info)

    results = {result.name: result for result in conformance(Fraction, name="fraction")}
    assert "parts of a batch make the whole" not in results
