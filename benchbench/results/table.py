"""Tables are a pure function of records: no file is read, no clock, no order of arrival matters.

A row gathers the trainings of one sentence (one ``spec_id``), over seeds and draws. Of several versions of
the code only the newest is shown; what it supersedes is counted. Accuracies are in percent, 0 to 100.
"""

from __future__ import annotations

import json
import math
import re
import statistics
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, TypeVar

from .record import Cell, Record, hide_paths

T = TypeVar("T")


@dataclass(frozen=True)
class Generation:
    """What one generated set is like and took, averaged over its draws.

    Attributes:
        data, gen, n_real, n_syn, shots, preset, baseline: as in :class:`benchbench.results.record.Cell`.
        subset: how the real images were chosen, ``"balanced"`` or ``"groups"``.
        draws: generations behind the means.
        fd: Fréchet distance on the features of ``extractor``.
        kd: kernel distance on the same features.
        precision, recall, density, coverage: of the generated images among the reference.
        extractor: id of the feature extractor; ``None`` without metrics, ``"mixed"`` when the draws
            differ in it (then nothing is averaged).
        n_made: images that there are, fewer than ``n_syn`` after a filter; the mean over draws, rounded.
        fd_real: Fréchet distance of as many real images to the other real ones: what ``fd`` would be at best.
        n_score: generated images that were scored; ``None`` when the draws differ.
        n_reference: real images that they were scored against.
        fit_s, sample_s: seconds per generation.
        fit_images_per_s, sample_images_per_s: rates of the two stages.

    """

    data: str
    gen: str
    n_real: int
    n_syn: int
    shots: int | None
    preset: str
    baseline: bool
    draws: int
    fd: float | None = None
    kd: float | None = None
    precision: float | None = None
    recall: float | None = None
    density: float | None = None
    coverage: float | None = None
    fd_real: float | None = None
    n_made: int | None = None
    extractor: str | None = None
    n_score: int | None = None
    n_reference: int | None = None
    fit_s: float | None = None
    sample_s: float | None = None
    fit_images_per_s: float | None = None
    sample_images_per_s: float | None = None
    subset: str = "balanced"


@dataclass(frozen=True)
class Row:
    """One sentence with everything known about it.

    Attributes:
        generation: its images, averaged over the draws of this row.
        mix, aug, learner, arch, test, spec_id: as in :class:`benchbench.results.record.Cell`; ``"-"`` for an axis it lacks.
        seeds: finished trainings, over all draws.
        failed: trainings that failed.
        status: ``"done"``, ``"failed (out of memory)"`` or ``"1 of 3 failed (out of memory)"``.
        acc_mean: mean accuracy of the last step, in percent.
        acc_std: its sample standard deviation (``ddof=1``); ``None`` for a single training.
        delta: ``acc_mean`` minus that of the baseline with the same everything else.
        delta_std: sample standard deviation of the differences, paired by draw and replicate; ``None`` unless
            both rows have the same ones, at least two.
        best_on_test: mean of the best accuracy seen on the test set, in percent; not a result.
        train_s: mean seconds of one training.
        train_images_per_s: its mean rate.
        peak_memory_mib: the largest of any of its trainings.
        superseded: records of older code, or of the same training done again, that are not shown.
        environments: hashes of the environments behind it; more than one is worth a mark.
        test_copies: training images that equal a test image, the most of any of its trainings.
        test_in_train, test_in_validation: test images that equal an image of the dataset's training and
            validation part, the most of any of its trainings; 0 also where nobody looked.
        aug_links: augmentations in its chain, with the base that ``aug`` leaves out.
        data_notes: what its records tell of the dataset, such as files that are not the published ones; each once.

    """

    generation: Generation
    mix: str
    aug: str
    learner: str
    arch: str
    spec_id: str
    seeds: int
    failed: int
    status: str
    acc_mean: float | None
    acc_std: float | None
    best_on_test: float | None
    train_s: float | None
    train_images_per_s: float | None
    peak_memory_mib: float | None
    superseded: int
    environments: tuple[str, ...]
    test: str = "-"
    test_copies: int = 0
    test_in_train: int = 0
    test_in_validation: int = 0
    aug_links: int = 0
    data_notes: tuple[str, ...] = ()
    delta: float | None = None
    delta_std: float | None = None


