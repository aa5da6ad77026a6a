"""``bench reproduce`` as a user runs it, on recipes of toys that lie in the present folder."""

from __future__ import annotations

import json
import re
import shutil

import pytest
from driving import Bench
from recipetexts import GALLERY, LEVELS
from toys import write_toys

INLINE = ("--executor", "inline")


@pytest.fixture(scope="module")
def reproduced(tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str]):
    """Run a recipe once; tests read what it left and may run it again, which changes nothing."""
    bench = Bench(tmp_path_factory.mktemp("reproduce"), environment)
    write_toys(bench.folder)
    (bench.folder / "mine.toml").write_text(LEVELS, "utf-8")
    (bench.folder / "look.toml").write_text(GALLERY, "utf-8")
    return bench, bench("reproduce", "mine.toml", *INLINE)


def test_each_cell_stands_next_to_the_published_value(reproduced):
    _, done = reproduced
    out = re.sub(" +", " ", done.out)
    assert "mine: Levels of a toy; A toy's paper (2026), figure 3" in out
    assert "row column paper measured 95 % interval draws x seeds" in out
    assert re.search(r"^Real - 90 \d\d\.\d\d \[\d\d\.\d\d, \d+\.\d\d\] 3 x 2$", out, re.MULTILINE)
    assert re.search(r"^Toy 1 91\.5 \+- 0\.2 \d\d\.\d\d \[", out, re.MULTILINE)
    claim = r"^Claim 1, (holds|does not hold here|not shown): The real images beat what was made of them\.$"
    assert re.search(claim, out, re.MULTILINE)
    assert re.search(r"^1 Real better than Toy -1\.5 [+-]\d+\.\d\d \[", out, re.MULTILINE)


def test_it_leaves_a_page_numbers_and_the_figure(reproduced):
    bench, done = reproduced
    folder = bench.folder / "results" / "reproduce"
    page = (folder / "recipes" / "mine.md").read_text("utf-8")
    assert "![Levels of a toy](mine.png)" in page
    assert "It contradicts itself: 90 here, 91 there." in page
    assert (folder / "recipes" / "mine.png").read_bytes().startswith(b"\x89PNG")
    cells = json.loads((folder / "recipes" / "mine.json").read_text("utf-8"))["cells"]
    assert [(cell["row"], cell["column"]) for cell in cells] == [("Real", "1"), ("Toy", "1"), ("Toy", "2,000")]
    assert (folder / "leaderboard.csv").is_file()  # what a run leaves is there too
    for name in ("mine.md", "mine.json", "mine.png"):
        assert f"wrote      results/reproduce/recipes/{name}" in done.out


def test_again_it_trains_nothing_and_says_the_same(reproduced):
    bench, done = reproduced
    files = {path: path.read_bytes() for path in (bench.folder / "results" / "reproduce" / "recipes").iterdir()}
    again = bench("reproduce", "mine.toml", *INLINE)
    assert "nothing to run: everything is cached" in again.out
    assert (
        again.out[again.out.index("mine: test acc") if "mine: test acc" in again.out else again.out.index("row") :]
        in done.out
    )
    assert files == {path: path.read_bytes() for path in files}


def test_a_report_needs_the_records_alone(reproduced, tmp_path, environment):
    bench, done = reproduced
    copy = Bench(tmp_path, environment)
    shutil.copytree(bench.folder, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("artifacts", "recipes"))
    report = copy("reproduce", "mine.toml", "--report")
    assert "plan " not in report.out
    assert report.out.split("Real  -")[1] == done.out.split("Real  -")[1]
    assert not (tmp_path / "results" / "reproduce" / "artifacts").exists()


def test_a_mapped_world_with_fewer_trainings(reproduced):
    bench, _ = reproduced
    done = bench("reproduce", "mine.toml", "--data", "few", "--seeds", "1", "--draws", "2", *INLINE)
    out = re.sub(" +", " ", done.out)
    assert "mine on few: Levels of a toy" in out
    assert "Two images of each class, and no paper to be held against." in out
    assert re.search(r"^Toy one \d+\.\d\d \[-?\d+\.\d\d, \d+\.\d\d\] 2 x 1 \(rough\)$", out, re.MULTILINE)
    assert (bench.folder / "results" / "reproduce" / "recipes" / "mine-few.md").is_file()


def test_a_gallery_makes_images_and_trains_nothing(reproduced):
    bench, _ = reproduced
    done = bench("reproduce", "look.toml", "--results", "galleries", *INLINE)
    assert re.search(r"^  (train|score) ", done.out, re.MULTILINE) is None
    assert (bench.folder / "galleries" / "recipes" / "look.png").read_bytes().startswith(b"\x89PNG")
    assert list((bench.folder / "galleries").glob("records/**/*.json")) == []
    assert "measured" not in done.out


