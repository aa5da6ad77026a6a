"""Results as pandas frames, for notebooks."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .record import Record
from .folder import read_records
from .table import build_table, columns_of, shown_keys
from .csv import MetricColumn, metric_columns, table_columns

if TYPE_CHECKING:
    import pandas as pd

#: Counts: they may be missing, and stay whole numbers all the same.
_COUNTS = (
    "n_real",
    "n_syn",
    "n_made",
    "seeds",
    "draws",
    "shots",
    "n_score",
    "n_reference",
    "superseded",
    "environments",
)
_SECONDS = ("data_s", "fit_s", "sample_s", "train_s", "score_s")


def load_results(results: str | Path = "results", *, per_record: bool = False) -> pd.DataFrame:
    """Return every record below ``results/records`` as a frame; an empty one when there are none.

    Args:
        results: the results folder.
        per_record: one row per training instead of one per setting.

    Returns:
        Per setting, the columns of ``leaderboard.csv`` in its order and units (accuracies and
        differences in percent, not rounded; seconds; MiB). Per record: the setting (``data`` to
        ``preset``, ``shots``, ``draw``, ``replicate``, ``seed``, ``baseline``), ``status``, ``error``,
        ``accuracy`` and ``best_on_test`` in percent, ``steps``, ``parameters``, the metrics, the
        seconds of each stage, ``peak_memory_mib``, ``device``, ``created`` (UTC), ``environment``,
        ``spec_id``, ``key``, and ``shown``: whether the tables count it.

    Warns:
        UserWarning: for each file that could not be read.

    """
    import pandas as pd

    records, problems = read_records(Path(results))
    for problem in problems:
        warnings.warn(problem, stacklevel=2)
    if per_record:
        shown = shown_keys(records)
        measured = metric_columns(item for record in records for item in columns_of(record).items())
        rows = [{**_flat(record, measured), "shown": record.key in shown} for record in records]
        return pd.DataFrame(rows)
    table = build_table(records)
    columns = table_columns(table)
    frame = pd.DataFrame(
        [[column.value(row) for column in columns] for row in table.rows],
        columns=[column.name for column in columns],
    )
    floats = {column.name: "float64" for column in columns if column.decimals is not None}
    return frame.astype(floats | dict.fromkeys(_COUNTS, "Int64"))


def _flat(record: Record, measured: list[MetricColumn]) -> dict[str, Any]:
    cell, result, cost = record.cell, record.result, record.cost
    best = None if result is None else result.best_on_test
    return {
        **cell.to_json(),
        "status": record.status,
        "error": record.error,
        "accuracy": None if result is None else result.accuracy * 100,
        "best_on_test": None if best is None else best * 100,
        "steps": None if result is None else result.steps,
        "parameters": None if result is None else result.parameters,
        **{column.name: column.of({name: record.metrics[name] for name in columns_of(record)}) for column in measured},
        **{name: getattr(cost, name) for name in _SECONDS},
        "peak_memory_mib": cost.peak_memory_mib,
        "device": cost.device,
        "created": record.created,
        "environment": record.provenance.environment,
        "spec_id": record.spec_id,
        "key": record.key,
    }
