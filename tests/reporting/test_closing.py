"""The sentences at the end: each says what the records carry and no more, whatever the records are."""

from __future__ import annotations

import dataclasses
import itertools
import re

import pytest
from handmade import record

from benchbench.reporting.closing import closing_lines
from benchbench.reporting.grid import row_notes
from benchbench.results.table import build_table
from benchbench.statistics.shares import share_of
from benchbench.statistics.trainings import Estimate

CONTROLS = ("more-real", "half-real", "copies")
FURTHER = "500 further real images give"


def study(rows, archs=("a",), draws=3, seeds=1, **cell):
    """Return records by how many of 200 test images more than the baseline's 100 each generator has right.

    Hits are nested, so that a difference of n images has the standard error of n hits among 200. A number may be given
    by architecture, where ``None`` is no training, and a row that is called after a control is one.
    """
    records = []
    for gen, arch, draw, seed in itertools.product({"real": 0, **rows}, archs, range(draws), range(seeds)):
        more = rows.get(gen, 0)
        here = more[arch] if isinstance(more, dict) else more[draw] if isinstance(more, tuple) else more
        if here is not None:
            known = {"control": gen} if gen in CONTROLS else {}
            records.append(
                record(gen, correct=100 + here + seed, arch=arch, draw=draw, replicate=seed, **known, **cell)
            )
    return records


def said(records, *words):
    """Return the lines; in none of them stands what is no number."""
    lines = closing_lines(build_table(records), words)
    assert not re.search(r"\b(nan|inf|None)\b|[+-]0\.0\b(?! points)", "\n".join(lines))
    return lines


def first(rows, **how):
    return said(study(rows, **how))[0]


def test_better_on_average_over_the_architectures_with_what_it_costs():
    line, *rest = said(study({"diffinv": {"a": 20, "b": 2}}, archs=("a", "b")))
    assert line == (
        "diffinv: better, +5.5 points [3.1, 7.9] on average over these 2 architectures (3 draws x 1 seed); "
        "1 of 2 better by itself; 1 min 31 s per generation, +217.6 points per hour on cpu"
    )
    assert len(rest) == 2


def test_a_gpu_is_counted_in_gpu_hours():
    records = [
        dataclasses.replace(item, cost=dataclasses.replace(item.cost, device="cuda:0")) for item in study({"g": 20})
    ]
    assert said(records)[0].endswith("+395.6 points per GPU-hour")


def test_worse_and_nothing_per_hour():
    line = first({"diffinv": {"a": -20, "b": -30}, "more-real": 30}, archs=("a", "b"))
    assert re.fullmatch(
        r"diffinv: worse, -12\.5 points \[-16\.\d, -8\.\d\] on average over these 2 architectures "
        r"\(3 draws x 1 seed\); 2 of 2 worse by themselves; 1 min 31 s per generation",
        line,
    )


def test_one_architecture_is_named_and_none_is_left_out():
    assert first({"diffinv": 20}).startswith("diffinv: better, +10.0 points [5.8, 14.2] with a (3 draws x 1 seed); ")
    assert "+10.0 points [5.8, 14.2] (3 draws x 1 seed); " in first({"diffinv": 20}, archs=("-",))


def test_settings_of_one_generator_are_told_apart():
    mixed = study({"diffinv": 20}, mix="1:1", aug="mixup")
    lines = said([*study({"diffinv": 20, "prompt": 0}), *mixed])
    assert [line.split(": ")[0] for line in lines[:3]] == [
        "diffinv (mix 0:1, augmentation default)",
        "prompt",
        "diffinv (mix 1:1, augmentation mixup)",
    ]


# What controls add


def test_a_control_that_is_found():
    line = first({"diffinv": 1, "more-real": 20})
    assert line.startswith(
        "diffinv: no difference shown, +0.5 points [-0.5, 1.5] with a (3 draws x 1 seed); "
        f"while {FURTHER} +10.0 points [5.8, 14.2]; 5 % [-12, 31] of what {FURTHER}; "
    )


def test_a_control_of_fewer_architectures_says_which_and_the_share_is_over_them():
    some = {"a": 20, "b": 18, "c": None}
    line = first({"diffinv": {"a": 10, "b": 9, "c": 0}, "more-real": some}, archs=("a", "b", "c"))
    assert line.startswith("diffinv: better, +3.2 points")
    assert "; 50 % [" in line
    spread = first({"diffinv": (20, 30, 5), "more-real": 20})
    assert f"; while {FURTHER} +10.0 points [5.8, 14.2]; 1 min 31 s per generation" in spread, "92 % [-257, 610]"
    line = first({"diffinv": {"a": 1, "b": 2, "c": 1}, "more-real": some}, archs=("a", "b", "c"))
    assert f"; while {FURTHER} +9.5 points [5.5, 13.5] with a, b; none of 3 better or worse by itself; 8 % [" in line


