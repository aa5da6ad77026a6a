"""What the documentation says is run: its code, its commands' spelling, its links, its columns."""

from __future__ import annotations

import csv
import json
import os
import re
import shlex
import subprocess
import sys
import textwrap
from collections import Counter
from pathlib import Path

import pytest

from benchbench.plugins.catalog import catalog, load
from benchbench.testing import conformance
from benchbench.testing.scaffold import TEMPLATES, create

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def text(page: Path) -> str:
    return page.read_text("utf-8")


def block_of(page: str, marker: str) -> str:
    """Return the block of Python below the comment ``marker`` of a page."""
    return text(ROOT / "docs" / page).split(f"<!-- {marker} -->\n```python\n")[1].split("```\n")[0]


#: Each page with a plugin: the template of ``bench new`` that it shows, and the name that it gives it.
PLUGINS = {
    "write-a-generator.md": ("generator", "blend"),
    "write-a-text-to-image-generator.md": ("text-to-image-generator", "redraw"),
    "write-a-generator-with-a-fit.md": ("fitted-generator", "wording"),
    "write-a-dataset.md": ("dataset", "shapes"),
    "write-an-augmentation.md": ("augmentation", "patch"),
    "write-a-learner.md": ("learner", "nearest"),
    "write-a-metric.md": ("metric", "novelty"),
    "write-an-executor.md": ("executor", "fresh"),
    "write-a-report.md": ("report", "webpage"),
}


def bench_lines(page: Path) -> list[str]:
    """Return the commands in a page's blocks, without their comments."""
    lines = [line for _, body in BLOCK.findall(text(page)) for line in body.splitlines()]
    return [line.split(" #")[0].strip() for line in lines if line.startswith("bench ")]


def test_every_template_has_a_page():
    assert [template for template, _ in PLUGINS.values()] == list(TEMPLATES)


def test_the_index_links_every_page_and_the_readme_every_kind():
    index, readme = text(ROOT / "docs/README.md"), text(ROOT / "README.md")
    for page in (ROOT / "docs").glob("*.md"):
        assert page.name == "README.md" or f"]({page.name})" in index, page.name
    for page in PLUGINS:
        assert f"](docs/{page})" in readme, page


@pytest.mark.parametrize("page", PLUGINS)
def test_the_plugin_of_a_page_is_what_bench_new_writes(tmp_path, page):
    """Templates are held to their promises in ``test_scaffold``, and so is what the pages show."""
    template, name = PLUGINS[page]
    plugin, _ = create(template, name, tmp_path)
    assert block_of(page, template) == plugin.read_text("utf-8")
    assert f"`bench new {template} {name}` writes exactly this into `{name}.py`" in text(ROOT / "docs" / page)


@pytest.fixture(scope="module")
def folder_of_plugins(tmp_path_factory):
    """Return a folder with the plugin of every page."""
    folder = tmp_path_factory.mktemp("plugins")
    for page, (template, name) in PLUGINS.items():
        (folder / f"{name}.py").write_text(block_of(page, template), "utf-8")
    return folder


def bench(folder: Path, command: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", "from benchbench.cli import main; main()", *shlex.split(command)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def leaderboard(folder: Path, results: str) -> list[dict[str, str]]:
    with (folder / results / "leaderboard.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_plugins_of_the_pages_do_their_work_together(folder_of_plugins):
    """On real digits and the embedded diffusion model, through the real command line, at the smallest size there is."""
    command = "run --data digits --shots 1 --n-syn 10 --no-baseline --executor inline --device cpu --results first"
    command += " --gen ./redraw.py:num_inference_steps=2 --gen ./wording.py:steps=3,batch_size=4,num_inference_steps=2"
    command += " --aug ./patch.py --arch shufflenetv2 --learner timm:steps=2 --metric ./novelty.py"
    bench(folder_of_plugins, command)
    rows = leaderboard(folder_of_plugins, "first")
    assert [row["gen"].split(":")[0] for row in rows] == ["redraw.py", "wording.py"]
    assert [row["aug"].split("+")[-1] for row in rows] == ["patch.py"] * 2
    assert [row["n_made"] for row in rows] == ["10"] * 2
    assert all(float(row["nearest_mean"]) > 0 for row in rows)


def test_the_plugins_of_the_other_pages_do_too(folder_of_plugins):
    command = "run --data ./shapes.py --shots 2 --n-syn 4 --no-baseline --executor ./fresh.py --device cpu"
    command += " --gen ./blend.py:strength=0.5 --learner ./nearest.py --metric none --results second"
    bench(folder_of_plugins, command)
    (row,) = leaderboard(folder_of_plugins, "second")
    assert (row["data"], row["gen"], row["learner"]) == ("shapes.py", "blend.py:strength=0.5", "nearest.py")
    bench(folder_of_plugins, "report --format ./webpage.py --results second")
    page = (folder_of_plugins / "second" / "webpage.html").read_text("utf-8")
    assert "<td>shapes.py</td><td>blend.py:strength=0.5</td>" in page


def test_a_sweep_over_sampling_fits_once(folder_of_plugins):
    """As the page on ``fit`` says of its own plugin."""
    command = "plan --gen ./wording.py --data digits --shots 1 --no-baseline --sweep gen.guidance_scale=1,2,4 --json"
    steps = json.loads(bench(folder_of_plugins, command))["steps"]
    counts = Counter(step["stage"] for step in steps)
    assert (counts["fit"], counts["sample"]) == (1, 3)


def test_the_imagewise_of_the_page_keeps_its_promises(tmp_path):
    body = block_of("write-an-augmentation.md", "imagewise")
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
        known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
        for word in words:
            if word.startswith("--"):
                assert word.partition("=")[0] in known, f"{page.name}: {line}: no option {word}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_of_the_repository_that_are_named_are_there(page):
    for path in re.findall(r"`((?:benchbench|plugins|tests|benchmarks|docs)/[\w./-]+)`", text(page)):
        path = path.replace("KIND", "learner")
        assert (ROOT / path).exists() or (ROOT / "benchbench" / path).exists(), f"{page.name}: {path}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text(page)):
        assert target.startswith("https://") or (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_way_of_a_value_names_files_that_are_there():
    """Of the rooms of the harness, or of the repository."""
    table = text(ROOT / "docs/architecture.md").split("## The way of one value")[1]
    named = [path for row in re.findall(r"^\| (`.*?`) \|", table, re.MULTILINE) for path in re.findall("`(.*?)`", row)]
    assert len(named) > 15
    missing = [path for path in named if not (ROOT / "benchbench" / path).exists() and not (ROOT / path).exists()]
    assert not missing


def test_the_columns_of_the_leaderboard_are_explained_in_their_order():
    from benchbench.results.rows import LEADING

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
