"""AutoAugment, RandAugment and AugMix: torchvision's results for the same draws, and the statistics of the draws."""

from __future__ import annotations

import hashlib
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from policy_reference import one_by_one, pictures, transformed
from scipy import stats
from torchvision.transforms import InterpolationMode, autoaugment

from benchbench.errors import UsageError
from benchbench.plugins.parameters import build
from benchbench_plugins.augmentations import autoaugment as autoaugment_plugin
from benchbench_plugins.augmentations._plan import (
    AUGMIX,
    AUGMIX_ALL,
    AUTOAUGMENT,
    IDENTITY,
    OPERATORS,
    RANDAUGMENT,
    augmix_space,
    autoaugment_space,
    perform,
)
from benchbench_plugins.augmentations.augmix import AugMix, mixed
from benchbench_plugins.augmentations.autoaugment import AutoAugment
from benchbench_plugins.augmentations.randaugment import RandAugment

POLICIES = (AutoAugment(), RandAugment(), AugMix())
INFO = SimpleNamespace(flip_keeps_class=True)
SIZES = ((16, 16), (32, 32), (33, 33), (96, 96), (20, 31))


def apply(plugin, images, seed=0):
    targets = torch.arange(len(images))
    out, same = plugin.apply(images, targets, torch.Generator().manual_seed(seed), INFO)
    assert same is targets
    return out


def within(count, trials, probability, sigmas=4.0):
    return abs(count - trials * probability) <= sigmas * np.sqrt(trials * probability * (1 - probability))


def same_but_for_ties(ours, theirs, rate):
    """All pixels equal, but for ``rate`` of them: see the tolerances of the geometric operators."""
    assert ours.shape == theirs.shape
    return float((ours != theirs).float().mean()) <= rate


# What the magnitudes are.


def equal_spaces(space, theirs, names):
    assert [OPERATORS[position] for position in space.operators] == list(names)
    assert set(theirs) == set(names)
    for row, name in enumerate(names):
        values, signed = theirs[name]
        expected = np.broadcast_to(values.double().numpy(), space.magnitudes[row].shape)
        assert np.array_equal(space.magnitudes[row], expected), name
        assert space.signed[row] == signed, name


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("bins", [2, 9, 10, 31, 100])
def test_magnitudes_are_torchvisions(bins, height, width):
    size = (height, width)
    ours = autoaugment_space(RANDAUGMENT, bins, height, width)
    equal_spaces(ours, autoaugment.RandAugment()._augmentation_space(bins, size), RANDAUGMENT)
    ours = autoaugment_space(AUTOAUGMENT, bins, height, width)
    theirs = autoaugment.AutoAugment()._augmentation_space(bins, size) | {"Identity": (torch.tensor(0.0), False)}
    equal_spaces(ours, theirs, AUTOAUGMENT)
    for all_ops, names in ((True, AUGMIX_ALL), (False, AUGMIX)):
        theirs = autoaugment.AugMix(all_ops=all_ops)._augmentation_space(bins, size)
        equal_spaces(augmix_space(names, bins, height, width), theirs, names)


def test_numbers_of_operators():
    assert (len(RANDAUGMENT), len(AUGMIX), len(AUGMIX_ALL), len(OPERATORS)) == (14, 9, 13, 15)


@pytest.mark.parametrize(
    ("policy", "first", "digest"),
    [
        ("imagenet", (("Posterize", 0.4, 8), ("Rotate", 0.6, 9)), "9ddca7732821d2a2"),
        ("cifar10", (("Invert", 0.1, 0), ("Contrast", 0.2, 6)), "207f73fc62f21c92"),
        ("svhn", (("ShearX", 0.9, 4), ("Invert", 0.2, 0)), "210e782653a82c7b"),
    ],
)
def test_subpolicies_are_the_published_ones(policy, first, digest):
    """The digests are those of tables typed from the appendix of Cubuk et al. 2019, which torchvision's equal."""
    table = autoaugment_plugin.subpolicies(policy, AUTOAUGMENT)
    assert [part.shape for part in table] == [(25, 2)] * 3
    rows = [
        tuple(
            (AUTOAUGMENT[which], float(probability), int(magnitude))
            for which, probability, magnitude in zip(*columns, strict=True)
        )
        for columns in zip(*table, strict=True)
    ]
    assert rows[0] == first
    assert hashlib.sha256(repr(rows).encode()).hexdigest()[:16] == digest


