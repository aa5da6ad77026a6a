"""``leaderboard.csv``: one row per sentence, for programs; the same bytes for the same records."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from typing import Any

from .table import Row, Table

#: ``(column, decimals, value)`` in the order of the file; decimals are ``None`` for what is written as it is.
COLUMNS: tuple[tuple[str, int | None, Callable[[Row], Any]], ...] = (
    ("data", None, lambda row: row.generation.data),
    ("gen", None, lambda row: row.generation.gen),
    ("mix", None, lambda row: row.mix),
    ("aug", None, lambda row: row.aug),
    ("learner", None, lambda row: row.learner),
    ("arch", None, lambda row: row.arch),
    ("n_real", None, lambda row: row.generation.n_real),
    ("n_syn", None, lambda row: row.generation.n_syn),
    ("seeds", None, lambda row: row.seeds),
    ("acc_mean", 2, lambda row: row.acc_mean),
    ("acc_std", 2, lambda row: row.acc_std),
    ("fd", 4, lambda row: row.generation.fd),
    ("precision", 4, lambda row: row.generation.precision),
    ("recall", 4, lambda row: row.generation.recall),
    ("density", 4, lambda row: row.generation.density),
    ("coverage", 4, lambda row: row.generation.coverage),
    ("extractor", None, lambda row: row.generation.extractor),
    ("fit_s", 2, lambda row: row.generation.fit_s),
    ("sample_s", 2, lambda row: row.generation.sample_s),
    ("train_s", 2, lambda row: row.train_s),
    ("preset", None, lambda row: row.generation.preset),
    ("spec_id", None, lambda row: row.spec_id),
    ("draws", None, lambda row: row.generation.draws),
    ("delta", 2, lambda row: row.delta),
    ("best_on_test", 2, lambda row: row.best_on_test),
    ("kd", 6, lambda row: row.generation.kd),
    ("n_score", None, lambda row: row.generation.n_score),
    ("n_reference", None, lambda row: row.generation.n_reference),
    ("peak_memory_mib", 1, lambda row: row.peak_memory_mib),
    ("fit_images_per_s", 3, lambda row: row.generation.fit_images_per_s),
    ("sample_images_per_s", 3, lambda row: row.generation.sample_images_per_s),
    ("train_images_per_s", 3, lambda row: row.train_images_per_s),
    ("status", None, lambda row: row.status),
    ("superseded", None, lambda row: row.superseded),
    ("environments", None, lambda row: len(row.environments)),
    ("delta_std", 2, lambda row: row.delta_std),
    ("shots", None, lambda row: row.generation.shots),
    ("n_made", None, lambda row: row.generation.n_made),
    ("fd_real", 4, lambda row: row.generation.fd_real),
    ("test", None, lambda row: row.test),
    ("subset", None, lambda row: row.generation.subset),
)


def csv_text(table: Table) -> str:
    """Return the file: comma separated, LF line ends, accuracies in percent, empty where nothing is known."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([name for name, _, _ in COLUMNS])
    for row in table.rows:
        writer.writerow([_text(value(row), decimals) for _, decimals, value in COLUMNS])
    return file.getvalue()


def _text(value: Any, decimals: int | None) -> str:
    if value is None:
        return ""
    if decimals is None:
        return str(value)
    text = f"{value:.{decimals}f}"
    return text.lstrip("-") if float(text) == 0 else text  # no "-0.00"
