"""MixUp and CutMix: torchvision's with our draws, closed forms, and the distribution of shares, boxes and partners."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from aug_info import flat_batch, make_batch, make_info, seeded
from scipy import stats
from torchvision.transforms import v2

from benchbench_plugins.augmentations import _mixing
from benchbench_plugins.augmentations._mixing import centred_box
from benchbench_plugins.augmentations.cutmix import CutMix
from benchbench_plugins.augmentations.mixup import MixUp

SEEDS = range(40)


def mixed(plugin, images, labels, seed=0, classes=10):
    return plugin.apply(images, labels, seeded(seed), make_info(classes, images.shape[-1]))


def in_pairs(monkeypatch) -> None:
    """Make our partners those of torchvision, which rolls the batch by one."""
    monkeypatch.setattr(_mixing, "partners", lambda count, rng: torch.arange(count).roll(1))


@pytest.mark.parametrize("share", [0.0, 0.137, 0.5, 0.81, 1.0])
def test_mixup_equals_torchvisions(monkeypatch, share):
    in_pairs(monkeypatch)
    monkeypatch.setattr(_mixing, "beta_shares", lambda *_: torch.tensor([share], dtype=torch.float64))
    theirs = v2.MixUp(num_classes=10)
    images, labels = make_batch(12)
    params = {"labels": labels, "batch_size": 12, "lam": share}
    found, targets = mixed(MixUp(), images, labels)
    expected = theirs.transform(images.float(), params)
    assert found.dtype == targets.dtype == torch.float32
    assert torch.allclose(found, expected, atol=1e-4)
    assert torch.allclose(targets, theirs.transform(labels, params), atol=1e-6)


def test_cutmix_equals_torchvisions(monkeypatch):
    in_pairs(monkeypatch)
    theirs = v2.CutMix(num_classes=10)
    images, labels = make_batch(12)
    sizes = set()
    for seed in SEEDS:
        rng = seeded(seed)
        box = centred_box(_mixing.beta_shares(1.0, 1, 1.0, rng), 16, 16, rng)
        top, bottom, left, right = box.clamp(0, 16)[0].tolist()
        share = 1 - (bottom - top) * (right - left) / 256
        params = {"labels": labels, "batch_size": 12, "box": (left, top, right, bottom), "lam_adjusted": share}
        found, targets = mixed(CutMix(), images, labels, seed)
        assert found.dtype == torch.uint8
        assert torch.equal(found, theirs.transform(images, params))
        assert torch.allclose(targets, theirs.transform(labels, params), atol=1e-6)
        sizes.add((bottom - top, right - left))
    assert len(sizes) > 10


def test_boxes_are_those_of_the_authors():
    """Yun et al.'s rand_bbox, a number at a time, from the same shares and centres."""
    shares = torch.linspace(0, 1, 201, dtype=torch.float64)
    edges = centred_box(shares, 17, 30, seeded())
    rng = seeded()
    rows, columns = (torch.randint(0, side, (201,), generator=rng) for side in (17, 30))
    for share, row, column, found in zip(shares.tolist(), rows.tolist(), columns.tolist(), edges.tolist(), strict=True):
        height, width = int(17 * np.sqrt(1 - share)), int(30 * np.sqrt(1 - share))
        assert found == [row - height // 2, row + height // 2, column - width // 2, column + width // 2]


@pytest.mark.parametrize("plugin", [MixUp(), MixUp(per_image=True), CutMix()])
def test_targets_say_what_is_in_the_image(plugin):
    """Image ``i`` is grey ``i``: the mean of a mixed image is the mean of its soft label."""
    images, labels = flat_batch(40)
    means = []
    for seed in SEEDS:
        found, targets = mixed(plugin, images, labels, seed, classes=40)
        assert torch.allclose(targets.sum(1), torch.ones(40), atol=1e-6)
        assert float(targets.min()) >= 0
        assert int((targets > 0).sum(1).max()) <= 2
        expected = targets.double() @ labels.double()
        assert torch.allclose(found.double().mean((1, 2, 3)), expected, atol=1e-4)
        means.append(float(targets.max(1).values.min()))
    assert len(set(means)) > 20


@pytest.mark.parametrize("plugin", [MixUp(), CutMix()])
def test_soft_targets_mix_like_hard_ones(plugin):
    images, labels = make_batch(12)
    hard = torch.nn.functional.one_hot(labels, 10).float()
    for seed in range(5):
        found, targets = mixed(plugin, images, labels, seed)
        again, soft = mixed(plugin, images, hard, seed)
        assert torch.equal(found, again)
        assert torch.equal(targets, soft)
    blurred = 0.9 * hard + 0.01
    _, soft = mixed(plugin, images, blurred)
    assert torch.allclose(soft, 0.9 * mixed(plugin, images, hard)[1] + 0.01, atol=1e-6)


def test_a_chain_of_both():
    images, labels = flat_batch(30)
    found, targets = mixed(MixUp(), *mixed(CutMix(), images, labels, 1, 30), 2, 30)
    assert torch.allclose(found.double().mean((1, 2, 3)), targets.double() @ labels.double(), atol=1e-4)
    found, targets = mixed(CutMix(), *mixed(MixUp(), images, labels, 1, 30), 2, 30)
    assert found.dtype == torch.float32
    assert torch.allclose(found.double().mean((1, 2, 3)), targets.double() @ labels.double(), atol=1e-4)


def test_the_mixed_loss_is_the_published_one():
    """lambda CE(f, y_i) + (1 - lambda) CE(f, y_j) equals cross-entropy with mixed targets."""
    images, labels = make_batch(16)
    rng = seeded(5)
    other = _mixing.partners(16, rng)
    share = float(_mixing.beta_shares(1.0, 1, 1.0, rng))
    _, targets = mixed(MixUp(), images, labels, 5)
    logits = torch.randn(16, 10, generator=seeded(1))
    loss = torch.nn.functional.cross_entropy
    assert torch.allclose(
        loss(logits, targets), share * loss(logits, labels) + (1 - share) * loss(logits, labels[other])
    )


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_shares_follow_the_beta_distribution(alpha):
    shares = _mixing.beta_shares(alpha, 20_000, 1.0, seeded(1)).numpy()
    assert stats.kstest(shares, stats.beta(alpha, alpha).cdf).pvalue > 1e-3
    assert abs(shares.mean() - 0.5) < 5 * shares.std() / 141
    assert abs(shares.var() - 1 / (4 * (2 * alpha + 1))) < 0.003


@pytest.mark.parametrize("plugin", [MixUp(probability=0.25), CutMix(probability=0.25)])
def test_a_batch_is_mixed_as_a_whole_or_not_at_all(plugin):
    images, labels = flat_batch(20)
    count = 400
    changed = 0
    for seed in range(count):
        found, targets = mixed(plugin, images, labels, seed, classes=20)
        hard = torch.equal(targets, torch.nn.functional.one_hot(labels).float())
        assert torch.equal(found.float(), images.float()) or not hard
        changed += not hard
    # A box of CutMix is empty where lambda is above 1 - (2 / 16) ** 2, in 1.6 % of the batches.
    assert abs(changed - 0.25 * count) < 4 * (count * 0.25 * 0.75) ** 0.5


def test_one_share_for_the_batch_or_one_for_each_image():
    images, labels = flat_batch(64)
    own = [mixed(plugin, images, labels, 3, 64)[1].max(1).values for plugin in (MixUp(), MixUp(per_image=True))]
    assert len(own[0].unique()) <= 2  # 1 where a permutation leaves an image alone
    assert len(own[1].unique()) > 50


def test_the_area_left_by_a_box():
    """Lambda is recomputed after cutting off, so its mean lies above that of Beta(1, 1)."""
    shares = _mixing.beta_shares(1.0, 40_000, 1.0, seeded(2))
    edges = centred_box(shares, 64, 64, seeded(3))
    whole = (edges[:, 1] - edges[:, 0]) * (edges[:, 3] - edges[:, 2]) / 64**2
    # Sides of floor(64 r / 2) * 2: about a pixel less than 64 r on average, r = sqrt(1 - lambda), E r^2 = 1/2.
    reach = (64 * np.sqrt(np.random.default_rng(0).random(400_000)) // 2 * 2 / 64) ** 2
    assert abs(float(whole.mean()) - reach.mean()) < 0.006
    cut = edges.clamp(0, 64)
    area = (cut[:, 1] - cut[:, 0]) * (cut[:, 3] - cut[:, 2]) / 64**2
    # A side r around a uniform centre keeps r - r^2 / 4 of 1 on average; rows and columns are apart.
    r = np.sqrt(np.random.default_rng(1).random(400_000))
    assert abs(float(area.double().mean()) - ((r - r**2 / 4) ** 2).mean()) < 0.012


def test_centres_are_uniform():
    edges = centred_box(torch.ones(40_000, dtype=torch.float64), 8, 5, seeded(4))
    found = np.bincount((edges[:, 0] * 5 + edges[:, 2]).numpy(), minlength=40)
    assert stats.chisquare(found).pvalue > 1e-3


def test_partners_are_a_permutation_and_change_with_the_seed():
    first, second = (_mixing.partners(50, seeded(seed)) for seed in (0, 1))
    assert sorted(first.tolist()) == list(range(50))
    assert not torch.equal(first, second)
