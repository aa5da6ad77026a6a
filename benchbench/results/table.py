"""Tables are a pure function of records: no file is read, no clock, no order of arrival matters.

A row gathers the trainings of one sentence (one ``spec_id``), over seeds and draws. Of several versions of
the code only the newest is shown; what it supersedes is counted. Accuracies are in percent, 0 to 100.
"""

from __future__ import annotations

import json
import re
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

from ..planning.setting import Setting, hide_paths
from ..plugins.metric import Column
from .learning import Learning, curve_of, learning_of
from .reading import LARGEST
from .record import METRIC_FACTS, Record, Result, number_columns
from .selection import MEASURE, Choice, choices
from .trainings import RowTrainings, accuracy_of, trainings_of
from .verdicts import Conclusion, Mean, Trained, baselines, conclusions, difference_alone, means, ties

if TYPE_CHECKING:
    from ..statistics.trainings import Estimate

T = TypeVar("T")

#: Stages that make or score generated images.
_OF_IMAGES = ("fit", "sample", "score")
#: A measure beyond is nobody's: the sum of a few of them would be no number.
ENDLESS = 1e100


@dataclass(frozen=True)
class Scores:
    """What one metric says of a generated set, averaged over its draws.

    Attributes:
        metric: its spelling.
        columns: what it shows of its numbers.
        values: by column key the mean, and what it was measured with: ``extractor``, the id of its features
            (``"mixed"`` when the draws differ in it; then nothing is averaged), ``n_score`` and ``n_reference``, the
            generated and real images that were compared (absent when the draws differ).

    """

    metric: str
    columns: tuple[Column, ...]
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Generation:
    """What one generated set is like and took, averaged over its draws.

    Attributes:
        setting: what it was made for and with, ``"-"`` for the axes of a training.
        draws: generations that the means are over.
        scores: what each metric says of it, by spelling.
        n_made: images that there are, fewer than ``n_syn`` after a filter; the mean over draws, rounded.
        fit_s, sample_s: seconds per generation.
        fit_images_per_s, sample_images_per_s: rates of the two stages.
        device: what it ran on, ``"mixed"`` where the draws differ in it.

    """

    setting: Setting
    draws: int
    scores: tuple[Scores, ...] = ()
    n_made: int | None = None
    fit_s: float | None = None
    sample_s: float | None = None
    fit_images_per_s: float | None = None
    sample_images_per_s: float | None = None
    device: str | None = None

    @property
    def seconds(self) -> float | None:
        """Seconds of one generation, ``None`` where none was measured."""
        known = [seconds for seconds in (self.fit_s, self.sample_s) if seconds is not None]
        return sum(known) if known else None


