from __future__ import annotations

import dataclasses
import random
import statistics
import subprocess
import sys
import time
from datetime import UTC, datetime

import pytest
from handmade import fidelity, record, small_study
from hypothesis import given
from hypothesis import strategies as st

from benchbench.plugins import Column
from benchbench.reporting.text import markdown_text
from benchbench.results.record import LARGEST_ORDER, order_of_run
from benchbench.results.table import build_table, natural, short_error, shown_keys


def row_of(table, **wanted):
    """Return the one row whose fields, or those of its generation, are as wanted."""
    (found,) = (row for row in table.rows if all(getattr(row.setting, name) == value for name, value in wanted.items()))
    return found


def test_mean_and_sample_deviation_over_seeds_and_draws():
    accuracies = {(0, 0): 150, (0, 1): 160, (1, 0): 140, (1, 1): 146}
    table = build_table(
        record(correct=correct, draw=draw, replicate=replicate, spec_id="s")
        for (draw, replicate), correct in accuracies.items()
    )
    (row,) = table.rows
    percents = [correct / 2 for correct in accuracies.values()]
    assert row.acc_mean == pytest.approx(74.5)
    assert row.acc_std == pytest.approx(statistics.stdev(percents))
    assert (row.seeds, row.generation.draws, row.failed, row.status) == (4, 2, 0, "done")
    assert row.best_on_test == pytest.approx(75.5)
    assert row.train_s == pytest.approx(12.5)
    assert row.generation.fit_s == pytest.approx(60.5)  # per generation: 60 and 61
    assert row.peak_memory_mib == 901


def test_one_training_has_no_deviation():
    row = build_table([record()]).rows[0]
    assert (row.acc_mean, row.acc_std, row.delta, row.delta_std) == (75.0, None, None, None)


def test_the_difference_is_to_the_baseline_of_the_same_setting():
    table = build_table(small_study())
    ours = row_of(table, arch="resnet18", gen="diffinv")
    assert ours.delta == pytest.approx(statistics.mean([75, 77, 79]) - statistics.mean([70, 71, 72]))
    assert ours.delta_std == pytest.approx(statistics.stdev([5, 6, 7]))
    single = row_of(table, arch="vgg16", gen="diffinv", mix="0:1")
    assert (single.delta, single.delta_std) == (pytest.approx(-5.0), None)
    assert all(row.delta is None for row in table.rows if row.setting.baseline)
    for change in (
        {"aug": "mixup"},
        {"n_real": 20},
        {"preset": "paper"},
        {"learner": "knn"},
        {"data": "eurosat"},
    ):
        alone = build_table([record("real"), record(**change)])
        assert row_of(alone, gen="diffinv").delta is None


def test_differences_are_paired_only_over_the_same_trainings():
    table = build_table([record("real", replicate=n) for n in (0, 1)] + [record(replicate=n) for n in (0, 2)])
    ours = row_of(table, gen="diffinv")
    assert (ours.delta, ours.delta_std) == (0.0, None)


def test_only_the_newest_code_is_shown_and_the_rest_counted():
    newer = "2026-03-01T00:00:00+00:00"
    old = [record(correct=10, replicate=n, code="a") for n in range(3)]
    new = record(correct=150, code="b", created=newer)
    for records in ([*old, new], [new, *old]):
        (row,) = build_table(records).rows
        assert (row.acc_mean, row.seeds, row.superseded) == (75.0, 1, 3)
        assert shown_keys(records) == {new.key}
    taken_back = dataclasses.replace(
        old[0], provenance=dataclasses.replace(old[0].provenance, created="2026-04-01T00:00:00+00:00")
    )
    records = [taken_back, *old[1:], new]
    (row,) = build_table(records).rows
    assert (row.acc_mean, row.seeds, row.superseded) == (5.0, 3, 1)
    assert build_table(records).superseded == 1


def test_times_compare_across_offsets():
    early = record(correct=10, code="a", created="2026-03-01T10:00:00+05:00")  # 05:00 UTC
    late = record(correct=150, code="b", created="2026-03-01T06:00:00Z")
    assert build_table([late, early]).rows[0].acc_mean == 75.0


def test_the_order_of_runs_counts_before_the_time():
    ahead = record(correct=10, code="a", created="2096-03-01T00:00:00+00:00")  # of schema 4: its time is its order
    behind = record(correct=150, code="b", created="1990-01-01T00:00:00+00:00")
    order = order_of_run([ahead], datetime(1990, 1, 1, tzinfo=UTC))
    later = dataclasses.replace(behind, provenance=dataclasses.replace(behind.provenance, order=order))
    assert build_table([ahead, behind]).rows[0].acc_mean == 5.0
    assert build_table([later, ahead]).rows[0].acc_mean == 75.0


