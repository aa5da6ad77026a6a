# ruff: noqa: E501 (whole outputs, line by line)
from __future__ import annotations

import csv
import dataclasses
import io
import random

import pytest
from handmade import fidelity, record, small_study
from rich.cells import cell_len

from benchbench.plugins import Column
from benchbench.reporting.grid import Grid, aligned, duration
from benchbench.reporting.text import PROTOCOL, accuracy_grids, beside_grids, markdown_text, print_table
from benchbench.results.rows import csv_text
from benchbench.results.table import build_table

CSV = """\
data,gen,mix,aug,learner,arch,n_real,n_syn,seeds,acc_mean,acc_std,fd,precision,recall,density,coverage,extractor,fit_s,sample_s,train_s,preset,spec_id,delta_low,delta_high,verdict,tie_group,detectable,draws,delta,best_on_test,kd,n_score,n_reference,peak_memory_mib,fit_images_per_s,sample_images_per_s,train_images_per_s,status,superseded,environments,delta_std,shots,n_made,fd_real,test,subset,acc_low,acc_high,control,balanced_accuracy,auc,ece,nll,train_accuracy,colour
digits,real,1:0,default,timm,resnet18,50,0,3,71.00,1.00,3.1250,0.7500,0.5000,0.9000,0.6250,glyphcnn-v1,,,13.00,quick,8c50316366da,,,,1,,1,,72.00,0.031250,400,899,902.0,,,4000.000,done,0,1,,5,,,-,balanced,64.30,76.89,,,,,,,0.50
digits,diffinv,0:1,default,timm,resnet18,50,500,3,77.00,2.00,12.5000,0.7500,0.5000,0.9000,0.6250,glyphcnn-v1,60.00,30.00,13.00,quick,9c64e88e8af1,3.06,8.94,,1,,1,6.00,78.00,0.125000,400,899,902.0,0.800,16.000,4000.000,done,1,1,1.00,5,500,,-,balanced,70.31,82.56,,,,,,,0.50
digits,real,1:0,default,timm,vgg16,50,0,1,60.00,,3.1250,0.7500,0.5000,0.9000,0.6250,glyphcnn-v1,,,12.00,quick,e4691bf515e4,,,,1,,1,,61.00,0.031250,400,899,900.0,,,4000.000,done,0,1,,5,,,-,balanced,,,,,,,,,0.50
digits,diffinv,0:1,default,timm,vgg16,50,500,1,55.00,,12.5000,0.7500,0.5000,0.9000,0.6250,glyphcnn-v1,60.00,30.00,12.00,quick,c93357c8aee7,,,,1,,1,-5.00,56.00,0.125000,400,899,900.0,0.800,16.000,4000.000,done,0,1,,5,500,,-,balanced,,,,,,,,,0.50
digits,diffinv,1:1,default,timm,vgg16,50,500,0,,,12.5000,0.7500,0.5000,0.9000,0.6250,glyphcnn-v1,60.00,30.00,,quick,d8d5b646d9a7,,,,,,1,,,0.125000,400,899,900.0,,,,failed (out of memory),0,1,,5,500,,-,balanced,,,,,,,,,0.50
"""

