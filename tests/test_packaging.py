"""What an installation needs: every folder packaged, every entry point loadable, weights and templates inside."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import entry_points
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CONFIG = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
FOLDERS = CONFIG["tool"]["setuptools"]["package-dir"]
GROUPS = CONFIG["project"]["entry-points"]
#: Groups whose entry points name TOML files.
OF_FILES = ("benchbench.suites", "benchbench.protocols", "benchbench.recipes")
#: Trains the embedded models: in the repository, not in an installation.
PRETRAINING = ("foundations", "pretrain")


def packages() -> list[str]:
    """Return the dotted names of all folders with an ``__init__.py``."""
    found = []
    for package, folder in FOLDERS.items():
        for init in sorted((ROOT / folder).rglob("__init__.py")):
            parts = init.parent.relative_to(ROOT / folder).parts
            if parts != PRETRAINING:
                found.append(".".join([package, *parts]))
    return sorted(found)


def test_the_list_of_packages_is_whole():
    """It is written by hand, since setuptools discovers nothing below a renamed folder."""
    assert sorted(CONFIG["tool"]["setuptools"]["packages"]) == packages()


def test_every_module_lies_in_a_package():
    stray = []
    for folder in FOLDERS.values():
        for path in (ROOT / folder).rglob("*.py"):
            if not (path.parent / "__init__.py").exists():
                stray.append(str(path.relative_to(ROOT)))
    assert not stray


@pytest.mark.parametrize("group", [name for name in GROUPS if name not in (*OF_FILES, "benchbench.commands")])
def test_every_declared_plugin_loads(group):
    from benchbench.plugins.catalog import catalog, load

    kind = group.removeprefix("benchbench.").removesuffix("s")
    for plugin, target in GROUPS[group].items():
        entry = catalog().get(kind, plugin)
        assert entry.problem is None
        assert entry.target == target, "the installed metadata is older than pyproject.toml; install again"
        assert load(entry).__name__ == target.partition(":")[2]


def test_every_declared_command_is_a_typer_application():
    import typer

    for point in entry_points(group="benchbench.commands"):
        assert isinstance(point.load(), typer.Typer), point.value


def test_every_declared_suite_protocol_and_recipe_is_a_file_beside_its_package():
    for target in (target for group in OF_FILES for target in GROUPS[group].values()):
        package, _, file = target.partition(":")
        top, *rest = package.split(".")
        assert (ROOT / FOLDERS[top]).joinpath(*rest, f"{file}.toml").is_file()


def test_the_installed_metadata_is_that_of_the_tree():
    for group, points in GROUPS.items():
        installed = {point.name: point.value for point in entry_points(group=group)}
        assert points.items() <= installed.items(), "older than pyproject.toml; install again"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Build a wheel from a copy of what is packaged, so that no build folder is left behind here."""
    pytest.importorskip("setuptools.command.bdist_wheel", reason="setuptools that builds wheels alone is not installed")
    base = tmp_path_factory.mktemp("wheel")
    source = base / "source"
    source.mkdir()
    for item in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / item, source)
    for folder in FOLDERS.values():
        shutil.copytree(ROOT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-index", "--no-deps", "--no-build-isolation"]
    command += ["--disable-pip-version-check", "--wheel-dir", str(base), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(next(base.glob("*.whl"))) as archive:
        yield set(archive.namelist())


def test_the_wheel_holds_every_module(wheel):
    for package, folder in FOLDERS.items():
        for path in (ROOT / folder).rglob("*.py"):
            inside = path.relative_to(ROOT / folder).parts[:2] != PRETRAINING
            assert inside == (f"{package}/{path.relative_to(ROOT / folder).as_posix()}" in wheel)


def test_the_wheel_holds_the_data_that_plugins_and_commands_read(wheel):
    wanted = ["benchbench/py.typed"]
    data = [
        ("benchbench", "testing/templates/*"),
        *(("plugins", f"**/*.{ending}") for ending in ("safetensors", "json", "toml")),
    ]
    for folder, pattern in data:
        package = next(key for key, value in FOLDERS.items() if value == folder)
        files = (path for path in (ROOT / folder).glob(pattern) if path.is_file())
        wanted += [f"{package}/{path.relative_to(ROOT / folder).as_posix()}" for path in files]
    assert sum(item.startswith("benchbench/testing/templates/") for item in wanted) == 18
    assert not [item for item in wanted if item not in wheel]


def test_the_wheel_holds_nothing_else(wheel):
    tops = {item.split("/")[0] for item in wheel}
    assert {item for item in tops if not item.endswith(".dist-info")} == set(FOLDERS)
    assert not [item for item in wheel if "__pycache__" in item or item.endswith(".pyc")]