def test_a_control_that_is_not_found_where_little_could_be():
    line = first({"diffinv": (-14, 18, 0), "more-real": (-18, 30, 0)})
    assert re.search(
        r"; this design could not have shown it: more steps, draws, test images; try --draws 12 "
        rf"\({FURTHER} \+2\.0 points \[-\d+\.\d, \d+\.\d\]: no difference shown either\)",
        line,
    )


def test_a_control_that_varies_more_than_the_row_does_not_belittle_what_the_row_could_have_shown():
    line, design, *_ = said(study({"diffinv": 1, "more-real": (-18, 30, 0)}))
    assert f"; whether further real images help here is open ({FURTHER} +2.0 points [" in line
    assert "could not have shown" not in line
    assert float(re.search(r"could have shown: (\d+\.\d) points", design)[1]) < 3


def test_a_control_of_the_baselines_own_hits_was_not_found_either():
    """As after a few steps, when every network still says one class."""
    line = first({"diffinv": 1, "more-real": 0})
    assert f"; try --draws 12 ({FURTHER} +0.0 points: no difference shown either); " in line


def test_a_control_that_is_not_found_where_it_would_have_been():
    line = first({"diffinv": 1, "more-real": -1})
    assert f"; further real images do not help here either ({FURTHER} -0.5 points [-1.5, 0.5]); " in line


def test_a_control_that_leaves_it_open():
    line = first({"diffinv": 1, "more-real": 3})
    assert f"; whether further real images help here is open ({FURTHER} +1.5 points [-0.2, 3.2]); " in line


def test_a_control_of_too_few_trainings():
    records = study({"diffinv": 1}) + study({"more-real": 20}, draws=1)[1:]
    line = said(records)[0]
    assert f"; {FURTHER} +10.0 points, of too few trainings to say whether this design shows anything; " in line


def test_where_all_real_images_are_in_use():
    whole = {"draws": 1, "seeds": 3, "whole": True}
    line = first({"diffinv": 1}, **whole)
    assert line.startswith(
        "diffinv: no difference shown, +0.5 points [-0.1, 1.1] with a (1 draw x 3 seeds), for these training images; "
        "no positive control: all real images are in use; "
    )
    line = first({"diffinv": 1, "half-real": -20}, **whole)
    assert "; while all real images instead of half of them give +10.0 points [5.9, 14.1]; 1 min 30 s" in line
    assert "further" not in line


def test_no_control_at_all():
    assert "; no control was trained that says whether this design shows anything; " in first({"diffinv": 1})


@pytest.mark.parametrize("control", [-20, 0, 20])
def test_a_control_never_changes_better_or_worse(control):
    plain = {word: first({"diffinv": more}) for word, more in (("better", 20), ("worse", -20))}
    for word, more in (("better", 20), ("worse", -20)):
        line = first({"diffinv": more, "more-real": control, "copies": -control})
        said_alone = plain[word].split("; ")[0]
        assert line.split("; ")[0] == said_alone
        assert f" {word}, " in said_alone


def test_controls_alone_have_lines_of_their_own():
    line, other, *_ = said(study({"copies": 1, "more-real": 20}))
    assert line.startswith("copies: no difference shown, +0.5 points [-0.5, 1.5] with a (3 draws x 1 seed); 1 min 31 s")
    assert other.startswith("more-real: better, +10.0 points [5.8, 14.2] with a (3 draws x 1 seed); 1 min 31 s")


def test_copies_that_are_called_better_too():
    line = first({"diffinv": 20, "copies": 20})
    assert "; but copies of the real images are called better too (+10.0 points [5.8, 14.2]); " in line
    assert "copies" not in first({"diffinv": 20, "copies": 0})


def test_the_share_covers_every_ratio_of_the_two_gains():
    def gain(value, se):
        return Estimate(value, None, None, se, 10.0, 0.01, 3, 1, 3, "")

    half = 2.633767  # t(.9875) at 10 degrees of freedom
    value, low, high = share_of(gain(5.0, 0.5), gain(10.0, 1.0))
    ends = [(5 + s * half * 0.5) / (10 + r * half) for s in (-1, 1) for r in (-1, 1)]
    assert (value, low, high) == pytest.approx((0.5, min(ends), max(ends)), rel=1e-5)
    assert share_of(gain(5.0, 0.5), gain(10.0, 3.0)) is None, "hardly known"
    assert share_of(gain(5.0, 0.5), gain(-10.0, 1.0)) is None
    assert share_of(gain(5.0, None), gain(10.0, 1.0)) is None


