"""Pivots: every number in its place, for axes of augmentations, architectures and real images."""

from __future__ import annotations

import dataclasses
import io
import random

import pytest
from handmade import record
from hypothesis import given, settings
from hypothesis import strategies as st
from studies import few_shot, trainings

from benchbench.reporting.grid import MARKS
from benchbench.reporting.pivots import pivot_grid, pivots
from benchbench.reporting.text import markdown_text, print_table
from benchbench.results.table import build_table

AUGS = ("randaugment+mixup", "mixup", "default", "augmix")


def made(records):
    """Return the only pivot of some records."""
    (pivot,) = pivots(build_table(records))
    return pivot


def lines_of(pivot):
    """Return the means of a pivot by its labels, ``None`` for a hole."""
    return {
        tuple(pivot.label(line)): [value and value.mean and round(value.mean, 2) for value in line.values]
        for line in pivot.lines
    }


def printed(records):
    stream = io.StringIO()
    print_table(build_table(records), stream)
    return stream.getvalue()


def test_augmentations_with_their_base_first_then_singles_then_chains():
    pivot = made(trainings(augs=AUGS))
    assert pivot.columns == ("default", "augmix", "mixup", "randaugment+mixup")
    assert lines_of(pivot) == {("real",): [42.5, 43.5, 41.5, 40.5], ("diffinv",): [47.5, 48.5, 46.5, 45.5]}
    cells = [value for line in pivot.lines for value in line.values]
    assert {value.n for value in cells} == {"1 draw x 2 seeds"}
    assert all(value.low < value.mean < value.high for value in cells)
    assert pivot.settings == 4


def test_means_over_architectures_only_where_none_is_missing():
    records = trainings(augs=("default", "augmix", "mixup"), archs=("a", "b"))
    gone = [r for r in records if (r.cell.gen, r.cell.arch, r.cell.aug) != ("diffinv", "b", "mixup")]
    by_aug, by_arch = pivots(build_table(gone))
    assert lines_of(by_aug)["mean", "real"] == [45.5, 46.5, 47.5]
    assert lines_of(by_aug)["mean", "diffinv"] == [50.5, 51.5, None]
    assert [line.averaged for line in by_aug.lines] == [False] * 4 + [True] * 2
    # By architecture on the base alone: the rest is in the pivot by augmentation.
    assert (by_arch.axis.option, by_arch.columns) == ("arch", ("a", "b"))
    assert by_arch.title.endswith("augmentation default")
    assert "\n| mean         | diffinv   | 50.5       | 51.5       | -          |\n" in markdown_text(build_table(gone))


def test_lines_and_columns_that_say_nothing_about_the_axis_are_left_to_the_detailed_tables():
    records = trainings(shots=(1, 2)) + trainings(("lecf",), shots=(1,)) + trainings(archs=("other",), shots=(8,))
    pivot = made(records)
    assert pivot.columns == ("1", "2")
    assert list(lines_of(pivot)) == [("real",), ("diffinv",)]
    assert pivot.heading.endswith("preset quick, augmentation default, learner timm, architecture resnet18")
    text = printed(records)
    assert text.count("lecf") == 1
    assert "\nother " in text


def test_an_architecture_may_be_called_mean():
    (by_aug, _) = pivots(build_table(trainings(("real",), augs=("default", "mixup"), archs=("mean", "b"))))
    assert [(line.arch, line.averaged) for line in by_aug.lines] == [("b", False), ("mean", False), ("mean", True)]
    assert [line.values[0].mean for line in by_aug.lines] == [50.5, 40.5, 45.5]


def test_architectures_in_figure_7cs_shape():
    pivot = made(trainings(("diffinv", "real"), archs=("vgg16", "resnet18")))
    assert lines_of(pivot) == {("real",): [50.5, 40.5], ("diffinv",): [55.5, 45.5]}
    assert pivot.columns == ("resnet18", "vgg16")


def test_shots_in_figure_7as_shape_with_learners_that_have_no_architecture():
    pivot = made(few_shot())
    assert pivot.columns == ("1", "2", "4", "8", "16")
    assert lines_of(pivot)["coop", "diffinv"] == [45.5, 52.5, 59.5, 66.5, 73.5]
    assert lines_of(pivot)["still", "-"] == [45.0] * 5  # one training of nothing, beside every number of images
    assert pivot.varying() == ["learner", "gen"]


