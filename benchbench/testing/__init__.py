"""What a plugin's test needs: the conformance suite, small images, a context.

One line tests a plugin of any kind against what its page in ``benchbench.plugins`` promises; our own plugins' tests,
the test that ``bench new`` writes and ``bench check`` all call the same checks::

    from benchbench.testing import conformance

    def test_keeps_its_promises():
        conformance(Brighter, values={"factor": 1.5})

The data is made here and tiny (20 images, 4 classes, 16 px), so that a check takes seconds. A plugin that
needs another size, foundation or dataset is given its own ``info`` and ``train``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import inspect
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from ..errors import UsageError
from ..planning.resolved import check_needs, check_paths, resolve
from ..planning.spec import Spec, parse_spec
from ..planning.subsets import balanced_sample
from ..plugins import DatasetInfo
from ..plugins.catalog import KINDS, catalog, load
from ..plugins.context import Context, derive_seed
from ..plugins.images import ImageSet
from ..plugins.parameters import build
from .subject import Check, CheckResult, Subject, judge

__all__ = [
    "CheckResult",
    "check_plugin",
    "conformance",
    "make_context",
    "run_checks",
    "small_part",
    "some_foundation",
    "tiny_images",
    "tiny_info",
]


def tiny_images(count: int = 20, classes: int = 4, resolution: int = 16, seed: int = 0) -> ImageSet:
    """Make labelled images that a classifier can learn: one grating and one tint per class, with noise.

    Args:
        count: how many; labels go round the classes, so that the counts differ by at most one.
        classes: how many classes.
        resolution: side in px.
        seed: other seeds give other images of the same classes.
    """
    rng = np.random.default_rng(derive_seed("tiny images", seed))
    labels = np.arange(count, dtype=np.int64) % classes
    angle = np.pi * labels / classes
    rows, columns = np.mgrid[0:resolution, 0:resolution] / resolution
    wave = np.cos(angle)[:, None, None] * columns + np.sin(angle)[:, None, None] * rows
    phase = rng.uniform(0, 2 * np.pi, (count, 1, 1))
    grating = np.sin(6 * np.pi * wave + phase)
    tint = np.stack([np.cos(2 * angle), np.sin(2 * angle), -np.cos(2 * angle)], axis=-1)
    pixels = 128 + 60 * grating[..., None] + 30 * tint[:, None, None, :]
    pixels = pixels + rng.normal(0, 10, (count, resolution, resolution, 3))
    images = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
    names = tuple(f"class-{index}" for index in range(classes))
    return ImageSet(images, labels, names, [{"source": index} for index in range(count)])


def tiny_info(train: ImageSet | None = None, **changes: Any) -> DatasetInfo:
    """Describe ``train`` (by default ``tiny_images()``) as a dataset would, with ``changes``."""
    train = tiny_images() if train is None else train
    resolution = int(train.images.shape[1])
    facts = DatasetInfo(
        name="tiny",
        classes=train.classes,
        counts={"train": len(train), "validation": 8, "test": 12},
        class_counts=tuple(int(count) for count in train.counts),
        resolution=resolution,
        classify_resolution=resolution,
        generate_resolution=32,
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
        flip_keeps_class=False,
        foundation=some_foundation(),
        prompt="a picture of {}.",
        prompt_names=train.classes,
        licence="made for this test",
        source="benchbench.testing",
    )
    return dataclasses.replace(facts, **changes)


def make_context(folder: Path, *, info: DatasetInfo | None = None, seed: int = 0, **changes: Any) -> Context:
    """Return a context whose ``folder`` and ``scratch`` are new folders below ``folder``."""
    places = {"folder": folder / "out", "scratch": folder / "scratch"}
    for place in places.values():
        place.mkdir(parents=True, exist_ok=True)
    return Context(seed=seed, info=info or tiny_info(), **{**places, **changes})


def small_part(data: str, count: int = 20) -> tuple[DatasetInfo, ImageSet]:
    """Return a dataset's description and some of its training images, the classes in balance.

    The description counts these images alone, so that a plugin is checked as on a small dataset of that kind.

    Args:
        data: the dataset as the command line spells it.
        count: how many images at least; two of each class where that is more, and never more than there are.

    Raises:
        UsageError: an unknown dataset or parameter, or files that are wrong.
        MissingError: its files are not here.
    """
    bound = resolve("dataset", parse_spec(data), "quick")
    check_needs(bound, "cpu", download=False)
    info: DatasetInfo = bound.plugin.info()
    with tempfile.TemporaryDirectory(prefix="bench-check-") as folder:
        whole: ImageSet = bound.plugin.load("train", make_context(Path(folder), info=info))
        size = min(len(whole), max(count, 2 * len(info.classes)))
        part = whole.subset(balanced_sample(whole.labels, size, derive_seed("small part", info.name)))
    counts = {**info.counts, "train": len(part)}
    return dataclasses.replace(info, counts=counts, class_counts=tuple(int(item) for item in part.counts)), part


def check_plugin(
    cls: type,
    *,
    name: str,
    values: Mapping[str, Any] | None = None,
    info: DatasetInfo | None = None,
    train: ImageSet | None = None,
    n_syn: int = 12,
    arch: str | None = None,
) -> Iterator[CheckResult]:
    """Hold a plugin class to what its kind promises; yield each check's result as it is known.

    Args:
        cls: the plugin class.
        name: as the command line spells it, the start of messages.
        values: parameter values to check it with, as for ``build``; keep a costly plugin short.
        info: the dataset that generators, augmentations, learners and metrics are given.
        train: the training images they get; by default ``tiny_images()``.
        n_syn: how many images a generator has to make.
        arch: the architecture that a learner trains; by default the first that ``all`` names.

    Raises:
        UsageError: ``values`` are not this plugin's, or name a file or folder that is not there.
    """
    train = tiny_images() if train is None else train
    with contextlib.suppress(TypeError):  # a field that is no parameter: a check will say so
        check_paths(build(cls, values or {}, subject=name), Spec(name, values or {}))
    with tempfile.TemporaryDirectory(prefix="bench-check-") as folder:
        subject = Subject(
            cls=cls,
            name=name,
            values=dict(values or {}),
            folder=Path(folder),
            given=train,
            info=info or tiny_info(train),
            n_syn=n_syn,
            arch=arch,
        )
        for check, essential in _checks_of(subject):
            result = judge(check, subject)
            if result is None:
                continue
            yield result
            if essential and (result.skipped or not result.ok):
                return


def run_checks(cls: type, **options: Any) -> list[CheckResult]:
    """Return every result of :func:`check_plugin`."""
    options.setdefault("name", cls.__name__)
    return list(check_plugin(cls, **options))


def conformance(cls: type, *, strict: bool = False, **options: Any) -> list[CheckResult]:
    """Assert that a plugin passes every check; for a plugin's own test.

    Args:
        cls: the plugin class.
        strict: whether a check that had to be skipped, for want of a file or a package, fails as well.
        options: see :func:`check_plugin`.

    Raises:
        AssertionError: with one line for each failed check.
    """
    try:
        results = run_checks(cls, **options)
    except UsageError as error:
        raise AssertionError(str(error)) from error
    failed = [result for result in results if not result.ok or (strict and result.skipped)]
    if failed:
        lines = "\n".join(f"  {result.name}: {result.message}" for result in failed)
        raise AssertionError(
            f"{options.get('name', cls.__name__)} breaks {len(failed)} of {len(results)} promises:\n{lines}"
        )
    return results


def some_foundation() -> str:
    """Return the name of an installed text-to-image foundation, ``""`` for none."""
    for entry in catalog().entries("foundation"):
        try:
            if getattr(load(entry), "format", "") == "diffusers":
                return entry.name
        except UsageError:
            continue
    return ""


def _checks_of(subject: Subject) -> list[tuple[Check, bool]]:
    """Return the checks for a subject's kind, in order; the flag says that all that follow depend on it.

    There is a module for each kind, and one for what all share. A check takes a :class:`Subject` and raises
    ``AssertionError`` with one sentence when the promise is broken, or ``MissingError`` when it cannot be judged here.
    Its name, read as words, is the promise.
    """
    from . import common, dataset, foundation

    kind = getattr(subject.cls, "kind", "")
    last = common.opens_only_files_that_enter_its_key  # of all that ran before
    every = [check for check in _functions(common) if check is not last]
    if kind in KINDS:
        every += _functions(importlib.import_module(f".{kind}", __package__))
    if kind != "foundation":  # its whole folder is hashed
        every.append(last)
    essential = {*common.ESSENTIAL, dataset.describes_itself_consistently, foundation.has_a_folder}
    return [(check, check in essential) for check in every]


def _functions(module: ModuleType) -> list[Check]:
    """Return the public functions that a module defines, in its order: they are its checks."""
    named = ((name, item) for name, item in vars(module).items() if not name.startswith("_"))
    return [item for _, item in named if inspect.isfunction(item) and item.__module__ == module.__name__]
