"""``Origins``: where each image of a set came from, as a table that is read when somebody looks at it.

A set of millions of generated images has as many origins, and no training reads them. They lie in
``origins.parquet``, a column for each name; an empty cell says that the origin lacks the name. Whole numbers, numbers,
truth values and texts have columns of their types; anything else (a list, ``None``, a name whose values are of several
types) is its JSON.

PyArrow is imported inside the functions: every plugin module imports this one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

Origin = Mapping[str, Any]

#: The file of origins; stores of earlier versions have the second one.
PARQUET, LINES = "origins.parquet", "origins.jsonl"
#: Rows that are read and written at once.
ROWS = 1 << 16
_JSON = {b"benchbench": b"json"}
_ABSENT = object()


class Origins(Sequence[Origin]):
    """The origins of a set of images; equal to the list of their dictionaries.

    Args:
        count: how many there are, known without reading them.
        read: returns the table, with a row for each; called once, when somebody looks.
        read_column: returns a table of the column of one name, if there is one; without, ``read`` is asked.
    """

    def __init__(
        self, count: int, read: Callable[[], pa.Table], read_column: Callable[[str], pa.Table] | None = None
    ) -> None:
        self._count, self._read, self._read_column = count, read, read_column

    @cached_property
    def table(self) -> pa.Table:
        """All columns, in the order of their names."""
        return self._read()

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> Origin: ...
    @overload
    def __getitem__(self, index: slice) -> Origins: ...

    def __getitem__(self, index: int | slice) -> Origin | Origins:
        if isinstance(index, slice):
            return self.take(range(*index.indices(self._count)))
        place = range(self._count)[index]  # negative ones count from the end, and an IndexError beyond it
        return next(_dictionaries(self.table.slice(place, 1)))

    def __iter__(self) -> Iterator[Origin]:
        for start in range(0, self._count, ROWS):
            yield from _dictionaries(self.table.slice(start, ROWS))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(other) == self._count and all(map(dict.__eq__, map(dict, self), map(dict, other)))

    __hash__ = None  # type: ignore[assignment]

    def take(self, indices: Sequence[int] | NDArray[np.int64]) -> Origins:
        """Return the origins at ``indices``, in that order; nothing is read yet."""
        import numpy as np

        return Origins(len(indices), lambda: self.table.take(np.asarray(indices, np.int64)))

    def column(self, name: str) -> list[Any]:
        """Return the value of one name for each image, ``None`` where an origin lacks it."""
        table = self.table if self._read_column is None else self._read_column(name)
        if name not in table.column_names:
            return [None] * self._count
        return [None if value is _ABSENT else value for value in _values(table, name)]

    @staticmethod
    def of(given: Any) -> Origins | tuple[()]:
        """Return origins as a table; nothing where none of them has a name.

        Args:
            given: a sequence of mappings of JSON values, one for each image; or a mapping of columns (arrays or lists
                with a value for each image, ``None`` where there is none); or a table of PyArrow, pandas or Polars.

        Raises:
            TypeError: a value is no JSON.
            ValueError: columns of unequal lengths.
        """
        if isinstance(given, Origins):
            return given
        if isinstance(given, Mapping) or hasattr(given, "__arrow_c_stream__"):
            import pyarrow as pa

            source = given if isinstance(given, Mapping) else pa.table(given).to_pydict()
            lists = {
                str(name): values.tolist() if hasattr(values, "tolist") else values for name, values in source.items()
            }
            columns = {name: [_ABSENT if value is None else value for value in items] for name, items in lists.items()}
        else:
            rows = [dict(origin) for origin in given]
            if not all(type(name) is str for row in rows for name in row):
                rows = [json.loads(json.dumps(row)) for row in rows]  # other names become texts, as in any JSON
            names = {name for row in rows for name in row}
            columns = {name: [row.get(name, _ABSENT) for row in rows] for name in names}
        if not columns:
            return ()
        made = [_column(name, columns[name]) for name in sorted(columns)]
        table = _table([array for _, array in made], [field for field, _ in made])
        return Origins(len(table), lambda: table)

    @staticmethod
    def load(folder: Path, count: int) -> Origins | tuple[()]:
        """Return the ``count`` origins in a folder, still unread; nothing where it has none."""
        if (folder / PARQUET).exists():
            return Origins(count, lambda: _read(folder / PARQUET), lambda name: _read(folder / PARQUET, [name]))
        if (folder / LINES).exists():
            return Origins(count, lambda: _lines(folder / LINES))
        return ()

    @staticmethod
    def joined(parts: Iterable[tuple[Sequence[Origin], int]]) -> Origins | tuple[()]:
        """Return the origins of several sets, each given with its number of images; nothing where none has any."""
        known = [(Origins.of(origins) if len(origins) else (), count) for origins, count in parts]

        def table() -> pa.Table:
            import pyarrow as pa

            tables = [(origins.table if origins else None, count) for origins, count in known]
            schema = common_schema(item.schema for item, _ in tables if item is not None)
            return pa.concat_tables(fitted(item, count, schema) for item, count in tables)

        return Origins(sum(count for _, count in known), table) if any(origins for origins, _ in known) else ()


def save(path: Path, tables: Iterable[pa.Table], schema: pa.Schema) -> None:
    """Write tables of one schema one after the other as one Parquet file, without holding them all."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    # Python opens the file: a path may hold bytes that are not UTF-8, which Arrow does not take.
    with path.open("wb") as stream, pq.ParquetWriter(stream, schema) as writer:
        pending: list[pa.Table] = []
        for table in tables:
            pending.append(table)
            if sum(map(len, pending)) >= ROWS:  # few large groups of rows: thousands of small ones are slow to read
                writer.write_table(pa.concat_tables(pending))
                pending.clear()
        if pending:
            writer.write_table(pa.concat_tables(pending))