# Whole policies, the transforms of torchvision driven by our draws.


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("plugin", [RandAugment(), RandAugment(num_ops=3, magnitude=24), RandAugment(2, 3, 5)])
def test_randaugment_equals_torchvision(plugin, height, width):
    images = pictures(40, height, width, seed=width)
    plan = plugin.plan(40, height, width, np.random.default_rng(height))
    theirs = autoaugment.RandAugment(plugin.num_ops, plugin.magnitude, plugin.num_magnitude_bins)
    space = theirs._augmentation_space(plugin.num_magnitude_bins, (height, width))
    expected = [
        transformed(theirs, image, space, ([operators], [magnitudes]))
        for image, operators, magnitudes in zip(images, plan.operators, plan.magnitudes, strict=True)
    ]
    assert same_but_for_ties(perform(images, plan, "nearest"), torch.stack(expected), 0.002)


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("policy", ["imagenet", "cifar10", "svhn"])
def test_autoaugment_equals_torchvision(policy, height, width, monkeypatch):
    count, images = 60, pictures(60, height, width, seed=width)
    _, _, bins = autoaugment_plugin.subpolicies(policy, AUTOAUGMENT)
    theirs = autoaugment.AutoAugment(autoaugment.AutoAugmentPolicy(policy))
    drawn = SpyRng(np.random.default_rng(height))
    plan = AutoAugment(policy=policy).plan(count, height, width, drawn)
    (chosen, minus), (chances,) = drawn.integers_drawn, drawn.uniforms_drawn
    expected = []
    for index, image in enumerate(images):
        params = int(chosen[index]), torch.tensor(chances[index]), torch.tensor(1 - minus[index])
        monkeypatch.setattr(theirs, "get_params", lambda count, params=params: params)
        expected.append(theirs(image))
    assert same_but_for_ties(perform(images, plan, "nearest"), torch.stack(expected), 0.002)
    assert (plan.operators == IDENTITY).any()
    assert (bins <= 9).all()


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize(
    "plugin", [AugMix(), AugMix(mixture_width=1), AugMix(10, 2, 4, 0.5), AugMix(severity=5, all_ops=False)]
)
def test_augmix_equals_torchvision(plugin, height, width, monkeypatch):
    count, images, rng = 15, pictures(15, height, width, seed=width), np.random.default_rng(height)
    plan, weights = plugin.plan(count, height, width, rng), plugin.weights(count, rng)
    theirs = autoaugment.AugMix(plugin.severity, plugin.mixture_width, plugin.chain_depth, plugin.alpha, plugin.all_ops)
    assert theirs.interpolation == InterpolationMode.BILINEAR
    space = theirs._augmentation_space(10, (height, width))
    operators = plan.operators.reshape(plugin.mixture_width, count, -1)
    magnitudes = plan.magnitudes.reshape(plugin.mixture_width, count, -1)
    fixed = plugin.chain_depth > 0
    expected = []
    for index, image in enumerate(images):
        share = 1 - weights[index, 0]
        vectors = [torch.tensor([[1 - share, share]]), torch.tensor(weights[index : index + 1, 1:] / share)]
        monkeypatch.setattr(theirs, "_sample_dirichlet", lambda _, vectors=vectors: vectors.pop(0).float())
        rows = (operators[:, index], magnitudes[:, index])
        expected.append(transformed(theirs, image, space, rows, bins=True, depths=not fixed))
    difference = (mixed(images, plan, weights).int() - torch.stack(expected).int()).abs()
    # Their weights of the chains are products of two float32 numbers, ours one number: a sum that is an integer, as
    # of chains that changed nothing, may fall to either side of it before its fraction is dropped.
    assert difference.max() <= 1
    assert difference.float().mean() <= 0.001


# Statistics of the draws.


class SpyRng:
    """Passes draws on and keeps them."""

    def __init__(self, rng):
        self.rng, self.integers_drawn, self.uniforms_drawn = rng, [], []

    def integers(self, *args, **kwargs):
        self.integers_drawn.append(self.rng.integers(*args, **kwargs))
        return self.integers_drawn[-1]

    def random(self, *args, **kwargs):
        self.uniforms_drawn.append(self.rng.random(*args, **kwargs))
        return self.uniforms_drawn[-1]


def test_randaugment_draws_each_operator_and_sign_alike():
    count = 30_000
    plan = RandAugment().plan(count, 32, 32, np.random.default_rng(0))
    assert plan.operators.shape == (count, 2)
    for column in plan.operators.T:
        assert all(within((column == OPERATORS.index(name)).sum(), count, 1 / 14) for name in RANDAUGMENT)
    pairs = Counter(map(tuple, plan.operators.tolist()))
    assert len(pairs) == 14 * 14  # with replacement, and independent:
    assert all(within(found, count, 1 / 196, 4.5) for found in pairs.values())
    for name in RANDAUGMENT:
        values = plan.magnitudes[plan.operators == OPERATORS.index(name)]
        signed = name in ("Rotate", "Color") or name.startswith(("Shear", "Trans", "Bright", "Contrast", "Sharp"))
        assert len(set(np.abs(values))) == 1, name
        assert within((values < 0).sum(), len(values), 0.5) if signed else (values >= 0).all(), name
    assert set(np.abs(plan.magnitudes[plan.operators == OPERATORS.index("Rotate")])) == {9.0}


