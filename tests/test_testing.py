"""The conformance suite: each promise, broken, is found by the check of that name and said in one line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import brokenplugins
import numpy as np
import pytest

from benchbench.errors import MissingError, UsageError
from benchbench.plugins import Foundation, Generator, RequiredFile, Requirements, param
from benchbench.plugins.catalog import catalog, load
from benchbench.testing import conformance, make_context, run_checks, tiny_images, tiny_info


@pytest.fixture(autouse=True, scope="module")
def one_import():
    """Import the module apart once: a fresh Python for each of fifty classes takes half a minute."""
    from benchbench.testing import common

    real, answers = common.subprocess.run, {}

    def run(command, **options):
        key = tuple(command)
        if key not in answers:
            answers[key] = real(command, **options)
        return answers[key]

    patch = pytest.MonkeyPatch()
    patch.setattr(common.subprocess, "run", run)
    yield
    patch.undo()


@pytest.mark.parametrize(
    ("cls", "check", "words"), brokenplugins.CASES, ids=lambda item: getattr(item, "__name__", None)
)
def test_a_broken_promise_is_found_and_named(cls, check, words):
    results = {item.name: item for item in run_checks(cls)}
    assert check in results, f"checks were {list(results)}"
    found = results[check]
    assert not found.ok
    assert words in found.message
    assert "\n" not in found.message
    assert next(iter(results)) == "is a frozen dataclass of one kind"


@pytest.mark.parametrize("cls", brokenplugins.GOOD)
def test_a_plugin_that_keeps_its_promises_passes(cls):
    results = conformance(cls, strict=True)
    assert len(results) >= 9
    assert all(result.ok and not result.skipped for result in results)


def test_every_check_is_broken_by_some_plugin():
    """So that no check can stop looking without a test that notices."""
    from benchbench.testing import _functions, augmentation, common, dataset, foundation, generator, learner, metric

    rooms = (common, dataset, generator, augmentation, learner, metric, foundation)
    every = {check.__name__.replace("_", " ") for room in rooms for check in _functions(room)}
    broken = {check for _, check, _ in brokenplugins.CASES}
    elsewhere = {
        "imports nothing heavy with its module",  # the tests below
        "holds no pickle",
        "says format licence and source",
        "leaves the training images alone",  # read-only arrays raise before it is asked
        "leaves the images alone",
        "takes a batch of one class",
        "trains on a mix",
        "says licence and source",
    }
    assert every - broken <= elsewhere
    assert broken <= every


def test_a_heavy_import_at_the_top_of_a_file_is_found(tmp_path):
    path = tmp_path / "slowstart.py"
    path.write_text(
        '"""A plugin file."""\n'
        "from dataclasses import dataclass\n"
        "import pandas\n"
        "from benchbench.plugins import Generator\n\n"
        "@dataclass(frozen=True)\n"
        "class Slow(Generator):\n"
        '    """Imports a heavy library."""\n'
        "    def sample(self, train, context):\n"
        "        yield train.subset(range(context.n_syn))\n",
        "utf-8",
    )
    results = {item.name: item for item in run_checks(load(catalog().get("generator", str(path))))}
    found = results["imports nothing heavy with its module"]
    assert found.message == "importing slowstart imports pandas; import it inside the methods that use it"
    assert [name for name, item in results.items() if not item.ok] == [found.name]


def test_what_a_module_prints_is_no_heavy_library(tmp_path):
    path = tmp_path / "talkative.py"
    path.write_text(
        "from dataclasses import dataclass\n"
        "from benchbench import Generator\n"
        "print('hello', end='')\n"
        "@dataclass(frozen=True)\n"
        "class Talkative(Generator):\n"
        '    """Greets whoever imports it."""\n'
        "    def sample(self, train, context):\n"
        "        yield train.subset(range(context.n_syn))\n",
        "utf-8",
    )
    conformance(load(catalog().get("generator", str(path))))


def test_a_foundation_with_a_pickle_is_refused(tmp_path):
    (tmp_path / "model.bin").write_bytes(b"x")

    @dataclass(frozen=True)
    class Weights(Foundation):
        """A pickle."""

        format: ClassVar[str] = "diffusers"

        def folder(self) -> Path:
            return tmp_path

    failed = {item.name: item.message for item in run_checks(Weights) if not item.ok}
    assert failed == {
        "holds no pickle": "it ships model.bin; store weights as safetensors",
        "says format licence and source": "a diffusers folder has a model_index.json",
    }


def test_what_is_missing_is_a_skip_and_strict_makes_it_a_failure(tmp_path):
    @dataclass(frozen=True)
    class Absent(Generator):
        """Needs a file."""

        def needs(self) -> Requirements:
            return Requirements(files=(RequiredFile(tmp_path / "words.txt", "the list of words", "a friend"),))

    last = run_checks(Absent)[-1]
    assert (last.ok, last.skipped) == (True, True)
    assert last.message == f"missing here: the list of words at {tmp_path / 'words.txt'} (from a friend)"
    conformance(Absent)
    with pytest.raises(AssertionError, match=r"breaks 1 of .* promises:\n  says what it needs: missing here"):
        conformance(Absent, strict=True)


def test_missing_data_skips_the_checks_of_a_dataset():
    @dataclass(frozen=True)
    class Elsewhere(brokenplugins.Tiny):
        """Is not on this machine."""

        def info(self):
            raise MissingError("elsewhere: not here")

    last = run_checks(Elsewhere)[-1]
    assert (last.name, last.skipped, last.message) == (
        "describes itself consistently",
        True,
        "elsewhere: not here",
    )


def test_conformance_lists_every_failure():
    with pytest.raises(AssertionError) as caught:
        conformance(brokenplugins.AtLeastTwo, name="pairs")
    lines = str(caught.value).splitlines()
    assert lines[0].startswith("pairs breaks 1 of ")
    assert lines[1] == "  sample makes a single image too: sample made 2 images when asked for 1"


def test_values_reach_the_plugin_and_wrong_ones_are_refused():
    seen = []

    @dataclass(frozen=True)
    class Watched(brokenplugins.Copies):
        """Remembers its value."""

        count: int = param(1, low=1, help="Something.")

        def sample(self, train, context):
            seen.append(self.count)
            yield from super().sample(train, context)

    conformance(Watched, values={"count": 3})
    assert set(seen) == {3}
    with pytest.raises(UsageError, match=r"^watched:count=0: must be at least 1$"):
        run_checks(Watched, name="watched", values={"count": 0})
    with pytest.raises(AssertionError, match=r"watched:cuont: unknown parameter"):
        conformance(Watched, name="watched", values={"cuont": 1})


def test_a_filter_is_given_the_images_of_the_link_before():
    @dataclass(frozen=True)
    class Passes(Generator):
        """Passes on what it is given."""

        needs_upstream: ClassVar[bool] = True

        def sample(self, train, context):
            assert context.upstream is not None
            for chunk in context.chunks(context.n_syn, 4):
                yield context.upstream.subset(chunk)

    conformance(Passes, n_syn=25, strict=True)


def test_a_fit_in_shards_reaches_sample_in_order():
    @dataclass(frozen=True)
    class Means(brokenplugins.Copies):
        """Each training image as its mean, learned in shards."""

        def shards(self, train_count):
            return [range(start, min(start + 8, train_count)) for start in range(0, train_count, 8)]

        def fit(self, train, context):
            means = [float(train.images[index].mean()) for index in context.progress(context.shard)]
            np.save(context.folder / "means.npy", means)

        def sample(self, train, context):
            means = np.concatenate([np.load(folder / "means.npy") for folder in context.fitted])
            assert np.allclose(means, [image.mean() for image in train.images])
            yield from super().sample(train, context)

    conformance(Means, strict=True)


def test_tiny_images_are_learnable_seeded_and_balanced():
    images = tiny_images(count=30, classes=3, resolution=12)
    assert images.images.shape == (30, 12, 12, 3)
    assert images.counts.tolist() == [10, 10, 10]
    assert np.array_equal(images.images, tiny_images(count=30, classes=3, resolution=12).images)
    assert not np.array_equal(images.images, tiny_images(count=30, classes=3, resolution=12, seed=1).images)
    tints = np.stack([images.images[images.labels == label].mean(axis=(0, 1, 2)) for label in range(3)])
    assert np.abs(tints[:, None] - tints[None]).max(axis=-1)[~np.eye(3, dtype=bool)].min() > 10


def test_context_and_info_take_changes(tmp_path):
    context = make_context(tmp_path, info=tiny_info(tiny_images(9, classes=3), resolution=24), n_syn=5, seed=3)
    assert (context.info.class_counts, context.info.resolution) == ((3, 3, 3), 24)
    assert (context.n_syn, context.seed) == (5, 3)
    assert context.folder.is_dir()
    assert context.scratch.is_dir()


def test_a_class_that_defines_fit_or_transform_has_one():
    @dataclass(frozen=True)
    class Heir(brokenplugins.RandomFit):
        """Inherits its fit."""

    @dataclass(frozen=True)
    class Without(brokenplugins.RandomFit):
        """Gives it up."""

        fit = Generator.fit

    assert (Generator.has_fit, Generator.is_transform) == (False, False)
    assert [cls.has_fit for cls in (brokenplugins.Copies, Heir, Without)] == [False, True, False]
    assert Heir().has_fit
    assert (brokenplugins.DropsTheLast.is_transform, brokenplugins.DropsTheLast.has_fit) == (True, False)
