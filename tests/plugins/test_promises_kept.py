"""Every augmentation and every learner that ships keeps what its kind promises, as a stranger's must."""

from __future__ import annotations

import pytest

from benchbench.catalog import Entry, load
from benchbench.promises import own_entries
from benchbench.testing import conformance

#: A check trains a dozen times, so each learner is held to few steps.
SHORT = {"timm": {"steps": 2, "batch_size": 8}}
ARCHITECTURES = {"timm": "shufflenetv2"}


def entries(kind: str) -> list[object]:
    return [pytest.param(entry, id=entry.name) for entry in own_entries(kind)]


@pytest.mark.parametrize("entry", entries("augmentation"))
def test_augmentations(entry: Entry):
    conformance(load(entry))


@pytest.mark.parametrize("entry", entries("learner"))
def test_learners(entry: Entry):
    conformance(load(entry), values=SHORT.get(entry.name), arch=ARCHITECTURES.get(entry.name))