@pytest.mark.parametrize("policy", ["imagenet", "cifar10", "svhn"])
def test_autoaugment_draws_each_subpolicy_and_its_probabilities(policy):
    count = 40_000
    drawn = SpyRng(np.random.default_rng(1))
    plan = AutoAugment(policy=policy).plan(count, 32, 32, drawn)
    which, probabilities, _ = autoaugment_plugin.subpolicies(policy, AUTOAUGMENT)
    chosen = drawn.integers_drawn[0]
    for row in range(25):
        here = chosen == row
        assert within(here.sum(), count, 1 / 25)
        for column in range(2):
            position = OPERATORS.index(AUTOAUGMENT[which[row, column]])
            operators = plan.operators[here, column]
            assert set(operators) <= {position, IDENTITY}
            assert within((operators == position).sum(), here.sum(), probabilities[row, column])
        applied = plan.operators[here] != IDENTITY
        both = probabilities[row].prod()
        assert within(applied.all(1).sum(), here.sum(), both)  # the two are independent
    rotated = plan.magnitudes[plan.operators == OPERATORS.index("Rotate")]
    assert within((rotated < 0).sum(), len(rotated), 0.5)
    assert not plan.magnitudes[plan.operators == IDENTITY].any()


def test_augmix_draws_operators_depths_and_magnitudes():
    count = 10_000
    plan = AugMix().plan(count, 32, 32, np.random.default_rng(2))
    assert plan.operators.shape == (3 * count, 3)
    active = plan.operators != IDENTITY
    assert all(within((active.sum(1) == depth).sum(), 3 * count, 1 / 3) for depth in (1, 2, 3))
    assert not (active[:, 1:] & ~active[:, :-1]).any()  # identity only fills up behind a chain
    assert all(within((plan.operators == OPERATORS.index(n)).sum(), active.sum(), 1 / 13) for n in AUGMIX_ALL)
    angles = plan.magnitudes[plan.operators == OPERATORS.index("Rotate")]
    counts = Counter(np.abs(angles).round(3).tolist())
    assert set(counts) == {0.0, 3.333, 6.667}  # the three lowest of ten bins
    assert all(within(found, len(angles), 1 / 3) for found in counts.values())
    assert within((angles < 0).sum(), (angles != 0).sum(), 0.5)


def test_augmix_parameters_change_the_plan():
    rng = np.random.default_rng(3)
    plan = AugMix(mixture_width=1, chain_depth=2, all_ops=False, severity=1).plan(5000, 32, 32, rng)
    assert plan.operators.shape == (5000, 2)
    assert {OPERATORS[position] for position in set(plan.operators.ravel())} == set(AUGMIX)
    assert not plan.magnitudes[plan.operators == OPERATORS.index("ShearX")].any()  # the lowest bin is 0
    strong = AugMix(severity=10).plan(5000, 32, 32, rng)
    assert np.abs(strong.magnitudes[strong.operators == OPERATORS.index("Rotate")]).max() == 30.0


@pytest.mark.parametrize(("alpha", "width"), [(1.0, 3), (1.0, 1), (4.0, 3), (0.5, 2)])
def test_augmix_weights_are_beta_and_dirichlet(alpha, width):
    weights = AugMix(alpha=alpha, mixture_width=width).weights(20_000, np.random.default_rng(4))
    assert weights.shape == (20_000, 1 + width)
    assert weights.min() >= 0
    assert np.allclose(weights.sum(1), 1)
    assert abs(weights[:, 0].mean() - 0.5) < 0.01
    assert np.abs(weights[:, 1:].mean(0) - 0.5 / width).max() < 0.01
    assert stats.kstest(weights[:, 0], stats.beta(alpha, alpha).cdf).pvalue > 1e-3
    if width > 1:
        inner = weights[:, 1:] / weights[:, 1:].sum(1, keepdims=True)
        for chain in inner.T:
            assert stats.kstest(chain, stats.beta(alpha, alpha * (width - 1)).cdf).pvalue > 1e-3