def test_a_learner_without_augmentations_stands_beside_every_augmentation():
    records = few_shot() + trainings(augs=("default", "mixup"), shots=(1, 2))
    found = {pivot.title: pivot for pivot in pivots(build_table(records)) if pivot.axis.option == "shots"}
    assert list(found) == [f"digits, preset quick, augmentation {aug}" for aug in ("default", "mixup")]
    for pivot in found.values():
        assert {line.learner for line in pivot.lines} == {"coop", "tip", "still", "timm"}
        assert lines_of(pivot)["timm", "resnet18", "real"][2:] == [None] * 3


def test_numbers_of_real_images_without_shots():
    pivot = made(trainings(shots=(None, None)))
    assert (pivot.axis.option, pivot.columns) == ("n-real", ("10", "20"))
    assert lines_of(pivot)["diffinv",] == [45.5, 52.5]


def test_groups_and_balanced_subsets_never_share_a_pivot():
    records = trainings(shots=(None, None)) + trainings(shots=(None, None), subset="groups")
    titles = [pivot.title for pivot in pivots(build_table(records))]
    assert titles == [f"digits{rule}, preset quick, augmentation default" for rule in ("", " in random groups")]


def test_numbers_of_generated_images_tell_lines_apart_where_they_were_varied():
    archs = ("a", "b")
    plain = made(trainings(archs=archs))
    assert plain.varying() == ["gen"]
    varied = made(trainings(archs=archs, n_syn=100) + trainings(("diffinv",), archs=archs, n_syn=1000))
    assert [varied.label(line) for line in varied.lines][-2:] == [["diffinv", "100"], ["diffinv", "1,000"]]
    mixed = made(trainings(archs=archs) + trainings(("diffinv",), archs=archs, mix="1:1"))
    assert [mixed.label(line) for line in mixed.lines] == [["real", "1:0"], ["diffinv", "0:1"], ["diffinv", "1:1"]]


def test_rows_that_nothing_tells_apart_get_lines_of_their_own():
    records = trainings(("real",), archs=("a", "b"), seeds=1)
    again = [dataclasses.replace(item, spec_id=f"other{n}", key=f"{n}" * 64) for n, item in enumerate(records)]
    pivot = made([*records, *again])
    assert len(pivot.lines) == 2
    assert all(value is not None for line in pivot.lines for value in line.values)


@pytest.mark.parametrize(
    "records",
    [[], trainings(), trainings(("real",), seeds=1), trainings(archs=("-",), augs=("-",))],
    ids=["nothing", "one setting", "one row", "no axis"],
)
def test_one_value_on_an_axis_is_no_pivot(records):
    assert pivots(build_table(records)) == []


def test_lines_with_one_value_each_are_no_pivot():
    records = trainings(archs=("a",), learner="one", shots=(1,)) + trainings(archs=("a",), learner="two", shots=(2,))
    assert pivots(build_table(records)) == []


@settings(max_examples=15, deadline=None)
@given(st.randoms(use_true_random=False))
def test_any_order_of_records_gives_the_same_pivots(rng: random.Random):
    records = few_shot() + trainings(augs=AUGS, archs=("a", "b"), shots=(1, 2))
    again = list(records)
    rng.shuffle(again)
    assert pivots(build_table(again)) == pivots(build_table(records))


def test_cells_say_what_is_special():
    archs = ("a", "b", "c")
    records = trainings(("real",), archs=archs)
    records += [record(arch="a", correct=100), record(arch="b", error="MemoryError")]
    pivot = made(records)
    grid = pivot_grid(pivot)
    assert grid.rows == (
        ("real", "40.5 ± 6.8", "50.5 ± 6.9", "60.5 ± 6.8"),
        ("diffinv", "50.0 (1 x 1)", "failed (out of memory)", "-"),
    )
    assert grid.notes == (MARKS["this draw only"], OVER, "Dataset: a regenerated split.")
    results = [dataclasses.replace(item.result, details={"test_copies": 3, "near_copies": 4}) for item in records[:2]]
    copied = [dataclasses.replace(item, result=result) for item, result in zip(records[:2], results, strict=True)]
    marked = pivot_grid(made([*copied, *records[2:]]))
    assert marked.rows[0][1] == "40.5 ± 6.8 [1] [2]"
    assert marked.notes[0] == "[1] Some of its training images equal a test image in every pixel."
    assert marked.notes[1].startswith(
        "[2] Some of its training images nearly equal a test image (thumbnails of 8x8 px "
    )


