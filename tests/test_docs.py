"""What the documentation says is run: its code, its commands' spelling, its links, its columns."""

from __future__ import annotations

import csv
import os
import re
import shlex
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from benchbench.plugins.catalog import catalog, load
from benchbench.testing import conformance
from benchbench.testing.scaffold import create

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def text(page: Path) -> str:
    return page.read_text("utf-8")


def block_of(page: str) -> str:
    """Return the one block of Python of a page."""
    (block,) = [body for language, body in BLOCK.findall(text(ROOT / "docs" / page)) if language == "python"]
    return block


def generator_block() -> str:
    return block_of("write-a-generator.md")


def bench_lines(page: Path) -> list[str]:
    """Return the commands in a page's blocks, without their comments."""
    lines = [line for _, body in BLOCK.findall(text(page)) for line in body.splitlines()]
    return [line.split(" #")[0].strip() for line in lines if line.startswith("bench ")]


def test_the_generator_is_what_bench_new_writes(tmp_path):
    plugin, _ = create("generator", "blend", tmp_path)
    assert generator_block() == plugin.read_text("utf-8")


def test_the_generator_of_the_page_keeps_its_promises(tmp_path):
    path = tmp_path / "page.py"
    path.write_text(generator_block(), "utf-8")
    conformance(load(catalog().get("generator", str(path))), name="page", strict=True)
    code = [line for line in generator_block().splitlines() if line.strip()]
    assert len(code) <= 32


def test_the_learner_of_the_page_is_what_bench_new_writes_and_keeps_its_promises(tmp_path):
    plugin, _ = create("learner", "nearest", tmp_path)
    assert block_of("write-a-learner.md") == plugin.read_text("utf-8")
    conformance(load(catalog().get("learner", str(plugin))), name="nearest", strict=True)


@pytest.mark.parametrize(
    ("kind", "page", "name"),
    [("executor", "write-an-executor.md", "fresh"), ("report", "write-a-report.md", "webpage")],
)
def test_the_plugin_of_a_page_is_what_bench_new_writes_and_keeps_its_promises(tmp_path, kind, page, name):
    plugin, _ = create(kind, name, tmp_path)
    assert block_of(page) == plugin.read_text("utf-8")
    conformance(load(catalog().get(kind, str(plugin))), name=name, strict=True)


