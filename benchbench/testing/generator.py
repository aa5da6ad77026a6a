"""What a generator promises: the right number of images, the same bytes each time, also after a kill."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..plugins.images import ImageSet
from .subject import (
    NotApplicable,
    Probe,
    Subject,
    continues_after_a_kill,
    folder_digest,
    global_randomness,
    require,
    require_json,
    same_images,
)


def shards_are_consecutive_ranges(subject: Subject) -> None:
    """``shards`` cuts the work of ``fit``, the training images or other items, into non-empty ranges from 0."""
    for total in (1, 2, len(subject.train)):
        shards = list(subject.plugin.shards(total))
        covered = [index for shard in shards for index in shard]
        fine = covered == list(range(len(covered))) and all(len(shard) for shard in shards)
        require(fine, f"shards({total}) must be consecutive, non-empty ranges from 0; got {shards}")


def fit_gives_the_same_bytes_whatever_the_order_of_shards(subject: Subject) -> None:
    """Each shard writes its own folder and depends on nothing that another shard or a global state did."""
    _needs_fit(subject)
    first = [folder_digest(context.folder) for context in _fits(subject)]
    require(all(first), "fit wrote nothing into context.folder; what sample reads has to be there")
    shards = _shards(subject)
    with global_randomness(2):
        again = {shard: folder_digest(_fit(subject, shard).folder) for shard in reversed(shards)}
    for shard, digest in zip(shards, first, strict=True):
        differing = sorted(name for name in {*digest, *again[shard]} if digest.get(name) != again[shard].get(name))
        require(
            not differing,
            f"fit of images {shard.start}..{shard.stop - 1} wrote other bytes the second time: {differing}",
        )


def fit_survives_a_kill(subject: Subject) -> str:
    """Killed half way and started again with the same scratch folder, ``fit`` ends with the same bytes."""
    _needs_fit(subject)
    shard, whole = _shards(subject)[0], _fits(subject)[0]
    return continues_after_a_kill("fit", whole, lambda **changes: _fit(subject, shard, **changes), subject)


def sample_yields_n_syn_images_of_the_right_size(subject: Subject) -> None:
    """Each set has the dataset's resolution and class names; together they are as many as ``output_count`` says."""
    sets, context = subject.once("sample", lambda: _sample(subject))
    for item in sets:
        require(isinstance(item, ImageSet), f"sample must yield ImageSet objects; got {type(item).__name__}")
        require(len(item) > 0, "sample yielded an empty set")
        side = subject.info.resolution
        require(
            item.images.shape[1:] == (side, side, 3), f"images must be ({side}, {side}, 3); got {item.images.shape[1:]}"
        )
        require(item.classes == subject.train.classes, f"classes must be the training images'; got {item.classes}")
    total = sum(len(item) for item in sets)
    expected = _count(subject, subject.n_syn)
    if subject.plugin.may_yield_fewer:
        require(1 <= total <= expected, f"sample made {total} images in all; it has to make 1 to {expected}")
    else:
        require(total == expected, f"sample made {total} images in all; it has to make {expected}")
    counted = context.handed in (0, len(sets))
    require(counted, f"sample yielded {len(sets)} sets for {context.handed} chunks; yield one set for each chunk")


def sample_makes_a_single_image_too(subject: Subject) -> None:
    """``--n-syn 1`` is a valid request."""
    if subject.plugin.is_real:
        raise NotApplicable
    count = _count(subject, 1)
    total = sum(len(item) for item in _sample_few(subject, count))
    require(total == count, f"sample made {total} images when asked for {count}")


def transform_maps_images_one_for_one(subject: Subject) -> None:
    """``transform`` keeps number, order, labels and size, and gives the same bytes again."""
    if not subject.plugin.is_transform:
        raise NotApplicable
    given = subject.more(0)
    made, again = (
        ImageSet.concatenate(list(subject.plugin.transform(given, subject.context("transform")))) for _ in range(2)
    )
    require(np.array_equal(made.labels, given.labels), "transform changed the labels, their order or their number")
    side = subject.info.resolution
    size = made.images.shape[1:]
    require(size == (side, side, 3), f"transformed images must be ({side}, {side}, 3); got {size}")
    require(same_images(made, again), "transform made other images the second time")


def origins_are_json(subject: Subject) -> None:
    """What is said of an image's origin goes into a file: plain JSON values, no NumPy scalars, no NaN."""
    for item in _sampled(subject):
        for origin in item.origins:
            require_json(dict(origin), "an origin is not JSON", f" in {dict(origin)!r}")


