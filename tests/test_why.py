"""``bench why``: which input made a number differ from the last one."""

from __future__ import annotations

import pytest
from toys import World

from benchbench.errors import UsageError
from benchbench.results.why import explain_cell
from benchbench.store.store import Store


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    return World(tmp_path / "plugins", tmp_path / "results")


def ours(world: World, **options) -> str:
    return world.run(baseline=False, metric="none", **options)[0].key


def test_a_first_run_has_nothing_to_differ_from(world):
    key = ours(world)
    told = explain_cell(world.results, key[:10])
    assert (told["key"], told["other"], told["differences"]) == (key, None, [])
    assert told["lines"][0] == f"{key[:12]}  toygen.py on toydata.py, a, -, mix 0:1"
    assert told["lines"][1] == "  draw 1, seed 1, 24 real, 40 generated, quick"
    assert told["lines"][-1] == "no other run of this sentence is recorded, so nothing made it run again"
    assert {stage: len(keys) for stage, keys in told["steps"].items()} == {
        "data": 1,
        "fit": 1,
        "sample": 1,
        "transform": 0,
        "train": 1,
        "reference": 0,
        "score": 0,
    }


def test_an_edit_is_named_by_its_stage(world):
    old = ours(world)
    world.edit("toysample", "+ by)", "+ by + 1)")
    new = ours(world)
    told = explain_cell(world.results, new)
    assert told["other"] == old
    assert told["differences"][0] == "the code behind sample toygen.py"
    assert not [line for line in told["differences"] if "fit" in line.partition(":")[0].split(".")[0]]
    assert any(line.startswith("sample.code.plugin: ") for line in told["differences"])
    world.edit("toyfit", "GAIN = 3", "GAIN = 9")
    both = explain_cell(world.results, ours(world))["differences"]
    assert both[:1] == ["the code behind fit toygen.py"]


def test_another_sentence_is_not_compared(world):
    ours(world)
    other = ours(world, gen="toygen:level=3")
    assert explain_cell(world.results, other)["other"] is None


def test_artifacts_that_are_gone(world):
    old = ours(world)
    world.edit("toylearner", "0, 25", "0, 26")
    new = ours(world)
    store = Store(world.results / "artifacts")
    store.discard(old)
    told = explain_cell(world.results, new)
    assert told["differences"] == ["the code behind train"]
    told = explain_cell(world.results, old)
    assert f"  train   {old[:12]}  no longer cached" in told["lines"]


def test_a_failed_cell_is_explained_too(world):
    (record,) = world.run(baseline=False, metric="none", arch="boom")
    assert f"  failed, made {record.provenance.created}" in explain_cell(world.results, record.key)["lines"]


def test_keys_that_mean_no_cell(world):
    ours(world, seeds=2)
    with pytest.raises(UsageError, match=r"^why zz: no record has such a key; `bench plan --cells` shows keys$"):
        explain_cell(world.results, "zz")
    with pytest.raises(UsageError, match=r"^why : 2 cells match; give more digits$"):
        explain_cell(world.results, "")
