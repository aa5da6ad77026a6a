"""Generators that break one promise each, with the check that has to say so and words of what it says."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from benchbench.plugins import Context, Generator, ImageSet, Metric, Requirements, param

#: (plugin class, name of the check that must fail, words of its message)
CASES: list[tuple[type, str, str]] = []


def breaks(check: str, words: str):
    """Enter a class into ``CASES``."""

    def enter(cls: type) -> type:
        CASES.append((cls, check, words))
        return cls

    return enter


# Every kind ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Copies(Generator):
    """A generator that keeps its promises; the broken ones below change one thing."""

    def sample(self, train: ImageSet, context: Context) -> Iterator[ImageSet]:
        for chunk in context.chunks(context.n_syn, 5):
            yield train.subset(np.array(chunk) % len(train))


@breaks("is a frozen dataclass of one kind", "@dataclass(frozen=True)")
class Undecorated(Copies):
    """Inherits a dataclass without being decorated."""


@breaks("is a frozen dataclass of one kind", "derives from Generator, Metric")
@dataclass(frozen=True)
class TwoKinds(Copies, Metric):
    """Both a generator and a metric."""


@breaks("has a docstring", "Undocumented has no docstring")
@dataclass(frozen=True)
class Undocumented(Copies):
    count: int = param(1, help="Something.")


@breaks("declares every field with param and help", "PlainField.count: declare it with param")
@dataclass(frozen=True)
class PlainField(Copies):
    """Has a field that is no parameter."""

    count: int = 3


@breaks("declares every field with param and help", "Helpless.count has an empty help")
@dataclass(frozen=True)
class Helpless(Copies):
    """Has a parameter that explains nothing."""

    count: int = param(3, help=" ")


@breaks("defaults are valid under every preset", "count=0 (paper): must be at least 1")
@dataclass(frozen=True)
class BadPaperValue(Copies):
    """The value under one preset is out of its own bounds."""

    count: int = param(3, low=1, paper=0, help="Something.")


@breaks("says what it needs", "needs() must return Requirements")
@dataclass(frozen=True)
class Needy(Copies):
    """Says its needs in the wrong type."""

    def needs(self) -> Requirements:
        return {"torch"}  # type: ignore[return-value]


@breaks("opens only files that enter its key", "it opens ")
@dataclass(frozen=True)
class ReadsAStrangeFile(Copies):
    """Depends on a file that nobody hashes."""

    def sample(self, train: ImageSet, context: Context) -> Iterator[ImageSet]:
        (Path(__file__).parents[1] / "pyproject.toml").read_text("utf-8")
        yield from super().sample(train, context)


# Generators ----------------------------------------------------------------------------------------


@breaks("shards are consecutive ranges", "got [range(0, 0), range(0, 1)]")
@dataclass(frozen=True)
class EmptyShard(Copies):
    """Cuts the training images into an empty range and the rest."""

    def shards(self, train_count: int) -> list[range]:
        return [range(train_count // 2), range(train_count // 2, train_count)]


@breaks("sample yields n syn images of the right size", "made 13 images in all; it has to make 12")
@dataclass(frozen=True)
class OneTooMany(Copies):
    """Makes one image more than asked for."""

    def sample(self, train: ImageSet, context: Context) -> Iterator[ImageSet]:
        yield train.subset(range(context.n_syn + 1))


@breaks("sample yields n syn images of the right size", "images must be (16, 16, 3); got (8, 8, 3)")
@dataclass(frozen=True)
class TooSmall(Copies):
    """Makes images of half the size."""

    def sample(self, train: ImageSet, context: Context) -> Iterator[ImageSet]:
        half = train.subset(range(context.n_syn))
        yield half.with_images(np.ascontiguousarray(half.images[:, ::2, ::2]))


@breaks("sample yields n syn images of the right size", "yield one set for each chunk")
@dataclass(frozen=True)
class TwoSetsPerChunk(Copies):
    """Yields twice for a chunk, so that a killed run would lose count."""

    def sample(self, train: ImageSet, context: Context) -> Iterator[ImageSet]:
        for chunk in context.chunks(context.n_syn, 5):
            yield train.subset(chunk[:1])
            yield train.subset(chunk[1:])


@breaks("sample makes a single image too", "made 2 images when asked for 1")
@dataclass(frozen=True)
class AtLeastTwo(Copies):
    """Makes pairs."""

    def sample(self, train: ImageSet, context: Context) -> Iterator[ImageSet]:
        yield train.subset(range(max(2, context.n_syn)))


@breaks("origins are json", "an origin is not JSON")
@dataclass(frozen=True)
class NumpyOrigins(Copies):
    """Leaves NumPy scalars in its origins."""

    def sample(self, train: ImageSet, context: Context) -> Iterator[ImageSet]:
        chosen = np.arange(context.n_syn)
        yield replace(train.subset(chosen), origins=[{"source": index} for index in chosen])


@breaks("sample gives the same bytes again", "take all randomness from context.rng")
@dataclass(frozen=True)
class GlobalRandomness(Copies):
    """Draws from a global random state."""

    def sample(self, train: ImageSet, context: Context) -> Iterator[ImageSet]:
        yield train.subset([random.randrange(len(train)) for _ in range(context.n_syn)])


@breaks("sample continues after a kill", "goes on with other images than in one go")
@dataclass(frozen=True)
class CountsFromZero(Copies):
    """Seeds each chunk by how many it has made since the last start."""

    def sample(self, train: ImageSet, context: Context) -> Iterator[ImageSet]:
        for number, chunk in enumerate(context.chunks(context.n_syn, 5)):
            yield train.subset(context.rng(number).integers(0, len(train), len(chunk)))


@breaks("sample yields n syn images of the right size", "read-only (brokengenerators.py:")
@dataclass(frozen=True)
class WritesToTrain(Copies):
    """Inverts the training images in place."""

    def sample(self, train: ImageSet, context: Context) -> Iterator[ImageSet]:
        train.images[:] = 255 - train.images
        yield train.subset(range(context.n_syn))


@breaks("real is the training subset itself", "unchanged")
@dataclass(frozen=True)
class ReversedReal(Copies):
    """A baseline in another order."""

    is_real: ClassVar[bool] = True

    def sample(self, train: ImageSet, context: Context) -> Iterator[ImageSet]:
        yield train.subset(np.arange(len(train))[::-1])


@breaks("fit gives the same bytes whatever the order of shards", "fit wrote nothing")
@dataclass(frozen=True)
class IdleFit(Copies):
    """Has a fit that writes nothing."""

    def fit(self, train: ImageSet, context: Context) -> None:
        pass


@breaks("transform maps images one for one", "transform changed the labels, their order or their number")
@dataclass(frozen=True)
class DropsTheLast(Copies):
    """Transforms all images but one."""

    def transform(self, images: ImageSet, context: Context) -> Iterator[ImageSet]:
        yield images.subset(range(len(images) - 1))


@breaks("sample yields n syn images of the right size", "made 13 images in all; it has to make 1 to 12")
@dataclass(frozen=True)
class MoreThanPlanned(OneTooMany):
    """May make fewer images, and makes more."""

    may_yield_fewer: ClassVar[bool] = True


@breaks(
    "fit gives the same bytes whatever the order of shards",
    "of images 0..9 wrote other bytes the second time: ['mean.npy']",
)
@dataclass(frozen=True)
class RandomFit(Copies):
    """Fits with a global random state."""

    def shards(self, train_count: int) -> list[range]:
        return [range(start, min(start + 10, train_count)) for start in range(0, train_count, 10)]

    def fit(self, train: ImageSet, context: Context) -> None:
        noise = np.random.normal() if context.shard.start == 0 else 0.0
        np.save(context.folder / "mean.npy", train.images[list(context.shard)].mean() + noise)


@breaks("fit survives a kill", "other bytes after a kill")
@dataclass(frozen=True)
class ForgetsNothing(Copies):
    """Goes on from its scratch folder without knowing how far it was."""

    def fit(self, train: ImageSet, context: Context) -> None:
        log = context.scratch / "log.txt"
        for index in context.progress(context.shard):
            log.write_text((log.read_text("utf-8") if log.exists() else "") + f"{index}\n", "utf-8")
        (context.folder / "log.txt").write_text(log.read_text("utf-8"), "utf-8")