MARKDOWN = """\
# Leaderboard

PROTOCOL

## In words

- diffinv: +0.0 points on average over these 2 architectures (1 draw x 1 seed) on this draw of the real images alone: no verdict; 1 min 30 s per generation
- for a verdict: the same command with --draws 3 --seeds 1 (about 6 min 24 s of work more)

## Accuracy by architecture, %: digits, 50 real images (5 per class), preset quick, learner timm, augmentation default

| generator | resnet18   | vgg16        |
| --------- | ---------- | ------------ |
| real      | 71.0 ± 6.3 | 60.0 (1 x 1) |
| diffinv   | 77.0 ± 6.1 | 55.0 (1 x 1) |

- This draw only: one of many. Intervals cover seeds and test images alone; another draw may say the opposite, so there is no verdict.
- Over 1 draw x 3 seeds, or as a cell says (draws x seeds); ± is half of the 95 % interval.
- These rows come from 2 environments: e1, e2.
- Dataset: a regenerated split.

## digits, 50 real images (5 per class), preset quick, learner timm, augmentation default

| architecture | generator | mix | generated | accuracy, %            | n                | difference      | tie group | best on test, % | training |
| ------------ | --------- | --: | --------: | ---------------------- | ---------------- | --------------- | --------: | --------------: | -------: |
| resnet18     | real      | 1:0 |         - | 71.0 [64.3, 76.9]      | 1 draw x 3 seeds |                 |         1 |            72.0 |   13.0 s |
| resnet18     | diffinv   | 0:1 |       500 | 77.0 [70.3, 82.6] [1]  | 1 draw x 3 seeds | +6.0 [3.1, 8.9] |         1 |            78.0 |   13.0 s |
| vgg16        | real      | 1:0 |         - | 60.0                   | 1 draw x 1 seed  |                 |         1 |            61.0 |   12.0 s |
| vgg16        | diffinv   | 0:1 |       500 | 55.0                   | 1 draw x 1 seed  | -5.0            |         1 |            56.0 |   12.0 s |
| vgg16        | diffinv   | 1:1 |       500 | failed (out of memory) |                  |                 |           |                 |          |

- [1] Newest code only; 1 record of older code, or of the same training done before, not shown.
- This draw only: one of many. Intervals cover seeds and test images alone; another draw may say the opposite, so there is no verdict.
- These rows come from 2 environments: e1, e2.
- Dataset: a regenerated split.

## Metric another: digits, 50 real images (5 per class), preset quick

| generator | generated | colour ↑ | draws | scored / reference |
| --------- | --------: | -------: | ----: | -----------------: |
| real      |         - |     0.50 |     1 |              1 / ? |
| diffinv   |       500 |     0.50 |     1 |              1 / ? |

- The row real scores real images against other ones; copies of those would score better.

## Metric fidelity: digits, 50 real images (5 per class), preset quick

| generator | generated | FD (glyphcnn-v1) ↓ | KD (glyphcnn-v1) ↓ | precision ↑ | recall ↑ | density ↑ | coverage ↑ | draws | scored / reference |
| --------- | --------: | -----------------: | -----------------: | ----------: | -------: | --------: | ---------: | ----: | -----------------: |
| real      |         - |             3.1250 |           0.031250 |      0.7500 |   0.5000 |    0.9000 |     0.6250 |     1 |          400 / 899 |
| diffinv   |       500 |            12.5000 |           0.125000 |      0.7500 |   0.5000 |    0.9000 |     0.6250 |     1 |          400 / 899 |

- The row real scores real images against other ones; copies of those would score better.

## Cost of one generation: digits, 50 real images (5 per class), preset quick

| generator | generated |    fit | sample | fit, images/s | sample, images/s |
| --------- | --------: | -----: | -----: | ------------: | ---------------: |
| diffinv   |       500 | 60.0 s | 30.0 s |          0.80 |            16.00 |

## Figures

![a b.png](figures/a%20b.png)
"""

PLAIN = """\
digits, 50 real images (5 per class), preset quick, learner timm, augmentation default
architecture  generator  mix  accuracy, %             n                 difference       tie group
--------------------------------------------------------------------------------------------------
resnet18      real       1:0  71.0 [64.3, 76.9]       1 draw x 3 seeds                           1
resnet18      diffinv    0:1  77.0 [70.3, 82.6] [1]   1 draw x 3 seeds  +6.0 [3.1, 8.9]          1
vgg16         real       1:0  60.0                    1 draw x 1 seed                            1
vgg16         diffinv    0:1  55.0                    1 draw x 1 seed   -5.0                     1
vgg16         diffinv    1:1  failed (out of memory)
Each row: 500 generated.
[1] Newest code only; 1 record of older code, or of the same training done before, not shown.
This draw only: one of many. Intervals cover seeds and test images alone; another draw may say the opposite, so there is no verdict.
These rows come from 2 environments: e1, e2.
Dataset: a regenerated split.

Metric another: digits, 50 real images (5 per class), preset quick
generator  generated  colour ↑
------------------------------
real               -      0.50
diffinv          500      0.50
The row real scores real images against other ones; copies of those would score better.

Metric fidelity: digits, 50 real images (5 per class), preset quick
generator  generated  FD (glyphcnn-v1) ↓  KD (glyphcnn-v1) ↓  precision ↑  recall ↑  density ↑  coverage ↑
----------------------------------------------------------------------------------------------------------
real               -              3.1250            0.031250       0.7500    0.5000     0.9000      0.6250
diffinv          500             12.5000            0.125000       0.7500    0.5000     0.9000      0.6250
The row real scores real images against other ones; copies of those would score better.

"""