def common_schema(schemas: Iterable[pa.Schema]) -> pa.Schema:
    """Return columns that hold the origins of every schema: JSON for a name that has several types."""
    import pyarrow as pa

    fields: dict[str, pa.Field] = {}
    for field in (field for schema in schemas for field in schema):
        if not fields.setdefault(field.name, field).equals(field, check_metadata=True):
            fields[field.name] = _json_field(field.name)
    return pa.schema([fields[name] for name in sorted(fields)])


def fitted(table: pa.Table | None, count: int, schema: pa.Schema) -> pa.Table:
    """Return a table of ``count`` rows with the columns of ``schema``, which is common to its own and others."""
    import pyarrow as pa

    columns = []
    for field in schema:
        if table is None or field.name not in table.column_names:
            columns.append(pa.nulls(count, field.type))
        elif table.schema.field(field.name).equals(field, check_metadata=True):
            columns.append(table.column(field.name))
        else:
            columns.append(_json_array(_values(table, field.name)))
    return _table(columns, list(schema))


def _table(columns: list[Any], fields: list[pa.Field]) -> pa.Table:
    import pyarrow as pa

    return pa.table(columns, schema=pa.schema(fields))


def _column(name: str, values: list[Any]) -> tuple[pa.Field, pa.Array]:
    """Return values as a column of their common type, or of JSON where they have none that keeps them as they are."""
    import pyarrow as pa

    types = {int: pa.int64(), float: pa.float64(), bool: pa.bool_(), str: pa.large_string()}
    kinds = {type(value) for value in values if value is not _ABSENT}
    kind = types.get(kinds.pop()) if len(kinds) == 1 else None
    if kind is not None:
        try:
            return pa.field(name, kind), pa.array([None if value is _ABSENT else value for value in values], kind)
        except (OverflowError, UnicodeError, pa.ArrowInvalid):  # beyond 64 bits; half of a surrogate pair
            pass
    try:
        return _json_field(name), _json_array(values)
    except TypeError as error:
        raise TypeError(f"origins: {name} is no JSON value ({error})") from None


def _json_field(name: str) -> pa.Field:
    import pyarrow as pa

    return pa.field(name, pa.large_string(), metadata=_JSON)


def _json_array(values: Iterable[Any]) -> pa.Array:
    import pyarrow as pa

    texts = [None if value is _ABSENT else json.dumps(value, sort_keys=True) for value in values]
    return pa.array(texts, pa.large_string())


def _values(table: pa.Table, name: str) -> list[Any]:
    values = table.column(name).to_pylist()
    if table.schema.field(name).metadata == _JSON:
        return [_ABSENT if value is None else json.loads(value) for value in values]
    return [_ABSENT if value is None else value for value in values]


def _dictionaries(table: pa.Table) -> Iterator[Origin]:
    columns = {name: _values(table, name) for name in table.column_names}
    for place in range(len(table)):
        yield {name: values[place] for name, values in columns.items() if values[place] is not _ABSENT}


def _read(file: Path, columns: list[str] | None = None) -> pa.Table:
    import pyarrow.parquet as pq

    with file.open("rb") as stream:
        return pq.ParquetFile(stream).read(columns=columns)


def _lines(file: Path) -> pa.Table:
    made = Origins.of([json.loads(line) for line in file.read_text("utf-8").splitlines()])
    return made.table if made else _table([], [])
