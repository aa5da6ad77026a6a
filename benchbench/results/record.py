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
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from ..planning.setting import Cell, hide_paths
from ..plugins.metric import Column
from ..statistics.labels import heading, kernel_heading
from .reading import RecordError, read_as, shown

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


#: Version of the layout below. Any change of fields raises it and appends to ``MIGRATIONS``.
SCHEMA = 6

Json = dict[str, Any]
#: ``(from version, function)``: the function turns a record's JSON into that of the next version.
Migration = tuple[int, Callable[[Json], Json]]


def number_columns(scores: Mapping[str, Any]) -> tuple[Column, ...]:
    """Return a column for each number of a metric that declares none; counts of images are no such number."""
    names = [name for name, value in scores.items() if type(value) in (int, float) and name not in METRIC_FACTS]
    return tuple(Column(name, name) for name in sorted(names) if name)


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
#: ``metric_columns`` and ``cell.more``, and says ``"-"`` for no architecture. 5 adds ``provenance.order``. 6 adds
#: ``cell.whole``, ``cell.control``, ``result.answers`` and ``result.measures``; an older record is taken as one draw of
#: many.
MIGRATIONS: tuple[Migration, ...] = (
    *((version, lambda data: data) for version in (1, 2, 4, 5)),
    (3, _with_columns),
)

#: What every metric reports besides its numbers: what it was measured with.
METRIC_FACTS = ("extractor", "n_score", "n_reference")

#: Beyond it, orders are equal: whole numbers in a record have 64 bits.
LARGEST_ORDER = 2**63 - 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_KEY = re.compile("[0-9a-f]{64}")
_NO_TEXT = re.compile("[\ud800-\udfff]")


