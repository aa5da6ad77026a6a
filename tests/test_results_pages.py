"""The committed results: a list that can be made, folders that it makes, and pages that say what the records say."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from benchbench.cli import run_command

ROOT = Path(__file__).resolve().parent.parent


def script(name: str) -> ModuleType:
    """Import one of the scripts of ``benchmarks/``, which are no package."""
    spec = importlib.util.spec_from_file_location(f"benchmarks_{name}", ROOT / "benchmarks" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


made = script("make_results")
FOLDERS = made.folders()


@pytest.mark.parametrize("page", made.PAGES)
def test_a_page_shows_what_the_records_say(page):
    assert (ROOT / page).read_text("utf-8") == made.written(page), "run: python benchmarks/make_results.py pages"


def test_every_folder_of_results_is_one_that_something_makes():
    listed = {folder.name for folder in FOLDERS}
    there = {path.name for path in (ROOT / "results").iterdir() if path.is_dir() and any(path.rglob("*.json"))}
    assert there - {"benchmarks", "reproduce"} <= listed
    shown = {page for folder in FOLDERS for page in folder.pages}
    assert shown == set(made.PAGES)


@pytest.mark.parametrize("command", [command for folder in FOLDERS for command in folder.commands])
def test_every_command_can_be_planned(command, tmp_path, monkeypatch, photographs, capsys):
    monkeypatch.chdir(photographs)
    verb, *words = made.arguments(command, tmp_path / "results")
    assert verb == "run"
    assert run_command(["plan", *words]) == 0, capsys.readouterr().err


def test_marks_are_needed(tmp_path, monkeypatch):
    monkeypatch.setattr(made, "ROOT", tmp_path)
    (tmp_path / "README.md").write_text(f"{made.END} {made.BEGIN}\n")
    with pytest.raises(SystemExit, match=r"^README\.md: has no <!-- results:begin --> \.\.\. <!-- results:end -->$"):
        made.written("README.md")


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """Return a folder that has the photographs where the commands of the results look for them."""
    root = tmp_path_factory.mktemp("root")
    script("photographs").write(root / "build" / "photographs")
    return root


def test_photographs_are_the_same_each_time_and_no_strip_is_in_both_parts(photographs, tmp_path):
    module = script("photographs")
    module.write(tmp_path / "again")
    files = {path.relative_to(tmp_path / "again"): path.read_bytes() for path in (tmp_path / "again").rglob("*.png")}
    assert len(files) == 10 * (module.TRAIN + module.TEST)
    assert all((photographs / "build/photographs" / name).read_bytes() == data for name, data in files.items())
    stripes = np.zeros((100, 600, 3), np.uint8)
    stripes[:, [at for at in range(600) if at // 100 % 2]] = 255
    picture, rng = Image.fromarray(stripes), np.random.default_rng(0)
    for part in ("train", "test"):
        for _ in range(20):
            pixels = np.asarray(module.crop(picture, part, rng), float)
            assert pixels.std(axis=(0, 1)).max() < 15, "one strip only, so noise and no edge"