def test_a_training_that_fails_is_a_hole_and_costs_no_other(reproduced):
    bench, _ = reproduced
    arguments = ("reproduce", "mine.toml", "--arch", "boom", "--draws", "1", "--seeds", "1", "--results", "failed")
    done = bench(*arguments, *INLINE, code=1)
    assert re.search(r"^Real +- +90 +- \(1 failed\)", done.out, re.MULTILINE)
    assert "Claim 1, not shown (not all of it is measured): The real images beat what was made of them." in done.out
    assert any("boom as asked" in line for line in done.errors)


def test_a_plan_runs_nothing_and_adds_recipes_up(toys):
    (toys.folder / "mine.toml").write_text(LEVELS, "utf-8")
    (toys.folder / "look.toml").write_text(GALLERY, "utf-8")
    done = toys("reproduce", "mine.toml", "look.toml", "--plan")
    assert "plan       18 cells, 0 done" in done.out
    assert re.search(r"^all        .* for the steps of all of them, each once", done.out, re.MULTILINE)
    assert not list(toys.folder.glob("results/**/*.json"))


def test_records_as_json(reproduced):
    bench, _ = reproduced
    done = bench("reproduce", "mine.toml", "--json", *INLINE)
    assert [claim["text"] for claim in json.loads(done.out)["claims"]] == [
        "The real images beat what was made of them."
    ]


def test_the_real_thing_says_what_it_costs_and_what_is_missing(bench):
    done = bench("reproduce", "table2", code=2)
    assert "cost       2 trainings; 117 h of learning, 1 h of sampling and 660 h for LECF's" in done.out
    missing = [line for line in done.out.splitlines() if line.startswith("missing    ")]
    assert {"stl10", "fidelity", "lecf", "ct", "diffinv"} == {line.split()[1].partition(":")[0] for line in missing}
    assert (
        done.errors[-1]
        == f"bench: table2: {len(missing)} things that it needs are not here, as listed; nothing was started"
    )
    assert not (bench.folder / "results").exists()


def test_the_list_names_every_recipe(bench):
    done = bench("reproduce", "--list")
    assert len(done.out.splitlines()) == 23
    assert done.out.startswith(
        "table1    Classifiers trained on images that passed through the autoencoder; Diffusion Inv"
    )
    assert all(line.endswith("[--data digits]") for line in done.out.splitlines())


WRONG = {
    "no name": ((), "NAME: missing; `bench reproduce --list` shows the recipes"),
    "unknown": (("tabel4",), "tabel4: no such recipe (did you mean 'table4' or 'table9' or 'table8'?)"),
    "no file": (("./none.toml",), "./none.toml: no such recipe file"),
    "typo": (("./typo.toml",), "typo.toml: row[1].lable: unknown key (did you mean 'label' or 'values'?)"),
    "version": (("./version.toml",), "version.toml: format: 7: this bench reads recipes of format 1"),
    "no mapping": (("mine.toml", "--data", "pets"), "--data pets: mine has no mapping for it; there are ./toyd"),
    "near": (("mine.toml", "--data", "few2"), "--data few2: mine has no mapping for it (did you mean 'few'?)"),
    "values": (("mine.toml", "--data", "few:x=1"), "--data few:x=1: a mapped world takes no parameters; write few"),
    "varied": (("varied.toml", "--arch", "b"), "--arch: varied varies it from cell to cell; leave it out"),
    "several": (("mine.toml", "--arch", "a,b"), "mine, Real, 1: gives 2 rows of results; a cell must be one (real"),
    "measure": (("measure.toml",), "measure, Real, 1: measure fdd: no metric of this plan has it (did you mean 'fd'?)"),
    "seeds": (("mine.toml", "--seeds", "0"), "mine, Real, 1: --seeds 0: must be at least 1"),
    "metric": (("mine.toml", "--metric", "nix"), "mine, Real, 1: nix: unknown metric"),
    "workers": (("mine.toml", "--workers", "x"), "--workers x: must be a whole number"),
}  # fmt: skip


@pytest.fixture(scope="module")
def wrong(tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str]) -> Bench:
    """A folder of recipes with one mistake each."""
    bench = Bench(tmp_path_factory.mktemp("wrong"), environment)
    write_toys(bench.folder)
    changes = {
        "mine": ("", ""),
        "typo": ('label = "Real"', 'lable = "Real"'),
        "version": ("format = 1", "format = 7"),
        "varied": ('gen = "real"', 'gen = "real"\narch = "a"'),
        "measure": ('label = "1"', 'label = "1"\nmeasure = "fdd"'),
    }
    for name, (old, new) in changes.items():
        text = LEVELS.replace('"./toymetric.py"', '"fidelity"') if name == "measure" else LEVELS
        (bench.folder / f"{name}.toml").write_text(text.replace(old, new, 1) if old else text, "utf-8")
    return bench


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_request_is_one_line(wrong, name):
    arguments, message = WRONG[name]
    done = wrong("reproduce", *arguments, code=2)
    assert [line.startswith(f"bench: {message}") for line in done.errors] == [True], done.err
    assert done.out == ""
    assert not (wrong.folder / "results").exists()
