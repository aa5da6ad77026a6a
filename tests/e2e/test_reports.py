"""Reports as a user gets them: pivots and plots behind a run, what an overlap says, datasets fetched and shown."""

from __future__ import annotations

import csv
import re
import subprocess
import sys

import pytest
from PIL import Image
from toys import BARE

SWEEP = ("run", "--gen", "./toygen.py", *BARE, "--arch", "all", "--shots", "2,4,8", "--seeds", "2")

FETCHED = '''
from __future__ import annotations
from dataclasses import dataclass
from pathlib import Path
import numpy as np
from benchbench import MissingError
from benchbench.plugins import *

@dataclass(frozen=True)
class Remote(Dataset):
    """A published dataset that is not here at first."""

    place: str = param("published.npz", help="Where its file is looked for.")
    fail: str = param("", help="How the download breaks.")

    def needs(self):
        return Requirements(files=(RequiredFile(Path(self.place), "the published file", "https://data.invalid/published.npz"),))

    def info(self):
        notes = ("one image fewer than published",) if Path(self.place).exists() else ()
        return DatasetInfo(
            name="remote", classes=("dark", "light"), counts={"train": 8, "validation": 4, "test": 10},
            class_counts=(4, 4), resolution=16, classify_resolution=16, generate_resolution=16, mean=(0.5, 0.25, 0.5),
            std=(0.25,) * 3, flip_keeps_class=True, foundation="glyph-sd", optimizer="adamw", paper_cap=500,
            group_size=4, licence="CC0", source="nowhere", paper="Section 0", notes=notes,
        )

    def fetch(self):
        if self.fail == "host":
            raise MissingError("data.invalid cannot be reached; fetch it by hand")
        if self.fail == "bug":
            raise OSError("no space left on device")
        if self.fail != "nothing":
            Path(self.place).write_bytes(b"here")

    def load(self, split, context):
        labels = np.arange(context.info.counts[split], dtype=np.int64) % 2
        grey = np.arange(len(labels), dtype=np.uint8) + (0 if split == "test" else 5)
        images = grey[:, None, None, None] * np.ones((16, 16, 3), np.uint8)
        return ImageSet(images, labels, context.info.classes)
'''


@pytest.fixture
def remote(toys):
    (toys.folder / "remote.py").write_text(FETCHED.lstrip(), "utf-8")
    return toys


def test_a_sweep_leaves_pivots_and_plots_and_report_draws_them_again(toys):
    done = toys(*SWEEP)
    title = "Accuracy by real images per class, %: toydata.py, preset quick, learner toylearner.py"
    assert done.out.count(f"{title}\n") == 1
    assert "\narchitecture  generator  2 " in done.out
    assert "best on test" not in done.out
    folder = toys.folder / "results"
    text = (folder / "leaderboard.md").read_text("utf-8")
    titles = [line for line in text.splitlines() if line.startswith("## Accuracy by")]
    assert titles[0] == f"## {title}"
    assert [title.partition(",")[0] for title in titles[1:]] == ["## Accuracy by architecture"] * 3
    assert text.index(titles[-1]) < text.index("## toydata.py, 6 real images")
    plots = sorted(folder.glob("figures/*/*.png"))
    assert [path.name.split("-")[0] for path in plots] == ["arch"] * 3 + ["shots"]
    for path in plots:
        assert f"](figures/{path.parent.name}/{path.name})" in text
        assert str(path.relative_to(toys.folder)) in done.out
        with Image.open(path) as picture:
            assert picture.width > 400
    before = {path: path.read_bytes() for path in [*plots, folder / "leaderboard.md", folder / "leaderboard.csv"]}
    times = {path: path.stat().st_mtime_ns for path in before}
    toys(*SWEEP)
    assert {path: path.stat().st_mtime_ns for path in before} == times
    for path in plots:
        path.unlink()
    again = toys("report")
    assert {path: path.read_bytes() for path in before} == before
    assert all(f"plot  {path.relative_to(toys.folder)}" in again.out for path in plots)


