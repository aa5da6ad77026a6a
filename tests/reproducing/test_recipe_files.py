"""A recipe's file is read strictly: each mistake is one line with the file, the place and the nearest name."""

from __future__ import annotations

import importlib.metadata
import re
from types import SimpleNamespace

import pytest
from recipetexts import GALLERY, LEVELS

from benchbench.errors import UsageError
from benchbench.reproducing.figure import dodged, numbers
from benchbench.reproducing.recipe import Printed, read_recipe, recipe_names


def recipe(tmp_path, old="", new="", text=LEVELS):
    assert old in text
    path = tmp_path / "mine.toml"
    path.write_text(text.replace(old, new, 1) if old else text, "utf-8")
    return read_recipe(str(path))


def test_what_a_recipe_says(tmp_path):
    read = recipe(tmp_path)
    assert (read.name, read.title, read.drawn) == ("mine", "Levels of a toy", "lines")
    assert list(read.mapped) == ["few"]
    assert read.printed[("", "Toy", "1")] == Printed(91.5, 0.2)
    assert ("", "Toy", "2,000") not in read.printed  # "" is not printed
    assert read.printed[("", "Real", "2,000")] == Printed(90.0)  # a level row stands in every column


def test_a_mapped_world_has_the_rows_columns_and_claims_that_it_does_not_replace(tmp_path):
    read = recipe(tmp_path)
    (part,) = read.mapped["few"].parts
    assert [row.label for row in part.rows] == ["Real", "Toy"]
    assert [column.label for column in part.columns] == ["one"]
    assert read.mapped["few"].claims[0].text == read.published.claims[0].text
    assert "seeds" not in read.mapped["few"].options  # options are its own


MISTAKES = {
    "version": ("format = 1", "format = 2", "format: 2: this bench reads recipes of format 1"),
    "no version": ("format = 1", "", "format: missing: this bench reads recipes of format 1"),
    "top": ("title =", "titel =", "titel: unknown key (did you mean 'title'?)"),
    "row": ("level = true", "levels = true", "row[1].levels: unknown key (did you mean 'level' or"),
    "option": ("shots = 4", "shot = 4", "options.shot: unknown key (did you mean 'shots'"),
    "column": ('label = "1"', 'lable = "1"', "column[1].lable: unknown key (did you mean 'label'?)"),
    "world": ("why = ", "wy = ", "on.few.wy: unknown key (did you mean 'why'?)"),
    "figure": ('"lines"', '"line"', "figure.draw: line: must be one of table, lines, gallery (did you mean 'lines'?)"),
    "no title": ('title = "Levels of a toy"', "", "title: missing"),
    "title": ('title = "Levels of a toy"', "title = 3", "title: must be a text"),
    "values": ('"91.5 +- 0.2", ""', "91.5", "row[2].values: 1 values for 2 columns"),
    "value": ("91.5 +- 0.2", "91,5", "row[2].values: '91,5': must be a number, "),
    "value's points": ("91.5 +- 0.2", "91..5", "row[2].values: '91..5': must be a number, "),
    "deviation's points": ("91.5 +- 0.2", "91.5 +- .", "row[2].values: '91.5 +- .': must be a number, "),
    "no number": ("values = [90]", "values = [nan]", "row[1].values: nan: must be a number, "),
    "within": ('than = {row = "Toy"}', 'than = {row = "Toy"}\nwithin = nan', "claim[1].within: nan: must be a number"),
    "itself": ('than = {row = "Toy"}', 'than = {row = "Real"}', "claim[1]: compares a cell with itself"),
    "nothing": ('than = {row = "Toy"}', "than = {row = []}", "claim[1]: compares nothing"),
    "claim's row": ('than = {row = "Toy"}', 'than = {row = "Toi"}', "claim[1].than.row: 'Toi': no such row (did"),
    "claim's axes": ('than = {row = "Toy"}', 'than = {column = "1"}', "claim[1]: better must name one label"),
    "claim's axis": ('than = {row = "Toy"}', 'than = {rows = "Toy"}', "claim[1].than.rows: unknown key (did you"),
    "no claim's side": ('than = {row = "Toy"}', "", "claim[1].than: missing"),
    "twice": ('label = "2,000"', 'label = "1"', "column: '1' is there twice"),
    "world's claim": ('column = [{label = "one"', 'row = [{label = "Us"}]\ncolumn = [{label = "one"', "on.few.claim"),
    "toml": ("format = 1", "format = ", "not a TOML file: "),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_named_with_its_place(tmp_path, name):
    old, new, message = MISTAKES[name]
    with pytest.raises(UsageError, match=f"^{re.escape(str(tmp_path / 'mine.toml'))}: {re.escape(message)}") as error:
        recipe(tmp_path, old, new)
    assert "\n" not in str(error.value)


def test_a_grid_without_columns_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"mine\.toml: column: missing; a grid has rows and columns$"):
        recipe(tmp_path, text=GALLERY[: GALLERY.index("[[column]]")])


def test_a_package_registers_recipes_of_its_own(tmp_path, monkeypatch):
    package = tmp_path / "my_recipes"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "levels.toml").write_text(LEVELS, "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    real = importlib.metadata.entry_points

    def points(**wanted):
        mine = SimpleNamespace(name="theirs", value="my_recipes:levels", dist=SimpleNamespace(name="my-recipes"))
        return [mine, *real(**wanted)] if wanted == {"group": "benchbench.recipes"} else real(**wanted)

    monkeypatch.setattr(importlib.metadata, "entry_points", points)
    assert "theirs" in recipe_names()
    assert read_recipe("theirs").title == "Levels of a toy"


def test_points_of_several_rows_stand_apart():
    assert dodged(4.0, -0.5, [2.0, 4.0, 8.0], log=False) == pytest.approx(3.96)
    assert dodged(4.0, 1.0, [2.0, 4.0, 8.0], log=True) == pytest.approx(4.12)
    assert dodged(0.0, 0.0, [0.0], log=False) == 0.0


def test_labels_that_are_numbers_make_a_scale():
    assert numbers(["500", "1,000", "4K"]) == [500.0, 1000.0, 4000.0]
    assert numbers(["0.0", "0.15"]) == [0.0, 0.15]
    assert numbers(["1", "one"]) is None
    assert numbers(["1", "1.0"]) is None  # two places at one
