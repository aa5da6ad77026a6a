"""Resizing, order and mixing."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tiny import tiny_set, tiny_task

from benchbench.training.data import Batches, Source, make_batches
from benchbench.training.pixels import resized


def test_native_size_is_a_copy_in_another_layout():
    images = tiny_set(5, 0).images
    assert np.array_equal(resized(images, 8).numpy(), images.transpose(0, 3, 1, 2))


@pytest.mark.parametrize("side", [16, 24, 48])
def test_resize_agrees_with_pillow_bicubic(side):
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)
    images = np.stack([np.asarray(Image.fromarray(x).resize((32, 32), Image.Resampling.BICUBIC)) for x in coarse])
    expected = np.stack([np.asarray(Image.fromarray(x).resize((side, side), Image.Resampling.BICUBIC)) for x in images])
    got = resized(images, side).numpy().transpose(0, 2, 3, 1)
    assert np.abs(got.astype(int) - expected).max() <= 2


def test_oblong_images_are_cropped_in_the_centre():
    images = np.zeros((1, 8, 16, 3), np.uint8)
    images[:, :, 4:12] = 200
    assert resized(images, 8).min() == 200


def test_chunks_do_not_show(monkeypatch):
    images = np.random.default_rng(0).integers(0, 256, (7, 12, 12, 3), dtype=np.uint8)
    whole = resized(images, 8)
    monkeypatch.setattr("benchbench.training.pixels.PIXELS_AT_ONCE", 150)
    assert torch.equal(resized(images, 8), whole)


def source(name: str, count: int, value: int = 0, seed: int = 0) -> Source:
    return Source(
        name, torch.full((count, 3, 4, 4), value, dtype=torch.uint8), torch.zeros(count, dtype=torch.int64), seed
    )


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 23), st.lists(st.integers(0, 40), min_size=1, max_size=8))
def test_order_is_permutation_after_permutation_however_it_is_cut(count, sizes):
    pool, position, taken = source("real", count), 0, []
    for size in sizes:
        taken += pool.order(position, size).tolist()
        position += size
    assert taken == source("real", count).order(0, position).tolist()
    for epoch in range(position // count):
        assert sorted(taken[epoch * count : (epoch + 1) * count]) == list(range(count))


def test_order_depends_on_seed_alone():
    one, two = (source("real", 50, seed=seed).order(0, 50) for seed in (1, 2))
    assert not torch.equal(one, two)
    first = make_batches(tiny_task(), 8, 10, seed=3, device="cpu").batch(4)
    again = make_batches(tiny_task(synthetic=True, mix=(1, 1)), 8, 20, seed=3, device="cpu").batch(4)
    assert torch.equal(first[0], again[0][:10])  # the real half is the same images in the same order


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(2, 40))
def test_mixed_batches_are_full_and_keep_the_ratio(a, b, size):
    batches = Batches([source("real", 5, 1), source("synthetic", 11, 2)], size, (a, b))
    real = 0
    for step in range(12):
        images, labels = batches.batch(step)
        assert len(images) == len(labels) == size
        counts = Counter(images[:, 0, 0, 0].tolist())
        real += counts[1]
        assert abs(real - (step + 1) * size * a / (a + b)) < 1


def test_paper_ratios_are_exact_in_every_batch():
    for mix, wanted in {(1, 7): 16, (1, 3): 32, (1, 1): 64, (3, 1): 96, (7, 1): 112}.items():
        batches = Batches([source("real", 5, 1), source("synthetic", 7, 2)], 128, mix)
        assert {int((batches.batch(step)[0][:, 0, 0, 0] == 1).sum()) for step in range(5)} == {wanted}


def test_sources_of_a_task():
    def names(**task):
        return [source.name for source in make_batches(tiny_task(**task), 8, 4, 0, "cpu").sources]

    assert names() == ["real"]
    assert names(real=False, synthetic=True) == ["synthetic"]
    assert names(synthetic=True, mix=(1, 3)) == ["real", "synthetic"]
    assert names(synthetic=True, mix=(0, 1)) == ["synthetic"]
    assert names(synthetic=True, mix=(1, 0)) == ["real"]
    with pytest.raises(ValueError, match="mix"):
        names(synthetic=True)