def test_the_order_of_a_run_is_its_time_or_more_than_what_there_is():
    now = datetime(2026, 1, 2, tzinfo=UTC)
    time_of_now = int(now.timestamp() * 1000)
    assert order_of_run([], now) == time_of_now
    assert order_of_run([record(created="2026-01-01T00:00:00Z")], now) == time_of_now
    assert order_of_run([record(created="2026-01-03T00:00:00Z")], now) == time_of_now + 24 * 3600 * 1000 + 1
    provenance = dataclasses.replace(record().provenance, order=LARGEST_ORDER)
    assert order_of_run([dataclasses.replace(record(), provenance=provenance)], now) == LARGEST_ORDER


def test_the_same_training_done_again_counts_once():
    again = dataclasses.replace(
        record(correct=100, created="2026-02-01T00:00:00+00:00"), key="a" * 64, spec_id=record().spec_id
    )
    (row,) = build_table([again, record(correct=150)]).rows
    assert (row.acc_mean, row.seeds, row.superseded) == (50.0, 1, 1)


def test_failures_are_rows_not_holes():
    table = build_table([record(error="MemoryError", replicate=n) for n in range(2)])
    (row,) = table.rows
    assert (row.status, row.acc_mean, row.seeds, row.failed) == ("failed (out of memory)", None, 0, 2)
    table = build_table([record(), record(error="it broke\nsomewhere", replicate=1)])
    (row,) = table.rows
    assert (row.status, row.acc_mean, row.seeds) == ("1 of 2 failed (it broke)", 75.0, 1)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20 GiB", "out of memory"),
        ("[Errno 12] Cannot allocate memory", "out of memory"),
        ("Traceback (most recent call last):\n  File ...\nValueError: no", "ValueError: no"),
        ("mine: raised\nmore", "mine: raised"),
        ("cannot open /home/me/data/cat.png", "cannot open cat.png"),
        ("x" * 100, "x" * 77 + "..."),
        ("  \n", "unknown error"),
    ],
)
def test_errors_in_one_line(error, told):
    assert short_error(error) == told


def test_environments_are_counted():
    mixed = build_table([record(environment="a"), record(environment="b", replicate=1)])
    assert mixed.rows[0].environments == ("a", "b")


def test_metrics_are_averaged_over_draws():
    records = [
        record(draw=draw, replicate=replicate, spec_id="s", metrics=fidelity(fd))
        for draw, fd in ((0, 10.0), (1, 20.0))
        for replicate in range(3 if draw == 0 else 1)
    ]
    (row,) = build_table(records).rows
    another, ours = row.generation.scores
    assert (another.metric, another.values["colour"]) == ("another", 0.5)
    told = {"fd": 15.0, "precision": 0.75, "extractor": "glyphcnn-v1", "n_score": 400}
    assert told.items() <= ours.values.items()


def test_distances_on_different_features_are_never_averaged():
    records = [record(draw=n, spec_id="s", metrics=fidelity(1.0, extractor=name)) for n, name in enumerate("ab")]
    ours = build_table(records).rows[0].generation.scores[1]
    assert ours.values == {"extractor": "mixed", "n_score": 400, "n_reference": 899}


def test_different_numbers_of_scored_images_have_no_common_one():
    records = [record(draw=n, spec_id="s", metrics=fidelity(1.0, n_score=400 + n)) for n in range(2)]
    values = build_table(records).rows[0].generation.scores[1].values
    assert ("n_score" in values, values["n_reference"], values["fd"]) == (False, 899, 1.0)


def test_a_generation_is_counted_once_for_all_architectures():
    made = build_table(small_study()).generations
    told = [(item.setting.gen, item.scores[1].values["fd"], item.draws) for item in made]
    assert told == [("real", 3.125, 1), ("diffinv", 12.5, 1)]
    assert {item.setting.arch for item in made} == {"-"}


def test_a_metric_that_failed_has_no_scores():
    (row,) = build_table([record(metrics={"torn": {"error": "no score today"}})]).rows
    assert row.generation.scores == ()


def test_a_metric_that_declares_no_column_shows_its_numbers():
    scores = {"far": 2.5, "note": "text", "right": True, "extractor": "pixels", "n_score": 3}
    made = dataclasses.replace(record(metrics={"plain": scores}), metric_columns={})
    (shown,) = build_table([made]).rows[0].generation.scores
    assert shown.columns == (Column("far", "far"),)
    assert shown.values == {"far": 2.5, "extractor": "pixels", "n_score": 3}