def test_the_generator_the_executor_and_the_report_of_the_pages_serve_a_run(tmp_path):
    """A whole experiment on real digits, at the smallest size that is one."""
    (tmp_path / "blend.py").write_text(generator_block(), "utf-8")
    (tmp_path / "fresh.py").write_text(block_of("write-an-executor.md"), "utf-8")
    (tmp_path / "webpage.py").write_text(block_of("write-a-report.md"), "utf-8")
    run = "run --gen ./blend.py:strength=0.5 --data digits --arch shufflenetv2 --metric none --shots 1 --n-syn 10"
    run += " --learner timm:steps=2 --executor ./fresh.py --device cpu --no-baseline"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1"}
    for command in (run, "report --format ./webpage.py"):
        done = subprocess.run(
            [sys.executable, "-c", "from benchbench.cli import main; main()", *shlex.split(command)],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    rows = (tmp_path / "results" / "leaderboard.csv").read_text("utf-8").splitlines()
    assert len(rows) == 2
    assert "blend.py:strength=0.5" in rows[1]
    assert "<td>digits</td><td>blend.py:strength=0.5</td>" in (tmp_path / "results" / "webpage.html").read_text("utf-8")


def test_the_augmentation_of_the_page_keeps_its_promises(tmp_path):
    (body,) = [code for language, code in BLOCK.findall(text(ROOT / "docs/augmentations.md")) if language == "python"]
    path = tmp_path / "page.py"
    head = "from dataclasses import dataclass\nfrom benchbench.plugins import Augmentation\n\n@dataclass(frozen=True)\n"
    head += 'class Page(Augmentation):\n    """The example."""\n\n'
    path.write_text(head + textwrap.indent(body, "    "), "utf-8")
    results = conformance(load(catalog().get("augmentation", str(path))), name="page", strict=True)
    assert "parts of a batch make the whole" in {result.name for result in results if not result.skipped}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_are_spelled_as_the_command_line_spells_them(page):
    """Every ``bench COMMAND --option`` of a page exists; the help of each command is asked once."""
    import typer

    from benchbench.cli.app import app

    root = typer.main.get_command(app)
    for line in bench_lines(page):
        words = shlex.split(line)[1:]
        command = root
        while words and hasattr(command, "get_command"):
            found = command.get_command(None, words[0])
            assert found is not None, f"{page.name}: {line}: no command {words[0]}"
            command, words = found, words[1:]
        known = {option for parameter in command.params for option in parameter.opts}
        for word in words:
            if word.startswith("--"):
                assert word.partition("=")[0] in known, f"{page.name}: {line}: no option {word}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text(page)):
        assert target.startswith("https://") or (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_columns_of_the_leaderboard_are_explained_in_their_order():
    from benchbench.results.csv import LEADING

    table = text(ROOT / "docs/results.md").split("## leaderboard.csv")[1]
    first = re.findall(r"^\| (`[^|]+) \|", table, re.MULTILINE)
    named = [name for cell in first for name in re.findall(r"`(\w+)`", cell)]
    assert sorted(named) == sorted(LEADING)
    assert named[: named.index("spec_id") + 1] == list(LEADING[: named.index("spec_id") + 1])


def test_the_readme_has_the_two_commands_in_one_line_each():
    blocks = [body.strip() for _, body in BLOCK.findall(text(ROOT / "README.md"))]
    singles = [body for body in blocks if body.startswith("python3 -m venv")]
    assert len(singles) == 2
    assert all("\n" not in body for body in singles)
    assert singles[0].endswith("bench run --gen diffinv --data digits --arch all")


def test_ci_runs_the_readmes_test_command_word_for_word(tmp_path):
    """With a shell that prints the command instead of running it."""
    for item in ("README.md", ".ci/run"):
        target = tmp_path / item
        target.parent.mkdir(exist_ok=True)
        target.write_bytes((ROOT / item).read_bytes())
    script = tmp_path / ".ci" / "run"
    printed = script.read_text("utf-8").replace('bash -euo pipefail -c "$command"', r'printf "%s\n" "$command"')
    script.write_text(printed.replace("\nmake check ", "\necho checked "), "utf-8")
    done = subprocess.run(["bash", str(script)], capture_output=True, text=True, timeout=30, check=False)
    expected = text(ROOT / "README.md").split("<!-- test command -->\n```\n")[1].split("\n")[0]
    assert done.stdout == f"+ {expected}\n{expected}\n+ make check\nchecked\n", done.stderr
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    (tmp_path / "README.md").write_text("nothing\n", "utf-8")
    done = subprocess.run(["bash", str(script)], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert "<!-- test command -->" in done.stderr


def test_the_readme_quotes_the_recorded_table_of_generators():
    """Typed numbers go wrong; these are in the records."""
    with (ROOT / "results/generators/leaderboard.csv").open(newline="") as file:
        rows = {row["gen"]: row for row in csv.DictReader(file) if row["arch"] == "resnet18" and row["test"] == "-"}
    spelled = {"biggan, random latents": "biggan", "biggan, inversion": "biggan:mode=inversion"}
    spelled["biggan, inversion, perturbation 0.3"] = "biggan:mode=inversion,perturbation=0.3"
    spelled["diffinv+clip-filter:threshold=0.95"] = "diffinv+clip-filter"
    table = text(ROOT / "README.md").split("**Every generator beside it**")[1].split("As in the paper")[0]
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if "±" in line]
    assert len(lines) == 11
    for name, images, accuracy, difference, *values, _ in lines:
        row = rows[spelled.get(name, name)]
        assert accuracy == f"{row['acc_mean']} ± {row['acc_std']}", name
        if name == "real":
            continue
        assert (images, difference) == (row["n_made"], f"{float(row['delta']):+.2f} ± {row['delta_std']}"), name
        columns = ("fd", "fd_real", "precision", "recall", "density", "coverage")
        assert [float(value) for value in values] == [
            round(float(row[column]), 2 if column.startswith("fd") else 3) for column in columns
        ], name


@pytest.mark.parametrize(
    ("heading", "folder", "count"),
    [("**Augmentations and architectures**", "augmentations", 12), ("**A few images and a CLIP**", "few-shot", 5)],
)
def test_the_readme_quotes_the_recorded_grids(heading, folder, count):
    """The lines of the README's grids are lines of the leaderboard that was made from the records."""
    section = text(ROOT / "README.md").split(heading)[1].split("```")[0]
    quoted = [line for line in section.splitlines() if line.startswith("| ") and re.search(r"[0-9][0-9]\.[0-9]", line)]
    assert len(quoted) >= count
    assert set(quoted) <= set(text(ROOT / "results" / folder / "leaderboard.md").splitlines())
