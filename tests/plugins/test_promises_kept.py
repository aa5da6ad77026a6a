"""Every augmentation and every learner that ships keeps what its kind promises, as a stranger's must."""

from __future__ import annotations

import pytest

from benchbench.planning.chains import own_entries
from benchbench.plugins.catalog import Entry, load
from benchbench.testing import conformance

#: A check trains a dozen times, so each learner is held to few steps.
SHORT = {
    "timm": {"steps": 2, "batch_size": 8},
    "coop": {"max_steps": 6, "batch_size": 8},
    "tip-adapter": {"augment_epochs": 2},
    "tip-adapter-f": {"augment_epochs": 2, "epochs": 3},
    "ct": {"epochs": 4},
    "probe": {"model": "glyph-clip"},
}
ARCHITECTURES = {"timm": "shufflenetv2"}


def entries(kind: str) -> list[object]:
    return [pytest.param(entry, id=entry.name) for entry in own_entries(kind)]


@pytest.mark.parametrize("entry", entries("augmentation"))
def test_augmentations(entry: Entry):
    conformance(load(entry), name=entry.name, strict=True)


@pytest.mark.parametrize("entry", entries("learner"))
def test_learners(entry: Entry):
    options = {"values": SHORT.get(entry.name), "arch": ARCHITECTURES.get(entry.name)}
    conformance(load(entry), name=entry.name, strict=True, **options)
