"""The three controls keep what a generator promises; what they make is looked at in ``test_design``."""

from __future__ import annotations

import numpy as np
import pytest
from datasetinfos import dataset_info

from benchbench.errors import BenchError
from benchbench.planning.design import control_names
from benchbench.plugins.catalog import catalog, load
from benchbench.plugins.context import Context
from benchbench.plugins.generator import CONTROLS
from benchbench.plugins.images import ImageSet
from benchbench.testing import conformance


def kinds() -> dict[str, type]:
    return {name: load(catalog().get("generator", name)) for name in control_names()}


def test_there_is_one_of_each_kind():
    assert tuple(kind.control for kind in kinds().values()) == CONTROLS
    others = [load(entry) for entry in catalog().entries("generator") if entry.name not in control_names()]
    assert not any(other.control or other.reads_rest for other in others)


@pytest.mark.parametrize("name", control_names())
def test_conformance(name):
    conformance(kinds()[name], name=name, strict=True)


def some(counts: list[int]) -> ImageSet:
    labels = np.repeat(np.arange(len(counts)), counts)
    images = np.broadcast_to(np.arange(len(labels), dtype=np.uint8)[:, None, None, None], (len(labels), 4, 4, 3))
    return ImageSet(np.ascontiguousarray(images), labels, tuple("abc"[: len(counts)]))


def sampled(name: str, train: ImageSet, folder, **given) -> ImageSet:
    count = kinds()[name]().output_count(len(train), given.pop("n_syn", None), 8)
    context = Context(seed=3, folder=folder, scratch=folder, info=dataset_info(3, 4), n_syn=count, **given)
    return ImageSet.concatenate(list(kinds()[name]().sample(train, context)))


def test_half_of_classes_of_unequal_size(tmp_path):
    train = some([2, 9, 4])
    half = sampled("half-real", train, tmp_path)
    assert half.counts.tolist() == [1, 5, 2]
    assert len(half) == 8
    sources = [origin["source"] for origin in half.origins]
    assert (train.images[sources] == half.images).all()
    assert sources == sorted(set(sources))


def test_fewer_further_images_are_contained_in_more(tmp_path):
    rest = some([5, 9, 4])
    few, more = (sampled("more-real", some([1, 1, 1]), tmp_path, n_syn=count, rest=rest) for count in (6, 12))
    assert few.counts.tolist() == [2, 2, 2]
    assert {image.tobytes() for image in few.images} < {image.tobytes() for image in more.images}
    assert (rest.images[[origin["rest"] for origin in more.origins]] == more.images).all()


def test_a_split_of_another_size_than_the_first(tmp_path):
    """Where every draw splits the images anew, the first one says how many images a row has."""
    assert len(sampled("more-real", some([1, 1, 1]), tmp_path, n_syn=9, rest=some([3, 3, 2]))) == 8
    kind, train = kinds()["half-real"](), some([7, 8])
    for planned in (7, 8, 9):
        context = Context(seed=3, folder=tmp_path, scratch=tmp_path, info=dataset_info(2, 4), n_syn=planned)
        half = ImageSet.concatenate(list(kind.sample(train, context)))
        assert len({image.tobytes() for image in half.images}) == len(half) == planned
        assert np.ptp(half.counts) <= 1


def test_without_further_images(tmp_path):
    with pytest.raises(BenchError, match="more-real: all real images are in use"):
        sampled("more-real", some([1, 1, 1]), tmp_path)
