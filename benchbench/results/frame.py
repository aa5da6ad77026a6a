"""Results as pandas frames, for notebooks."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .record import Record
from .folder import read_records
from .table import build_table, metric, shown_keys
from .csv import COLUMNS

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
_METRICS = ("fd", "fd_real", "kd", "precision", "recall", "density", "coverage", "extractor", "n_score", "n_reference")
_SECONDS = ("data_s", "fit_s", "sample_s", "train_s", "score_s")


def load_results(results: str | Path = "results", *, per_record: bool = False) -> pd.DataFrame:
    """Return every record below ``results/records`` as a frame; an empty one when there are none.

    Args:
        results: the results folder.
        per_record: one row per training instead of one per sentence.

    Returns:
        Per sentence, the columns of ``leaderboard.csv`` in its order and units (accuracies and
        differences in percent, not rounded; seconds; MiB). Per record: the sentence (``data`` to
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
        rows = [{**_flat(record), "shown": record.key in shown} for record in records]
        return pd.DataFrame(rows)
    table = build_table(records)
    frame = pd.DataFrame(
        [[value(row) for _, _, value in COLUMNS] for row in table.rows],
        columns=[name for name, _, _ in COLUMNS],
    )
    floats = {name: "float64" for name, decimals, _ in COLUMNS if decimals is not None}
    return frame.astype(floats | dict.fromkeys(_COUNTS, "Int64"))


def _flat(record: Record) -> dict[str, Any]:
    cell, result, cost = record.cell, record.result, record.cost
    best = None if result is None else result.best_on_test
    return {
        **vars(cell),
        "status": record.status,
        "error": record.error,
        "accuracy": None if result is None else result.accuracy * 100,
        "best_on_test": None if best is None else best * 100,
        "steps": None if result is None else result.steps,
        "parameters": None if result is None else result.parameters,
        **{name: metric(record, name) for name in _METRICS},
        **{name: getattr(cost, name) for name in _SECONDS},
        "peak_memory_mib": cost.peak_memory_mib,
        "device": cost.device,
        "created": record.created,
        "environment": record.provenance.environment,
        "spec_id": record.spec_id,
        "key": record.key,
    }
