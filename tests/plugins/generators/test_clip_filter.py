from dataclasses import replace

import numpy as np
import pytest
from mini_clip import write_mini_clip

from benchbench.errors import UsageError
from benchbench.models.clip import model
from benchbench.plugins.images import ImageSet
from benchbench.plugins.parameters import build, values_of
from benchbench.testing import conformance
from benchbench_plugins.generators.clip_filter import BLOCK, ClipFilter


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return write_mini_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture
def upstream():
    images = np.random.default_rng(1).integers(0, 256, (BLOCK + 20, 16, 16, 3), dtype=np.uint8)
    labels = np.arange(len(images)) % 2
    return ImageSet(images, labels, ("a", "b"), [{"source": i} for i in range(len(images))])


def clip_filter(**values):
    return build(ClipFilter, {"clip": "clip", **values}, subject="clip-filter")


def test_scores_once_and_keeps_what_the_threshold_says(upstream, train, make_context, clip):
    plugin = clip_filter(shard_size=300)
    folders = []
    # More is planned than the link before has made: the last shard is empty.
    for number, shard in enumerate(plugin.shards(900)):
        context = make_context(f"fit {number}", foundations={"clip": clip}, shard=shard, upstream=upstream)
        plugin.fit(train, context)
        folders.append(context.folder)
    tables = [np.load(folder / "probabilities.npy") for folder in folders]
    assert [len(table) for table in tables] == [300, BLOCK + 20 - 300, 0]
    scores = np.concatenate(tables)[np.arange(len(upstream)), upstream.labels]
    lower_median = min(float(np.median(scores[upstream.labels == label])) for label in (0, 1))
    for threshold in (0.0, lower_median):
        context = make_context(f"s {threshold}", fitted=tuple(folders), upstream=upstream, n_syn=len(upstream))
        chosen = replace(plugin, threshold=threshold)
        images = ImageSet.concatenate(list(chosen.sample(train, context)))
        kept = sorted(origin["source"] for origin in images.origins)
        assert kept == np.flatnonzero(scores.astype(float) > threshold).tolist()
        for origin, pixels in zip(images.origins, images.images, strict=True):
            assert origin["clip_score"] == pytest.approx(scores[origin["source"]], abs=1e-6)
            assert np.array_equal(pixels, upstream.images[origin["source"]])
        assert context.facts["kept"] == len(kept)


def test_killed_between_blocks_it_ends_with_the_same_bytes(upstream, train, make_context, clip, monkeypatch):
    plugin = clip_filter()
    shared = {"foundations": {"clip": clip}, "shard": range(len(upstream)), "upstream": upstream}
    whole = make_context("whole", **shared)
    plugin.fit(train, whole)
    context = make_context("killed", save_every=0, **shared)
    progress = context.progress
    context.progress = lambda items, **how: _dying(progress(items, **how))
    with pytest.raises(KeyboardInterrupt):
        plugin.fit(train, context)
    assert not list(context.folder.iterdir())
    looked_at = []
    scored = model.class_probabilities
    monkeypatch.setattr(model, "class_probabilities", lambda *args, **kw: (looked_at.append(1), scored(*args, **kw))[1])
    plugin.fit(train, make_context("killed", **shared))
    assert len(looked_at) == 1
    assert (context.folder / "probabilities.npy").read_bytes() == (whole.folder / "probabilities.npy").read_bytes()


def _dying(items):
    yield next(iter(items))
    raise KeyboardInterrupt


def test_a_threshold_that_empties_a_class_is_one_clear_line(upstream, train, make_context, clip):
    few = upstream.subset(range(6))
    plugin = clip_filter(threshold=1.0, min_per_class=0)
    context = make_context("fit", foundations={"clip": clip}, shard=range(6), upstream=few)
    plugin.fit(train, context)
    with pytest.raises(UsageError, match=r"^clip-filter:threshold=1: leaves no image of class 'a' \(3 candidates"):
        list(plugin.sample(train, make_context("s", fitted=(context.folder,), upstream=few, n_syn=6)))


def test_clip_filter_keeps_what_generators_promise(clip, info, train):
    values = {"clip": str(clip), "threshold": 0.4}
    conformance(ClipFilter, name="clip-filter", values=values, info=info, train=train, n_syn=6)


def test_the_link_before_makes_more_where_asked_to():
    assert clip_filter().upstream_count(10) == 10
    assert clip_filter(oversample=1.25).upstream_count(10) == 13


def test_another_threshold_does_not_score_again():
    plugin = clip_filter(threshold=0.1, min_per_class=3, keep="best", oversample=2.0)
    assert set(values_of(plugin, stage="fit")) == {"clip"}


def test_a_template_needs_one_place_for_the_class():
    with pytest.raises(UsageError, match=r"^clip-filter: template=x: must have exactly one \{\}"):
        clip_filter(template="x")