@dataclass(frozen=True)
class Table:
    """Rows in a fixed order, the generations behind them, and the number of records that are not shown."""

    rows: tuple[Row, ...]
    generations: tuple[Generation, ...]
    superseded: int


def build_table(records: Iterable[Record]) -> Table:
    """Return the table of all records, the same for any order of them."""
    by_spec = _grouped(records, lambda record: record.spec_id)
    rows, shown, accuracies = [], [], {}
    for spec_id, group in by_spec.items():
        kept = _newest(group)
        shown += kept
        rows.append(_row(kept, len(group) - len(kept)))
        accuracies[spec_id] = {_training(item): item.result.accuracy * 100 for item in kept if item.result}
    rows.sort(key=_row_order)
    baselines: dict[tuple[Hashable, ...], Row] = {}
    for row in rows:
        if row.generation.baseline and row.acc_mean is not None:
            baselines.setdefault(_comparable(row), row)
    compared = tuple(_with_delta(row, baselines.get(_comparable(row)), accuracies) for row in rows)
    made = [_generation(group) for group in _grouped(shown, lambda record: _generation_id(record.cell)).values()]
    return Table(compared, tuple(sorted(made, key=_generation_order)), sum(row.superseded for row in rows))


def shown_keys(records: Iterable[Record]) -> set[str]:
    """Return the keys of the records that a table shows.

    A cell of the present plan that is missing here lost to newer code, because an edit was taken back:
    write its record again with ``refresh=True``.
    """
    by_spec = _grouped(records, lambda record: record.spec_id)
    return {record.key for group in by_spec.values() for record in _newest(group)}


def metric(record: Record, name: str) -> Any:
    """Return a value that any of a record's metrics gave; what stands beside ``fd`` goes first."""
    mappings = [record.metrics[plugin] for plugin in sorted(record.metrics)]
    mappings.sort(key=lambda mapping: mapping.get("fd") is None)
    return next((mapping[name] for mapping in mappings if mapping.get(name) is not None), None)


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
    code = max(by_code, key=lambda code: (max(item.created for item in by_code[code]), code))
    again = _grouped(by_code[code], _training).values()
    return sorted((items[0] if len(items) == 1 else max(items, key=_age) for items in again), key=_training)


def _trained_by(record: Record) -> dict[str, str]:
    return {name: code for name, code in record.code.items() if not name.startswith("score ")}


def _age(record: Record) -> tuple[datetime, bool, str]:
    return record.created, record.status == "done", record.text()


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
    accuracies = [result.accuracy * 100 for _, result in done]
    best = [result.best_on_test * 100 for _, result in done if result.best_on_test is not None]
    cell = records[0].cell
    memory = [number for record in records if (number := _number(record.cost.peak_memory_mib)) is not None]
    return Row(
        generation=_generation(records),
        mix=cell.mix,
        aug=hide_paths(cell.aug),
        learner=hide_paths(cell.learner),
        arch=cell.arch or "-",
        spec_id=records[0].spec_id,
        seeds=len(done),
        failed=len(records) - len(done),
        status=_status(records),
        acc_mean=_mean(accuracies),
        acc_std=statistics.stdev(accuracies) if len(accuracies) > 1 else None,
        best_on_test=_mean(best),
        train_s=_mean(record.cost.train_s for record, _ in done),
        train_images_per_s=_mean(record.cost.images_per_s.get("train") for record, _ in done),
        peak_memory_mib=max(memory, default=None),
        superseded=superseded,
        environments=tuple(sorted({record.provenance.environment for record in records})),
        test=hide_paths(cell.test),
        test_copies=max((int(result.details.get("test_copies", 0)) for _, result in done), default=0),
        test_in_train=max(_data_fact(record, "test_in_train") for record in records),
        test_in_validation=max(_data_fact(record, "test_in_validation") for record in records),
        aug_links=sum(name.startswith("aug ") for name in records[-1].code),
        data_notes=tuple(dict.fromkeys(hide_paths(note) for item in records for note in item.provenance.notes)),
    )


def _data_fact(record: Record, name: str) -> int:
    found = (step.get(name) for step in record.facts.get("data", ()) if isinstance(step, Mapping))
    return max((value for value in found if type(value) is int), default=0)


