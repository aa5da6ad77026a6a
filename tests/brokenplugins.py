"""Plugins of the other kinds that break one promise each, and those that keep them all."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from brokengenerators import CASES, AtLeastTwo, Copies, DropsTheLast, RandomFit, breaks

from benchbench.plugins import (
    Augmentation,
    Column,
    Context,
    Dataset,
    DatasetInfo,
    Foundation,
    ImageSet,
    Learner,
    Metric,
    Task,
    TrainResult,
    param,
)
from benchbench.testing import tiny_images, tiny_info

__all__ = ["CASES", "GOOD", "AtLeastTwo", "Copies", "DropsTheLast", "RandomFit", "Tiny"]

# Augmentations -------------------------------------------------------------------------------------


@breaks("returns batches of the same size", "images of shape (10, 3, 16, 16) came back as (10, 3, 8, 8)")
@dataclass(frozen=True)
class Shrinks(Augmentation):
    """Halves the images."""

    def apply(self, images: Any, targets: Any, rng: Any, info: DatasetInfo) -> Any:
        return images[:, :, ::2, ::2], targets


@breaks("returns batches of the same size", "pixels must lie in [0, 255]")
@dataclass(frozen=True)
class Overflows(Augmentation):
    """Leaves the range of pixels."""

    def apply(self, images: Any, targets: Any, rng: Any, info: DatasetInfo) -> Any:
        return images.float() + 50, targets


@breaks("takes soft targets", "soft targets came back hard")
@dataclass(frozen=True)
class Hardens(Augmentation):
    """Loses mixed labels."""

    def apply(self, images: Any, targets: Any, rng: Any, info: DatasetInfo) -> Any:
        return images, targets.argmax(1) if targets.ndim == 2 else targets


@breaks("returns batches of the same size", "must sum to 1")
@dataclass(frozen=True)
class SumsToTwo(Augmentation):
    """Adds labels up instead of mixing them."""

    def apply(self, images: Any, targets: Any, rng: Any, info: DatasetInfo) -> Any:
        import torch

        return images, 2 * torch.nn.functional.one_hot(targets, len(info.classes)).float()


@breaks("takes a batch of one", "(brokenplugins.py:")
@dataclass(frozen=True)
class NeedsTwo(Augmentation):
    """Fails on the last batch."""

    def apply(self, images: Any, targets: Any, rng: Any, info: DatasetInfo) -> Any:
        images[1]
        return images, targets


@breaks("depends on rng alone", "draw every random number with generator=rng")
@dataclass(frozen=True)
class IgnoresRng(Augmentation):
    """Draws from torch's global state."""

    def apply(self, images: Any, targets: Any, rng: Any, info: DatasetInfo) -> Any:
        import torch

        return images * torch.rand(len(images), 1, 1, 1), targets


@breaks("does not change its input", "changed its input in place")
@dataclass(frozen=True)
class InPlace(Augmentation):
    """Inverts the batch in place."""

    def apply(self, images: Any, targets: Any, rng: Any, info: DatasetInfo) -> Any:
        return images.bitwise_not_(), targets


@breaks("changes something", "it has none of apply, imagewise, loss, grow")
@dataclass(frozen=True)
class Misspelt(Augmentation):
    """Would train as if it were not there."""

    def imagewize(self, shape: Any, rng: Any, info: DatasetInfo) -> Any:
        return lambda images, part: 255 - images


@breaks("changes something", "imagewise returned None")
@dataclass(frozen=True)
class ForgotReturn(Augmentation):
    """Lacks a return."""

    def imagewise(self, shape: Any, rng: Any, info: DatasetInfo) -> Any:
        pass


@breaks("parts of a batch make the whole", "draw for the whole batch")
@dataclass(frozen=True)
class DrawsLate(Augmentation):
    """Draws when a part comes, so that the cut of a batch shows."""

    def imagewise(self, shape: Any, rng: Any, info: DatasetInfo) -> Any:
        import torch

        def darken(images: Any, part: slice) -> Any:
            return images * torch.rand(1, generator=torch.Generator().manual_seed(len(images)))

        return darken


