"""What a dataset promises: it loads what it declares, in one order, and its splits do not overlap."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from ..errors import UsageError
from ..plugins import Context, Dataset, DatasetInfo
from ..plugins.images import ImageSet
from .subject import NotApplicable, Subject, global_randomness, require, same_images

SPLITS = ("train", "validation", "test")


def describes_itself_consistently(subject: Subject) -> None:
    """``info`` answers without decoding an image; its numbers agree with one another."""
    info = _info(subject)
    require(len(info.classes) >= 2, f"a classifier needs two classes; it declares {len(info.classes)}")
    require(len(set(info.classes)) == len(info.classes), "class names must differ from one another")
    require(set(info.counts) == set(SPLITS), f"counts must be given for {', '.join(SPLITS)}; got {sorted(info.counts)}")
    require(
        info.counts["train"] > 0 and info.counts["test"] > 0,
        f"train and test must hold images; counts are {info.counts}",
    )
    require(
        len(info.class_counts) == len(info.classes),
        f"{len(info.class_counts)} class_counts for {len(info.classes)} classes",
    )
    total = sum(info.class_counts)
    require(total == info.counts["train"], f"class_counts sum to {total}, but train holds {info.counts['train']}")
    sides = (info.resolution, info.classify_resolution, info.generate_resolution)
    require(
        all(type(side) is int and side > 0 for side in sides), f"resolutions must be whole numbers of px; got {sides}"
    )
    require(all(0 <= value <= 1 for value in info.mean), f"mean must be shares in [0, 1]; got {info.mean}")
    require(all(0 < value <= 1 for value in info.std), f"std must be shares in (0, 1]; got {info.std}")
    require(info.prompt.count("{}") == 1, f"prompt needs exactly one {{}} for the class; got {info.prompt!r}")
    named = len(info.prompt_names) in (0, len(info.classes))
    require(named, f"{len(info.prompt_names)} prompt_names for {len(info.classes)} classes")
    require(info.optimizer in ("sgd", "adamw"), f"optimizer must be sgd or adamw; got {info.optimizer!r}")
    few = info.quick_shots is None or 0 < info.quick_shots <= min(info.class_counts)
    require(few, f"quick_shots={info.quick_shots} exceeds the smallest class ({min(info.class_counts)} images)")
    for name in ("usual_draws", "usual_seeds", "control_draws"):
        value = getattr(info, name)
        fine = (type(value) is int and value > 0) or (value is None and name == "control_draws")
        require(fine, f"{name} must be a whole number of at least 1; got {value!r}")


def says_licence_and_source(subject: Subject) -> str:
    """A reader of a table wants to know whose images these are; ``unknown`` is allowed and remarked."""
    info = _info(subject)
    require(bool(info.licence and info.source), "licence and source must not be empty; write unknown if they are")
    return "" if info.licence != "unknown" else "its licence is unknown"


def loads_what_it_declares(subject: Subject) -> None:
    """Each split has the declared size, resolution, classes and counts."""
    info = _info(subject)
    for split in SPLITS:
        images = _load(subject, split)
        require(isinstance(images, ImageSet), f"load({split!r}) must return an ImageSet; got {type(images).__name__}")
        require(len(images) == info.counts[split], f"{split} has {len(images)} images; info says {info.counts[split]}")
        require(images.classes == info.classes, f"{split} has the classes {images.classes}; info says {info.classes}")
        side = (info.resolution, info.resolution)
        require(images.images.shape[1:3] == side, f"{split} is {images.images.shape[1:3]} px; info says {side}")
    counts = tuple(int(count) for count in _load(subject, "train").counts)
    require(
        counts == tuple(info.class_counts), f"train has {counts} images per class; info says {tuple(info.class_counts)}"
    )


def keeps_its_order(subject: Subject) -> None:
    """A second load gives the same images in the same order, whatever the global random states are."""
    for split in SPLITS:
        with global_randomness(2):
            again = subject.plugin.load(split, _context(subject))
        require(
            same_images(_load(subject, split), again),
            f"{split} came in another order, or with other pixels, the second time",
        )


def trains_every_class_it_tests(subject: Subject) -> None:
    """A class in test that train lacks cannot be learned."""
    info, counts = _info(subject), _load(subject, "train").counts
    for split in ("validation", "test"):
        lacking = [
            info.classes[label] for label in sorted(set(_load(subject, split).labels.tolist())) if not counts[label]
        ]
        require(not lacking, f"{split} has classes that train lacks: {', '.join(lacking)}")


def keeps_test_images_out_of_training(subject: Subject) -> str:
    """No file is in two splits; images that are equal in every pixel are counted and remarked."""
    sources = {split: _sources(_load(subject, split)) for split in SPLITS}
    for one, other in (("train", "test"), ("train", "validation"), ("validation", "test")):
        shared = sorted(sources[one] & sources[other])
        require(
            not shared, f"{len(shared)} files are in both {one} and {other}, {shared[0] if shared else ''} among them"
        )
    seen = set(_digests(_load(subject, "train")))
    copies = sum(digest in seen for digest in _digests(_load(subject, "test")))
    return f"{copies} test images equal a training image in every pixel" if copies else ""


def has_the_same_facts_in_every_draw(subject: Subject) -> str:
    """``of_draw`` gives the dataset itself first; another draw has other images in test, and the same facts but counts,
    mean and std.
    """
    plugin, info = subject.plugin, _info(subject)
    if type(plugin).of_draw is Dataset.of_draw:
        raise NotApplicable
    require(plugin.of_draw(0, info) == plugin, "of_draw(0, info) must be the dataset itself: runs of one draw use it")
    try:
        other = plugin.of_draw(1, info)
    except UsageError as error:
        return f"it has no second split here: {error}"
    if other == plugin:
        return ""
    facts = other.info()
    free = {name: getattr(info, name) for name in ("counts", "class_counts", "mean", "std", "notes")}
    require(replace(facts, **free) == info, "draws may differ in counts, class_counts, mean, std and notes alone")
    tests = other.load("test", subject.context("load another draw", info=facts))
    require(set(_digests(tests)) != set(_digests(_load(subject, "test"))), "the second draw has the same test images")
    return ""


def refuses_an_unknown_split(subject: Subject) -> None:
    """``load`` of a split that does not exist raises, and does not return some other split."""
    try:
        subject.plugin.load("no-such-split", _context(subject))
    except Exception:  # which one is the author's choice: only a mistake in the harness gets here
        return
    raise AssertionError("load('no-such-split') returned images; raise an error for a split that does not exist")


def _info(subject: Subject) -> DatasetInfo:
    info: DatasetInfo = subject.once("info", subject.plugin.info)
    require(isinstance(info, DatasetInfo), f"info() must return a DatasetInfo; got {type(info).__name__}")
    return info


def _context(subject: Subject) -> Context:
    return subject.context("load", info=_info(subject))


def _load(subject: Subject, split: str) -> ImageSet:
    """Load a split once for every check."""
    images: ImageSet = subject.once(f"load {split}", lambda: subject.plugin.load(split, _context(subject)))
    return images


def _sources(images: ImageSet) -> set[str]:
    """Return the files that images say they come from; an index counts only within its own split."""
    sources = (origin.get("source") for origin in images.origins)
    return {source for source in sources if isinstance(source, str)}


def _digests(images: ImageSet) -> list[bytes]:
    return [hashlib.sha256(image.tobytes()).digest() for image in images.images]