@dataclass(frozen=True)
class Row:
    """One setting with everything known about it.

    Attributes:
        setting: what was run.
        generation: its images, averaged over the draws of this row.
        spec_id: identity of the setting, see :class:`benchbench.results.record.Record`.
        seeds: finished trainings, over all draws.
        failed: trainings that failed.
        status: ``"done"``, ``"failed (out of memory)"`` or ``"1 of 3 failed (out of memory)"``.
        accuracy: mean accuracy of the last step over the distinct trainings, in percent, with its interval; ``None``
            where every training failed.
        acc_std: sample standard deviation (``ddof=1``) over all trainings; ``None`` for a single training.
        conclusion: the difference from the baseline with the same everything else, and what it says.
        tie_group: 1 for the best row of those that can be compared and every row not shown to be worse, 2 for the best
            of the others and so on; ``None`` for a control and without an accuracy.
        measures: means of the further numbers of a classifier by name.
        choice: what the validation part decided, for a setting of a sweep that is chosen on it.
        learning: what the trainings say of how far they got; ``None`` where no record has it.
        curve: ``(step, mean test accuracy in percent)`` on the way.
        trainings: the finished trainings themselves, image by image; ``None`` without one.
        best_on_test: mean of the best accuracy seen on the test set, in percent; not a result.
        train_s: mean seconds of one training.
        train_images_per_s: its mean rate.
        peak_memory_mib: the largest of any of its trainings.
        superseded: records of older code, or of the same training done again, that are not shown.
        environments: hashes of its environments; more than one is worth a mark.
        test_copies: training images that equal a test image, the most of any of its trainings.
        near_copies: further training images that nearly equal a test image, the most of any of its trainings.
        test_in_train, test_in_validation: test images that equal an image of the dataset's training and
            validation part, the most of any of its trainings; 0 also if it was not looked for.
        near_in_train, near_in_validation: further ones that nearly equal such an image, see
            :mod:`benchbench.statistics.near`.
        aug_links: augmentations in its chain, with the base that ``aug`` leaves out.
        other_code: stages that the row and its baseline went through with different code, by name.
        data_notes: what its records tell of the dataset, such as files that are not the published ones; each once.

    """

    setting: Setting
    generation: Generation
    spec_id: str
    seeds: int
    failed: int
    status: str
    accuracy: Estimate | None
    acc_std: float | None
    best_on_test: float | None
    train_s: float | None
    train_images_per_s: float | None
    peak_memory_mib: float | None
    superseded: int
    environments: tuple[str, ...]
    test_copies: int = 0
    near_copies: int = 0
    test_in_train: int = 0
    test_in_validation: int = 0
    near_in_train: int = 0
    near_in_validation: int = 0
    aug_links: int = 0
    other_code: tuple[str, ...] = ()
    data_notes: tuple[str, ...] = ()
    conclusion: Conclusion = field(default_factory=Conclusion)
    tie_group: int | None = None
    measures: Mapping[str, float] = field(default_factory=dict)
    choice: Choice | None = None
    learning: Learning | None = None
    curve: tuple[tuple[float, float], ...] = ()
    trainings: RowTrainings | None = field(default=None, compare=False, repr=False)

    @property
    def acc_mean(self) -> float | None:
        """The mean accuracy alone, in percent."""
        return None if self.accuracy is None else self.accuracy.value

    @property
    def stands(self) -> bool:
        """Whether it takes part in comparisons: any row but a setting of a sweep that was not chosen."""
        return self.choice is None or self.choice.chosen

    @property
    def delta(self) -> float | None:
        """The difference alone, in percentage points."""
        return None if self.conclusion.difference is None else self.conclusion.difference.value

    @property
    def delta_std(self) -> float | None:
        """The sample standard deviation of the differences of single trainings, in percentage points."""
        return self.conclusion.deviation


@dataclass(frozen=True)
class Table:
    """Rows in a fixed order, their generations, the number of records that are not shown, means over architectures."""

    rows: tuple[Row, ...]
    generations: tuple[Generation, ...]
    superseded: int
    means: tuple[Mean, ...] = ()

    def of(self, spec_ids: Iterable[str]) -> Table:
        """Return the part about some rows; what they, and controls of theirs, conclude is what it is among all."""
        wanted = set(spec_ids)
        rows = tuple(row for row in self.rows if row.spec_id in wanted)
        made = {row.setting.generation for row in rows}
        told = {mean.setting.comparable for mean in self.means if wanted.intersection(mean.rows)}
        return Table(
            rows,
            tuple(item for item in self.generations if item.setting.generation in made),
            sum(row.superseded for row in rows),
            tuple(
                mean
                for mean in self.means
                if wanted.intersection(mean.rows) or (mean.setting.control and mean.setting.comparable in told)
            ),
        )


