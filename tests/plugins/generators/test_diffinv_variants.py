from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchbench_plugins.generators.diffinv import DiffusionInversion
from benchbench_plugins.generators.diffinv.sampling import Assignment

LABELS = st.lists(st.integers(0, 3), min_size=1, max_size=12).map(lambda items: np.array(sorted(items), np.int64))


def assigned(labels, n_syn, scales=(2.0,), checkpoints=(600,), interpolate=True, seed=0):
    plugin = DiffusionInversion(
        guidance_scale=scales,
        checkpoints=checkpoints,
        mixed_checkpoints=checkpoints,
        interpolation_strength=0.1 if interpolate else 0.0,
    )
    plan = Assignment(np.asarray(labels), n_syn, plugin, seed)
    return [plan[number] for number in range(n_syn)]


@given(LABELS, st.integers(0, 60), st.integers(0, 3))
def test_sources_are_used_evenly_and_the_rest_is_balanced_over_classes(labels, n_syn, seed):
    variants = assigned(labels, n_syn, seed=seed)
    per_source = [0] * len(labels)
    for variant in variants:
        per_source[variant.source] += 1
    assert max(per_source) - min(per_source) <= 1
    extra = n_syn % len(labels)
    per_class = Counter(labels[i] for i, count in enumerate(per_source) if extra and count == max(per_source))
    sizes = Counter(labels.tolist())
    open_classes = [per_class[label] for label in sizes if per_class[label] < sizes[label]]
    if extra and open_classes:
        assert max(per_class.values()) - min(open_classes) <= 1


@given(LABELS, st.integers(1, 40))
def test_partners_are_other_images_of_the_class(labels, n_syn):
    for variant in assigned(labels, n_syn):
        alone = np.sum(labels == labels[variant.source]) == 1
        assert (variant.partner is None) == alone
        if variant.partner is not None:
            assert variant.partner != variant.source
            assert labels[variant.partner] == labels[variant.source]


@given(LABELS, st.integers(1, 3), st.integers(0, 40))
def test_more_variants_begin_with_the_fewer(labels, rounds, more):
    whole = rounds * len(labels)
    assert assigned(labels, whole) == assigned(labels, whole + more)[:whole]


@pytest.mark.parametrize("partners", [3, 5])
def test_each_partner_meets_each_setting_before_any_repeats(partners):
    """With 5 partners, 3 guidance scales and 3 checkpoints these are the paper's 45 variants per image."""
    scales, checkpoints, count = (2.0, 3.0, 4.0), (1000, 2000, 3000), partners + 1
    variants = assigned([0] * count, 9 * partners * count, scales, checkpoints)
    own = [item for item in variants if item.source == 2]
    made = {(item.partner, item.guidance_scale, item.checkpoint) for item in own}
    assert len(own) == len(made) == 9 * partners
    assert {item[0] for item in made} == set(range(count)) - {2}


def test_settings_are_mixed_also_when_variants_are_fewer_than_settings():
    counts = Counter(item.guidance_scale for item in assigned(np.arange(12) % 3, 12, scales=(2.0, 3.0, 4.0)))
    assert counts == {2.0: 4, 3.0: 4, 4.0: 4}


def test_every_variant_has_a_seed_of_its_own_and_runs_repeat():
    first, again = assigned([0, 0, 1, 1], 50), assigned([0, 0, 1, 1], 50)
    assert first == again
    assert len({item.seed for item in first}) == 50
    assert first != assigned([0, 0, 1, 1], 50, seed=1)


def test_partners_in_a_large_class_are_drawn_as_they_are_used(monkeypatch):
    """At CIFAR-10's size the partners of all images would be a list of 250 million numbers."""
    labels = np.repeat(np.arange(2), 3000)
    settings = {"guidance_scale": (2.0, 3.0), "checkpoints": (600,), "mixed_checkpoints": (600,)}
    plugin = DiffusionInversion(**settings, interpolation_strength=0.1)
    plan, more = (Assignment(labels, count * len(labels), plugin, 0) for count in (5, 10))
    assert len(plan.mixed) == 2
    for source in (0, 2999, 3000, 5999):
        few, many = plan._partners(source), more._partners(source)
        assert (len(few), len(many)) == (3, 5)
        assert many[: len(few)] == few
        assert len(set(many) - {source}) == len(many)
        assert set(labels[list(many)]) == {labels[source]}
    assert len({plan._partners(source) for source in range(3000)}) > 1000


def test_without_interpolation_nobody_has_a_partner():
    assert {item.partner for item in assigned([0, 0, 1, 1], 10, interpolate=False)} == {None}
