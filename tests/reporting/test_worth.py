"""What images are worth in real ones, and accuracy against cost: by hand, in words, and as a plot."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from handmade import record

from benchbench.reporting.leaderboard import chosen_reports, write_leaderboard
from benchbench.reporting.worth import place_lines
from benchbench.results.cost import priced_places
from benchbench.results.folder import write_record
from benchbench.results.record import pack_hits
from benchbench.results.table import build_table
from benchbench.results.trainings import RowTrainings
from benchbench.results.worth import Worth, worth_of


def row(*correct: int, draws: int = 4, images: int = 2000) -> RowTrainings:
    """Return trainings on as many draws; draw d is right on ``correct`` images, a few more or less with the draw."""
    rng = np.random.default_rng(sum(correct))
    hits = {}
    for draw in range(draws):
        order = np.argsort(rng.normal(size=images) + 0.2 * np.arange(images))
        hits[draw, 0] = np.isin(np.arange(images), order[: correct[draw % len(correct)]])
    return RowTrainings(hits, dict.fromkeys(hits, ""), whole=False, shared_test=True, ratio=0.25)


REAL = {10: row(1000, 1004, 998, 1002), 40: row(1400, 1402, 1399, 1405), 160: row(1600, 1601, 1605, 1598)}


def test_half_way_on_a_logarithmic_scale():
    """1,200 right lies half-way between those of 10 and of 40 images: 20 images."""
    found = worth_of(row(1200, 1204, 1199, 1203), REAL)
    assert found.images == pytest.approx(20, rel=0.02)
    assert 14 < found.low < found.images < found.high < 28
    assert str(found).startswith("about 20 real ones (95 %: 1")


def test_the_interval_holds_what_is_not_told_apart():
    """Ends that were tried: below the low one and above the high one the difference is shown."""
    few, many = (worth_of(row(1200, 1240, 1160, 1200, draws=draws), REAL) for draws in (3, 12))
    assert few.high - few.low > many.high - many.low > 0


@pytest.mark.parametrize(
    ("correct", "said"),
    [
        (1700, "more than 160 real ones (95 %: all of it is beyond what was trained on)"),
        (800, "fewer than 10 real ones (95 %: all of it is beyond what was trained on)"),
    ],
)
def test_beyond_what_was_trained_on(correct, said):
    assert str(worth_of(row(correct, correct + 3, correct + 1), REAL)) == said


def test_at_the_ends_the_interval_is_open():
    found = worth_of(row(1560, 1640, 1610, 1590), REAL)
    assert (found.high, found.more) == (None, found.images is None)
    assert " to more than 160)" in str(found)
    found = worth_of(row(960, 1040, 1010, 990), REAL)
    assert found.low is None
    assert "(95 %: fewer than 10 to " in str(found)


def test_without_trainings_to_compare_there_is_no_interval_or_no_answer():
    found = worth_of(row(1200, draws=1), REAL)
    assert not found.certain
    assert str(found) == f"about {found.images:.0f} real ones (too few trainings for an interval; this draw only)"
    assert worth_of(row(1200), {10: REAL[10]}) is None
    assert worth_of(RowTrainings({}, {}, whole=False, shared_test=True, ratio=0.25), REAL) is None
    rough = dataclasses.replace(REAL[10], hits={key: REAL[10].hits[key] for key in ((0, 0), (1, 0))})
    assert worth_of(row(1200, 1210), {10: rough, 40: REAL[40]}).note == "rough"


def test_the_words_of_a_worth():
    whole = Worth(1234.4, 1000.2, None, 500, 2000, more=False, certain=True, note="")
    assert str(whole) == "about 1,234 real ones (95 %: 1,000 to more than 2,000)"


@pytest.fixture
def priced(tmp_path):
    """Save rows that take 12, 102 and 402 s: real, a good one, a dearer one that is worse; real also on 200 images."""

    def save(gen, correct, sample_s, **cell):
        for draw in range(4):
            made = record(gen, correct=correct + draw, draw=draw, replicate=0, **cell)
            hits = np.arange(200) < correct + 2 * (draw % 2)
            result = dataclasses.replace(made.result, accuracy=float(hits.mean()), hits=pack_hits(hits))
            cost = dataclasses.replace(made.cost, fit_s=None, sample_s=sample_s, train_s=12.0)
            write_record(tmp_path, dataclasses.replace(made, result=result, cost=cost))

    save("real", 120, None)
    save("real", 160, None, shots=20, n_real=200)
    save("good", 140, 90.0, mix="1:1")
    save("dear", 130, 390.0)
    return tmp_path


def test_the_front_in_words_and_as_a_plot(priced):
    board = write_leaderboard(priced, chosen_reports(["worth"]))
    assert board.problems == []
    text = (priced / "worth.md").read_text("utf-8")
    lines = text.split("\n")
    assert "## digits, resnet18, timm, default, 50 real images, quick" in lines
    table = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("| ")]
    assert [(line[0], line[1], line[2], line[4], line[6]) for line in table[1:]] == [
        ("real", "60.50", "12 s on cpu", "", "front"),
        ("good 1:1", "70.50", "1 min 42 s on cpu", "better", "front"),
        ("dear 0:1", "65.50", "6 min 42 s on cpu", "better", ""),
    ]
    assert table[2][5].split(" ")[0] == "400"  # 10 points in 90 s
    assert "- The front, the cheapest first: real (60.5 %, 12 s), good 1:1 (70.5 %, 1 min 42 s)." in lines
    assert "- dear 0:1 costs more than good 1:1 and is worse." in lines
    (worth,) = [line for line in lines if line.startswith("- good 1:1: ")]
    assert worth.startswith("- good 1:1: 50 real and 500 generated images are worth about 100 real ones (95 %: ")
    (worth,) = [line for line in lines if line.startswith("- dear 0:1: ")]
    assert worth.startswith("- dear 0:1: 500 generated images, made from 50 real ones, are worth about 71 real ones")
    (plot,) = priced.glob("figures/digits/cost-quick-*.png")
    assert f"![accuracy against cost]({plot.relative_to(priced).as_posix()})" in lines
    before = plot.read_bytes(), text
    write_leaderboard(priced, chosen_reports(["worth"]))
    assert (plot.read_bytes(), (priced / "worth.md").read_text("utf-8")) == before
    assert str(priced) not in text


def test_rows_without_a_baseline_or_a_time(tmp_path):
    write_record(tmp_path, record("good"))
    assert write_leaderboard(tmp_path, chosen_reports(["worth"])).texts == []
    made = record("real")
    write_record(tmp_path, dataclasses.replace(made, cost=dataclasses.replace(made.cost, train_s=None)))
    write_record(tmp_path, record("copies", control="copies"))
    assert [path.name for path in write_leaderboard(tmp_path, chosen_reports(["worth"])).texts] == ["worth.md"]
    text = (tmp_path / "worth.md").read_text("utf-8")
    assert "| real | 75.00 | unknown |  |  |  |  |" in text
    assert "copies" not in text


def test_a_row_on_fewer_draws_is_not_said_to_be_no_better_where_it_is():
    """On the five draws that both have, it is better; the cheaper one has five easier draws besides."""
    records = [record("real", draw=draw, correct=100 + draw % 2) for draw in range(10)]
    records += [record("cheap", draw=draw, correct=(120 if draw < 5 else 190) + draw % 2) for draw in range(10)]
    dear = [record("dear", draw=draw, correct=140 - draw % 2) for draw in range(5)]
    records += [dataclasses.replace(it, cost=dataclasses.replace(it.cost, fit_s=500.0)) for it in dear]
    (place,) = priced_places(build_table(records))
    assert place_lines(place)[-2] == (
        "- dear costs more than cheap and is less accurate in the mean, "
        "but better on the draws and seeds that both have."
    )


def test_settings_that_were_not_chosen_are_no_part_of_the_front():
    records = [record("real", draw=draw, correct=100 + draw) for draw in range(3)]
    for gen, validation, correct in (("diffinv:noise=1", 0.5, 160), ("diffinv:noise=2", 0.6, 140)):
        for draw in range(3):
            made = record(gen, draw=draw, correct=correct + draw, sweep="noise")
            told = dataclasses.replace(made.result, measures={"validation_accuracy": validation})
            records.append(dataclasses.replace(made, result=told))
    (place,) = priced_places(build_table(records))
    assert [it.row.setting.gen for it in place] == ["real", "diffinv:noise=2"]