@breaks("parts of a batch make the whole", "draw for the whole batch")
@dataclass(frozen=True)
class RemembersTheFirst(Augmentation):
    """Takes the mean of the part that comes first."""

    def imagewise(self, shape: Any, rng: Any, info: DatasetInfo) -> Any:
        means: list[Any] = []

        def flatten(images: Any, part: slice) -> Any:
            means.append(images.float().mean())
            return (images * 0 + means[0]).clamp(0, 255)

        return flatten


@breaks("parts of a batch make the whole", "leave one of the two out")
@dataclass(frozen=True)
class SaysItTwice(Augmentation):
    """Has an imagewise that nothing asks."""

    def apply(self, images: Any, targets: Any, rng: Any, info: DatasetInfo) -> Any:
        return images, targets

    def imagewise(self, shape: Any, rng: Any, info: DatasetInfo) -> Any:
        return lambda images, part: 255 - images


@breaks("a loss is a finite scalar", "got shape (10,)")
@dataclass(frozen=True)
class LossPerImage(Augmentation):
    """Forgets the mean."""

    def apply(self, images: Any, targets: Any, rng: Any, info: DatasetInfo) -> Any:
        return images, targets

    def loss(self, logits: Any, targets: Any) -> Any:
        import torch

        return torch.nn.functional.cross_entropy(logits, targets, reduction="none")