class NewerError(RecordError):
    """A record of a newer schema: nothing is wrong with it."""


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
        answers: SHA-256 of the stored log-probabilities, ``""`` before schema 6: trainings that share it are copies.
        measures: further numbers of the classifier by name, such as ``"balanced_accuracy"``.

    """

    accuracy: float
    best_on_test: float | None
    n_test: int
    hits: str
    steps: int = 0
    images_seen: int = 0
    parameters: int = 0
    curve: tuple[tuple[int | float, float | None, float | None], ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)
    answers: str = ""
    measures: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0.0 <= self.accuracy <= 1.0:
            raise RecordError(f"result.accuracy {self.accuracy!r}: must lie in 0..1")
        right = int.from_bytes(_packed(self.hits, self.n_test), "little").bit_count()
        if not self.n_test or abs(right / self.n_test - self.accuracy) > 1e-9:
            raise RecordError(f"hits: {right} of {self.n_test} test images, but result.accuracy is {self.accuracy!r}")

    @staticmethod
    def from_json(data: Any) -> Result:
        """Read what ``plain`` made of a result.

        Raises:
            RecordError: it is none.

        """
        return read_as(Result, data, "result")


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
        precision: of each stage (``fit``, ``sample``, ``train``), of its last step.

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
    precision: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Provenance:
    """Where a record comes from.

    Attributes:
        environment: hash of a file in ``RESULTS/environments/``.
        bench_version: version of this package.
        created: ISO 8601 time with its offset from UTC.
        notes: facts that a reader of the number must know (a split that was regenerated).
        plugins: distribution and version of each plugin, ``{"diffinv": "benchbench==0.1.0"}``.
        order: larger for each later run into the same folder, see :func:`order_of_run`; ``None`` before schema 5.

    """

    environment: str
    bench_version: str
    created: str
    notes: tuple[str, ...] = ()
    plugins: Mapping[str, str] = field(default_factory=dict)
    order: int | None = None

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
    steps: Mapping[str, list[str]]
    provenance: Provenance
    facts: Mapping[str, list[Mapping[str, Any]]] = field(default_factory=dict)
    metric_columns: Mapping[str, tuple[Column, ...]] = field(default_factory=dict)
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        for name, keys in (("key", [self.key]), *((f"steps.{stage}", keys) for stage, keys in self.steps.items())):
            for key in keys:
                if not _KEY.fullmatch(key):
                    raise RecordError(f"{name} {shown(key)}: must be 64 hexadecimal digits")
        if (self.status, self.result is None, self.error is None) not in (
            ("done", False, True),
            ("failed", True, False),
        ):
            raise RecordError(
                f"status {shown(self.status)}: a done record has a result, a failed one an error, neither both"
            )

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
        try:
            return read_as(Record, upgrade(data), "record")
        except RecursionError:  # in a migration; what is in the present schema is not looked at that deeply
            raise RecordError("record: nested too deep") from None

    def text(self) -> str:
        """Return the bytes of its file as text: sorted keys, two spaces, one newline at the end.

        A byte of a file's name that is no UTF-8 is spelled out, as it has no place in a text.
        """
        text = json.dumps(self.to_json(), indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"
        return text if text.isascii() else _NO_TEXT.sub(lambda match: f"\\\\u{ord(match[0]):x}", text)

    @property
    def created(self) -> datetime:
        """When it was made, in UTC."""
        return moment(self.provenance.created)

    @property
    def newness(self) -> tuple[int, datetime]:
        """Greater for a newer record: first the order of the runs counts, which no clock turns round, then the time."""
        created, order = self.created, self.provenance.order
        return _milliseconds(created) if order is None else order, created


def order_of_run(earlier: Iterable[Record], now: datetime | None = None) -> int:
    """Return ``provenance.order`` of a run that begins at ``now``: greater than that of every ``earlier`` record.

    It is the time in milliseconds since 1970, so that folders of several machines can be joined, or one more than the
    largest in the folder where a clock was ahead once.
    """
    largest = max((record.newness[0] for record in earlier), default=0)
    return min(max(_milliseconds(now or datetime.now(UTC)), largest + 1), LARGEST_ORDER)


def _milliseconds(at: datetime) -> int:
    return (at - _EPOCH) // timedelta(milliseconds=1)


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

    packed = np.frombuffer(_packed(text, count), dtype=np.uint8)
    return np.unpackbits(packed, count=count, bitorder="little").astype(bool)


def _packed(text: str, count: int) -> bytes:
    try:
        packed = base64.b64decode(text, validate=True)
    except ValueError:
        raise RecordError("hits: not base64") from None
    if len(packed) != (count + 7) // 8:
        raise RecordError(f"hits: {len(packed)} bytes for {count} test images; expected {(count + 7) // 8}")
    return packed


def moment(text: str) -> datetime:
    """Return an ISO 8601 time in UTC; one without an offset is taken as UTC."""
    try:
        at = datetime.fromisoformat(text)
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):  # the year 1 with an offset begins before the calendar does
        raise RecordError(f"provenance.created {shown(text)}: not an ISO 8601 time") from None


def upgrade(data: Any, migrations: tuple[Migration, ...] = MIGRATIONS, target: int = SCHEMA) -> Json:
    """Return a record's JSON in schema ``target``, applying the migrations in between one by one."""
    if not isinstance(data, dict) or type(data.get("schema")) is not int:
        raise RecordError("not a record: it has no schema version")
    if data["schema"] > target:
        raise NewerError(
            f"schema {shown(data['schema'])} is newer than this bench reads ({target}); upgrade benchbench"
        )
    steps = dict(migrations)
    while (version := data["schema"]) < target:
        if version not in steps:
            raise RecordError(f"schema {shown(version)}: nothing migrates it to {target}")
        data = {**steps[version](data), "schema": version + 1}
    return data


def plain(value: Any) -> Any:
    """Return a value as JSON has it: dataclasses by field, arrays as lists, what is not finite as ``None``."""
    if value is None or type(value) in (str, int, bool):  # most values; a run asks tens of millions of times
        return value
    if dataclasses.is_dataclass(value):
        return {item.name: plain(getattr(value, item.name)) for item in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if hasattr(value, "tolist"):  # of NumPy or torch
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
