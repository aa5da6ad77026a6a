"""The conformance suite: what each kind of plugin promises, one function per promise.

A check takes a :class:`Subject` and raises ``AssertionError`` with one sentence when the promise is broken,
or ``Skip`` when it cannot be judged here. Its name, read as words, is the promise. ``benchbench.testing``
is the public door.
"""

from __future__ import annotations

from .subject import Check, CheckResult, Skip, Subject, judge

__all__ = ["Check", "CheckResult", "Skip", "Subject", "checks_of", "judge"]


def checks_of(subject: Subject) -> list[tuple[Check, bool]]:
    """Return the checks for a subject's kind, in order; the flag says that all that follow depend on it."""
    from . import augmentation, common, dataset, executor, foundation, generator, learner, metric, opened, report

    kinds = {
        "dataset": dataset.CHECKS,
        "generator": generator.CHECKS,
        "augmentation": augmentation.CHECKS,
        "learner": learner.CHECKS,
        "metric": metric.CHECKS,
        "foundation": foundation.CHECKS,
        "executor": executor.CHECKS,
        "report": report.CHECKS,
    }
    essential = {*common.ESSENTIAL, dataset.describes_itself_consistently, foundation.has_a_folder}
    every = (*common.CHECKS, *kinds.get(getattr(subject.cls, "kind", ""), ()))
    if getattr(subject.cls, "kind", "") != "foundation":  # its whole folder is hashed
        every += opened.CHECKS
    return [(check, check in essential) for check in every]
