"""What a learner promises: probabilities for each test image, each time the same, blind to what it must not see."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from ..errors import UsageError
from ..plugins import Learner, Task, TrainResult
from ..plugins.images import Images
from ..running.scoring import flaw
from .subject import NotApplicable, Subject, global_randomness, require, require_json

AXES = frozenset({"arch", "aug", "mix"})
#: Probabilities of an image in another batch may differ by rounding.
SLACK = 1e-3


def declares_known_axes(subject: Subject) -> None:
    """``axes`` says by what the plan multiplies: a subset of arch, aug and mix."""
    axes = subject.plugin.axes
    require(
        isinstance(axes, frozenset) and axes <= AXES, f"axes must be a frozenset out of {sorted(AXES)}; got {axes!r}"
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


def reports_probabilities_for_each_test_image(subject: Subject) -> None:
    """The outcome is complete: probabilities in the order of the test images, JSON details, sane numbers."""
    outcome, task = _outcome(subject)
    require(
        min(outcome.steps, outcome.images_seen, outcome.parameters) >= 0,
        "steps, images_seen and parameters must not be negative",
    )
    for step, loss in outcome.curve:
        require(
            math.isfinite(loss) and 0 <= step <= outcome.steps,
            f"the curve has ({step}, {loss}) in a run of {outcome.steps} steps",
        )
    late = [at for at in task.answers if isinstance(at, int) and not 0 <= at <= outcome.steps]
    require(not late, f"task.evaluate was called for step {late[:1]} in a run of {outcome.steps} steps")
    require_json(dict(outcome.details), "details are not JSON")


def gives_the_same_probabilities_again(subject: Subject) -> None:
    """With one seed, another run gives the same probabilities, whatever the global random states are."""
    first, _ = _outcome(subject)
    with global_randomness(2):
        again = _train(subject, _task(subject))
    require(
        np.array_equal(first.probabilities, again.probabilities),
        "train gave other probabilities the second time; seed everything from context",
    )


def does_not_learn_from_the_order_of_the_test_images(subject: Subject) -> None:
    """Test images often come class by class. In reverse order, each is answered as before."""
    first, task = _outcome(subject)
    turned = dataclasses.replace(_task(subject), test=Images(task.test.images[::-1].copy(), task.test.classes))
    with global_randomness(1):
        outcome = _train(subject, turned)
    require(
        np.allclose(outcome.probabilities[::-1], first.probabilities, atol=SLACK),
        "test images in reverse order are answered otherwise: their order decides what is answered",
    )


def trains_on_generated_images(subject: Subject) -> None:
    """Without a single real image: the default mixing of the harness."""
    _train(subject, dataclasses.replace(_task(subject), real=None, synthetic=subject.more(1)))


def trains_on_a_mix(subject: Subject) -> None:
    """Real and generated images together, in the ratio asked for."""
    if "mix" not in subject.plugin.axes:
        raise NotApplicable
    _train(subject, dataclasses.replace(_task(subject), synthetic=subject.more(1), mix=(1, 3)))


def names_what_it_starts_from(subject: Subject) -> None:
    """``foundations`` gives names, folders or hub ids: a tuple of texts, whose content enters the key."""
    names = subject.plugin.foundations(_arch(subject), subject.info)
    fine = isinstance(names, tuple) and all(isinstance(name, str) and name for name in names)
    require(fine, f"foundations(arch, info) must return a tuple of names; got {names!r}")


def fills_in_what_a_training_needs_once(subject: Subject) -> None:
    """``for_training`` gives a learner of the same class, and leaves one that it filled in as it is."""
    filled = subject.plugin.for_training(_arch(subject), subject.info, len(subject.train))
    require(type(filled) is type(subject.plugin), f"for_training must return the learner, filled in; got {filled!r}")
    again = filled.for_training(_arch(subject), subject.info, 10 * len(subject.train))
    require(again == filled, "for_training must not change a learner that is filled in already")


def ignores_the_images_if_it_says_so(subject: Subject) -> None:
    """With ``trains = False`` the plan makes one cell whatever the images, so other images must change nothing."""
    if subject.plugin.trains:
        raise NotApplicable
    task = dataclasses.replace(_task(subject), real=subject.more(1))
    require(
        np.array_equal(_outcome(subject)[0].probabilities, _train(subject, task).probabilities),
        "trains is False, but other training images gave other probabilities",
    )


def _arch(subject: Subject) -> str | None:
    if "arch" not in subject.plugin.axes:
        return None
    asked = (subject.arch,) if subject.arch else ("all",)
    return next(iter(subject.plugin.architectures(asked, subject.info)), None)


def _task(subject: Subject) -> Task:
    held_out = subject.more(3).subset(range(min(8, len(subject.given))))
    return Task(
        real=subject.train,
        synthetic=None,
        mix=None,
        validation=held_out,
        test=subject.more(2).without_labels(),
        info=subject.info,
        arch=_arch(subject),
        augmentations=(),
        preset="quick",
    )


def _train(subject: Subject, task: Task) -> TrainResult:
    """Train, and require what the harness requires of an outcome."""
    learner = subject.plugin.for_training(task.arch, task.info, len(subject.train))
    outcome: TrainResult = learner.train(task, subject.context("train"))
    require(not (problem := flaw(outcome, task)), problem or "")
    return outcome


def _outcome(subject: Subject) -> tuple[TrainResult, Task]:
    """Train once for every check; return what came of which task."""
    task = subject.once("task", lambda: _task(subject))
    return subject.once("outcome", lambda: _train(subject, task)), task
