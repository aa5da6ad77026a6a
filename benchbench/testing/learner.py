"""What a learner promises: a hit or a miss for each test image, each time the same, blind to test labels."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np

from ..errors import UsageError
from ..plugins import Learner, Task, TrainResult
from ..plugins.images import ImageSet
from .subject import Check, NotApplicable, Subject, global_randomness, require

AXES = frozenset({"arch", "aug", "mix"})


def declares_known_axes(subject: Subject) -> None:
    """``axes`` says by what the plan multiplies: a subset of arch, aug and mix."""
    axes = subject.plugin.axes
    require(
        isinstance(axes, frozenset) and axes <= AXES,
        f"axes must be a frozenset out of {sorted(AXES)}; got {axes!r}",
    )


def names_its_architectures(subject: Subject) -> None:
    """``all`` (or the architecture it is checked with) gives names; a name that does not exist is refused."""
    if "arch" not in subject.plugin.axes:
        raise NotApplicable
    require(bool(_arch(subject)), "architectures(('all',), info) named none")
    if type(subject.plugin).architectures is Learner.architectures:
        return  # it takes any name
    try:
        subject.plugin.architectures(("no-such-architecture",), subject.info)
    except UsageError as error:
        require("no-such-architecture" in str(error), f"the message must name the architecture; it says {error}")
    else:
        raise AssertionError("architectures(('no-such-architecture',), info) must raise UsageError")


def reports_a_hit_for_each_test_image(subject: Subject) -> None:
    """The outcome is complete: boolean hits in the order of the test images, JSON details, sane numbers."""
    outcome, test = _outcome(subject), _test(subject)
    require(isinstance(outcome, TrainResult), f"train must return an TrainResult; got {type(outcome).__name__}")
    hits = outcome.hits
    right = isinstance(hits, np.ndarray) and hits.dtype == np.bool_ and hits.shape == (len(test),)
    require(
        right,
        f"hits must be a bool array of shape ({len(test)},); got {getattr(hits, 'dtype', type(hits))}",
    )
    best = outcome.best_on_test
    require(best is None or 0 <= best <= 1, f"best_on_test must be None or a share in [0, 1]; got {best!r}")
    require(best is None or best >= outcome.accuracy - 1e-9, "best_on_test is below the accuracy of the last step")
    counted = min(outcome.steps, outcome.images_seen, outcome.parameters)
    require(counted >= 0, "steps, images_seen and parameters must not be negative")
    for step, loss, accuracy in outcome.curve:
        shown = f"({step}, {loss}, {accuracy})"
        require(
            math.isfinite(loss) and 0 <= step <= outcome.steps,
            f"the curve has {shown} in a run of {outcome.steps} steps",
        )
        require(accuracy is None or 0 <= accuracy <= 1, f"the curve has {shown}; accuracies are shares in [0, 1]")
    try:
        json.dumps(dict(outcome.details), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise AssertionError(f"details are not JSON: {error}") from None


def gives_the_same_hits_again(subject: Subject) -> None:
    """With one seed, another run hits the same test images, whatever the global random states are."""
    first = _outcome(subject)
    with global_randomness(2):
        again = _train(subject, _task(subject))
    require(
        np.array_equal(first.hits, again.hits),
        "train hit other test images the second time; seed everything from context",
    )


def does_not_learn_from_the_test_labels(subject: Subject) -> None:
    """With every test label replaced by another class, an image that was hit before cannot be hit again."""
    task, test = _task(subject), _test(subject)
    others = (test.labels + 1) % len(test.classes)
    with global_randomness(1):
        outcome = _train(subject, dataclasses.replace(task, test=dataclasses.replace(test, labels=others)))
    both = int((outcome.hits & _outcome(subject).hits).sum())
    require(
        both == 0,
        f"{both} test images are hits under two different labels: test labels decide what is learned",
    )


def trains_on_generated_images(subject: Subject) -> None:
    """Without a single real image: the default mixing of the harness."""
    task = dataclasses.replace(_task(subject), real=None, synthetic=subject.more(1))
    require(len(_train(subject, task).hits) == len(_test(subject)), "hits must be one for each test image")


def trains_on_a_mix(subject: Subject) -> None:
    """Real and generated images together, in the ratio asked for."""
    if "mix" not in subject.plugin.axes:
        raise NotApplicable
    task = dataclasses.replace(_task(subject), synthetic=subject.more(1), mix=(1, 3))
    require(len(_train(subject, task).hits) == len(_test(subject)), "hits must be one for each test image")


def names_what_it_starts_from(subject: Subject) -> None:
    """``foundations`` gives names, folders or hub ids: a tuple of texts, whose content enters the key."""
    names = subject.plugin.foundations(_arch(subject), subject.info)
    fine = isinstance(names, tuple) and all(isinstance(name, str) and name for name in names)
    require(fine, f"foundations(arch, info) must return a tuple of names; got {names!r}")


def ignores_the_images_if_it_says_so(subject: Subject) -> None:
    """With ``trains = False`` the plan makes one cell whatever the images, so other images must change nothing."""
    if subject.plugin.trains:
        raise NotApplicable
    task = dataclasses.replace(_task(subject), real=subject.more(1))
    require(
        np.array_equal(_outcome(subject).hits, _train(subject, task).hits),
        "trains is False, but other training images gave other hits",
    )


def _arch(subject: Subject) -> str | None:
    if "arch" not in subject.plugin.axes:
        return None
    asked = (subject.arch,) if subject.arch else ("all",)
    return next(iter(subject.plugin.architectures(asked, subject.info)), None)


def _test(subject: Subject) -> ImageSet:
    return subject.more(2)


def _task(subject: Subject) -> Task:
    held_out = subject.more(3).subset(range(min(8, len(subject.given))))
    return Task(
        real=subject.train,
        synthetic=None,
        mix=None,
        validation=held_out,
        test=_test(subject),
        info=subject.info,
        arch=_arch(subject),
        augmentations=(),
        preset="quick",
    )


def _train(subject: Subject, task: Task) -> TrainResult:
    outcome: TrainResult = subject.plugin.train(task, subject.context("train"))
    return outcome


def _outcome(subject: Subject) -> TrainResult:
    """Train once for every check."""
    if "outcome" not in subject.shared:
        with global_randomness(1):
            subject.shared["outcome"] = _train(subject, _task(subject))
    outcome: TrainResult = subject.shared["outcome"]
    return outcome


CHECKS: tuple[Check, ...] = (
    declares_known_axes,
    names_its_architectures,
    reports_a_hit_for_each_test_image,
    gives_the_same_hits_again,
    does_not_learn_from_the_test_labels,
    trains_on_generated_images,
    trains_on_a_mix,
    names_what_it_starts_from,
    ignores_the_images_if_it_says_so,
)
