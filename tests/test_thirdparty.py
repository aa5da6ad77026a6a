"""A stranger's package: installed beside us, found by its entry points, held to our plugins' own suite."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from publicnames import private_names

PACKAGE = Path(__file__).parent / "thirdparty" / "bench-brighter"


def can_build() -> bool:
    """Whether this Python can build a wheel without fetching anything."""
    try:
        import setuptools.command.bdist_wheel  # noqa: F401
    except ImportError:
        return False
    return True


def lay_out(source: Path, target: Path) -> None:
    """Do what an installer would do with this pure Python package, from its pyproject.toml alone."""
    project = tomllib.loads((source / "pyproject.toml").read_text("utf-8"))["project"]
    shutil.copytree(source / "src" / "bench_brighter", target / "bench_brighter")
    info = target / f"bench_brighter-{project['version']}.dist-info"
    info.mkdir()
    head = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    (info / "METADATA").write_text(head, "utf-8")
    lines = []
    for group, points in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{key} = {value}" for key, value in points.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n", "utf-8")


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Install the package into a folder of its own; return the environment of a Python that sees it."""
    base = tmp_path_factory.mktemp("thirdparty")
    source, target = base / "source", base / "site"
    shutil.copytree(PACKAGE, source)
    if can_build():
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
        command += [
            "--no-build-isolation",
            "--disable-pip-version-check",
            "--target",
            str(target),
            str(source),
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr
    else:
        target.mkdir()
        lay_out(source, target)
    repository = str(Path(__file__).parent.parent)
    return source, {**os.environ, "PYTHONPATH": f"{target}{os.pathsep}{repository}"}


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.name)
def test_it_uses_public_names_only(path):
    assert private_names(path.read_text("utf-8")) == []


