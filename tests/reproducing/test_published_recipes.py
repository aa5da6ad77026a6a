"""The recipes that come with benchbench: whole, true to the paper, and affordable on the digits."""

from __future__ import annotations

import os
import tomllib
from functools import cache
from pathlib import Path

import pytest

from benchbench.planning.estimates import Timings
from benchbench.planning.needs import Needs
from benchbench.planning.options import make_request
from benchbench.reproducing.experiments import grid, options_at, plan_recipe
from benchbench.reproducing.recipe import read_recipe, recipe_names

ROOT = Path(__file__).parent.parent.parent
FOLDER = ROOT / "plugins" / "recipes"
NAMES = [f"table{number}" for number in range(1, 11)]
NAMES += ["figure1", "figure4", "figure5", "figure6", "figure7a", "figure7b", "figure7c"]
NAMES += ["figure8a", "figure8b", "figure8c", "figure8d", "figure9", "figure10"]
GALLERIES = ("figure9", "figure10")
#: What the paper prints, counted and summed by hand from its tables: values, their sum, deviations, their sum. Figures
#: print none but those that the text has. Table 3 is with the four numbers of section 4.2.
PRINTED = {
    "table1": (12, 985.4, 12, 3.2),
    "table2": (8, 33.6 + 0.648 + 0.392 + 0.486 + 17.7 + 0.831 + 0.661 + 0.787, 0, 0),
    "table3": (16, 467.2 + 85.4 + 88.4 + 90.9 + 88.7, 0, 0),
    "table4": (16, 1409.4, 0, 0),
    "table5": (20, 17.9 + 17.7 + 26.2 + 43.2 + 62.8 + 3.136 + 3.648 + 3.384, 0, 0),
    "table6": (12, 1057.8, 12, 2.6),
    "table7": (21, 1812.6, 0, 0),
    "table8": (25, 180.544, 0, 0),
    "table9": (25, 174.128, 0, 0),
    "table10": (45, 331.934, 0, 0),
    "figure4": (8, 18.8 + 0.2 + 27.8 + 84.1 + 0.82 + 121.0 + 5.28 + 237.6, 0, 0),
    "figure6": (4, 83.3 + 89.0 + 93.8 + 95.4, 0, 0),
}
#: Minutes on two cores that one recipe, and all together, may take on the digits.
ONE, ALL = 15, 180


@cache
def recipe(name):
    return read_recipe(name)


def test_every_table_and_figure_is_there():
    assert recipe_names() == NAMES
    assert sorted(path.stem for path in FOLDER.glob("*.toml")) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_printed_number_is_there(name):
    printed = recipe(name).printed
    values = [it.value for it in printed.values()]
    deviations = [it.std for it in printed.values() if it.std is not None]
    count, total, spread, width = PRINTED.get(name, (0, 0, 0, 0))
    assert (len(values), len(deviations)) == (count, spread)
    assert sum(values) == pytest.approx(total, abs=1e-6)
    assert sum(deviations) == pytest.approx(width, abs=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_says_where_it_is_from_and_what_it_claims(name):
    it = recipe(name)
    number = name.removeprefix("table").removeprefix("figure")
    assert f"{'table' if name.startswith('table') else 'figure'} {number.rstrip('abcd') or number}" in it.source
    assert it.notes
    assert it.drawn == ("table" if name.startswith("table") else "gallery" if name in GALLERIES else "lines")
    assert bool(it.published.claims) == (name not in GALLERIES)
    assert it.published.options["preset"] == "paper"


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_on_digits_names_its_network_and_draws_thrice(name):
    world = recipe(name).mapped["digits"]
    assert world.options["preset"] == "quick"
    assert world.options["draws"] >= (1 if name in GALLERIES else 3)
    assert len(world.why) > 20
    every = {claim.text for claim in recipe(name).published.claims}
    assert bool(world.claims) == (name not in GALLERIES)
    assert name == "figure4" or name == "figure8a" or name == "figure8b" or {it.text for it in world.claims} <= every


@pytest.mark.parametrize("name", NAMES)
def test_the_options_of_the_paper_can_be_read(name):
    """Its data are rarely here, so that the plan of a recipe is not made; every option of every cell is."""
    world = recipe(name).published
    for part, row, column in grid(world):
        request = make_request(options_at(world, part, row, column))
        assert len(request.gen) == len(request.data) == 1


@pytest.fixture(scope="module")
def on_digits(tmp_path_factory):
    """Return the plan of every recipe on the digits; planning runs nothing."""
    folder = tmp_path_factory.mktemp("planning")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCH_CACHE", str(folder / "cache"))
        yield {name: plan_recipe(recipe(name), recipe(name).mapped["digits"], {"device": "cpu"}) for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_on_digits_is_affordable(on_digits, tmp_path, name):
    experiment = on_digits[name]
    assert experiment.missing == ()
    total = Timings(tmp_path).total(experiment.plan.steps.values(), workers=2)
    assert (total.unknown, total.seconds < 60 * ONE) == (0, True), f"{total.seconds / 60:.1f} minutes"


def test_all_recipes_on_digits_are_affordable(on_digits, tmp_path):
    steps = {}
    for experiment in on_digits.values():
        steps |= experiment.plan.steps
    assert Timings(tmp_path).total(steps.values(), workers=2).seconds < 60 * ALL
    assert Needs(steps, "cpu")  # of which memory and disk are told


def test_galleries_train_nothing(on_digits):
    for name in GALLERIES:
        assert {step.stage for step in on_digits[name].plan.steps.values()} == {"data", "fit", "sample"}
        assert on_digits[name].plan.cells == ()
        assert len(on_digits[name].cells) == 9


def test_the_page_lists_every_recipe():
    """docs/reproduce.md has a row of each; BENCH_WRITE_DOCS=1 writes them."""
    page = ROOT / "docs" / "reproduce.md"
    text = page.read_text("utf-8")
    begin, end = "<!-- recipes -->\n", "<!-- end -->\n"
    head, rest = text.split(begin)
    listed, tail = rest.split(end)
    rows = ["| recipe | what | on digits | claims |", "| --- | --- | --- | --: |"]
    for name in NAMES:
        it = recipe(name)
        place = it.source.partition("), ")[2]
        world = it.mapped["digits"]
        rows.append(f"| `{name}` | {it.title} ({place}) | {world.why} | {len(world.claims)} |")
    wanted = "\n".join(rows) + "\n"
    if os.environ.get("BENCH_WRITE_DOCS"):
        page.write_text(head + begin + wanted + end + tail, "utf-8")
    else:
        assert listed == wanted


def test_the_page_shows_a_recipe_word_for_word():
    text = (ROOT / "docs" / "reproduce.md").read_text("utf-8")
    shown = text.split("<!-- figure8b -->\n```toml\n")[1].split("```")[0]
    assert shown == (FOLDER / "figure8b.toml").read_text("utf-8")
    tomllib.loads(shown)
