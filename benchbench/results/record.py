"""``Record``: what is known about one cell, finished or failed, and its JSON; never an absolute path inside.

Every record carries the version of its schema; an older one is migrated when it is read, a newer one is
refused with a clear line. The files are the matter of :mod:`benchbench.results.folder`.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import math
import re
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import BenchError
from ..planning.setting import Cell, hide_paths
from ..plugins.metric import Column
from ..statistics.labels import heading, kernel_heading

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


#: Version of the layout below. Any change of fields raises it and appends to ``MIGRATIONS``.
SCHEMA = 4

Json = dict[str, Any]
#: ``(from version, function)``: the function turns a record's JSON into that of the next version.
Migration = tuple[int, Callable[[Json], Json]]


def number_columns(scores: Mapping[str, Any]) -> tuple[Column, ...]:
    """Return a column for each number of a metric that declares none; counts of images are no such number."""
    names = [name for name, value in scores.items() if type(value) in (int, float) and name not in METRIC_FACTS]
    return tuple(Column(name, name) for name in sorted(names))


def _former_columns(scores: Mapping[str, Any]) -> tuple[Column, ...]:
    """Return the columns of a metric in a record of schema 3, which had them for one set of names only."""
    extractor = str(scores.get("extractor") or "")
    known = (
        Column("fd", heading(extractor), 4, "less"),
        Column("fd_real", "of real images", 4),
        Column("kd", kernel_heading(extractor), 6, "less"),
        *(Column(name, name, 4, "more") for name in ("precision", "recall", "density", "coverage")),
    )
    return tuple(column for column in known if column.key in scores) if "fd" in scores else number_columns(scores)


def _with_columns(data: Json) -> Json:
    cell, metrics = data.get("cell"), data.get("metrics")
    if isinstance(cell, dict) and cell.get("arch", "") is None:
        data = {**data, "cell": {**cell, "arch": "-"}}
    if isinstance(metrics, dict):
        scored = {name: scores for name, scores in metrics.items() if isinstance(scores, dict)}
        data = {**data, "metric_columns": {name: plain(_former_columns(scores)) for name, scores in scored.items()}}
    return data


#: 2 adds ``cell.test`` and ``facts``, 3 ``cell.subset``, whose absence means what their defaults say. 4 adds
#: ``metric_columns`` and ``cell.more``, and says ``"-"`` for no architecture.
MIGRATIONS: tuple[Migration, ...] = ((1, lambda data: data), (2, lambda data: data), (3, _with_columns))

#: What every metric reports besides its numbers: what it was measured with.
METRIC_FACTS = ("extractor", "n_score", "n_reference")

T = TypeVar("T")


class RecordError(BenchError):
    """A record that cannot be read; the text says what is wrong with it."""


@dataclass(frozen=True)
class Result:
    """What training gave.

    Attributes:
        accuracy: share of test images classified correctly at the last step, in [0, 1].
        best_on_test: best of the periodic evaluations on the test set, in [0, 1]; never the reported number.
        n_test: test images.
        hits: :func:`pack_hits` of which test images were classified correctly.
        steps: optimiser steps taken.
        images_seen: training images processed.
        parameters: trainable parameters.
        curve: ``(step, loss, test accuracy in [0, 1])`` triples; a loss that diverged is ``None``.
        details: further JSON facts, such as the recipe as realised.

    """

    accuracy: float
    best_on_test: float | None
    n_test: int
    hits: str
    steps: int = 0
    images_seen: int = 0
    parameters: int = 0
    curve: tuple[tuple[int, float | None, float | None], ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Cost:
    """What the steps of a cell took; ``None`` where a step does not exist or was not measured.

    Attributes:
        fit_s: seconds of fitting the generator, all shards together.
        sample_s: seconds of generating.
        train_s: seconds of this one training.
        score_s: seconds of the metrics.
        data_s: seconds of preparing the images.
        fit_images: images that were fitted.
        sample_images: images that were generated.
        images_per_s: by stage (``fit``, ``sample``, ``train``).
        peak_memory_mib: largest resident memory of any step, or of the accelerator when there is one.
        device: what it ran on.

    """

    fit_s: float | None = None
    sample_s: float | None = None
    train_s: float | None = None
    score_s: float | None = None
    data_s: float | None = None
    fit_images: int | None = None
    sample_images: int | None = None
    images_per_s: Mapping[str, float | None] = field(default_factory=dict)
    peak_memory_mib: float | None = None
    device: str | None = None


@dataclass(frozen=True)
class Provenance:
    """Where a record comes from.

    Attributes:
        environment: hash of a file in ``RESULTS/environments/``.
        bench_version: version of this package.
        created: ISO 8601 time with its offset from UTC.
        notes: facts that a reader of the number must know (a split that was regenerated).
        plugins: distribution and version of each plugin, ``{"diffinv": "benchbench==0.1.0"}``.

    """

    environment: str
    bench_version: str
    created: str
    notes: tuple[str, ...] = ()
    plugins: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        moment(self.created)


@dataclass(frozen=True)
class Record:
    """One cell, finished or failed.

    Attributes:
        key: key of the train step, 64 hexadecimal digits; that of the step not reached, for a failed cell.
        spec_id: identity of the sentence without draw, seed and code; rows of a table share it.
        status: ``"done"`` or ``"failed"``.
        error: why it failed, ``None`` when done.
        cell: the sentence.
        result: what training gave, ``None`` when failed.
        metrics: by the metric's spelling, the mapping that it returned.
        cost: seconds, rates and memory.
        code: code fingerprint of each stage.
        steps: keys of its steps, by stage.
        provenance: environment, versions, time.
        facts: by stage, what each of its steps reported (``Context.report``), steps without a report left out.
        metric_columns: by the metric's spelling, its columns, so that tables need no plugin.
        schema: version of this layout.

    """

    key: str
    spec_id: str
    status: str
    error: str | None
    cell: Cell
    result: Result | None
    metrics: Mapping[str, Mapping[str, Any]]
    cost: Cost
    code: Mapping[str, str]
    steps: Mapping[str, Any]
    provenance: Provenance
    facts: Mapping[str, Any] = field(default_factory=dict)
    metric_columns: Mapping[str, tuple[Column, ...]] = field(default_factory=dict)
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        object.__setattr__(self, "metric_columns", _read_columns(self.metric_columns))
        if not re.fullmatch("[0-9a-f]{64}", self.key):
            raise RecordError(f"key {self.key!r}: must be 64 hexadecimal digits")
        if (self.status, self.result is None, self.error is None) not in (
            ("done", False, True),
            ("failed", True, False),
        ):
            raise RecordError(
                f"status {self.status!r}: a done record has a result, a failed one an error, neither both"
            )
        if self.result is not None and not 0.0 <= self.result.accuracy <= 1.0:
            raise RecordError(f"result.accuracy {self.result.accuracy!r}: must lie in 0..1")

    def to_json(self) -> Json:
        """Return plain JSON: numbers that are not finite become ``None``, absolute paths their last part."""
        data = plain(self)
        data["cell"] = plain(self.cell.without_paths())
        if self.error is not None:
            data["error"] = hide_paths(self.error)
        for numbers in data["metrics"].values():
            if isinstance(numbers.get("error"), str):
                numbers["error"] = hide_paths(numbers["error"])
        data["provenance"]["notes"] = [hide_paths(note) for note in self.provenance.notes]
        return data

    @staticmethod
    def from_json(data: Any) -> Record:
        """Read what ``to_json`` gave, also in an older schema.

        Raises:
            RecordError: a newer schema, or a field that is missing, unknown or of the wrong type.

        """
        return _build(Record, upgrade(data), "record")

    def text(self) -> str:
        """Return the bytes of its file as text: sorted keys, two spaces, one newline at the end."""
        return json.dumps(self.to_json(), indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"

    @property
    def created(self) -> datetime:
        """When it was made, in UTC."""
        return moment(self.provenance.created)


def _read_columns(declared: Mapping[str, Any]) -> dict[str, tuple[Column, ...]]:
    """Return columns by metric, from themselves or from their JSON."""
    by_metric = {}
    for metric, columns in declared.items():
        try:
            by_metric[metric] = tuple(item if isinstance(item, Column) else Column(**item) for item in columns)
        except (TypeError, ValueError) as error:
            raise RecordError(f"metric_columns.{metric}: {error}") from None
    return by_metric


def pack_hits(hits: NDArray[np.bool_]) -> str:
    """Return a bool array ``(N,)`` as base64 of its bits, first image in the lowest bit."""
    import numpy as np

    return base64.b64encode(np.packbits(np.asarray(hits, dtype=bool), bitorder="little").tobytes()).decode("ascii")


def unpack_hits(text: str, count: int) -> NDArray[np.bool_]:
    """Return the bool array ``(count,)`` that :func:`pack_hits` packed.

    Raises:
        RecordError: the text does not hold ``count`` bits.

    """
    import numpy as np

    try:
        packed = np.frombuffer(base64.b64decode(text, validate=True), dtype=np.uint8)
    except ValueError:
        raise RecordError("hits: not base64") from None
    if len(packed) != (count + 7) // 8:
        raise RecordError(f"hits: {len(packed)} bytes for {count} test images; expected {(count + 7) // 8}")
    return np.unpackbits(packed, count=count, bitorder="little").astype(bool)


def moment(text: str) -> datetime:
    """Return an ISO 8601 time in UTC; one without an offset is taken as UTC."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise RecordError(f"provenance.created {text!r}: not an ISO 8601 time") from None
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def upgrade(data: Any, migrations: tuple[Migration, ...] = MIGRATIONS, target: int = SCHEMA) -> Json:
    """Return a record's JSON in schema ``target``, applying the migrations in between one by one."""
    if not isinstance(data, dict) or type(data.get("schema")) is not int:
        raise RecordError("not a record: it has no schema version")
    if data["schema"] > target:
        raise RecordError(f"schema {data['schema']} is newer than this bench reads ({target}); upgrade benchbench")
    steps = dict(migrations)
    while (version := data["schema"]) < target:
        if version not in steps:
            raise RecordError(f"schema {version}: nothing migrates it to {target}")
        data = {**steps[version](data), "schema": version + 1}
    return data