def test_a_cell_says_what_is_better_worse_and_on_its_way():
    learned = {"learning": {"train_accuracy": 0.46, "rising": True}}
    records = [record("real", arch=arch, draw=draw, correct=100) for arch in "ab" for draw in range(3)]
    for arch, correct, details in (("a", 120, {}), ("b", 80, learned)):
        found = [record(arch=arch, draw=draw, correct=correct) for draw in range(3)]
        records += [
            dataclasses.replace(item, result=dataclasses.replace(item.result, details=details)) for item in found
        ]
    grid = pivot_grid(made(records))
    assert [text.split(" ", 3)[3:] for text in grid.rows[1][1:]] == [["better"], ["worse [1]"]]
    assert grid.notes[0] == "[1] Not at the end of its learning; the detailed tables say how far it got."


def test_a_control_is_no_line_of_a_pivot():
    records = [record(gen, arch=arch, control=control) for gen, control in KINDS.items() for arch in "ab"]
    assert lines_of(made(records)).keys() == {("real",), ("diffinv",)}


KINDS = {"real": "", "diffinv": "", "more-real": "more-real", "copies": "copies"}
OVER = "Over 1 draw x 2 seeds, or as a cell says (draws x seeds); ± is half of the 95 % interval."

SHORT = """\
Accuracy by augmentation, %: digits, 50 real images (5 per class), preset quick, learner timm
generator  default  mixup
-------------------------
real       45.5     46.5
diffinv    50.5     51.5
Means are over the architectures with equal weight, and only where none is missing.
Each architecture has 1 draw x 2 seeds, or what leaderboard.md says.
Dataset: a regenerated split.
In detail: leaderboard.md.

"""

TURNED = """\
Accuracy by augmentation, %: digits, 50 real images (5 per class), preset quick, learner timm, architecture resnet18
augmentation  real        diffinv
------------------------------------
default       40.5 ± 6.8  45.5 ± 6.9
one           41.5 ± 6.8  46.5 ± 6.9
"""


def test_a_terminal_shows_the_pivot_in_place_of_many_tables():
    assert printed(trainings(augs=("default", "mixup"), archs=("a", "b"))) == SHORT
    wide = ("default", "one", "other", "somewhat", "yetanother", "zany", "zoo", "zuu")
    assert printed(trainings(augs=wide)).startswith(TURNED)


def test_a_terminal_shows_a_single_setting_in_detail_and_what_no_pivot_covers():
    one = printed(trainings(archs=("a", "b")))
    assert one.startswith("digits, 50 real images (5 per class), preset quick, learner timm, augmentation default\n")
    assert "Accuracy by" not in one
    both = printed(few_shot() + trainings(data="other"))
    assert both.count("Accuracy by real images per class") == 1
    assert "\nother, 50 real images (5 per class), preset quick, learner timm, augmentation default\n" in both
    assert both.count("digits") == 1


def test_an_overlap_of_the_dataset_stands_below_every_table_of_it():
    facts = {"data": [{"step": "read digits", "test_in_train": 7, "test_in_validation": 0}]}
    records = [dataclasses.replace(item, facts=facts) for item in trainings(archs=("a", "b"))]
    sentence = "Test images that equal another in every pixel: 7 with a training image."
    assert markdown_text(build_table(records)).count(f"- {sentence}") == 2  # the pivot, the detailed table
    assert sentence in printed(records)


def test_settings_that_were_not_chosen_and_other_code_are_marked():
    """A pivot stands for the detailed tables in a terminal, so that it says which numbers take no part."""
    records = trainings(gens=("real",), augs=("default", "mixup"))
    for level, validation in ((1, 0.6), (2, 0.5)):
        for made_ in trainings(gens=(f"toy:level={level}",), augs=("default", "mixup"), sweep="level"):
            told = dataclasses.replace(made_.result, measures={"validation_accuracy": validation})
            records.append(dataclasses.replace(made_, result=told, code=made_.code | {"train": "t2"}))
    grid = pivot_grid(made(records))
    cells = {row[0]: row[1] for row in grid.rows}
    assert [name for name, text in cells.items() if "[" in text] == ["toy:level=1", "toy:level=2"]
    first, second = (cells[f"toy:level={level}"].split("[")[1:] for level in (1, 2))
    notes = grid.notes
    assert any(note.endswith("Not chosen on the validation part: no verdict.") for note in notes)
    assert any(note.endswith("Not of the same version of the code as its baseline.") for note in notes)
    assert first != second