COLUMNS = (
    "data,gen,mix,aug,learner,arch,n_real,n_syn,seeds,acc_mean,acc_std,fd,precision,recall,density,coverage,"
    "extractor,fit_s,sample_s,train_s,preset,spec_id"
)


def shuffled():
    records = small_study()
    random.Random(7).shuffle(records)
    return build_table(records)


def plain(table, encoding="utf-8"):
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, newline="\n")
    print_table(table, stream)
    stream.flush()
    return stream.buffer.getvalue().decode(encoding)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_csv():
    assert CSV.startswith(COLUMNS)
    assert csv_text(build_table(small_study())) == CSV
    assert csv_text(shuffled()) == CSV


def test_markdown():
    text = markdown_text(build_table(small_study()), ["figures/a b.png"])
    assert text == MARKDOWN.replace("PROTOCOL", PROTOCOL)
    assert markdown_text(shuffled(), ["figures/a b.png"]) == text


def test_plain_lines_when_not_a_terminal():
    assert plain(build_table(small_study())) == PLAIN
    assert plain(shuffled()) == PLAIN


def test_an_output_without_the_plus_minus_sign():
    assert plain(build_table(small_study()), "ascii") == PLAIN.translate(str.maketrans({"±": "+-", "↓": "v", "↑": "^"}))