def build_table(records: Iterable[Record]) -> Table:
    """Return the table of all records, the same for any order of them."""
    by_spec = _grouped(records, lambda record: record.spec_id)
    rows, shown = [], []
    finished: dict[str, list[Record]] = {}
    for spec_id, group in by_spec.items():
        kept = _newest(group)
        shown += kept
        rows.append(_row(kept, len(group) - len(kept)))
        finished[spec_id] = [record for record in kept if record.result]
    rows.sort(key=_row_order)
    trained = {row.spec_id: Trained(row.setting, trainings_of(done)) for row in rows if (done := finished[row.spec_id])}
    chosen = choices((row.spec_id, row.setting, _validation(finished[row.spec_id])) for row in rows)
    listed = {spec_id for spec_id, choice in chosen.items() if not choice.chosen}
    pairs = baselines(trained)
    codes = {spec_id: done[-1].code for spec_id, done in finished.items() if done}
    compared = [
        replace(
            row,
            choice=chosen.get(row.spec_id),
            other_code=_other_code(*(codes[spec_id] for spec_id in pairs.get(row.spec_id, ()))),
        )
        for row in _compared(rows, trained, listed)
    ]
    judged = {spec_id: row for spec_id, row in trained.items() if spec_id not in listed}
    over = means(judged, {row.spec_id: row.conclusion for row in compared if row.spec_id in judged})
    made = [_generation(group) for group in _grouped(shown, lambda record: record.cell.generation).values()]
    generations = tuple(sorted(made, key=_generation_order))
    return Table(tuple(compared), generations, sum(row.superseded for row in rows), over)


def shown_keys(records: Iterable[Record]) -> set[str]:
    """Return the keys of the records that a table shows.

    A cell of the present plan that is missing here lost to newer code, because an edit was taken back:
    write its record again with ``refresh=True``.
    """
    by_spec = _grouped(records, lambda record: record.spec_id)
    return {record.key for group in by_spec.values() for record in _newest(group)}


def columns_of(record: Record) -> dict[str, tuple[Column, ...]]:
    """Return the columns of each metric that scored, by its spelling."""
    return {
        name: record.metric_columns.get(name) or number_columns(scores)
        for name, scores in record.metrics.items()
        if "error" not in scores
    }


def short_error(error: str, limit: int = 80) -> str:
    """Return the gist of an error in one line of at most ``limit`` characters: ``"out of memory"``."""
    if re.search(r"out of memory|\w*MemoryError|cannot allocate memory|bad_alloc", error, re.IGNORECASE):
        return "out of memory"
    lines = [line.strip() for line in error.splitlines() if line.strip()] or ["unknown error"]
    text = hide_paths(lines[-1] if lines[0].startswith("Traceback") else lines[0])
    return text if len(text) <= limit else text[: limit - 3].rstrip() + "..."


def natural(text: str) -> tuple[tuple[int, float, str], ...]:
    """Return a sort key under which ``scale=9`` stands before ``scale=10``."""
    parts = re.split(r"(\d+(?:\.\d+)?)", text.lower())
    return (
        *((0, float(part), "") if i % 2 else (1, 0.0, part) for i, part in enumerate(parts)),
        (2, 0.0, text),
    )


# --- which records count


def _newest(group: Sequence[Record]) -> list[Record]:
    """Return the records of the newest code, one per training, in the order of draws and replicates.

    The code of a metric does not count: its edit changes a metric's values, not what was trained.
    """
    by_code = _grouped(group, lambda record: json.dumps(_trained_by(record), sort_keys=True))
    code = max(by_code, key=lambda code: (max(item.newness for item in by_code[code]), code))
    again = _grouped(by_code[code], _training).values()
    return sorted(map(_latest, again), key=_training)


def _trained_by(record: Record) -> dict[str, str]:
    return {name: code for name, code in record.code.items() if not name.startswith("score ")}


def _other_code(*codes: Mapping[str, str]) -> tuple[str, ...]:
    """Return the stages that a row and its baseline both have, with different code; those of images are its own."""
    known = [{name: code for name, code in it.items() if name.split(" ")[0] not in _OF_IMAGES} for it in codes]
    shared = sorted(set.intersection(*(set(it) for it in known))) if known else []
    return tuple(name for name in shared if len({it[name] for it in known}) > 1)