@cache
def _fields(cls: type) -> tuple[tuple[str, bool, tuple[Any, ...]], ...]:
    """Return ``(name, required, allowed types)`` of each field of a dataclass."""
    hints, fields = typing.get_type_hints(cls), []
    for item in dataclasses.fields(cls):
        hint = hints[item.name]
        union = typing.get_origin(hint) in (types.UnionType, typing.Union)
        allowed = typing.get_args(hint) if union else (hint,)
        required = item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
        fields.append((item.name, required, tuple(typing.get_origin(one) or one for one in allowed)))
    return tuple(fields)


def _build(cls: type[T], data: Any, where: str) -> T:
    if not isinstance(data, dict):
        raise RecordError(f"{where}: must be an object")
    known = _fields(typing.cast(Any, cls))
    if unknown := data.keys() - {name for name, _, _ in known}:
        raise RecordError(f"{where}.{min(unknown)}: unknown field")
    values = {}
    for name, required, allowed in known:
        if name in data:
            values[name] = _value(data[name], allowed, f"{where}.{name}")
        elif required:
            raise RecordError(f"{where}.{name}: missing")
    return cls(**values)


def _value(value: Any, allowed: tuple[Any, ...], where: str) -> Any:
    for kind in allowed:
        if dataclasses.is_dataclass(kind) and isinstance(value, dict):
            return _build(typing.cast(type, kind), value, where)
        if kind is tuple and isinstance(value, list):
            return tuple(tuple(item) if isinstance(item, list) else item for item in value)
        if kind is Mapping and isinstance(value, dict):
            return value
        if type(value) is kind:
            return value
        if kind is float and type(value) is int:
            return float(value)
    raise RecordError(f"{where}: {value!r:.40} has the wrong type")


def plain(value: Any) -> Any:
    """Return a value as JSON has it: dataclasses by field, arrays as lists, what is not finite as ``None``."""
    if dataclasses.is_dataclass(value):
        return {item.name: plain(getattr(value, item.name)) for item in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if hasattr(value, "tolist"):  # of NumPy or torch
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
