"""Origins as a table: equal to the dictionaries that were given, whatever JSON they hold; nobody reads them unasked."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchbench.plugins.images import ImageSet, merge_shards
from benchbench.plugins.origins import Origins

SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(-9, 9), st.floats(allow_nan=False), st.text(max_size=5)
)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner))
ROWS = st.lists(st.dictionaries(st.sampled_from(["a", "b", "label", "digest", "é"]), VALUES, max_size=3), max_size=5)


def exact(rows):
    """Return rows as text, since 1 == 1.0 == True."""
    return [json.dumps(dict(row), sort_keys=True) for row in rows]


def images_of(rows):
    count = len(rows)
    return ImageSet(np.zeros((count, 2, 2, 3), np.uint8), np.zeros(count, np.int64), ("one",), rows)


@settings(max_examples=60, deadline=None)
@given(ROWS, ROWS)
def test_what_is_saved_is_what_was_given(tmp_path_factory, first, second):
    folder = tmp_path_factory.mktemp("sets")
    sets = [images_of(first), images_of(second)]
    for place, each in enumerate(sets):
        each.save(folder / str(place))
    opened = [ImageSet.load(folder / str(place)) for place in range(2)]
    for each, again in zip(sets, opened, strict=True):
        assert exact(again.origins) == (exact(each.origins) if any(each.origins) else [])
        assert exact(again.subset(range(len(again) - 1, -1, -1)).origins) == exact(again.origins)[::-1]
    both = first + second
    if both:
        whole = exact(both) if any(both) else []
        assert exact(ImageSet.concatenate(opened).origins) == whole
        merge_shards([folder / "0", folder / "1"], folder / "merged")
        assert exact(ImageSet.load(folder / "merged").origins) == whole


def test_a_table_is_a_sequence_of_dictionaries():
    rows = [{"seed": 1, "prompt": "a"}, {"seed": 2}, {"seed": 3, "prompt": None}]
    known = Origins.of(rows)
    assert known == rows
    assert known != [*rows[:2], {"seed": 3}]
    assert (len(known), known[-1], list(known[1:])) == (3, rows[2], rows[1:])
    assert known.column("seed") == [1, 2, 3]
    assert known.column("other") == [None] * 3
    with pytest.raises(IndexError):
        known[3]


@pytest.mark.parametrize("table", [dict, pd.DataFrame, pa.table])
def test_an_author_may_give_a_table(table, tmp_path):
    given = table({"source": np.arange(3), "prompt": ["a", "b", "c"], "strength": [0.5, 1.0, 2.0]})
    made = ImageSet(np.zeros((3, 2, 2, 3), np.uint8), np.zeros(3, np.int64), ("one",), given)
    made.save(tmp_path)
    rows = [{"source": i, "prompt": "abc"[i], "strength": (0.5, 1.0, 2.0)[i]} for i in range(3)]
    assert exact(ImageSet.load(tmp_path).origins) == exact(rows)


def test_a_table_of_another_length_is_refused():
    with pytest.raises(ValueError, match="2 origins for 3 images"):
        ImageSet(np.zeros((3, 2, 2, 3), np.uint8), np.zeros(3, np.int64), ("one",), {"source": [0, 1]})


def test_a_value_that_is_no_json_is_refused(tmp_path):
    with pytest.raises(TypeError, match=r"^origins: seed is no JSON value \(Object of type int64 "):
        Origins.of([{"source": 1, "seed": np.int64(2)}])
    with pytest.raises(TypeError):
        images_of([{"source": np.int64(1)}]).save(tmp_path)


def test_nobody_reads_origins_who_does_not_ask(tmp_path):
    images_of([{"source": 1}, {"source": 2}]).save(tmp_path)
    (tmp_path / "origins.parquet").write_bytes(b"no table")
    opened = ImageSet.load(tmp_path)
    assert len(opened.subset([1]).origins) == 1
    with pytest.raises(pa.ArrowInvalid):
        opened.origins[0]


def test_one_name_is_read_without_the_others(tmp_path):
    images_of([{"source": 1, "prompt": "a"}, {"prompt": "b"}]).save(tmp_path)
    opened = ImageSet.load(tmp_path).origins
    assert opened.column("source") == [1, None]
    assert opened.column("other") == [None, None]
    assert "table" not in vars(opened), "all columns were read"
    assert opened[1] == {"prompt": "b"}


def test_stores_of_earlier_versions_are_read(tmp_path):
    images_of([{"source": 1, "b": None}, {"source": 2}]).save(tmp_path)
    (tmp_path / "origins.parquet").unlink()
    (tmp_path / "origins.jsonl").write_text('{"b": null, "source": 1}\n{"source": 2}\n', "utf-8")
    assert ImageSet.load(tmp_path).origins == [{"source": 1, "b": None}, {"source": 2}]


def test_the_same_origins_are_the_same_bytes_of_few_groups(tmp_path):
    rows = [{"source": i, "prompt": f"a photo {i % 7}"} for i in range(300)]
    for name in ("one", "two"):
        images_of(rows).save(tmp_path / name)
    one, two = (tmp_path / name / "origins.parquet" for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()
    assert pq.ParquetFile(one).num_row_groups == 1