def sample_gives_the_same_bytes_again(subject: Subject) -> None:
    """With one seed, another run makes the same images, whatever the global random states are."""
    first = _sampled(subject)
    with global_randomness(2):
        again, _ = _sample(subject)
    same = len(first) == len(again) and all(map(same_images, first, again))
    require(same, "sample made other images the second time; take all randomness from context.rng or context.torch_rng")


def sample_continues_after_a_kill(subject: Subject) -> None:
    """With ``context.completed`` chunks done, what follows is what one uninterrupted run would have made."""
    whole = _sampled(subject)
    if len(whole) < 2:
        raise NotApplicable  # a kill repeats all of it
    for completed in sorted({1, len(whole) - 1}):
        rest, context = _sample(subject, completed=completed)
        # A generator that does not ask context.chunks starts over, and the harness drops what it has already.
        rest = rest[completed - context.skipped :]
        same = len(rest) == len(whole) - completed and all(map(same_images, rest, whole[completed:]))
        require(same, f"after {completed} finished chunks, sample goes on with other images than in one go")


def leaves_the_training_images_alone(subject: Subject) -> None:
    """Nothing that ran so far has changed a pixel or a label: others read the same arrays."""
    _sampled(subject)
    untouched = np.array_equal(subject.train.images, subject.given.images)
    untouched = untouched and np.array_equal(subject.train.labels, subject.given.labels)
    require(untouched, "the training images or labels were written to; work on a copy")


def real_is_the_training_subset_itself(subject: Subject) -> None:
    """The baseline's images are the training images, in their order."""
    if not subject.plugin.is_real:
        raise NotApplicable
    made = ImageSet.concatenate(_sampled(subject))
    same = np.array_equal(made.images, subject.given.images) and np.array_equal(made.labels, subject.given.labels)
    require(same, "is_real generators yield the training images unchanged")


def _count(subject: Subject, asked: int) -> int:
    """Return how many images a run would plan when it is asked for some."""
    return int(subject.plugin.output_count(len(subject.train), asked, asked))


def _shards(subject: Subject) -> list[range]:
    items = subject.n_syn if subject.plugin.needs_upstream else len(subject.train)
    return list(subject.plugin.shards(items))


def _needs_fit(subject: Subject) -> None:
    if not subject.plugin.has_fit or not _shards(subject):
        raise NotApplicable


def _fit(subject: Subject, shard: range, **changes: Any) -> Probe:
    context = subject.context("fit", shard=shard, **_upstream(subject) | changes)
    subject.plugin.fit(subject.train, context)
    return context


def _fits(subject: Subject) -> list[Probe]:
    """Run ``fit`` once for every check: the context of each shard, none for a generator without ``fit``."""
    if not subject.plugin.has_fit:
        return []
    return subject.once("fits", lambda: [_fit(subject, shard) for shard in _shards(subject)])


def _sample(subject: Subject, fits: list[Probe] | None = None, **changes: Any) -> tuple[list[ImageSet], Probe]:
    """Sample from what ``fits`` left, by default those of every check; returns the sets and the context."""
    fitted = tuple(context.folder for context in (_fits(subject) if fits is None else fits))
    asked = {"n_syn": _count(subject, subject.n_syn), **_upstream(subject), **changes}
    context = subject.context("sample", fitted=fitted, **asked)
    return list(subject.plugin.sample(subject.train, context)), context


def _sample_few(subject: Subject, n_syn: int) -> list[ImageSet]:
    """Sample ``n_syn`` images; a link of a chain is given no more upstream images than it asks for."""
    plugin = subject.plugin
    if not plugin.needs_upstream:
        return _sample(subject, n_syn=n_syn)[0]
    given = subject.more(0).subset(range(min(plugin.upstream_count(n_syn), len(subject.train))))
    shards = plugin.shards(len(given)) if plugin.has_fit else ()
    fits = [_fit(subject, shard, upstream=given) for shard in shards]
    return _sample(subject, fits, upstream=given, n_syn=n_syn)[0]


def _sampled(subject: Subject) -> list[ImageSet]:
    """Run ``sample`` once for every check."""
    return subject.once("sample", lambda: _sample(subject))[0]


def _upstream(subject: Subject) -> dict[str, Any]:
    """What the link before would have made, for a generator that filters or changes it; or the other real images."""
    if not subject.plugin.needs_upstream and not subject.plugin.reads_rest:
        return {}
    seeds = range(-(-subject.n_syn // len(subject.train)))
    several = subject.once("upstream", lambda: [subject.more(seed) for seed in seeds])
    given = ImageSet.concatenate(several).subset(range(subject.n_syn))
    return {"upstream" if subject.plugin.needs_upstream else "rest": given}