def test_order_of_rows():
    records = [
        record(gen, arch=arch, mix=mix)
        for gen in ("diffinv:guidance_scale=10", "diffinv:guidance_scale=9", "real")
        for arch in ("vgg16", "ResNet18")
        for mix in ("1:1", "0:1")
    ]
    random.Random(0).shuffle(records)
    order = [(row.setting.arch, row.setting.gen, row.setting.mix) for row in build_table(records).rows]
    assert order[:4] == [
        ("ResNet18", "real", "0:1"),
        ("ResNet18", "real", "1:1"),
        ("ResNet18", "diffinv:guidance_scale=9", "0:1"),
        ("ResNet18", "diffinv:guidance_scale=10", "0:1"),
    ]
    assert [arch for arch, _, _ in order] == ["ResNet18"] * 6 + ["vgg16"] * 6


@given(st.permutations(small_study()))
def test_any_order_of_records_gives_the_same_table(records):
    assert build_table(records) == build_table(small_study())


@given(st.lists(st.text(), max_size=5))
def test_natural_order_is_total(texts):
    assert sorted(sorted(texts, reverse=True), key=natural) == sorted(texts, key=natural)


def test_nothing_at_all():
    assert build_table([]).rows == ()


def test_it_needs_no_numpy():
    program = "import sys, benchbench.results.table; sys.exit(bool({'numpy', 'pandas', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_a_table_of_ten_thousand_records_takes_seconds():
    one = record(metrics=fidelity(1.0))
    records = [
        dataclasses.replace(
            one,
            key=f"{number:064x}",
            spec_id=f"s{number // 5}",
            cell=dataclasses.replace(one.cell, gen=f"g:x={number // 50}", replicate=number % 5),
        )
        for number in range(10_000)
    ]
    started = time.process_time()
    assert len(build_table(records).rows) == 2000
    assert time.process_time() - started < 5.0


# What rows conclude


def trained(gen, correct, arch="resnet18", draws=3, **cell):
    """Return one training on each of some draws."""
    return [record(gen, correct=correct, arch=arch, draw=draw, **cell) for draw in range(draws)]


def details(records, **told):
    return [dataclasses.replace(item, result=dataclasses.replace(item.result, **told)) for item in records]


def test_a_family_is_all_rows_of_one_dataset_preset_and_test_that_have_a_baseline():
    rows = [
        *trained("real", 100),
        *trained("diffinv", 112),
        *trained("real", 100, "vgg16"),
        *trained("lecf", 94, "vgg16"),
    ]
    table = build_table([*rows, *trained("alone", 150, "other"), *trained("copies", 112, control="copies")])
    found = {row.setting.gen: row.conclusion for row in table.rows if not row.setting.baseline}
    p = {gen: found[gen].difference.p for gen in ("diffinv", "lecf")}
    assert p["diffinv"] < p["lecf"] < 0.05
    assert [found[gen].compared for gen in ("diffinv", "lecf", "copies", "alone")] == [2, 2, 1, 0]
    assert [found[gen].verdict for gen in ("diffinv", "lecf", "copies", "alone")] == ["better", "worse", "better", ""]
    assert found["diffinv"].detectable > found["copies"].detectable, "of equal hits, but alone in its family"
    more = build_table([*rows, *(item for n in range(30) for item in trained(f"g{n}", 101, "vgg16"))])
    assert row_of(more, gen="lecf").conclusion.verdict == "no difference shown", "one of 32 rows now"
    for change in ({"data": "eurosat"}, {"preset": "paper"}, {"test": "vae"}):
        apart = [*trained("real", 100, **change), *trained("x", 101, **change)]
        assert row_of(build_table([*rows, *apart]), gen="x").conclusion.compared == 1


def test_tie_groups_are_of_rows_that_can_be_compared():
    rows = {"real": 100, "good": 130, "fair": 128, "poor": 60}
    records = [item for gen, correct in rows.items() for item in trained(gen, correct)]
    records += [*trained("real", 20, "vgg16"), *trained("more-real", 190, control="more-real")]
    table = build_table(records)
    groups = {(row.setting.gen, row.setting.arch): row.tie_group for row in table.rows}
    assert groups == {
        ("good", "resnet18"): 1,
        ("fair", "resnet18"): 1,
        ("real", "resnet18"): 2,
        ("poor", "resnet18"): 3,
        ("real", "vgg16"): 1,
        ("more-real", "resnet18"): None,
    }


def test_copies_of_a_training_are_one_training():
    same = [record("real", replicate=seed) for seed in range(3)]
    (row,) = build_table(same).rows
    assert (row.seeds, row.accuracy.seeds, row.acc_mean) == (3, 1, 75.0)
    answers = [dict(answers=f"{n}" * 64) for n in range(3)]
    (row,) = build_table([details([item], **told)[0] for item, told in zip(same, answers, strict=True)]).rows
    assert row.accuracy.seeds == 3, "equal hits by different answers"