def test_a_dumb_terminal_gets_plain_lines(monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    stream = Terminal()
    print_table(build_table(small_study()), stream)
    assert stream.getvalue() == PLAIN


@pytest.mark.parametrize("no_colour", [False, True])
def test_a_terminal_gets_rules_and_colours_unless_told_otherwise(monkeypatch, no_colour):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("NO_COLOR", raising=False)
    if no_colour:
        monkeypatch.setenv("NO_COLOR", "1")
    stream = Terminal()
    print_table(build_table(small_study()), stream)
    text = stream.getvalue()
    assert "77.0 [70.3, 82.6] [1]" in text
    assert "────" in text
    assert ("\x1b[31mfailed" in text) is not no_colour


def test_fid_is_the_name_of_one_extractor_only():
    table = build_table([record(metrics=fidelity(7.5, extractor="inception"))])
    assert " FID (torch-fidelity) ↓ |" in markdown_text(table)
    assert "FID (torch-fidelity) ↓" in plain(table)
    assert "FID" not in MARKDOWN + PLAIN


def test_distances_on_different_features_stand_in_different_tables():
    table = build_table([record("a", metrics=fidelity(7.5, "x")), record("b", metrics=fidelity(0.5, "y"))])
    text = markdown_text(table)
    assert text.count("## Metric fidelity:") == 2
    for shown in (text, plain(table)):
        (line,) = (line for line in shown.splitlines() if "FD (x)" in line)
        assert "FD (y)" not in line
        assert "FD (y)" in shown


def test_draws_on_different_features_are_told():
    table = build_table(record(draw=n, spec_id="s", metrics=fidelity(1.0, name)) for n, name in enumerate("xy"))
    assert "- Draws were scored with different feature extractors and are not averaged: diffinv." in markdown_text(
        table
    )


def test_different_numbers_of_scored_images_are_told():
    table = build_table([record("a", metrics=fidelity(7.5)), record("b", metrics=fidelity(0.5, n_score=100))])
    assert "do not rank them" in markdown_text(table)


def of_two_metrics(**columns):
    """Return a table of one record, scored by ``one`` and ``two`` with the given keys; ``two`` gives twice as much."""
    scores = {
        name: {key: by * place for place, key in enumerate(keys, 1)} | {"extractor": f"features of {name}"}
        for (name, keys), by in zip(columns.items(), (1.0, 2.0), strict=True)
    }
    declared = {name: tuple(Column(key, key.upper(), 1) for key in keys) for name, keys in columns.items()}
    return build_table([dataclasses.replace(record(metrics=scores), metric_columns=declared)])


def csv_row(table):
    (row,) = csv.DictReader(io.StringIO(csv_text(table)))
    return row


def test_a_key_that_metrics_share_has_a_column_for_each():
    row = csv_row(of_two_metrics(one=["far", "near"], two=["near", "seeds"]))
    assert list(row)[-4:] == ["far", "one.near", "two.near", "two.seeds"]
    assert (row["far"], row["one.near"], row["two.near"], row["two.seeds"]) == ("1.0", "2.0", "2.0", "4.0")
    assert row["seeds"] == "1", "a column of the harness is nobody else's"


def test_the_leading_columns_come_from_the_metric_that_fills_most_of_them():
    row = csv_row(of_two_metrics(one=["fd"], two=["fd", "precision"]))
    assert ",".join(list(row)[:22]) == COLUMNS
    assert (row["fd"], row["precision"], row["extractor"]) == ("2.0", "4.0", "features of two")
    assert (row["two.fd"], row["one.fd"]) == ("2.0", "1.0")
    assert "two.precision" not in row


def test_every_column_of_every_metric_stands_in_text():
    table = of_two_metrics(one=["far"], two=["far", "near"])
    for text in (markdown_text(table), plain(table)):
        for title, heading, value in (("one", "FAR", "1.0"), ("two", "FAR", "2.0"), ("two", "NEAR", "4.0")):
            part = text[text.index(f"Metric {title}: ") :]
            assert heading in part
            assert value in part


def test_a_failed_cell_keeps_its_place_on_the_terminal():
    text = plain(build_table([record("real", error="mine: raised\nmore"), record()]))
    assert "resnet18      real       failed (mine: raised)" in text
    assert "resnet18      real       75.0\nEach row: 1 draw x 1 seed.\n" in plain(build_table([record("real")]))


def test_what_probabilities_say_stands_beside_accuracy():
    measures = {"balanced_accuracy": 0.7051, "auc": 0.91236, "ece": 0.0512, "nll": 1.23456, "other": 1.0}
    first, second, *rest = build_table(small_study()).rows
    first = dataclasses.replace(first, measures=measures)
    second = dataclasses.replace(second, measures={**measures, "auc": 0.5})
    (grid,) = beside_grids("what they share", [first, second, *rest])
    assert (grid.title, len(grid.rows)) == ("Beside accuracy: what they share", 2)
    assert grid.headers[-4:] == (">balanced accuracy, %", ">AUC ↑", ">ECE, % ↓", ">NLL, nats ↓")
    assert [row[-4:] for row in grid.rows] == [("70.51", auc, "5.12", "1.235") for auc in ("0.9124", "0.5000")]
    del measures["auc"]
    (grid,) = beside_grids("", [dataclasses.replace(first, measures=measures)])
    assert ">AUC ↑" not in grid.headers, "where a class has no image, there is no such area"
    assert list(beside_grids("", rest)) == []


def test_a_baseline_alone_has_no_empty_columns():
    rows = build_table([record("real"), record("real", correct=140, replicate=1)]).rows
    (grid,) = accuracy_grids("digits", rows, short=True)
    assert [name for name, _ in grid.columns] == ["architecture", "generator", "accuracy, %"]


def test_nothing_breaks_a_table():
    text = markdown_text(build_table([record("a|b<c>", error="x | y\n<z>")]))
    (line,) = (line for line in text.splitlines() if line.startswith("| resnet18"))
    assert line.startswith("| resnet18     | a\\|b&lt;c> | 0:1 |")
    assert "failed (x \\| y)" in line


def test_an_empty_folder():
    assert "No records yet." in markdown_text(build_table([]))
    assert csv_text(build_table([])).count("\n") == 1
    assert plain(build_table([])) == ""


def test_wide_letters_line_up():
    lines = aligned(Grid("", ("class", ">n"), (("数字", "1"), ("cafe\u0301", "23"))))
    assert {cell_len("|".join(line)) for line in lines} == {8}


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, ""), (0.04, "0.0 s"), (119.9, "119.9 s"), (150, "2.5 min"), (9000, "2.5 h")]
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def noted(made, *notes):
    return dataclasses.replace(made, provenance=dataclasses.replace(made.provenance, notes=notes))