def test_the_numbers_of_a_new_metric_stand_in_every_table(toys):
    """`bench new metric` writes a file; nothing else has to be edited for its columns to be seen."""
    assert "wrote my_distance.py" in toys("new", "metric", "my-distance").out
    run = ("run", "--gen", "./toygen.py", *BARE, "--metric", "./my_distance.py", "--metric", "./toymetric.py")
    done = toys(*run)
    folder = toys.folder / "results"
    with (folder / "leaderboard.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[-2:] == ["nearest_mean", "nearest_least"]
    assert all(row["fd"] for row in rows), "the columns that a table begins with are filled by another"
    text = (folder / "leaderboard.md").read_text("utf-8")
    for row in rows:
        mean, least = row["nearest_mean"], row["nearest_least"]
        assert float(mean) >= float(least) >= 0
        for shown in (text, done.out):
            part = shown[shown.index("Metric my_distance.py: ") :]
            assert "mean distance ↑" in part
            (line,) = (line for line in part.splitlines() if line.strip("| ").startswith(row["gen"]) and mean in line)
            assert least in line
    assert re.search(r"\]\(figures/[^/]+/metric-my_distance.py-quick-\w+\.png\)", text), "and has a plot"
    program = (
        "import warnings, benchbench; warnings.simplefilter('error');"
        "frame = benchbench.load_results(); print(*frame['nearest_mean'].round(3));"
        "frame = benchbench.load_results(per_record=True); print(*frame['nearest_mean'].round(3))"
    )
    (toys.folder / "my_distance.py").unlink()  # tables are made of records alone
    command = [sys.executable, "-c", program]
    told = subprocess.run(command, cwd=toys.folder, env=toys.env, capture_output=True, text=True, check=True).stdout
    whole, single = (set(map(float, line.split())) for line in told.splitlines())
    assert whole == single == {float(row["nearest_mean"]) for row in rows}
    before = (folder / "leaderboard.csv").read_bytes()
    assert "mean distance ↑" in toys("report").out
    assert (folder / "leaderboard.csv").read_bytes() == before


def test_one_setting_stays_one_detailed_table_without_a_plot(toys):
    done = toys("run", "--gen", "./toygen.py", *BARE)
    assert "Accuracy by" not in done.out
    assert not list((toys.folder / "results").glob("figures/*/*.png"))


def test_an_overlap_is_told_while_running_and_below_the_tables(remote):
    sentence = "Test images that equal another in every pixel: 5 with a training image and 4 with a validation image."
    remote("fetch", "./remote.py")
    run = ("run", "--data", "./remote.py", "--learner", "./toylearner.py", "--arch", "a", "--metric", "none")
    done = remote(*run, "--executor", "inline")
    assert done.err.count(f"read remote.py: {sentence}\n") == 1
    assert done.out.count(sentence) == 1
    text = (remote.folder / "results" / "leaderboard.md").read_text("utf-8")
    assert text.count(f"- {sentence}\n") == 1
    assert "- [1] Up to 5 of its training images equal a test image in every pixel.\n" in text
    assert sentence not in remote(*run).err  # nothing is read again


def test_fetch_says_where_files_went_and_what_is_odd_about_them(remote):
    done = remote("fetch", "./remote.py")
    assert done.out.splitlines() == [
        "./remote.py: train 8, validation 4, test 10, 2 classes",
        "  licence  CC0",
        "  files    published.npz",
        "  note     one image fewer than published",
    ]
    assert done.err == ""


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [
        ("digits", 2, "bench: digits: there is nothing to fetch for this dataset; "),
        ("digitz", 2, "bench: digitz: unknown dataset (did you mean 'digits'"),
        ("./remote.py:fail=host", 2, "bench: ./remote.py:fail=host: data.invalid cannot be reached; fetch it by hand"),
        (
            "./remote.py:fail=bug",
            2,
            "bench: ./remote.py:fail=bug: could not be fetched: OSError: no space left on device",
        ),
        (
            "./remote.py:fail=nothing",
            2,
            "bench: ./remote.py:fail=nothing: fetched, and still not found: the published file",
        ),
        ("./remote.py:place=", 2, "bench: "),
    ],
)
def test_what_cannot_be_fetched_is_one_line(remote, name, code, message):
    done = remote("fetch", name, code=code)
    assert done.out == ""
    (line,) = done.errors
    assert line.startswith(message)


def test_one_failure_does_not_stop_the_others(remote):
    done = remote("fetch", "digits", "./remote.py", code=2)
    assert done.out.startswith("./remote.py: ")
    assert len(done.errors) == 1


def test_show_tells_the_facts_and_which_files_are_missing(remote):
    out = remote("show", "./remote.py").out
    for line in (
        "normalised   mean 0.5000 0.2500 0.5000, std 0.2500 0.2500 0.2500",
        "optimizer    adamw",
        "compared     quick, draws x seeds: 5 x 1 of some real images, 1 x 5 of all",
        "paper cap    at most 500 images per class",
        "groups       of 4 images (--subset groups)",
        "paper        Section 0",
        "missing: the published file; looked for published.npz; source: https://data.invalid/published.npz",
    ):
        assert f"\n  {line}\n" in out
    remote("fetch", "./remote.py")
    assert "\n  here: published.npz\n" in remote("show", "./remote.py").out


def test_show_tells_which_options_a_learner_heeds_and_what_a_base_is(toys):
    assert "varies with  --arch, --mix\n" in toys("show", "./toylearner.py").out
    assert "every chain of augmentations starts with it" in toys("show", "default").out
    assert "\nparameters\n" in toys("show", "default").out


def test_list_marks_datasets_whose_files_are_not_here(toys):
    listed = {line.split()[0]: line for line in toys("list", "dataset").out.splitlines()[1:]}
    assert listed["eurosat"].endswith("[its files are not here]")
    assert "not here" not in listed["digits"] + listed["folder"]