@breaks("phases ascend within the run", "phases(1) must be ascending steps in 1..0; got (0,)")
@dataclass(frozen=True)
class PhaseAtZero(Augmentation):
    """Wants to grow before anything was learned."""

    def apply(self, images: Any, targets: Any, rng: Any, info: DatasetInfo) -> Any:
        return images, targets

    def phases(self, steps: int) -> tuple[int, ...]:
        return (steps // 2,)


@breaks("grows the set with valid images", "grown images must be uint8; got torch.float32")
@dataclass(frozen=True)
class GrowsFloats(Augmentation):
    """Grows the set with images of another type."""

    def apply(self, images: Any, targets: Any, rng: Any, info: DatasetInfo) -> Any:
        return images, targets

    def phases(self, steps: int) -> tuple[int, ...]:
        return (steps // 2,) if steps > 1 else ()

    def grow(self, model: Any, images: Any, labels: Any, rng: Any, info: DatasetInfo) -> Any:
        return images.float(), labels


@breaks("grows the same from disk", "grew by other images than the same set in memory")
@dataclass(frozen=True)
class GrowsWhatIsInMemory(GrowsFloats):
    """Says that it takes a set on disk, and leaves it as it is."""

    grows_from_disk: ClassVar[bool] = True

    def grow(self, model: Any, images: Any, labels: Any, rng: Any, info: DatasetInfo) -> Any:
        return 255 - images[:] if hasattr(images, "bitwise_not") else images[:], labels


# Learners ------------------------------------------------------------------------------------------


def certain(task: Task, classes: Any) -> Any:
    """Probabilities float32 ``(N, classes)`` of 1 for the class of each test image."""
    return np.eye(len(task.info.classes), dtype=np.float32)[np.asarray(classes)]


@dataclass(frozen=True)
class Guesser(Learner):
    """A learner that keeps its promises: always the most frequent class."""

    axes: ClassVar[frozenset[str]] = frozenset()

    def train(self, task: Task, context: Context) -> TrainResult:
        seen = [images for images in (task.real, task.synthetic) if images is not None]
        counts = np.sum([images.counts for images in seen], axis=0)
        return TrainResult(certain(task, np.full(len(task.test), counts.argmax())), steps=1)


@breaks("names what it starts from", "foundations(arch, info) must return a tuple of names; got 'my-weights'")
@dataclass(frozen=True)
class StartsFromText(Guesser):
    """A text is no tuple, and its letters are no names."""

    def foundations(self, arch: str | None, info: DatasetInfo) -> Any:
        return "my-weights"


@breaks("fills in what a training needs once", "must not change a learner that is filled in already")
@dataclass(frozen=True)
class NeverFilledIn(Guesser):
    """Counts the images anew each time that it is asked."""

    steps: int = param(1, help="How many.")

    def for_training(self, arch: str | None, info: DatasetInfo, n_real: int) -> NeverFilledIn:
        return replace(self, steps=n_real)


@breaks("ignores the images if it says so", "trains is False, but other training images gave other probabilities")
@dataclass(frozen=True)
class SecretlyTrains(Guesser):
    """Says that no training image matters, and guesses the class that their brightness names."""

    trains: ClassVar[bool] = False

    def train(self, task: Task, context: Context) -> TrainResult:
        seen = task.real or task.synthetic
        named = int(seen.images[..., 0].sum()) % len(task.test.classes)
        return TrainResult(certain(task, np.full(len(task.test), named)), steps=1)


@breaks("declares known axes", "axes must be a frozenset out of ['arch', 'aug', 'mix']")
@dataclass(frozen=True)
class StrangeAxis(Guesser):
    """Has an axis that the plan does not know."""

    axes: ClassVar[frozenset[str]] = frozenset({"colour"})


@breaks("names its architectures", "must raise UsageError")
@dataclass(frozen=True)
class AnyArchitecture(Guesser):
    """Takes every name for an architecture."""

    axes: ClassVar[frozenset[str]] = frozenset({"arch"})

    def architectures(self, names: Any, info: DatasetInfo) -> tuple[str, ...]:
        return tuple(name for name in names)


@breaks(
    "reports probabilities for each test image", "probabilities must be a float32 array of shape (20, 4); got float64"
)
@dataclass(frozen=True)
class Doubles(Guesser):
    """Reports probabilities in double precision."""

    def train(self, task: Task, context: Context) -> TrainResult:
        return TrainResult(super().train(task, context).probabilities.astype(float))  # type: ignore[arg-type]


@breaks("reports probabilities for each test image", "must sum to 1 (a softmax of logits does); one sum is 3")
@dataclass(frozen=True)
class Logits(Guesser):
    """Reports logits in the place of probabilities."""

    def train(self, task: Task, context: Context) -> TrainResult:
        return TrainResult(super().train(task, context).probabilities * 3)


@breaks("reports probabilities for each test image", "TrainResult(hits=...) is the old form; return probabilities=...")
@dataclass(frozen=True)
class Hits(Guesser):
    """Reports hits, as learners did once."""

    def train(self, task: Task, context: Context) -> TrainResult:
        return TrainResult(hits=np.ones(len(task.test), dtype=bool))  # type: ignore[call-arg]


@breaks("reports probabilities for each test image", "task.test has no labels; return probabilities=...")
@dataclass(frozen=True)
class ReadsLabels(Guesser):
    """Compares with labels, as learners did once."""

    def train(self, task: Task, context: Context) -> TrainResult:
        return TrainResult(task.test.labels == 0)  # type: ignore[arg-type]


@breaks("gives the same probabilities again", "seed everything from context")
@dataclass(frozen=True)
class Flips(Guesser):
    """Guesses from a global random state."""

    def train(self, task: Task, context: Context) -> TrainResult:
        return TrainResult(certain(task, np.random.randint(len(task.info.classes), size=len(task.test))))


@breaks("does not learn from the order of the test images", "their order decides what is answered")
@dataclass(frozen=True)
class Peeks(Guesser):
    """Knows that test images come class by class."""

    def train(self, task: Task, context: Context) -> TrainResult:
        return TrainResult(certain(task, np.arange(len(task.test)) * len(task.info.classes) // len(task.test)))


@breaks("trains on generated images", "AttributeError")
@dataclass(frozen=True)
class RealOnly(Guesser):
    """Cannot do without real images."""

    def train(self, task: Task, context: Context) -> TrainResult:
        return TrainResult(certain(task, np.full(len(task.test), task.real.counts.argmax())))  # type: ignore[union-attr]


# Metrics -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Brightness(Metric):
    """A metric that keeps its promises."""

    def columns(self) -> tuple[Column, ...]:
        return (Column("brighter", "brighter"),)

    def score(self, real: ImageSet, synthetic: ImageSet, context: Context) -> Mapping[str, Any]:
        if not len(real) or not len(synthetic):
            raise ValueError("nothing to score")
        value = float(synthetic.images.mean() - real.images.mean())
        return {"brighter": value, "extractor": "pixels", "n_score": len(synthetic), "n_reference": len(real)}


@breaks("returns finite json values", "got {'brighter': nan")
@dataclass(frozen=True)
class NotANumber(Brightness):
    """Scores NaN."""

    def score(self, real: ImageSet, synthetic: ImageSet, context: Context) -> Mapping[str, Any]:
        return {**super().score(real, synthetic, context), "brighter": float("nan")}


@breaks("declares its columns", "columns() declares darker, which score does not return")
@dataclass(frozen=True)
class OtherColumn(Brightness):
    """Declares a number that it does not give."""

    def columns(self) -> tuple[Column, ...]:
        return (Column("darker", "darker"),)


@breaks("declares its columns", "columns() declares nothing; return a Column")
@dataclass(frozen=True)
class NoColumn(Brightness):
    """Leaves it to the harness to guess what to show."""

    def columns(self) -> tuple[Column, ...]:
        return ()


@breaks("says what it was measured with", "must report extractor as str; got None")
@dataclass(frozen=True)
class Anonymous(Brightness):
    """Does not say on which features it scores."""

    def score(self, real: ImageSet, synthetic: ImageSet, context: Context) -> Mapping[str, Any]:
        return {**super().score(real, synthetic, context), "extractor": None}


@breaks("gives the same values again", "and then")
@dataclass(frozen=True)
class Noisy(Brightness):
    """Scores a random part of the images."""

    def score(self, real: ImageSet, synthetic: ImageSet, context: Context) -> Mapping[str, Any]:
        return {**super().score(real, synthetic, context), "brighter": random.random()}


@dataclass(frozen=True)
class InHalves(Brightness):
    """Writes down what it knows of the real images; keeps its promises."""

    def reference(self, real: ImageSet, context: Context) -> None:
        sums = np.zeros(len(real))
        for index in context.resume(range(len(real)), sums):
            sums[index] = real.images[index].mean()
        np.save(context.folder / "means.npy", sums)

    def score(self, real: ImageSet, synthetic: ImageSet, context: Context) -> Mapping[str, Any]:
        assert context.reference is not None
        known = np.load(context.reference / "means.npy")
        return {**super().score(real, synthetic, context), "brighter": float(synthetic.images.mean() - known.mean())}


@breaks("writes the same reference again", "wrote other bytes the second time; use context.rng")
@dataclass(frozen=True)
class NoisyReference(InHalves):
    """Adds global noise to it."""

    def reference(self, real: ImageSet, context: Context) -> None:
        np.save(context.folder / "means.npy", real.images.mean(axis=(1, 2, 3)) + np.random.random())


@breaks("writes the same reference again", "reference wrote other bytes after a kill")
@dataclass(frozen=True)
class ForgetfulReference(InHalves):
    """Continues after a kill without what it had counted."""

    def reference(self, real: ImageSet, context: Context) -> None:
        sums = np.zeros(len(real))
        for index in context.resume(range(len(real))):
            sums[index] = real.images[index].mean()
        np.save(context.folder / "means.npy", sums)


@breaks("refuses an empty set clearly", "with no generated images score returns")
@dataclass(frozen=True)
class ScoresNothing(Brightness):
    """Scores an empty set as perfect."""

    def score(self, real: ImageSet, synthetic: ImageSet, context: Context) -> Mapping[str, Any]:
        return super().score(real, synthetic, context) if len(synthetic) and len(real) else {"brighter": 0.0}


# Datasets ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tiny(Dataset):
    """A dataset that keeps its promises."""

    def info(self) -> DatasetInfo:
        return tiny_info()

    def load(self, split: str, context: Context) -> ImageSet:
        counts = {"train": 20, "validation": 8, "test": 12}
        images = tiny_images(counts[split], seed=list(counts).index(split))
        return replace(images, origins=[{"source": f"{split}/{index}.png"} for index in range(counts[split])])


@breaks("describes itself consistently", "class_counts sum to 4, but train holds 20")
@dataclass(frozen=True)
class Miscounts(Tiny):
    """Declares fewer images per class than in all."""

    def info(self) -> DatasetInfo:
        return tiny_info(class_counts=(1, 1, 1, 1))


@breaks("describes itself consistently", "prompt needs exactly one {}")
@dataclass(frozen=True)
class NoPrompt(Tiny):
    """Has a prompt without the class."""

    def info(self) -> DatasetInfo:
        return tiny_info(prompt="a photo")


@breaks("describes itself consistently", "usual_seeds must be a whole number of at least 1; got 0")
@dataclass(frozen=True)
class NeverTrains(Tiny):
    """Has each row trained on no seed."""

    def info(self) -> DatasetInfo:
        return tiny_info(usual_seeds=0)


@breaks("loads what it declares", "test has 11 images; info says 12")
@dataclass(frozen=True)
class LosesOne(Tiny):
    """Loads fewer test images than it declares."""

    def load(self, split: str, context: Context) -> ImageSet:
        images = super().load(split, context)
        return images.subset(range(11)) if split == "test" else images


@breaks("keeps its order", "train came in another order")
@dataclass(frozen=True)
class Shuffles(Tiny):
    """Shuffles by a global random state."""

    def load(self, split: str, context: Context) -> ImageSet:
        images = super().load(split, context)
        return images.subset(np.random.permutation(len(images)))


@breaks("trains every class it tests", "validation has classes that train lacks: class-3")
@dataclass(frozen=True)
class UnseenClass(Tiny):
    """Tests a class that it does not train."""

    def info(self) -> DatasetInfo:
        return tiny_info(class_counts=(5, 5, 10, 0))

    def load(self, split: str, context: Context) -> ImageSet:
        images = super().load(split, context)
        return replace(images, labels=images.labels.clip(max=2)) if split == "train" else images


@breaks("keeps test images out of training", "12 files are in both train and test, x/0.png among them")
@dataclass(frozen=True)
class SharesFiles(Tiny):
    """Takes its test images out of its training files."""

    def load(self, split: str, context: Context) -> ImageSet:
        images = super().load(split, context)
        return replace(images, origins=[{"source": f"x/{index}.png"} for index in range(len(images))])


@dataclass(frozen=True)
class OfTwoDraws(Tiny):
    """Splits anew for each draw, and keeps its promises."""

    seed: int = param(0, low=0, help="Which split.")

    def load(self, split: str, context: Context) -> ImageSet:
        images = super().load(split, context)
        return replace(images, images=images.images + np.uint8(self.seed))

    def of_draw(self, draw: int, info: DatasetInfo) -> OfTwoDraws:
        return replace(self, seed=self.seed + draw)


@breaks("has the same facts in every draw", "draws may differ in counts, class_counts, mean, std and notes alone")
@dataclass(frozen=True)
class OtherPrompt(OfTwoDraws):
    """Declares another prompt in the second draw."""

    def info(self) -> DatasetInfo:
        return tiny_info(prompt="a {}." if self.seed else "the {}.")


@breaks("has the same facts in every draw", "the second draw has the same test images")
@dataclass(frozen=True)
class SameTest(OfTwoDraws):
    """Calls the same images another draw."""

    def load(self, split: str, context: Context) -> ImageSet:
        return Tiny().load(split, context)


@breaks("has the same facts in every draw", "of_draw(0, info) must be the dataset itself")
@dataclass(frozen=True)
class CountsFromOne(OfTwoDraws):
    """Splits anew for the first draw too."""

    def of_draw(self, draw: int, info: DatasetInfo) -> CountsFromOne:
        return replace(self, seed=draw + 1)


@breaks("refuses an unknown split", "returned images")
@dataclass(frozen=True)
class AnySplit(Tiny):
    """Answers to any name of a split."""

    def load(self, split: str, context: Context) -> ImageSet:
        return super().load(split if split in ("train", "validation") else "test", context)


# Foundations ---------------------------------------------------------------------------------------


@breaks("has a folder", "which is no folder")
@dataclass(frozen=True)
class NoFolder(Foundation):
    """Ships nothing."""

    format: ClassVar[str] = "features"

    def folder(self) -> Path:
        return Path("no-such-folder")


GOOD = (Copies, Guesser, Brightness, InHalves, Tiny, OfTwoDraws)
