"""``bench plan --detect``: from recorded variances to draws, seeds and time; what it refuses."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from handmade import record

from benchbench.cli import run_command
from benchbench.cli.detect import points_of
from benchbench.errors import UsageError
from benchbench.planning.setting import Setting
from benchbench.results.designs import Recorded
from benchbench.results.folder import write_record

ASKED = ("--gen", "diffinv", "--data", "digits", "--arch", "resnet18,vgg16", "--metric", "none")


def study(draws: int, archs=("resnet18", "vgg16"), gen="diffinv", **cell):
    """Return records whose gain varies with the draw, by up to four points."""
    rng = np.random.default_rng(1)
    for arch in archs:
        for draw in range(draws):
            yield record("real", arch=arch, draw=draw, correct=140 + int(rng.integers(5)), **cell)
            yield record(gen, arch=arch, draw=draw, correct=146 + int(rng.integers(5)), **cell)


@pytest.fixture
def detect(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))

    def call(points: str, records=(), *more: str):
        for made in records:
            write_record(tmp_path, made)
        code = run_command(["plan", f"--detect={points}", *ASKED, "--results", str(tmp_path), *more])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


def test_draws_seeds_and_time_for_each_architecture_and_their_mean(detect):
    code, out, _ = detect("4", study(4))
    assert code == 0
    lines = out.split("\n")
    assert lines[0] == "To show a difference of 4 points in 4 of 5 cases, with verdicts at 5 % over 2 rows:"
    for name, line in zip(("resnet18", "vgg16", "mean of 2"), lines[3:6], strict=True):
        assert re.fullmatch(rf"{name} +\d+ x 1 +about .+  [34]\.\d points +(8|16)", line), line
    needed = [int(re.findall(r"(\d+) x 1", line)[0]) for line in lines[3:6]]
    larger = json.loads(detect("8", (), "--json")[1])
    assert sum(item["draws"] for item in larger) < sum(needed)
    assert all(item["draws"] <= draws for item, draws in zip(larger, needed, strict=True))
    assert all(item["seconds"] > 0 for item in larger)
    assert all(item["shows"] <= 8 for item in larger)


@pytest.mark.parametrize("text", ["0", "-2", "nan", "inf", "two", "101", ""])
def test_what_is_no_difference_is_refused_in_one_line(text):
    with pytest.raises(
        UsageError, match=r": must be a number of percentage points above 0 and at most 100, such as 2$"
    ):
        points_of(text)


def test_the_refusal_comes_before_any_plan(detect):
    code, out, err = detect("0")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("bench: --detect 0: must be a number")


def test_without_records_it_says_what_to_run_first(detect, tmp_path):
    code, out, err = detect("2")
    assert (code, out) == (2, "")
    assert err == f"bench: --detect 2: resnet18: no variance is recorded in {tmp_path}; run it first with --draws 3\n"
    _, _, err = detect("2", study(1))
    assert err.startswith("bench: --detect 2: resnet18: no variance is recorded in ")
    seeds = [record(gen, replicate=n, correct=145 + n, arch="resnet18") for gen in ("real", "x") for n in (1, 2)]
    _, _, err = detect("2", seeds)
    assert err == "bench: --detect 2: resnet18: one draw is recorded, and draws vary; run it first with --draws 3\n"


def test_a_request_that_compares_nothing_is_refused(tmp_path, capsys):
    assert run_command(["plan", "--detect=2", "--data", "digits", "--results", str(tmp_path)]) == 2
    assert capsys.readouterr().err == "bench: --detect 2: nothing is compared; name a generator with --gen\n"


def test_only_rows_of_the_same_place_count():
    places = [study(3), study(3, shots=10, n_real=100), study(3, ("resnet18",), "other", mix="1:1", n_syn=50)]
    recorded = Recorded(
        [made for place in places for made in place if made.cell.mix != "1:1" or not made.cell.baseline]
    )

    def planned(**changes):
        it = {"data": "digits", "gen": "x", "mix": "0:1", "arch": "resnet18", "n_real": 50, "shots": 5} | changes
        return Setting(**it, aug="default", learner="timm", n_syn=500, preset="quick")

    assert recorded.spread([planned()])[1] == 6
    assert recorded.spread([planned(mix="1:1")])[1] == 6
    assert recorded.spread([planned(mix="1:3")])[1] == 12  # no row of that mix: all others
    assert recorded.spread([planned(), planned(arch="vgg16")])[1] == 12
    assert recorded.spread([planned(shots=10, n_real=100)])[1] == 6
    assert recorded.spread([planned(data="eurosat")]) == (None, 0)