def _status(records: Sequence[Record]) -> str:
    reasons = [short_error(record.error) for record in records if record.error is not None]
    if not reasons:
        return "done"
    told = "; ".join(dict.fromkeys(reasons))
    return f"failed ({told})" if len(reasons) == len(records) else f"{len(reasons)} of {len(records)} failed ({told})"


def _with_delta(row: Row, baseline: Row | None, accuracies: Mapping[str, Mapping[tuple[int, int], float]]) -> Row:
    if baseline is None or row.generation.baseline or row.acc_mean is None or baseline.acc_mean is None:
        return row
    ours, theirs = accuracies[row.spec_id], accuracies[baseline.spec_id]
    std = None
    if len(ours) > 1 and ours.keys() == theirs.keys():
        std = statistics.stdev([ours[training] - theirs[training] for training in sorted(ours)])
    return replace(row, delta=row.acc_mean - baseline.acc_mean, delta_std=std)


def _comparable(row: Row) -> tuple[Hashable, ...]:
    made = row.generation
    return made.data, made.n_real, made.shots, made.subset, made.preset, row.learner, row.arch, row.aug, row.test


def _row_order(row: Row) -> tuple[Any, ...]:
    made = row.generation
    place = (natural(made.data), made.n_real, made.shots or 0, made.subset, made.preset)
    axes = (natural(row.learner), natural(row.arch), natural(row.aug), natural(row.test))
    return (*place, *axes, not made.baseline, natural(row.mix), natural(made.gen), made.n_syn, row.spec_id)


# --- what a generation says


def _generation(records: Sequence[Record]) -> Generation:
    newest_first = sorted(records, key=lambda record: (record.created, record.key), reverse=True)
    draws = list(_grouped(newest_first, lambda record: record.cell.draw).values())

    def values(read: Callable[[Record], Any]) -> list[Any]:
        """Return one value per draw, the newest: all trainings of a draw share its images."""
        per_draw = (next((value for item in draw if (value := read(item)) is not None), None) for draw in draws)
        return [value for value in per_draw if value is not None]

    def mean(read: Callable[[Record], Any]) -> float | None:
        return _mean(values(read))

    def same(name: str) -> int | None:
        found = {value for value in values(lambda item: metric(item, name)) if type(value) is int}
        return found.pop() if len(found) == 1 else None

    cell = records[0].cell
    extractors = {str(value) for value in values(lambda item: metric(item, "extractor"))}
    one = len(extractors) <= 1
    names = ("fd", "kd", "precision", "recall", "density", "coverage", "fd_real") if one else ()
    counted = mean(lambda item: item.cost.sample_images)
    return Generation(
        data=hide_paths(cell.data),
        gen=hide_paths(cell.gen),
        n_real=cell.n_real,
        n_syn=cell.n_syn,
        shots=cell.shots,
        preset=cell.preset,
        baseline=cell.baseline,
        draws=len(draws),
        n_made=None if counted is None else round(counted),
        extractor="mixed" if not one else next(iter(extractors), None),
        n_score=same("n_score"),
        n_reference=same("n_reference"),
        fit_s=mean(lambda item: item.cost.fit_s),
        sample_s=mean(lambda item: item.cost.sample_s),
        fit_images_per_s=mean(lambda item: item.cost.images_per_s.get("fit")),
        sample_images_per_s=mean(lambda item: item.cost.images_per_s.get("sample")),
        subset=cell.subset,
        **{name: mean(lambda item, name=name: metric(item, name)) for name in names},  # type: ignore[misc]
    )


def _generation_id(cell: Cell) -> tuple[Hashable, ...]:
    return cell.data, cell.n_real, cell.shots, cell.subset, cell.preset, cell.gen, cell.n_syn, cell.baseline


def _generation_order(made: Generation) -> tuple[Any, ...]:
    place = (natural(made.data), made.n_real, made.shots or 0, made.subset, made.preset)
    return (*place, not made.baseline, natural(made.gen), made.n_syn, made.extractor or "")


def _number(value: Any) -> float | None:
    return float(value) if type(value) in (int, float) and math.isfinite(value) else None


def _mean(values: Iterable[Any]) -> float | None:
    numbers = [number for value in values if (number := _number(value)) is not None]
    return statistics.fmean(numbers) if numbers else None