def test_augmix_mixes_by_the_weights():
    images = pictures(2, 8)
    plugin = AugMix(mixture_width=2, chain_depth=1)
    plan = plugin.plan(2, 8, 8, np.random.default_rng(0))
    chains = one_by_one(torch.cat([images, images]), plan.operators, plan.magnitudes, "bilinear").view(2, *images.shape)
    assert torch.equal(mixed(images, plan, np.array([[1.0, 0, 0], [1.0, 0, 0]])), images)
    assert torch.equal(
        mixed(images, plan, np.array([[0, 1.0, 0], [0, 0, 1.0]])), torch.stack([chains[0, 0], chains[1, 1]])
    )
    half = mixed(images, plan, np.array([[0.5, 0, 0.5]] * 2))
    assert torch.equal(half, ((images.int() + chains[1].int()) // 2).to(torch.uint8))


# As plugins.


@pytest.mark.parametrize("plugin", POLICIES, ids=lambda plugin: type(plugin).__name__)
def test_one_seed_gives_one_result_and_images_differ(plugin):
    images = pictures(3, 32, seed=5)[2:].repeat(64, 1, 1, 1)
    state = torch.get_rng_state()
    first = apply(plugin, images, seed=1)
    assert torch.equal(first, apply(plugin, images, seed=1))
    assert not torch.equal(first, apply(plugin, images, seed=2))
    assert torch.equal(torch.get_rng_state(), state)
    assert len({image.numpy().tobytes() for image in first}) > 15  # of 64 copies of one picture
    chained = torch.Generator().manual_seed(1)
    once = plugin.apply(images, torch.arange(64), chained, INFO)[0]
    again = plugin.apply(images, torch.arange(64), chained, INFO)[0]
    assert torch.equal(once, first)
    assert not torch.equal(again, first)  # a second link draws anew


@pytest.mark.parametrize("plugin", POLICIES, ids=lambda plugin: type(plugin).__name__)
def test_dtypes_shapes_and_inputs_are_kept(plugin):
    images = pictures(11, 20, 31)
    before, expected = images.clone(), apply(plugin, images)
    assert expected.dtype == torch.uint8
    assert expected.shape == images.shape
    assert torch.equal(images, before)
    for dtype in (torch.float32, torch.float64):
        close = images.to(dtype) + 0.3
        out = apply(plugin, close.clamp(0, 255))
        assert out.dtype == dtype
        assert torch.equal(out, expected.to(dtype))  # rounded, then the same
    soft = torch.full((11, 4), 0.25)
    assert plugin.apply(images, soft, torch.Generator(), INFO)[1] is soft
    assert apply(plugin, images[:1]).shape == (1, 3, 20, 31)
    assert apply(plugin, images[:0]).shape == (0, 3, 20, 31)


@pytest.mark.parametrize(
    ("cls", "values", "message"),
    [
        (RandAugment, {"num_ops": "0"}, "x:num_ops=0: must be at least 1"),
        (RandAugment, {"num_ops": "15"}, "x:num_ops=15: must be at most 14"),
        (RandAugment, {"num_magnitude_bins": "1"}, "x:num_magnitude_bins=1: must be at least 2"),
        (RandAugment, {"magnitude": "-1"}, "x:magnitude=-1: must be at least 0"),
        (
            RandAugment,
            {"magnitude": "31"},
            "x: magnitude=31 must be below num_magnitude_bins=31; bins are counted from 0",
        ),
        (AutoAugment, {"policy": "imagnet"}, "must be one of imagenet, cifar10, svhn (did you mean 'imagenet'?)"),
        (AugMix, {"severity": "11"}, "x:severity=11: must be at most 10"),
        (AugMix, {"mixture_width": "0"}, "x:mixture_width=0: must be at least 1"),
        (AugMix, {"chain_depth": "0"}, "x: chain_depth=0 must be at least 1, or -1 for a random depth of 1, 2 or 3"),
        (AugMix, {"alpha": "0"}, "x:alpha=0: must be at least 0.01"),
        (AugMix, {"all_ops": "maybe"}, "x:all_ops=maybe: must be true or false"),
    ],
)
def test_wrong_values_are_refused(cls, values, message):
    with pytest.raises(UsageError) as caught:
        build(cls, values, subject="x")
    assert message in str(caught.value)


def test_both_presets_are_the_published_settings():
    for preset in ("quick", "paper"):
        assert build(RandAugment, {}, subject="x", preset=preset) == RandAugment(2, 9, 31)
        assert build(AutoAugment, {}, subject="x", preset=preset) == AutoAugment("imagenet")
        assert build(AugMix, {}, subject="x", preset=preset) == AugMix(3, 3, -1, 1.0, True)
