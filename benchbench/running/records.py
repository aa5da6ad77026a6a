"""From artifacts to records: what a finished or failed cell leaves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from ..files import read_json
from ..planning.cells import PlannedCell
from ..results.reading import RecordError, json_flaw
from ..results.record import Cost, Provenance, Record, Result
from ..store.store import Store


def make_record(
    cell: PlannedCell,
    store: Store,
    errors: Mapping[str, str],
    environment: str,
    plugins: Mapping[str, str],
    meta: Callable[[str], Mapping[str, Any]],
    order: int | None = None,
) -> Record:
    """Return the record of a cell whose steps have all been tried.

    Args:
        cell: the planned cell.
        store: where its artifacts are.
        errors: error by key of the steps that failed in this run.
        environment: hash of this environment; a cached training keeps that of its run.
        plugins: distribution and version of each plugin.
        meta: what was published with an artifact, by its key; remembers those that thousands of cells share.
        order: of this run, see :func:`~benchbench.results.record.order_of_run`.
    """
    metas = {key: meta(key) for keys in cell.steps.values() for key in keys if store.has(key)}
    # A training that lacks an input fails with that input's error. A metric that fails must not hide the accuracy.
    failed = errors.get(cell.train)
    if failed is None and cell.train not in metas:
        failed = "its result is no longer in the store; run again"
    result = None
    if failed is None:
        try:
            result = Result.from_json(read_json(store.path(cell.train) / "outcome.json"))
        except (OSError, ValueError, RecordError) as error:
            failed = _unreadable(error)
    environment = metas.get(cell.train, {}).get("environment") or environment
    scores = {
        name: _scores(store.path(key))
        if key in metas
        else {"error": errors.get(key, "its result is no longer in the store; run again")}
        for name, key in cell.score.items()
    }
    return Record(
        key=cell.train,
        spec_id=cell.spec_id,
        status="done" if failed is None else "failed",
        error=failed,
        cell=cell.setting,
        result=result,
        metrics=scores,
        cost=_cost(cell, metas),
        code=cell.code,
        steps=cell.steps,
        provenance=Provenance(environment, _version(), _now(), cell.notes, plugins, order),
        facts=_facts(cell, metas),
        metric_columns=cell.columns,
    )


def _scores(folder: Path) -> dict[str, Any]:
    try:
        scores = read_json(folder / "scores.json")
    except (OSError, ValueError) as error:
        return {"error": _unreadable(error)}
    flaw = json_flaw(scores) if isinstance(scores, dict) else "no object"
    return {"error": _unreadable(flaw)} if flaw else scores


def _unreadable(why: object) -> str:
    """Say what only a store that somebody else wrote can hold: its checksums are right."""
    return f"its result in the store cannot be read: {why}; run with another --results, or `bench cache gc --all` first"


def is_current(record: Record, cell: PlannedCell, plugins: Mapping[str, str]) -> bool:
    """Return whether a new record of a cell would say what this one says, if none of its steps ran again."""
    made = record.provenance
    return (
        record.status == "done"
        and record.steps == cell.steps  # by key, so that results, costs and facts are the same
        and (record.cell, record.spec_id, record.code) == (cell.setting, cell.spec_id, cell.code)
        and (record.metrics.keys(), record.metric_columns) == (cell.score.keys(), cell.columns)
        and not any("error" in scores for scores in record.metrics.values())
        and (made.bench_version, made.notes, made.plugins) == (_version(), cell.notes, plugins)
    )


def of_this_run(record: Record, order: int) -> Record:
    """Return a record as the run of this ``order`` makes it now."""
    return replace(record, provenance=replace(record.provenance, created=_now(), order=order))


def _facts(cell: PlannedCell, metas: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    reported = {
        key: {"step": meta.get("label", "?"), **meta["facts"]} for key, meta in metas.items() if "facts" in meta
    }
    facts_of = {stage: [reported[key] for key in keys if key in reported] for stage, keys in cell.steps.items()}
    return {stage: facts for stage, facts in facts_of.items() if facts}


def keep_known(record: Record, earlier: Record | None) -> Record:
    """Add what an earlier record of the same training knows and this run did not ask for or could not measure.

    That is the metrics that were left out this time, and the cost of artifacts that were removed since.
    """
    if earlier is None or earlier.result is None or record.result is None:
        return record
    kept = {name: scores for name, scores in earlier.metrics.items() if name not in record.metrics}
    steps = dict(record.steps)
    code = dict(record.code)
    if kept:
        for stage in ("reference", "score"):
            steps[stage] = sorted({*record.steps.get(stage, ()), *earlier.steps.get(stage, ())})
        code |= {name: earlier.code[name] for name in (f"score {item}" for item in kept) if name in earlier.code}
    columns = {**{name: earlier.metric_columns.get(name, ()) for name in kept}, **record.metric_columns}
    cost = {name: getattr(earlier.cost, name) if value is None else value for name, value in vars(record.cost).items()}
    rates = {name: rate for name, rate in record.cost.images_per_s.items() if rate is not None}
    cost["precision"] = {**earlier.cost.precision, **record.cost.precision}
    cost["images_per_s"] = {**record.cost.images_per_s, **earlier.cost.images_per_s, **rates}
    metrics = {**kept, **record.metrics}
    return replace(record, metrics=metrics, metric_columns=columns, steps=steps, code=code, cost=Cost(**cost))


def _cost(cell: PlannedCell, metas: Mapping[str, Mapping[str, Any]]) -> Cost:
    def seconds(keys: tuple[str, ...] | list[str]) -> float | None:
        known = [metas[key]["seconds"] for key in keys if "seconds" in metas.get(key, ())]
        return round(sum(known), 3) if known else None

    def images(keys: tuple[str, ...] | list[str]) -> int | None:
        known = [metas[key]["images"] for key in keys if "images" in metas.get(key, ())]
        return sum(known) if known else None

    def rate(count: int | None, spent: float | None) -> float | None:
        return round(count / spent, 3) if count and spent else None

    spent = {stage: seconds(keys) for stage, keys in cell.steps.items()}
    count = {stage: images(keys) for stage, keys in cell.steps.items()}
    # What a chain makes is what its last link yields, however many images the links before it handled.
    count["sample"] = images(cell.sample[-1:])
    peaks = [meta["peak_memory_mib"] for meta in metas.values() if "peak_memory_mib" in meta]
    return Cost(
        fit_s=spent["fit"],
        sample_s=spent["sample"],
        train_s=spent["train"],
        score_s=seconds([*cell.reference, *cell.score.values()]),
        data_s=spent["data"],
        fit_images=count["fit"],
        sample_images=count["sample"],
        images_per_s={stage: rate(count[stage], spent[stage]) for stage in ("fit", "sample", "train")},
        peak_memory_mib=max(peaks, default=None),
        device=metas.get(cell.train, {}).get("device"),
        precision=_precision(cell, metas),
    )


def _precision(cell: PlannedCell, metas: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Return the precision of fitting, generating and training, as far as these were done."""
    last = {stage: cell.steps[stage][-1] for stage in ("fit", "sample", "train") if cell.steps.get(stage)}
    known = {stage: metas.get(key, {}).get("body", {}).get("precision") for stage, key in last.items()}
    return {stage: precision for stage, precision in known.items() if precision}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")  # a tiny run takes less than a second


@cache
def _version() -> str:
    from importlib.metadata import version

    return version("benchbench")
