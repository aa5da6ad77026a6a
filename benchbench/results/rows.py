"""The table as flat rows: leaderboard.csv, and a pandas frame.

``leaderboard.csv``: one row per setting, for programs; the same bytes for the same records.

Results as pandas frames, for notebooks.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import itertools
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..planning.setting import Setting
from ..plugins.metric import Column
from ..safetext import in_csv, on_a_line
from .folder import read_records
from .record import METRIC_FACTS, Record
from .table import Row, Table, build_table, columns_of, shown_keys

if TYPE_CHECKING:
    import pandas as pd


#: The columns that every file begins with, in this order; one that nothing fills is empty. Others follow.
LEADING = (
    *("data", "gen", "mix", "aug", "learner", "arch", "n_real", "n_syn", "seeds", "acc_mean", "acc_std"),
    *("fd", "precision", "recall", "density", "coverage", "extractor"),
    *("fit_s", "sample_s", "train_s", "preset", "spec_id"),
    *("delta_low", "delta_high", "verdict", "tie_group", "detectable"),
    *("draws", "delta", "best_on_test", "kd", "n_score", "n_reference", "peak_memory_mib"),
    *("fit_images_per_s", "sample_images_per_s", "train_images_per_s", "status", "superseded", "environments"),
    *("delta_std", "shots", "n_made", "fd_real", "test", "subset"),
    *("acc_low", "acc_high", "control", "balanced_accuracy", "auc", "ece", "nll", "train_accuracy"),
)

#: Numbers of a classifier beside its accuracy, by their names in a record.
MEASURES = ("balanced_accuracy", "auc", "ece", "nll")


class TableColumn(NamedTuple):
    """One column: its name, its decimals (``None`` for what is written as it is), and the value of a row."""

    name: str
    decimals: int | None
    value: Callable[[Row], Any]


class MetricColumn(NamedTuple):
    """One column of metrics: its name, decimals and key, and the metrics that may fill it, the first one wins."""

    name: str
    decimals: int | None
    key: str
    metrics: tuple[str, ...]

    def of(self, scores: Mapping[str, Mapping[str, Any]]) -> Any:
        """Return the value among scores by metric."""
        return next((scores[metric].get(self.key) for metric in self.metrics if metric in scores), None)


def metric_columns(declared: Iterable[tuple[str, Sequence[Column]]]) -> list[MetricColumn]:
    """Return the columns that metrics fill, those of ``LEADING`` first.

    Where several metrics declare a key, each has a column ``METRIC.KEY``, and a leading column of that name shows in
    each row the metric that fills most leading columns, the first by name among equals.

    Args:
        declared: metrics by their spelling with their columns; one may come again.
    """
    by_metric: dict[str, dict[str, Column]] = {}
    for metric, columns in declared:
        by_metric.setdefault(metric, {}).update({column.key: column for column in columns})
    fixed = set(LEADING) - _HARNESS.keys()
    order = sorted(by_metric, key=lambda metric: (-len(by_metric[metric].keys() & fixed), metric))
    measured = []
    for name in LEADING:
        if name in METRIC_FACTS:
            measured.append(MetricColumn(name, None, name, tuple(order)))
        elif name not in _HARNESS:
            metrics = tuple(metric for metric in order if name in by_metric[metric])
            decimals = by_metric[metrics[0]][name].decimals if metrics else 4
            measured.append(MetricColumn(name, decimals, name, metrics))
    count = Counter(key for columns in by_metric.values() for key in columns)
    for metric in order:
        for key, column in by_metric[metric].items():
            shared = count[key] > 1 or key in _HARNESS
            if shared or key not in fixed:
                measured.append(MetricColumn(f"{metric}.{key}" if shared else key, column.decimals, key, (metric,)))
    return measured


def table_columns(table: Table) -> list[TableColumn]:
    """Return the columns of a table in the order of the file: ``LEADING``, further axes, then what metrics add."""
    declared = ((item.metric, item.columns) for row in table.rows for item in row.generation.scores)
    measured = {item.name: _measured(item) for item in metric_columns(declared)}
    leading = [measured.pop(name) if name in measured else _HARNESS[name] for name in LEADING]
    more = dict.fromkeys(name for row in table.rows for name in sorted(row.setting.more) if name not in LEADING)
    return [*leading, *map(_axis, more), *measured.values()]


def _axis(name: str) -> TableColumn:
    return TableColumn(name, None, lambda row: row.setting.more.get(name))


def _measured(item: MetricColumn) -> TableColumn:
    def value(row: Row) -> Any:
        return item.of({scores.metric: scores.values for scores in row.generation.scores})

    return TableColumn(item.name, item.decimals, value)


def _measure(name: str) -> TableColumn:
    return TableColumn(name, 4, lambda row: row.measures.get(name))


def _harness() -> dict[str, TableColumn]:
    """Return the columns that no metric fills, by name."""
    of_setting = [item.name for item in dataclasses.fields(Setting) if item.name in LEADING]
    of_row: dict[str, int | None] = {
        "acc_mean": 2,
        "acc_std": 2,
        "train_s": 2,
        "delta": 2,
        "delta_std": 2,
        "best_on_test": 2,
    }
    of_row |= {"peak_memory_mib": 1, "train_images_per_s": 3}
    of_row |= dict.fromkeys(("seeds", "spec_id", "status", "superseded", "tie_group"))
    of_generation: dict[str, int | None] = {"fit_s": 2, "sample_s": 2, "fit_images_per_s": 3, "sample_images_per_s": 3}
    of_generation |= dict.fromkeys(("draws", "n_made"))
    columns = [TableColumn("environments", None, lambda row: len(row.environments))]
    columns += [
        TableColumn("delta_low", 2, lambda row: row.conclusion.difference and row.conclusion.difference.low),
        TableColumn("delta_high", 2, lambda row: row.conclusion.difference and row.conclusion.difference.high),
        TableColumn("verdict", None, attrgetter("conclusion.verdict")),
        TableColumn("detectable", 2, attrgetter("conclusion.detectable")),
        TableColumn("acc_low", 2, lambda row: row.accuracy and row.accuracy.low),
        TableColumn("acc_high", 2, lambda row: row.accuracy and row.accuracy.high),
        TableColumn("train_accuracy", 2, lambda row: row.learning and row.learning.train_accuracy),
        *map(_measure, MEASURES),
    ]
    columns += [TableColumn(name, None, attrgetter(f"setting.{name}")) for name in of_setting]
    columns += [TableColumn(name, decimals, attrgetter(name)) for name, decimals in of_row.items()]
    columns += [
        TableColumn(name, decimals, attrgetter(f"generation.{name}")) for name, decimals in of_generation.items()
    ]
    return {column.name: column for column in columns}


_HARNESS = _harness()


def csv_text(table: Table) -> str:
    """Return the file: comma separated, LF line ends, accuracies in percent, empty where nothing is known.

    A text that a spreadsheet would compute begins with an apostrophe, see :func:`benchbench.safetext.in_csv`.
    """
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    columns = table_columns(table)
    writer.writerow([in_csv(column.name) for column in columns])
    for row in table.rows:
        writer.writerow([_text(column.value(row), column.decimals) for column in columns])
    return file.getvalue()


def _text(value: Any, decimals: int | None) -> str:
    if value is None:
        return ""
    if decimals is None:
        return in_csv(value) if isinstance(value, str) else str(value)
    text = f"{value:.{decimals}f}"
    return text.lstrip("-") if float(text) == 0 else text  # no "-0.00"


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
    "tie_group",
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
        ``accuracy`` and ``best_on_test`` in percent, ``steps``, ``parameters``, the measures beside
        accuracy as the record has them (``balanced_accuracy``, ``auc`` and ``ece`` in 0 to 1, ``nll``
        in nats), the metrics, the seconds of each stage, ``peak_memory_mib``, ``device``, ``created``
        (UTC), ``environment``, ``spec_id``, ``key``, and ``shown``: whether the tables count it.

    Warns:
        UserWarning: for each file that could not be read, and for records whose time lies in the future.

    """
    import pandas as pd

    records, *lines = read_records(Path(results))
    for line in itertools.chain(*lines):
        warnings.warn(on_a_line(line), stacklevel=2)
    if per_record:
        shown = shown_keys(records)
        measured = metric_columns(item for record in records for item in columns_of(record).items())
        rows = [{**_flat(record, measured), "shown": record.key in shown} for record in records]
        return pd.DataFrame(rows)
    table = build_table(records)
    series = {}
    for column in table_columns(table):
        dtype: Any = "Int64" if column.name in _COUNTS else None if column.decimals is None else "float64"
        series[column.name] = pd.Series([column.value(row) for row in table.rows], dtype=dtype)
    return pd.DataFrame(series)


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
        **{name: None if result is None else result.measures.get(name) for name in MEASURES},
        **{column.name: column.of({name: record.metrics[name] for name in columns_of(record)}) for column in measured},
        **{name: getattr(cost, name) for name in _SECONDS},
        "peak_memory_mib": cost.peak_memory_mib,
        "device": cost.device,
        "created": record.created,
        "environment": record.provenance.environment,
        "spec_id": record.spec_id,
        "key": record.key,
    }
