"""What a metric promises: finite JSON values that say what they were measured with, the same each time."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..errors import BenchError
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
)


def writes_the_same_reference_again(subject: Subject) -> str:
    """Every generator is compared with one reference: the same bytes each time, also after a kill."""
    if not subject.plugin.has_reference:
        raise NotApplicable
    whole = subject.once("reference", lambda: _reference(subject, subject.train))
    with global_randomness(2):
        again = folder_digest(_reference(subject, subject.train).folder)
    require(again == folder_digest(whole.folder), "reference wrote other bytes the second time; use context.rng")
    return continues_after_a_kill(
        "reference", whole, lambda **changes: _reference(subject, subject.train, **changes), subject
    )


def returns_finite_json_values(subject: Subject) -> None:
    """Every value is JSON, every number finite; ``None`` stands for what cannot be had."""
    scores = _scores(subject)
    require(bool(scores), "score returned nothing")
    require_json(scores, "score must return plain JSON values", f"; got {scores!r}")
    numbers = [value for value in scores.values() if isinstance(value, (int, float))]
    require(any(math.isfinite(value) for value in numbers), "score returned no number")


def declares_its_columns(subject: Subject) -> None:
    """Tables show the columns that it declares: each is a number of ``score``, or ``None``, under a unique key."""
    columns = subject.plugin.columns()
    require(bool(columns), "columns() declares nothing; return a Column(key, title, ...) for each number")
    keys = [column.key for column in columns]
    require(len(set(keys)) == len(keys), f"columns() declares a key twice: {', '.join(keys)}")
    scores = _scores(subject)
    for key in keys:
        require(key in scores, f"columns() declares {key}, which score does not return; it returns {', '.join(scores)}")
        value = scores[key]
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        require(value is None or is_number, f"the column {key} must be a number; got {value!r}")


def says_what_it_was_measured_with(subject: Subject) -> None:
    """A distance without its extractor and its counts cannot be compared with another."""
    scores = _scores(subject)
    for key, kind in (("extractor", str), ("n_score", int), ("n_reference", int)):
        require(type(scores.get(key)) is kind, f"score must report {key} as {kind.__name__}; got {scores.get(key)!r}")
    counts = scores["n_score"], scores["n_reference"]
    sizes = len(_synthetic(subject)), len(subject.train)
    within = 0 < counts[0] <= sizes[0] and 0 < counts[1] <= sizes[1]
    require(within, f"it reports {counts} scored and reference images out of {sizes}")


def gives_the_same_values_again(subject: Subject) -> None:
    """Another call gives the same numbers, whatever the global random states are."""
    first = _scores(subject)
    with global_randomness(2):
        again = _score(subject, subject.train, _synthetic(subject))
    require(first == again, f"score gave {first} and then {again}")


def leaves_the_images_alone(subject: Subject) -> None:
    """The images are shared by every metric."""
    synthetic = _synthetic(subject)
    kept = np.array(synthetic.images)
    _score(subject, subject.train, synthetic)
    require(np.array_equal(kept, synthetic.images), "score wrote to the generated images; work on a copy")


def refuses_an_empty_set_clearly(subject: Subject) -> None:
    """Nothing generated, or nothing to compare with, is said in words and never scored."""
    whole = subject.train
    empty = whole.subset([])
    for real, synthetic, what in ((whole, empty, "no generated images"), (empty, whole, "no real images")):
        try:
            scores = _score(subject, real, synthetic)
        except (BenchError, ValueError) as error:
            require(bool(str(error).strip()), f"with {what} score raises an error without a message")
        except Exception as error:
            raise AssertionError(
                f"with {what} score fails with {type(error).__name__}; raise a ValueError that says so"
            ) from error
        else:
            raise AssertionError(f"with {what} score returns {dict(scores)}; raise a ValueError that says so")


def _synthetic(subject: Subject) -> ImageSet:
    return subject.once("synthetic", lambda: subject.more(1))


def _scores(subject: Subject) -> dict[str, Any]:
    """Score once for every check."""
    synthetic = _synthetic(subject)
    return subject.once("scores", lambda: _score(subject, subject.train, synthetic))


def _score(subject: Subject, real: ImageSet, synthetic: ImageSet) -> dict[str, Any]:
    """Score as a run does: with what ``reference`` wrote about the real images, if the metric has that method."""
    known = _reference(subject, real).folder if subject.plugin.has_reference else None
    return dict(subject.plugin.score(real, synthetic, subject.context("score", reference=known)))


def _reference(subject: Subject, real: ImageSet, **changes: Any) -> Probe:
    context = subject.context("reference", **changes)
    subject.plugin.reference(real, context)
    return context