# Few trainings, and none


def test_one_draw_of_many_has_no_verdict():
    line, design = said(study({"diffinv": 20}, draws=1, seeds=3))
    assert line.startswith(
        "diffinv: +10.0 points [5.9, 14.1] with a (1 draw x 3 seeds) on this draw of the real images alone: no verdict"
    )
    assert design == "for a verdict: the same command with --draws 3 --seeds 3 (about 5 min 36 s of work more)"


def test_a_single_training():
    line, design = said(study({"diffinv": 20}, draws=1))
    assert line.startswith(
        "diffinv: +10.0 points with a (1 draw x 1 seed) on this draw of the real images alone: no ver"
    )
    assert design.startswith("for a verdict: the same command with --draws 3 --seeds 1 ")
    line, design = said(study({"diffinv": 20}, draws=1, whole=True))
    assert line.startswith("diffinv: not enough trainings for a verdict, +10.0 points with a (1 draw x 1 seed); ")
    assert design.startswith("for a verdict: the same command with --draws 1 --seeds 4 ")


def test_two_draws_are_rough():
    assert " (2 draws x 1 seed), rough: two draws; " in first({"diffinv": 20}, draws=2)


def test_identical_answers():
    (line,) = said(study({"diffinv": 0}))
    assert line.startswith(
        "diffinv: the same test images right as the baseline in every training with a (3 draws x 1 seed)"
    )


def test_what_failed_and_what_has_no_baseline():
    failed = [record("lecf", arch="a", draw=draw, error="MemoryError") for draw in range(3)]
    assert said(study({"diffinv": 20}) + failed)[1] == "lecf: failed (out of memory)"
    assert said([record("diffinv")]) == ["diffinv: not compared: no training of the baseline has its draw and seed"]
    assert said([record("real")]) == []
    assert said([]) == []


def test_of_many_generators_the_first_are_told():
    records = study({f"g{number:02}": number for number in range(30)})
    lines = said(records)
    assert lines[12] == "and 18 more: leaderboard.md"
    assert len(closing_lines(build_table(records), most=None)) == 32


# The design


def test_the_smallest_difference_and_the_command_for_half_of_it():
    *_, least, half = said(
        study({"diffinv": 20, "more-real": 20}), "run", "--gen", "diffinv", "--draws", "3", "--seeds=1", "--data", "a b"
    )
    assert least == "smallest difference that this design could have shown: 6.0 points (four times in five)"
    assert half == (
        "with 4 times the draws about 6.0 points (the rest takes more test images): "
        "bench run --gen diffinv --data 'a b' --draws 12 --seeds 1 --controls (about 33 min of work more)"
    )


def test_more_draws_show_less_where_draws_differ():
    spread = {"diffinv": (20, 30, 5), "lecf": (3, -20, -10)}
    least, half = said(study(spread))[-2:]
    (now, more_now), (then, more_then) = (map(float, re.findall(r"(\d+\.\d)", line)[:2]) for line in (least, half))
    assert 20 < now < more_now < 30
    assert now / 5 < then < now / 3, "half by four times the draws, and by more degrees of freedom than two"
    assert more_now / 5 < more_then < more_now / 3
    assert half.startswith("with 4 times the draws about ")
    assert "test images" not in half


def test_where_all_images_are_in_use_seeds_take_the_place_of_draws():
    *_, half = said(study({"diffinv": 20}, draws=1, seeds=3, whole=True))
    assert re.match(
        r"with 4 times the seeds about 5\.\d points \(.*images\): the same command with --draws 1 --seeds 12 ", half
    )


def test_rows_that_are_not_at_the_end_of_their_learning_are_counted():
    records = study({"diffinv": 20})
    details = [{"learning": {"train_accuracy": share, "rising": False}} for share in (0.5, 0.5, 0.5, 1.0, 1.0, 1.0)]
    told = [
        dataclasses.replace(item, result=dataclasses.replace(item.result, details=known))
        for item, known in zip(records, details, strict=True)
    ]
    assert said(told)[1] == "1 of 2 rows not at the end of their learning (marked above): more steps first"


# Records of several designs in one folder


