"""``benchmarks/recipe_search.py``: what it concludes, what it still has to train, and that its page is its log."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest
from scipy.stats import t as student

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "results" / "benchmarks" / "recipe_search.md"


@pytest.fixture(scope="module")
def search():
    spec = importlib.util.spec_from_file_location("recipe_search", ROOT / "benchmarks" / "recipe_search.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.fixture
def candidate(search):
    return search.Candidate("shufflenetv2", 3, 8, 0.01)


def lines(search, candidate, gaps):
    """A log in which the longer training is better by ``gaps[draw][seed]`` points."""
    found = {}
    for draw, of_draw in enumerate(gaps, search.FIRST_DRAW):
        for seed, gap in enumerate(of_draw):
            for which, accuracy in ((candidate, 80.0), (candidate.longer, 80.0 + gap)):
                name = search.key(which, draw, seed)
                facts = {"key": name, **vars(which), "draw": draw, "seed": seed, "cpu_s": 2.0}
                found[name] = facts | {"validation": accuracy, "unused": accuracy - 1}
    return found


def verdict(search, candidate, gaps):
    return search.shortfall(search.pairs(candidate, lines(search, candidate, gaps), "validation")).verdict


def test_the_shortfall_is_that_of_the_means_of_the_draws(search, candidate):
    found = lines(search, candidate, [(1.0, 3.0), (0.0, 0.0), (4.0, -2.0)])
    gap = search.shortfall(search.pairs(candidate, found, "validation"))
    assert (gap.draws, gap.pairs) == (3, 6)
    assert gap.value == pytest.approx(1.0)
    reach = student.ppf(0.9, 2) / 3**0.5  # the means 2, 0 and 1 deviate by 1
    assert (gap.low, gap.bound) == pytest.approx((1.0 - reach, 1.0 + reach))
    assert search.shortfall(search.pairs(candidate, found, "unused")).value == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("gaps", "expected"),
    [
        ([(0.1, 0.2)] * 4, "holds"),
        ([(0.1, 0.2)] * 3, ""),  # too few draws
        ([(0.1,)] * 4, ""),  # too few seeds
        ([(0.9, 0.9), (3.0, 3.0), (-2.0, -2.0), (0.0, 0.0)], ""),  # it may hold, and gets more draws
        ([(0.9, 0.9), (3.5, 3.5), (-3.5, -3.5), (2.5, 2.5)] * 2, "undecided"),
        ([(1.4, 1.4), (0.5, 0.5), (1.9, 1.9), (0.6, 0.6)] * 2, "falls short"),
        ([(5.0,), (7.0,)], ""),  # two draws tell little
        ([(5.0,), (7.0,), (6.0,)], "falls short"),  # given up at once
        ([(1.2,), (1.2,), (2.1,)], ""),  # not clearly
        ([(-5.0, -5.0), (-7.0, -6.0), (-6.0, -6.0), (-5.0, -6.0)], "holds"),  # longer is worse
    ],
)
def test_a_recipe_holds_falls_short_or_needs_more(search, candidate, gaps, expected):
    assert verdict(search, candidate, gaps) == expected


def test_dearer_candidates_of_a_network_wait_for_the_cheaper_ones(search, candidate):
    dearer, other = search.Candidate("shufflenetv2", 6, 8, 0.01), search.Candidate("vgg16", 3, 8, 0.01)
    asked = list(search.wanted((candidate, dearer, other), {}))
    assert [(which.arch, which.steps, draw, seed) for which, draw, seed in asked[:4]] == [
        ("shufflenetv2", 3, 100, 0),
        ("shufflenetv2", 12, 100, 0),
        ("shufflenetv2", 3, 101, 0),
        ("shufflenetv2", 12, 101, 0),
    ]
    assert len(asked) == 3 * 2 * search.MOST_DRAWS * search.SEEDS
    assert len(list(search.wanted((candidate, dearer, other), {}, most=4))) == 3 * 2 * 4 * search.SEEDS
    held = lines(search, candidate, [(0.1, 0.2)] * 4)
    assert {which.arch for which, *_ in search.wanted((candidate, dearer, other), held)} == {"vgg16"}
    short = lines(search, candidate, [(5.0, 5.0), (6.0, 6.0), (5.5, 5.5), (5.0, 5.0)])
    assert next(search.wanted((candidate, dearer, other), short)) == (dearer, 100, 0)
    half = lines(search, candidate, [(0.1,)] * 2)
    assert next(search.wanted((candidate,), half))[1:] == (102, 0)


def test_a_log_that_a_kill_cut_off_loses_its_last_line(search, tmp_path):
    log = tmp_path / "log.jsonl"
    assert search.read(log) == {}
    log.write_text('{"key": "a", "validation": 1}\n{"key": "b", "vali', "utf-8")
    assert search.read(log) == {"a": {"key": "a", "validation": 1}}


@pytest.mark.parametrize("arch", ["shufflenetv2", "ct"])
def test_a_training_is_scored_outside_of_the_test_part(search, arch, monkeypatch):
    load, read = search.Digits.load, []
    monkeypatch.setattr(
        search.Digits, "load", lambda self, split, context: read.append(split) or load(self, split, context)
    )
    search.digits.cache_clear()
    line = search.train(search.Candidate(arch, 2, 8, 0.01), 100, 1)
    assert set(read) == {"train", "validation"}
    assert line["key"] == f"{arch} 2 8 0.01 fp32 5 100 1"
    for part, count in (("train", 50), ("validation", 250), ("unused", 950)):
        hits = line[part] * count / 100
        assert hits == pytest.approx(round(hits), abs=0.01), "a share of its images"
    again = search.train(search.Candidate(arch, 2, 8, 0.01), 100, 1)
    assert [again[part] for part in ("train", "validation", "unused")] == [
        line[part] for part in ("train", "validation", "unused")
    ]


def test_the_table_says_what_was_run_and_what_was_not(search, candidate):
    other = search.Candidate("vgg16", 3, 8, 0.01)
    page = search.table(lines(search, candidate, [(0.2, 0.4)] * 4), (candidate, other))
    rows = [line.split(" | ") for line in page.splitlines() if line.startswith(("| shuffle", "| vgg"))]
    assert rows[0][2:8] == [
        "3 x 8 at 0.01",
        "fp32",
        "2",
        "80.0 +- 0.0 (8)",
        "80.3 +- 0.1 (8)",
        "+0.3, below +0.3 (4, 8)",
    ]
    assert rows[0][-1] == "holds |"
    assert rows[1][5:] == ["-", "-", "not run", "not run", "not decided |"]
    assert "16 trainings" in page


def test_the_page_is_made_from_its_log(search):
    log = json.loads(PAGE.with_suffix(".json").read_text("utf-8"))
    assert search.table({item["key"]: item for item in log}) == PAGE.read_text("utf-8")
