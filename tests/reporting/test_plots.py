"""Plots: which there are, the same bytes again, nothing hidden; what they look like was looked at by people."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from handmade import record
from PIL import Image
from studies import few_shot, trainings

from benchbench.plugins import Column
from benchbench.reporting import plots
from benchbench.reporting.curves import curve_plots
from benchbench.reporting.leaderboard import write_leaderboard
from benchbench.reporting.pivots import pivots
from benchbench.reporting.plots import BASELINE, COLOURS, draw, figure_of, metric_plots, plot_name, write_plots
from benchbench.reporting.readable import MOST_DRAWN, chosen_lines
from benchbench.reporting.text import markdown_text
from benchbench.results.folder import write_record
from benchbench.results.table import build_table

FIVE = ("resnet18", "vgg16", "mobilenetv2", "shufflenetv2", "efficientnetb0")


def colours_of(png):
    """Return the colours in a picture that lines and points have, as ``#RRGGBB``."""
    with Image.open(io.BytesIO(png)) as opened:
        pixels = np.asarray(opened.convert("RGB")).reshape(-1, 3)
    found, counts = np.unique(pixels, axis=0, return_counts=True)
    return {"#{:02X}{:02X}{:02X}".format(*colour) for colour, count in zip(found, counts, strict=True) if count > 20}


def drawn(records, option=""):
    """Return the figure of the only pivot of some records, or of the first by an option."""
    found = [pivot for pivot in pivots(build_table(records)) if pivot.axis.option.startswith(option)]
    assert option or len(found) == 1
    return figure_of(found[0])