def test_architectures_without_a_common_draw_have_no_mean():
    apart = [*study({"diffinv": 20}), *study({"diffinv": 20}, archs=("b",), draws=6)]
    records = [item for item in apart if item.cell.arch == "a" or item.cell.draw > 2]
    assert said(records) == ["diffinv: no mean over its architectures: they have no draw in common"]


def test_a_control_of_the_same_mix_is_taken_though_there_are_fewer_images_than_generated_ones():
    records = study({"diffinv": 1, "more-real": 0}, n_syn=850)
    records += study({"diffinv": 1, "more-real": 20}, n_syn=849, mix="1:1")[3:]
    records = [
        dataclasses.replace(item, cell=dataclasses.replace(item.cell, n_syn=1000), spec_id=f"mixed {item.cell.mix}")
        if item.cell.gen == "diffinv"
        else item
        for item in records
    ]
    lines = said(records)
    assert "; this design could not have shown it" in lines[0]
    assert "(850 further real images give +0.0 points: no difference shown either)" in lines[0]
    assert "; while 849 further real images give +10.0 points [5.8, 14.2]; 5 % [-12, 31] of what 849 " in lines[1]


def test_a_control_of_another_mix_is_called_so_and_no_share_of_it_is_told():
    line = said(study({"diffinv": 1}, mix="1:1") + study({"more-real": 20})[3:])[0]
    assert "; while 500 further real images mixed 0:1 give +10.0 points [5.8, 14.2]; 1 min 31 s per" in line


def test_a_control_that_is_shown_to_be_the_other_way_round():
    line = first({"diffinv": 1, "more-real": (-30, -20, -25)})
    assert f"; further real images make it worse here ({FURTHER} -12.5 points [-1" in line
    line = first({"diffinv": 1, "half-real": 20}, draws=1, seeds=3, whole=True)
    assert "; half of the real images do better than all here (all real images instead of half of them give -1" in line


def test_where_seeds_repeat_the_same_training_no_more_of_them_are_asked_for():
    records = [
        dataclasses.replace(item, cell=dataclasses.replace(item.cell, replicate=seed))
        for item in study({"diffinv": 20}, draws=1, whole=True)
        for seed in range(3)
    ]
    assert said(records)[-1] == "seeds change nothing here: a smaller one takes more test images"


def test_settings_that_were_not_chosen_have_no_line():
    def swept(gen, validation):
        return [
            dataclasses.replace(
                item, result=dataclasses.replace(item.result, measures={"validation_accuracy": validation})
            )
            for item in study({gen: 20}, sweep="noise")[3:]
        ]

    lines = said([*study({}), *swept("diffinv:noise=1", 0.5), *swept("diffinv:noise=2", 0.6)])
    assert lines[0].startswith("diffinv:noise=2: better, ")
    assert lines[1].startswith("smallest difference ")


def test_a_run_without_controls_is_told_with_those_of_the_folder():
    records = study({"diffinv": 1, "more-real": 20})
    table = build_table(records)
    shown = table.of(item.spec_id for item in records if not item.cell.control)
    assert closing_lines(shown)[0] == closing_lines(table)[0]
    assert [mean.setting.gen for mean in shown.of([]).means] == []


def test_a_row_of_another_version_of_the_code_than_its_baseline_is_marked():
    """As after an update, when the baseline alone was run again."""
    records = study({"diffinv": 20})
    newer = [
        dataclasses.replace(item, code=item.code | {"train": "t2"}) if item.cell.baseline else item for item in records
    ]
    assert "; but not of the same version of the code as the baseline: run both again; " in said(newer)[0]
    base, row = build_table(newer).rows
    assert (base.other_code, row.other_code) == ((), ("train",))
    assert row_notes(row)[0].startswith("Not of the same version of the code as its baseline (train): run both again")
    own = [dataclasses.replace(item, code=item.code | {"fit": item.cell.gen}) for item in records]
    assert not any(row.other_code for row in build_table(own).rows), "how images are made is the row's own"
    assert "version" not in said(own)[0]


def test_what_has_converged_is_at_the_end_of_its_learning_whatever_it_knows():
    """A regression on frozen features may never know all of its training images; more steps would not help it."""
    for converged in (True, False):
        known = {"learning": {"train_accuracy": 0.5, "rising": False, "converged": converged}}
        told = [
            dataclasses.replace(item, result=dataclasses.replace(item.result, details=known))
            for item in study({"diffinv": 20})
        ]
        assert any("more steps first" in line for line in said(told)) != converged