def test_draws_that_are_split_anew_have_test_images_of_their_own():
    """Their common test images give no interval a part; the steps of the dataset tell them apart."""
    records = [*trained("real", 100), *trained("diffinv", 110)]
    split = [dataclasses.replace(item, steps={"data": [f"{item.cell.draw}" * 64]}) for item in records]
    apart, shared = (row_of(build_table(found), gen="diffinv").conclusion.difference for found in (split, records))
    assert shared.low is not None
    assert (apart.value, apart.low) == (shared.value, None), "three equal draws tell nothing of others"


def test_means_are_over_the_architectures_that_have_a_difference():
    records = [*trained("real", 100), *trained("real", 80, "vgg16"), *trained("g", 110), *trained("g", 82, "vgg16")]
    records += [*trained("g", 150, "alone"), *trained("copies", 102, control="copies")]
    found = {mean.setting.gen: mean for mean in build_table(records).means}
    assert (found["g"].archs, found["g"].conclusion.difference.value) == (("resnet18", "vgg16"), pytest.approx(3.0))
    assert (found["g"].better, found["g"].worse, found["g"].conclusion.compared) == (1, 0, 1)
    assert (found["copies"].archs, found["copies"].setting.control) == (("resnet18",), "copies")


def test_a_part_of_a_table_keeps_what_it_concludes_among_all():
    records = small_study()
    table = build_table(records)
    ours = row_of(table, arch="vgg16", mix="0:1")
    part = table.of([ours.spec_id])
    assert part.rows == (ours,)
    assert [made.setting.gen for made in part.generations] == ["diffinv"]
    assert [mean.setting.gen for mean in part.means] == ["diffinv"]
    assert table.of(row.spec_id for row in table.rows) == table


UNLEARNED = "46 % on its own training images after 100 steps: it has not learned them yet."
RISING = "Still rising: 96 % on its own training images after 100 steps."


@pytest.mark.parametrize(
    ("learning", "text"),
    [
        ({"train_accuracy": 0.456, "rising": True}, UNLEARNED),
        ({"train_accuracy": 0.96, "rising": True}, RISING),
        ({"rising": True}, "Still rising: after 100 steps."),
        ({"train_accuracy": 0.96, "rising": False}, ""),
        ({"train_accuracy": 1.5}, None),
        ({"train_accuracy": "nan", "rising": 3}, None),
        ([], None),
    ],
)
def test_how_far_a_row_got(learning, text):
    (row,) = build_table(details([record()], details={"learning": learning}, steps=100)).rows
    assert (row.learning and row.learning.text) == text


@pytest.mark.parametrize(
    ("plateau", "share"),
    [
        (
            {"accuracy": 80.9, "longer": 85.9, "steps": 1600},
            "At 94 % of its plateau: 1,600 steps gave 85.9 % in place ",
        ),
        ({"accuracy": 80.9, "longer": 81.8, "steps": 1600}, ""),
        ({"accuracy": 80.9, "longer": 79.0, "steps": 1600}, ""),
        ({"accuracy": 80.9, "longer": "85.9", "steps": 1600}, ""),
        ({"accuracy": float("nan"), "longer": 85.9, "steps": 1600}, ""),
        ({"accuracy": 0, "longer": 85.9, "steps": 1600}, ""),
        ({"accuracy": 80.9, "longer": 85.9, "steps": 0}, ""),
        ({"accuracy": 80.9, "longer": 85.9}, ""),
        ([80.9, 85.9, 1600], ""),
    ],
)
def test_the_share_of_its_plateau_stands_at_a_row(plateau, share):
    learning = {"train_accuracy": 1.0, "rising": False, "plateau": plateau}
    table = build_table(details([record()], details={"learning": learning}, steps=400))
    found = table.rows[0].learning
    assert found.share.startswith(share)
    assert bool(found.share) == bool(share)
    assert found.share in markdown_text(table)
    assert found.text == "", "no row on its way for that"


def test_of_several_trainings_those_that_still_rise_are_counted():
    told = [{"train_accuracy": 0.9 + seed / 50, "rising": seed == 1} for seed in range(3)]
    records = [details([record(replicate=seed)], details={"learning": told[seed]}, steps=100)[0] for seed in range(3)]
    assert build_table(records).rows[0].learning.text == (
        "1 of 3 still rising: 92 % on its own training images after 100 steps."
    )


def test_measures_and_curves_are_means_over_trainings():
    measures = [{"auc": 0.5 + seed / 10, "per_class": [1.0], "ece": None} for seed in range(2)]
    curves = [((10, 1.0, 0.5), (20 + seed, 1.0, 0.75)) for seed in range(2)]
    told = [{"measures": known, "curve": curve} for known, curve in zip(measures, curves, strict=True)]
    records = [details([record(replicate=seed)], **told[seed])[0] for seed in range(2)]
    (row,) = build_table(records).rows
    assert row.measures == {"auc": pytest.approx(0.55)}
    assert row.curve == ((10, 50.0),), "where both were scored"