def _latest(records: Sequence[Record]) -> Record:
    """Return the newest record of one training, a finished one before a failed one, whatever their order."""
    first = max((record.newness, record.status == "done") for record in records)
    tied = [record for record in records if (record.newness, record.status == "done") == first]
    return tied[0] if len(tied) == 1 else max(tied, key=Record.text)


def _training(record: Record) -> tuple[int, int]:
    return record.cell.draw, record.cell.replicate


def _grouped(records: Iterable[Record], by: Callable[[Record], T]) -> dict[T, list[Record]]:
    groups: dict[T, list[Record]] = defaultdict(list)
    for record in records:
        groups[by(record)].append(record)
    return dict(groups)


# --- what a row says


def _row(records: Sequence[Record], superseded: int) -> Row:
    done = [(record, record.result) for record in records if record.result is not None]
    results = [result for _, result in done]
    accuracies = [result.accuracy * 100 for result in results]
    best = [result.best_on_test * 100 for _, result in done if result.best_on_test is not None]
    memory = [number for record in records if (number := _number(record.cost.peak_memory_mib)) is not None]
    return Row(
        setting=records[0].cell.setting.without_paths(),
        generation=_generation(records),
        spec_id=records[0].spec_id,
        seeds=len(done),
        failed=len(records) - len(done),
        status=_status(records),
        accuracy=None,
        acc_std=statistics.stdev(accuracies) if len(accuracies) > 1 else None,
        best_on_test=_mean(best),
        train_s=_mean(record.cost.train_s for record, _ in done),
        train_images_per_s=_mean(record.cost.images_per_s.get("train") for record, _ in done),
        peak_memory_mib=max(memory, default=None),
        superseded=superseded,
        environments=tuple(sorted({record.provenance.environment for record in records})),
        test_copies=max((_fact(result.details, "test_copies") for _, result in done), default=0),
        near_copies=max((_fact(result.details, "near_copies") for _, result in done), default=0),
        test_in_train=max(_data_fact(record, "test_in_train") for record in records),
        test_in_validation=max(_data_fact(record, "test_in_validation") for record in records),
        near_in_train=max(_data_fact(record, "near_in_train") for record in records),
        near_in_validation=max(_data_fact(record, "near_in_validation") for record in records),
        aug_links=sum(name.startswith("aug ") for name in records[-1].code),
        data_notes=tuple(dict.fromkeys(hide_paths(note) for item in records for note in item.provenance.notes)),
        measures=_measures(results),
        learning=learning_of(results),
        curve=curve_of(results),
    )


def _measures(results: Sequence[Result]) -> dict[str, float]:
    """Return the mean of each further number; lists, such as those by class, are left to the records."""
    names = sorted({name for result in results for name in result.measures})
    found = {name: _mean(result.measures.get(name) for result in results) for name in names}
    return {name: value for name, value in found.items() if value is not None}


def _validation(records: Sequence[Record]) -> dict[tuple[int, int], float]:
    """Return the share of the validation part that each training classified rightly, where it was asked."""
    told = {_training(it): _number(it.result.measures.get(MEASURE)) for it in records if it.result is not None}
    return {training: share for training, share in told.items() if share is not None}


def _data_fact(record: Record, name: str) -> int:
    return max((_fact(step, name) for step in record.facts.get("data", ())), default=0)


def _fact(facts: Mapping[str, Any], name: str) -> int:
    """Return a count among free facts, 0 where there is none."""
    value = facts.get(name, 0)
    return int(value) if _is_count(value) else 0


def _status(records: Sequence[Record]) -> str:
    reasons = [short_error(record.error) for record in records if record.error is not None]
    if not reasons:
        return "done"
    why = "; ".join(dict.fromkeys(reasons))
    return f"failed ({why})" if len(reasons) == len(records) else f"{len(reasons)} of {len(records)} failed ({why})"