def python(installed, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    return subprocess.run(command, env=installed[1], cwd=cwd, capture_output=True, text=True, timeout=300, check=False)


def bench(installed, *arguments: str) -> subprocess.CompletedProcess[str]:
    return python(installed, "-c", "from benchbench.cli import main; main()", *arguments)


def test_its_own_tests_pass(installed):
    done = python(installed, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests", cwd=installed[0])
    assert done.returncode == 0, done.stdout + done.stderr
    assert "6 passed" in done.stdout


def test_the_catalog_lists_it_with_its_distribution(installed):
    code = (
        "import json\n"
        "from benchbench.plugins.catalog import catalog, load\n"
        "found = [catalog().get('generator', 'brighter'), catalog().get('augmentation', 'dimmer')]\n"
        "rows = [[e.name, e.distribution, e.version, e.problem, load(e).__name__] for e in found]\n"
        "print(json.dumps(rows))\n"
    )
    done = python(installed, "-c", code)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [
        ["brighter", "bench-brighter", "0.3.0", None, "Brighter"],
        ["dimmer", "bench-brighter", "0.3.0", None, "Dimmer"],
    ]


def test_the_command_line_checks_it_like_our_own(installed):
    done = bench(installed, "check", "brighter:factor=1.6", "--json")
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)
    assert {item["name"] for item in results} >= {"sample continues after a kill", "has a docstring"}
    assert all(item["ok"] and not item["skipped"] for item in results)


def test_its_metric_executor_and_report_serve_a_real_run(installed, tmp_path):
    """Through the real command line: listed, run, in the folder of results, and written alone by ``bench report``."""
    results = tmp_path / "results"
    command = [
        "run",
        "--gen",
        "brighter",
        "--data",
        "digits",
        "--arch",
        "shufflenetv2",
        "--shots",
        "1",
        "--n-syn",
        "10",
    ]
    command += [
        "--seeds",
        "1",
        "--learner",
        "timm:steps=2",
        "--metric",
        "brightness",
        "--executor",
        "aside:patience=300",
    ]
    done = bench(installed, *command, "--device", "cpu", "--results", str(results))
    assert done.returncode == 0, done.stdout + done.stderr
    lines = (results / "brightest.txt").read_text("utf-8").splitlines()
    assert {line.split()[0] for line in lines} == {"real", "brighter"}
    assert str(results / "brightest.txt") in done.stdout
    (record,) = results.glob("records/*/brighter/*/*.json")
    assert json.loads(record.read_text("utf-8"))["metrics"]["brightness"]["brightness"] > 1
    before = (results / "leaderboard.csv").read_bytes()
    assert b",brightness" in before.splitlines()[0]
    assert "times as bright" in (results / "leaderboard.md").read_text("utf-8")
    (results / "leaderboard.csv").unlink()
    done = bench(installed, "report", "--results", str(results), "--format", "brightest:most=1")
    assert done.returncode == 0, done.stderr
    assert (results / "brightest.txt").read_text("utf-8").splitlines() == lines[:1]
    assert not (results / "leaderboard.csv").exists()
    assert bench(installed, "report", "--results", str(results)).returncode == 0
    assert (results / "leaderboard.csv").read_bytes() == before
    assert len((results / "brightest.txt").read_text("utf-8").splitlines()) == 2
    done = bench(installed, "report", "--results", str(results), "--format", "brightst")
    assert done.returncode == 2
    assert done.stderr == (
        "bench: --format brightst: unknown report (did you mean 'brightest'?); `bench list report` shows all\n"
    )


@pytest.mark.parametrize("kind", ["executor", "report"])
def test_a_broken_executor_or_report_breaks_nothing_else(installed, tmp_path, kind):
    """Listed with its reason; ``auto`` and the other reports go on."""
    site = tmp_path / "site"
    info = site / "odd-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: odd\nVersion: 1.0\n", "utf-8")
    (info / "entry_points.txt").write_text(f"[benchbench.{kind}s]\nodd = no_such_module:Odd\n", "utf-8")
    path = os.pathsep.join([str(site), installed[1]["PYTHONPATH"]])
    odd = (installed[0], {**installed[1], "PYTHONPATH": path})
    done = bench(odd, "list", kind)
    assert re.search(
        r"odd +BROKEN: broken .* of odd: ModuleNotFoundError: No module named 'no_such_module'", done.stdout
    )
    results = tmp_path / "results"
    (results / "records").mkdir(parents=True)
    done = bench(odd, "report", "--results", str(results))
    assert (results / "leaderboard.md").exists()
    assert done.returncode == (1 if kind == "report" else 0)
    assert ("bench: report left out: odd: broken report of odd: " in done.stderr) == (kind == "report")
    done = bench(odd, "run", "--gen", "real", "--data", "digits", "--arch", "resnet18", "--dry-run")
    assert done.returncode == 0, done.stderr


def test_an_edit_of_its_helper_is_a_new_key_and_an_edit_of_a_comment_is_not(installed, tmp_path):
    """A stranger's helper module is part of a step's key as ours is."""
    site = Path(installed[1]["PYTHONPATH"].split(os.pathsep)[0])
    copy = tmp_path / "site"
    shutil.copytree(site, copy)
    environment = {**installed[1], "PYTHONPATH": installed[1]["PYTHONPATH"].replace(str(site), str(copy))}
    command = ["plan", "--gen", "brighter", "--data", "digits", "--arch", "resnet18"]
    command += ["--results", str(tmp_path / "results"), "--json", "--no-baseline"]
    helper = copy / "bench_brighter" / "levels.py"
    text = helper.read_text("utf-8")

    def plan() -> list[str]:
        done = bench((installed[0], environment), *command)
        assert done.returncode == 0, done.stderr
        return [step["key"] for step in json.loads(done.stdout)["steps"]]

    first = plan()
    helper.write_text(text.replace("clipped", "cut off") + "# another comment\n", "utf-8")
    assert plan() == first
    helper.write_text(text.replace("0, 255)", "0, 254)"), "utf-8")
    assert plan() != first