def test_what_is_special_about_a_dataset_stands_below_its_numbers_once():
    """A class without test images changes what an accuracy means."""
    records = [
        noted(record(gen, replicate=seed), "no test images of 'dog'") for gen in ("real", "diffinv") for seed in (0, 1)
    ]
    table = build_table(records)
    stream = io.StringIO()
    print_table(table, stream)
    for text in (markdown_text(table), stream.getvalue()):
        assert text.count("Dataset: no test images of 'dog'.") == 1
    other = noted(record("real", data="pets"), "a", "b", "c", "d", "e")
    text = markdown_text(build_table([*records, other]))
    (pets,) = [part for part in text.split("## ") if part.startswith("pets") and "accuracy" in part]
    assert pets.endswith("- Dataset: a.\n- Dataset: b.\n- Dataset: c.\n- Dataset: and 2 more, see the records.\n\n")
    assert "Dataset: d" not in text


def test_a_note_names_no_folder_of_this_machine():
    text = markdown_text(build_table([noted(record("real"), "read from /home/somebody/pets")]))
    assert "Dataset: read from" in text
    assert "somebody" not in text


CONTROLLED = """\
digits, 50 real images (5 per class), preset quick, learner timm, augmentation default
architecture  generator  accuracy, %            difference         verdict              tie group
-------------------------------------------------------------------------------------------------
a             real       50.0 [43.1, 56.9] [1]                                                  2
a             diffinv    60.0 [53.0, 66.6]      +10.0 [5.8, 14.2]  better                       1
a             lecf       50.5 [43.6, 57.4]      +0.5 [-0.5, 1.5]   no difference shown          2
Each row: mix 1:1, 500 generated, 3 draws x 1 seed.
[1] 46 % on its own training images after 400 steps: it has not learned them yet.
Verdicts are stricter than the 95 % intervals, because 2 rows were compared (Holm, at 5 %).
Dataset: a regenerated split.

Controls: digits, 50 real images (5 per class), preset quick, learner timm, augmentation default
architecture  generator  accuracy, %        difference          verdict
-----------------------------------------------------------------------
a             more-real  65.0 [58.1, 71.3]  +15.0 [10.0, 20.0]  better
Each row: mix 1:1, 500 generated, 3 draws x 1 seed.
more-real: further real images in place of generated ones, what a perfect generator would make.
Dataset: a regenerated split.

"""


def controlled():
    """Return a table of a baseline that had not learned, two generators and a control, on three draws."""
    learned = {"learning": {"train_accuracy": 0.46, "rising": True}}
    records = []
    for draw in range(3):
        real = record("real", correct=100, arch="a", draw=draw)
        records.append(dataclasses.replace(real, result=dataclasses.replace(real.result, details=learned)))
        records += [
            record(gen, correct=n, arch="a", draw=draw, mix="1:1") for gen, n in (("diffinv", 120), ("lecf", 101))
        ]
        records.append(record("more-real", correct=130, arch="a", draw=draw, mix="1:1", control="more-real"))
    return build_table(records)


def test_verdicts_ties_marks_and_controls_apart():
    assert plain(controlled()) == CONTROLLED
    page = markdown_text(controlled())
    assert page.index("## In words\n\n- diffinv: better, +10.0 points") < page.index("## Controls: digits")
    assert "| a            | lecf      | 1:1 |       500 | 50.5 [" in page
    assert " 3 draws x 1 seed | +0.5 [" in page