def legend_of(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_one_plot_for_each_pivot_and_the_same_bytes_again(tmp_path):
    table = build_table(few_shot() + trainings(archs=("a", "b"), augs=("default", "mixup"), data="folder:path=pets"))
    paths = write_plots(table, tmp_path)
    assert [path.relative_to(tmp_path / "figures").parts[0] for path in paths] == ["digits", *["folder-path=pets"] * 2]
    assert [path.name.split("-")[0] for path in paths] == ["shots", "aug", "arch"]
    before = [(path.stat().st_ino, path.read_bytes()) for path in paths]
    assert write_plots(table, tmp_path) == paths
    assert [(path.stat().st_ino, path.read_bytes()) for path in paths] == before
    elsewhere = write_plots(table, tmp_path / "again")
    assert [path.read_bytes() for path in elsewhere] == [bytes_ for _, bytes_ in before]


def test_the_users_style_and_another_process_change_no_byte(tmp_path):
    (pivot,) = pivots(build_table(few_shot()))
    here = draw(pivot)
    with matplotlib.rc_context({"font.size": 20, "axes.facecolor": "red", "savefig.dpi": 30}):
        assert draw(pivot) == here
        assert matplotlib.rcParams["font.size"] == 20
    program = (
        "import hashlib; from studies import few_shot; from benchbench.reporting.pivots import pivots;"
        "from benchbench.reporting.plots import draw; from benchbench.results.table import build_table;"
        "print(hashlib.sha256(draw(pivots(build_table(few_shot()))[0])).hexdigest())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=Path(__file__).parents[1], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == hashlib.sha256(here).hexdigest()


def test_one_setting_has_no_plot_and_needs_no_matplotlib(tmp_path):
    program = (
        "import sys; from pathlib import Path; from handmade import record;"
        "from benchbench.results.table import build_table;"
        "from benchbench.reporting.plots import write_plots;"
        f"assert write_plots(build_table([record(), record('real')]), Path({str(tmp_path)!r})) == [];"
        "sys.exit('matplotlib' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], cwd=Path(__file__).parents[1], check=False).returncode == 0
    assert not (tmp_path / "figures").exists()


def test_shots_with_error_bars_and_a_level_for_what_does_not_train():
    figure = drawn(few_shot())
    (at,) = figure.axes
    methods = [[f"{name}, {gen}" for gen in ("real", "diffinv")] for name in ("coop", "tip")]
    assert legend_of(figure) == [*methods[0], "still", *methods[1]]
    assert [tick.get_text() for tick in at.get_xticklabels()] == ["1", "2", "4", "8", "16"]
    (level,) = [line for line in at.lines if line.get_linestyle() != "None" and list(line.get_xdata()) == [0, 1]]
    assert list(level.get_ydata()) == [45.0, 45.0]
    bars = at.containers
    assert len(bars) == 4
    assert list(bars[1].lines[0].get_ydata()) == [45.5, 52.5, 59.5, 66.5, 73.5]
    (segments,) = bars[1].lines[2]
    low, high = segments.get_segments()[0][:, 1]
    value = next(line.values[0] for line in pivots(build_table(few_shot()))[0].lines if line.gen == "diffinv")
    assert (low, high) == pytest.approx((value.low, value.high))
    assert low < 45.5 < high
    assert figure.get_suptitle() == "Accuracy by real images per class: digits, preset quick"
    assert figure.get_supxlabel() == "Mean and 95 % interval over the draws and seeds of each point."


@pytest.mark.parametrize("still", [True, False])
def test_points_stand_around_their_ticks(still):
    """The level is no series: it takes no place beside the others, wherever its name stands among theirs."""
    (at,) = drawn(few_shot()[0 if still else 1 :]).axes
    places = np.log2(np.array([list(container.lines[0].get_xdata()) for container in at.containers], float))
    np.testing.assert_allclose(places.mean(axis=0), [0, 1, 2, 3, 4], atol=1e-9)
    assert np.ptp(places, axis=0).max() < 0.3


def test_single_trainings_have_no_error_bars_in_plot_and_legend():
    records = [item for item in few_shot() if item.cell.replicate == 0 or item.cell.learner == "tip"]
    figure = drawn(records)
    assert [container.has_yerr for container in figure.axes[0].containers] == [False, False, True, True]
    assert [text for text in legend_of(figure) if text.startswith("coop")] == [
        "coop, real",
        "coop, diffinv",
    ]


def test_the_baseline_is_hollow_and_black_and_each_generator_has_a_colour():
    records = trainings(("real", "diffinv", "lecf"), archs=FIVE)
    figure = drawn(records)
    (at,) = figure.axes
    points = [container.lines[0] for container in at.containers]
    assert [line.get_color() for line in points] == [BASELINE, *COLOURS[:2]]
    assert [line.get_markerfacecolor() for line in points] == ["white", *COLOURS[:2]]
    assert len({line.get_marker() for line in points[1:]}) == 2
    assert {line.get_linestyle() for line in points} == {"None"}  # architectures have no order
    assert legend_of(figure) == ["real", "diffinv", "lecf"]
    low, high = at.get_ylim()
    ends = [
        end
        for line in pivots(build_table(records))[0].lines
        for value in line.values
        for end in (value.low, value.high)
    ]
    assert low < min(ends) < max(ends) < high


def test_markers_at_no_and_at_all_hits_are_whole():
    figure = drawn([record(gen, arch=arch, correct=c) for gen, c in (("real", 200), ("diffinv", 0)) for arch in FIVE])
    figure.canvas.draw()
    (at,) = figure.axes
    radius = (at.containers[0].lines[0].get_markersize() / 2 + 0.5) * figure.dpi / 72  # of a point, with its edge
    box = at.get_window_extent()
    (_, none), (_, every) = at.transData.transform([(0, 0), (0, 100)])
    assert box.y0 <= none - radius
    assert every + radius <= box.y1


def test_augmentations_have_a_panel_for_each_architecture_and_their_mean():
    figure = drawn(trainings(archs=("a", "b"), augs=("default", "mixup")), "aug")
    assert [at.get_title(loc="left") for at in figure.axes] == ["a", "b", "mean over architectures"]
    assert legend_of(figure) == ["real", "diffinv"]
    assert "95 % interval over 1 draw x 2 seeds" in figure.get_supxlabel()
    assert [list(bars.lines[0].get_ydata()) for bars in figure.axes[2].containers] == [[45.5, 46.5], [50.5, 51.5]]


def test_many_lines_over_shots_get_a_panel_for_each_architecture():
    figure = drawn(trainings(("real", "diffinv", "lecf"), FIVE, shots=(1, 2)), "shots")
    assert [at.get_title(loc="left") for at in figure.axes if at.get_visible()] == sorted(FIVE)
    assert legend_of(figure) == ["real", "diffinv", "lecf"]
    still = few_shot()[0]  # a learner that does not train is in every panel
    figure = drawn([still, *trainings(("real", "diffinv", "lecf"), FIVE, shots=(1, 2))], "shots")
    panels = [at for at in figure.axes if at.get_visible()]
    assert [at.get_title(loc="left") for at in panels] == sorted(FIVE)
    assert all([45.0, 45.0] in [list(line.get_ydata()) for line in at.lines] for at in panels)
    few = drawn(trainings(archs=("a", "b"), shots=(1, 2)), "shots")
    assert legend_of(few) == [f"{arch}, {gen}" for arch in "ab" for gen in ("real", "diffinv")]


def test_what_failed_is_not_drawn_and_told():
    records = [*trainings(("real",), archs=("a", "b")), record(arch="a", correct=100), record(arch="b", error="no")]
    figure = drawn(records)
    assert "Failed and not drawn: 1." in figure.get_supxlabel()
    assert legend_of(figure) == ["real", "diffinv"]


def test_odd_names_are_drawn_as_they_are(recwarn):
    figure = drawn(trainings(("real", "_a$b$"), archs=("数字", "b" * 60)))
    assert legend_of(figure) == ["real", "a$b$"]
    assert [str(item.message) for item in recwarn.list if "Glyph" in str(item.message)] == []


def test_settings_have_names_of_their_own():
    records = [*trainings(archs=("a", "b")), *trainings(archs=("a", "b"), aug="mixup"), *few_shot()]
    names = [plot_name(pivot) for pivot in pivots(build_table(records))]
    assert len(set(names)) == len(names)


def test_a_plot_that_fails_does_not_cost_the_tables(tmp_path, monkeypatch):
    for item in trainings(archs=("a", "b")):
        write_record(tmp_path, item)
    board = write_leaderboard(tmp_path)
    assert board.problems == []
    assert (
        f"](figures/{board.pictures[0].relative_to(tmp_path / 'figures')})" in (tmp_path / "leaderboard.md").read_text()
    )
    monkeypatch.setattr(plots, "draw", lambda pivot: 1 / 0)
    (problem,) = write_leaderboard(tmp_path).problems
    assert problem.startswith("png: not written: ZeroDivisionError")
    assert (tmp_path / "leaderboard.csv").exists()


def test_colours_reach_the_picture():
    (pivot,) = pivots(build_table(trainings(archs=("a", "b"))))
    assert {BASELINE, COLOURS[0], "#FFFFFF"} <= colours_of(draw(pivot))


# Accuracy by steps


def risen(gens=("real", "diffinv"), archs=("a", "b"), **cell):
    """Return records that were scored at two steps on the way."""
    records = trainings(gens, archs, **cell)
    points = tuple((step, 1.0, share) for step, share in ((50, 0.25), (100, 0.5)))
    return [replace(item, result=replace(item.result, curve=points)) for item in records]


def test_accuracy_by_steps_has_one_picture_for_each_dataset_and_preset(tmp_path):
    control = risen(("copies",), control="copies")
    table = build_table([*risen(), *control, *risen(data="pets"), *risen(preset="paper")])
    names = [plot.name.rsplit("-", 1)[0] for plot in curve_plots(table)]
    assert names == ["digits/steps-paper", "digits/steps-quick", "pets/steps-quick"]
    figure = curve_plots(table)[1].figure()
    assert [at.get_title(loc="left") for at in figure.axes if at.get_visible()] == ["a", "b"]
    assert legend_of(figure) == ["real", "diffinv"]
    real, made = figure.axes[0].lines
    assert (list(real.get_xdata()), list(real.get_ydata())) == ([50, 100], [25.0, 50.0])
    assert (real.get_linestyle(), real.get_color(), made.get_color()) == ("--", BASELINE, COLOURS[0])
    written = [path.relative_to(tmp_path / "figures").as_posix() for path in write_plots(table, tmp_path)]
    assert [name for name in written if "/steps-" in name] == [plot.name for plot in curve_plots(table)]


def test_a_single_point_is_no_curve():
    assert curve_plots(build_table(trainings())) == []


def test_panels_and_lines_say_what_tells_them_apart():
    records = [*risen(archs=("a",)), *risen(("diffinv",), archs=("a",), mix="1:1"), *risen(archs=("a",), shots=(10,))]
    figure = curve_plots(build_table(records))[0].figure()
    assert [at.get_title(loc="left") for at in figure.axes] == ["a, 5 per class", "a, 10 per class"]
    assert legend_of(figure) == ["real", "diffinv, mix 0:1", "diffinv, mix 1:1"]
    many = [item for n in range(15) for item in risen(archs=(f"net{n:02}",))]
    figure = curve_plots(build_table(many))[0].figure()
    assert len(figure.axes) == 12
    assert "Drawn: the first 12 of 15 panels." in figure.get_supxlabel()


# What metrics say


def scored(values, **cell):
    """Return records of generators with what a metric of a plugin says of each: ``{generator: (up, down, count)}``."""
    columns = (Column("up", "up", 2, "more"), Column("down", "down", 2, "less"), Column("count", "count", 0))
    records = []
    for gen, numbers in values.items():
        known = dict(zip(("up", "down", "count"), numbers, strict=True))
        one = record(gen, metrics={"mine": {"extractor": "pixels", "n_score": 9, "n_reference": 9, **known}}, **cell)
        records.append(replace(one, metric_columns={"mine": columns}))
    return records


def test_a_metric_has_a_panel_for_each_column_that_has_a_direction():
    (plot,) = metric_plots(
        build_table(scored({"real": (1.0, 2.0, 3), "diffinv": (0.5, 4.0, 3), "prompt": (0.7, 3.0, 3)}))
    )
    figure = plot.figure()
    panels = [at for at in figure.axes if at.get_visible()]
    assert [at.get_title(loc="left") for at in panels] == ["up ↑", "down ↓"]
    assert [text.get_text() for text in panels[0].get_xticklabels()] == ["real", "diffinv", "prompt"]
    points = {line.get_label(): tuple(line.get_ydata()) for line in panels[1].lines if line.get_label()[0] != "_"}
    assert points == {"real": (2.0,), "diffinv": (4.0,), "prompt": (3.0,)}
    assert figure.get_suptitle().startswith("Metric mine: digits, 50 real images, few-shot, preset quick")


def test_a_metric_is_drawn_over_the_number_of_real_images_where_that_varies():
    records = [
        *scored({"real": (1.0, 2.0, 3), "diffinv": (0.5, 4.0, 3)}),
        *scored({"real": (1.0, 1.0, 3), "diffinv": (0.6, 3.0, 3)}, shots=10, n_real=100),
    ]
    (plot,) = metric_plots(build_table(records))
    _, down = (at for at in plot.figure().axes)
    lines = {line.get_label(): (tuple(line.get_xdata()), tuple(line.get_ydata())) for line in down.lines}
    assert lines == {"real": ((50, 100), (2.0, 1.0)), "diffinv": ((50, 100), (4.0, 3.0))}


def test_a_metric_without_two_numbers_to_compare_has_no_plot():
    assert metric_plots(build_table(scored({"real": (1.0, 2.0, 3)}))) == []
    (plot,) = metric_plots(build_table(scored({"real": (None, 2.0, 3), "diffinv": (0.5, 4.0, 3)})))
    assert [column.key for column in plot.columns] == ["down"]


def test_plots_of_metrics_are_written_once_and_listed(tmp_path):
    records = scored({"real": (1.0, 2.0, 3), "a generator of a long name": (0.5, 4.0, 3)})
    for one in records:
        write_record(tmp_path, one)
    board = write_leaderboard(tmp_path)
    (path,) = [path for path in board.pictures if path.name.startswith("metric-mine-quick-")]
    assert f"](figures/digits/{path.name})" in (tmp_path / "leaderboard.md").read_text("utf-8")
    before = path.stat().st_mtime_ns
    assert write_plots(build_table(records), tmp_path) == [path]
    assert path.stat().st_mtime_ns == before
    assert colours_of(path.read_bytes()) >= {COLOURS[0]}


def test_other_choices_of_real_images_are_other_plots():
    records = [
        *scored({"real": (1.0, 2.0, 3), "diffinv": (0.5, 4.0, 3)}),
        *scored({"real": (1.0, 1.0, 3), "diffinv": (0.6, 3.0, 3)}, shots=None),
        *scored({"real": (1.0, 1.0, 3), "diffinv": (0.7, 3.0, 3)}, shots=None, subset="groups"),
    ]
    plots = metric_plots(build_table(records))
    assert len({plot.name for plot in plots}) == len(plots) == 3
    titles = {"digits, 50 real images, few-shot, preset quick", "digits, 50 real images, preset quick"}
    assert {plot.title for plot in plots} == titles | {"digits, 50 real images, random groups, preset quick"}


def test_a_varied_number_of_generated_images_makes_lines_and_a_fixed_one_does_not():
    records = [
        *scored({"real": (1.0, 2.0, 3), "prompt": (0.7, 3.0, 3), "diffinv": (0.5, 4.0, 3)}),
        *scored({"diffinv": (0.6, 3.0, 3)}, n_syn=50),
    ]
    (plot,) = metric_plots(build_table(records))
    lines = [line for line in plot.figure().axes[0].lines if line.get_label()[0] != "_"]
    assert {line.get_label(): tuple(line.get_ydata()) for line in lines} == {
        "real": (1.0,),
        "diffinv, 50 generated": (0.6,),
        "diffinv, 500 generated": (0.5,),
        "prompt": (0.7,),
    }


def many(count, **cell):
    """Return a baseline and generators, ``g0`` the best of them and the last but for ``zero``, which fits two shots."""
    made = [record(f"g{n}", correct=150 - n, **cell) for n in range(count)]
    first = cell["shots"] == 2
    return [record("real", correct=20, **cell), *made, record("zero", correct=199 if first else 1, **cell)]


def test_of_many_lines_the_best_and_the_baseline_are_drawn_and_all_are_in_the_table(tmp_path):
    table = build_table(many(60, shots=2, n_real=20) + many(60, shots=5))
    (pivot,) = pivots(table)
    figure = figure_of(pivot)
    names = ["real", *(f"g{n}" for n in range(MOST_DRAWN - 2)), "zero"]
    assert legend_of(figure) == names
    assert len(figure.axes[0].containers) == MOST_DRAWN
    assert "Drawn: the baseline and the best, 20 of 62; the tables have all." in " ".join(
        figure.get_supxlabel().split()
    )
    looks = {(line.get_color(), line.get_marker()) for line, *_ in figure.axes[0].containers}
    assert len(looks) == MOST_DRAWN
    assert "| g59 " in markdown_text(table)
    few = figure_of(pivots(build_table(many(18, shots=2, n_real=20) + many(18, shots=5)))[0])
    assert len(legend_of(few)) == 20
    assert "Drawn" not in few.get_supxlabel()


def test_panels_of_many_lines_draw_the_same_ones():
    records = trainings(("real", *(f"g{n}" for n in range(30))), archs=("a", "b"), augs=("default", "mixup"))
    figure = drawn(records, "aug")
    assert [at.get_title(loc="left") for at in figure.axes] == ["a", "b", "mean over architectures"]
    assert {len(at.containers) for at in figure.axes} == {MOST_DRAWN}
    assert len(legend_of(figure)) == MOST_DRAWN
    assert "20 of 31" in figure.get_supxlabel()


def test_metrics_of_many_generators_draw_the_best_in_either_direction():
    made = {"real": (0.0, 99.0, 3), **{f"g{n:02}": (n / 100, 1.0 + abs(n - 15), 3) for n in range(60)}}
    (plot,) = metric_plots(build_table(scored(made)))
    figure = plot.figure()
    names = [text.get_text() for text in figure.axes[0].get_xticklabels()]
    assert len(names) == MOST_DRAWN
    assert names[0] == "real"
    assert {"g59", "g15"} <= set(names)
    assert "Drawn: the baseline and the best, 20 of 61; the tables have all." in " ".join(
        figure.get_supxlabel().split()
    )


def test_a_column_without_a_difference_chooses_nothing():
    values = [[1.0, float(n), None] for n in range(50)]
    assert chosen_lines(values, [n == 3 for n in range(50)]) == [3, *range(31, 50)]
    assert chosen_lines([[None]] * 30, [False] * 30) == list(range(MOST_DRAWN))
    assert chosen_lines(values[:20], [False] * 20) == list(range(20))