def _compared(rows: Sequence[Row], trained: Mapping[str, Trained], listed: set[str]) -> list[Row]:
    """Return rows with their accuracies and what they say against each other; ``listed`` ones take no part in that."""
    judged = {spec_id: row for spec_id, row in trained.items() if spec_id not in listed}
    found, groups = conclusions(judged), ties(judged)
    found |= {spec_id: difference_alone(trained, spec_id) for spec_id in listed}

    def compared(row: Row) -> Row:
        known = trained.get(row.spec_id)
        if known is None:
            return row
        accuracy = accuracy_of(known.trainings)
        row = replace(row, accuracy=accuracy, trainings=known.trainings)
        return replace(row, conclusion=found[row.spec_id], tie_group=groups.get(row.spec_id))

    return list(map(compared, rows))


def _row_order(row: Row) -> tuple[Any, ...]:
    it = row.setting
    axes = (natural(it.learner), natural(it.arch), natural(it.aug), natural(it.test))
    return (*_place_order(it), *axes, not it.baseline, natural(it.mix), natural(it.gen), it.n_syn, row.spec_id)


def _place_order(it: Setting) -> tuple[Any, ...]:
    return natural(it.data), it.n_real, it.shots or 0, it.subset, it.preset, sorted(it.more.items())


# --- what a generation says


def _generation(records: Sequence[Record]) -> Generation:
    newest_first = sorted(records, key=lambda record: (record.newness, record.key), reverse=True)
    draws = list(_grouped(newest_first, lambda record: record.cell.draw).values())

    def values(read: Callable[[Record], Any]) -> list[Any]:
        """Return one value per draw, the newest: all trainings of a draw share its images."""
        per_draw = (next((value for item in draw if (value := read(item)) is not None), None) for draw in draws)
        return [value for value in per_draw if value is not None]

    def mean(read: Callable[[Record], Any]) -> float | None:
        return _mean(values(read))

    def scores(metric: str, columns: tuple[Column, ...]) -> Scores:
        def of(key: str) -> list[Any]:
            return values(lambda item: item.metrics.get(metric, {}).get(key))

        facts = {
            name: set(map(str, of(name)) if name == "extractor" else filter(_is_count, of(name)))
            for name in METRIC_FACTS
        }
        shared = {name: next(iter(values)) for name, values in facts.items() if len(values) == 1}
        if len(facts["extractor"]) > 1:
            return Scores(metric, columns, shared | {"extractor": "mixed"})
        means = {column.key: _mean(of(column.key)) for column in columns}
        return Scores(metric, columns, shared | {key: value for key, value in means.items() if value is not None})

    counted = mean(lambda item: item.cost.sample_images)
    newest: dict[str, tuple[Column, ...]] = {}
    for record in newest_first:
        newest = columns_of(record) | newest
    return Generation(
        setting=replace(records[0].cell.setting.without_paths(), mix="-", aug="-", learner="-", arch="-", test="-"),
        draws=len(draws),
        scores=tuple(scores(metric, newest[metric]) for metric in sorted(newest)),
        n_made=None if counted is None else round(min(counted, 2**53)),  # beyond, a float is no whole number
        fit_s=mean(lambda item: item.cost.fit_s),
        sample_s=mean(lambda item: item.cost.sample_s),
        fit_images_per_s=mean(lambda item: item.cost.images_per_s.get("fit")),
        sample_images_per_s=mean(lambda item: item.cost.images_per_s.get("sample")),
        device=_only(values(lambda item: item.cost.device)),
    )


def _only(names: Sequence[str]) -> str | None:
    return (names[0] if len(set(names)) == 1 else "mixed") if names else None


def _generation_order(made: Generation) -> tuple[Any, ...]:
    it = made.setting
    return *_place_order(it), not it.baseline, natural(it.gen), it.n_syn


def _is_count(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value < LARGEST and value == int(value)


def _number(value: Any) -> float | None:
    """Return what can be added up, ``None`` for anything else."""
    fits = type(value) in (int, float) and abs(value) <= ENDLESS
    return float(value) if fits else None


def _mean(values: Iterable[Any]) -> float | None:
    numbers = [number for value in values if (number := _number(value)) is not None]
    return statistics.fmean(numbers) if numbers else None
