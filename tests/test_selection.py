"""``--select validation``: which setting of a sweep is the row, and that no test image decides it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from handmade import record
from toys import World, texts

from benchbench.errors import UsageError
from benchbench.planning.options import make_request
from benchbench.reporting.grid import row_notes
from benchbench.results.record import Record
from benchbench.results.selection import Choice, choices
from benchbench.results.table import build_table

SWEEP = ["gen.level=2,90,1"]


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    made = World(tmp_path / "plugins", tmp_path / "results")
    (made.folder / "toydata.py").write_text(texts(held_out=30)["toydata"].lstrip(), "utf-8")
    return made


def swept(gen: str, *, validation: float | None = None, **more) -> Record:
    made = record(gen, sweep="noise", **more)
    if validation is None or made.result is None:
        return made
    return dataclasses.replace(
        made, result=dataclasses.replace(made.result, measures={"validation_accuracy": validation})
    )


def test_the_row_is_the_best_on_the_validation_part_whatever_the_test_says():
    records = [record("real", draw=draw, correct=100 + draw) for draw in range(3)]
    for draw in range(3):
        records.append(swept("diffinv", validation=0.5, correct=160 + draw, draw=draw))
        records.append(swept("diffinv:noise=0.2", validation=0.75, correct=140 + draw, draw=draw))
    table = build_table(records)
    found = {row.setting.gen: row for row in table.rows}
    assert found["diffinv"].choice == Choice(False, 2, 50.0)
    assert found["diffinv:noise=0.2"].choice == Choice(True, 2, 75.0)
    assert found["real"].choice is None
    assert [mean.setting.gen for mean in table.means] == ["diffinv:noise=0.2"]
    chosen, other = found["diffinv:noise=0.2"].conclusion, found["diffinv"].conclusion
    assert (chosen.verdict, chosen.compared) == ("better", 1)
    assert (other.verdict, other.compared, other.detectable) == ("", 0, None)
    assert other.difference is not None, "it is listed with its difference"
    assert found["diffinv"].tie_group is None
    assert "Chosen of 2 settings: 75.0 % on the validation part." in row_notes(found["diffinv:noise=0.2"])
    assert "Not chosen of 2 settings, no verdict: 50.0 % on the validation part." in row_notes(found["diffinv"])


def test_one_setting_is_chosen_for_all_architectures():
    shares = {"a": {"diffinv": 0.9, "diffinv:noise=1": 0.6}, "b": {"diffinv": 0.1, "diffinv:noise=1": 0.6}}
    records = [
        swept(gen, validation=share, arch=arch) for arch, of_arch in shares.items() for gen, share in of_arch.items()
    ]
    rows = build_table(records).rows
    assert {(row.setting.gen, row.setting.arch) for row in rows if row.choice and row.choice.chosen} == {
        ("diffinv:noise=1", "a"),
        ("diffinv:noise=1", "b"),
    }


def test_a_setting_that_failed_somewhere_is_not_chosen():
    records = [
        swept("diffinv", validation=0.9, arch="a"),
        swept("diffinv", error="boom", arch="b"),
        *(swept("diffinv:noise=1", validation=0.5, arch=arch) for arch in "ab"),
    ]
    rows = build_table(records).rows
    assert {row.setting.gen for row in rows if row.choice and row.choice.chosen} == {"diffinv:noise=1"}


def test_sweeps_of_two_generators_and_of_two_mixes_choose_apart():
    settings = [
        ("a", swept(gen, mix=mix).cell.setting, {(0, 0): share})
        for gen, mix, share in (("diffinv", "0:1", 0.1), ("lecf", "0:1", 0.2), ("diffinv", "1:1", 0.3))
    ]
    found = choices((str(place), setting, measures) for place, (_, setting, measures) in enumerate(settings))
    assert [choice.chosen for choice in found.values()] == [True] * 3
    assert {choice.among for choice in found.values()} == {1}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, "--select: chooses among the settings of a sweep; add --sweep gen.KEY=VALUE,VALUE"),
        (
            {"sweep": ["learner.shift=1,2"]},
            "--select: chooses among settings of generators; --sweep learner.shift sweeps something else",
        ),
        ({"sweep": SWEEP, "select": "test"}, "--select test: must be one of validation"),
    ],
)
def test_what_cannot_be_chosen_among_is_refused(options, told):
    with pytest.raises(UsageError) as caught:
        make_request({"data": "toy", "gen": "toygen", "learner": "toy", "select": "validation", **options})
    assert str(caught.value).startswith(told)


def test_a_dataset_without_a_validation_part_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    bare = World(tmp_path / "plugins", tmp_path / "results")
    with pytest.raises(UsageError, match=r"^--select validation: toy has no validation part to choose on$"):
        bare.plan(sweep=SWEEP, select="validation")


def test_a_run_scores_the_validation_part_beside_the_test(world):
    plain = world.run(sweep=SWEEP)
    chosen = world.run(sweep=SWEEP, select="validation")
    by_gen = {item.cell.gen: item for item in chosen}
    assert by_gen["real"].key == next(item.key for item in plain if item.cell.baseline), "the baseline is not swept"
    swept = [item for item in chosen if item.cell.sweep == "level"]
    assert len(swept) == 3
    for item in swept:
        assert item.result.n_test == 12
        assert 0 <= item.result.measures["validation_accuracy"] <= 1
        count = item.result.measures["validation_accuracy"] * 30
        assert count == pytest.approx(round(count)), "of the 30 validation images"
    rows = [row for row in build_table(chosen).rows if row.choice]
    best = max(rows, key=lambda row: row.measures["validation_accuracy"])
    assert [row.spec_id for row in rows if row.choice.chosen] == [best.spec_id]
    assert np.isfinite(best.accuracy.value)


def test_settings_are_compared_over_the_architectures_and_draws_that_all_of_them_have():
    """The first had an easy network besides, and later an easy draw."""
    archs = {"diffinv": {"easy": 0.95, "b": 0.5}, "diffinv:noise=1": {"b": 0.6, "hard": 0.1}}
    records = [
        swept(gen, validation=share, arch=arch) for gen, of_arch in archs.items() for arch, share in of_arch.items()
    ]
    chosen = [row for row in build_table(records).rows if row.choice and row.choice.chosen]
    assert {(row.setting.gen, round(row.choice.validation, 6)) for row in chosen} == {("diffinv:noise=1", 60)}
    draws = {"diffinv": (0.5, 0.5, 0.5, 1.0), "diffinv:noise=1": (0.6, 0.6, 0.6)}
    records = [
        swept(gen, validation=share, draw=draw) for gen, shares in draws.items() for draw, share in enumerate(shares)
    ]
    assert [row.setting.gen for row in build_table(records).rows if row.choice and row.choice.chosen] == [
        "diffinv:noise=1"
    ]
    apart = [swept("diffinv", validation=0.7), swept("diffinv:noise=1", validation=0.6, draw=1)]
    chosen = [row.setting.gen for row in build_table(apart).rows if row.choice and row.choice.chosen]
    assert chosen == ["diffinv"], "where nothing is shared, over all"
