"""The rules of the house, kept by machine: who may import whom, how long things may be, what may be in the tree."""

from __future__ import annotations

import ast
import re
import subprocess
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HARNESS = sorted((ROOT / "benchbench").rglob("*.py"))
PLUGINS = sorted((ROOT / "plugins").rglob("*.py"))
#: Modules that are imported only once a step runs, a table is drawn or an augmentation is checked, and may import what
#: they work with.
LATE = (
    "benchbench/training/",
    "benchbench/statistics/",
    "benchbench/models/",
    "benchbench/results/rows.py",
    "benchbench/pictures/augmented.py",
    "benchbench/testing/augmentation.py",
)
HEAVY = {"torch", "torchvision", "diffusers", "transformers", "timm", "sklearn", "pandas", "torch_fidelity"}
HEAVY |= {"matplotlib", "medmnist"}
ENTRY_POINT = re.compile(r'^[\w-]+ = "benchbench_plugins\.([\w.]+):(\w+)"', re.MULTILINE)


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"), str(path))


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def public(path: Path) -> list[ast.stmt]:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return [node for node in tree(path).body if isinstance(node, kinds) and not node.name.startswith("_")]


def tracked() -> list[Path]:
    """Files that git knows or would take; outside a work tree, all that is not built."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    try:
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git work tree")
    return [ROOT / item for item in listed.split("\0") if item and (ROOT / item).is_file()]


def top_imports(path: Path) -> set[str]:
    """Return the top-level packages that importing the module imports by its own statements."""
    found: set[str] = set()
    waiting: list[ast.AST] = list(tree(path).body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            found |= {item.name.split(".")[0] for item in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            found.add(node.module.split(".")[0])
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting.extend(node.orelse)
        elif not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            waiting.extend(ast.iter_child_nodes(node))
    return found


def test_the_harness_does_not_know_the_built_in_plugins():
    """A stranger's plugin and ours come through one door."""
    mentions = [name(path) for path in HARNESS if "benchbench_plugins" in path.read_text("utf-8")]
    assert not mentions


def room(path: Path) -> str:
    """Return what one plugin may share: its own folder, or its own module with the helpers it is alone to use."""
    parts = path.relative_to(ROOT / "plugins").parts
    return parts[1] if len(parts) > 2 else parts[-1]


def plugin_modules() -> dict[Path, str]:
    """Return the module of every plugin class of ours, by file, with its kind's folder."""
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    found = {}
    for dotted, _ in ENTRY_POINT.findall(text):
        base = ROOT / "plugins" / dotted.replace(".", "/")
        path = base / "__init__.py" if (base / "__init__.py").exists() else base.with_suffix(".py")
        found[path] = dotted.split(".")[0]
    return found


def imported_files(path: Path) -> set[Path]:
    """Return the files of ``plugins/`` that a module imports anywhere, also inside functions."""
    package = path.parent
    found: set[Path] = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package
            for _ in range(node.level - 1):
                base = base.parent
            base = base.joinpath(*(node.module or "").split(".")) if node.module else base
            options = [base, *(base / item.name for item in node.names)]
        else:
            names = [item.name for item in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module, *(f"{node.module}.{item.name}" for item in node.names)]
            dotted = [item.split(".")[1:] for item in names if item.split(".")[0] == "benchbench_plugins"]
            options = [(ROOT / "plugins").joinpath(*parts) for parts in dotted if parts]
        for option in options:
            for candidate in (option.with_suffix(".py"), option / "__init__.py"):
                if candidate.is_file():
                    found.add(candidate)
    return found


def test_no_plugin_imports_another_plugin():
    """A plugin's key hashes what it imports: importing another one would tie their results together."""
    plugins = plugin_modules()
    wrong = []
    for start in plugins:
        seen, waiting = {start}, [start]
        while waiting:
            for found in imported_files(waiting.pop()) - seen:
                seen.add(found)
                waiting.append(found)
        # What lies below a package's __init__ belongs to that plugin, as the command of a pool does.
        own = {folder / "__init__.py" for folder in start.parents}
        others = seen & set(plugins) - own - {start}
        wrong += [f"{name(start)} reaches {name(item)}" for item in others]
    assert not wrong


def test_plugins_find_their_own_folder_by_relative_imports():
    """So that a copy of the folder under another name still imports itself."""
    pattern = re.compile(r"^\s*(from|import) benchbench_plugins", re.MULTILINE)
    assert not [name(path) for path in PLUGINS if pattern.search(path.read_text("utf-8"))]


def test_nothing_that_lists_or_plans_imports_a_heavy_library_at_its_top():
    eager = [path for path in HARNESS if not name(path).startswith(LATE)]
    eager += list(plugin_modules())
    assert {name(path): found for path in eager if (found := top_imports(path) & HEAVY)} == {}


@pytest.mark.parametrize("folder", ["benchbench", "plugins"])
def test_files_and_functions_stay_readable(folder):
    long = []
    for path in HARNESS if folder == "benchbench" else PLUGINS:
        lines = path.read_text("utf-8").count("\n")
        if lines > 500:
            long.append(f"{name(path)}: {lines} lines")
        for node in ast.walk(tree(path)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > 80:
                    long.append(f"{name(path)}:{node.lineno}: {node.name} has {length} lines")
    assert not long


def test_public_definitions_are_documented():
    bare = []
    for path in HARNESS + PLUGINS:
        bare += [f"{name(path)}:{node.lineno}: {node.name}" for node in public(path) if not ast.get_docstring(node)]
        if not ast.get_docstring(tree(path)) and path.read_text("utf-8").strip():
            bare.append(f"{name(path)}: the module")
    assert not bare


def test_nothing_opens_a_pickle():
    """A pickle runs any code it likes; weights are safetensors, arrays are npy without objects."""
    wrong = []
    for path in HARNESS + PLUGINS:
        for node in ast.walk(tree(path)):
            if not isinstance(node, ast.Call):
                continue
            called, options = ast.unparse(node.func), {item.arg: ast.unparse(item.value) for item in node.keywords}
            unsafe = (
                re.search(r"\b(c?pickle|dill|joblib)\.loads?$", called)
                or (called == "torch.load" and options.get("weights_only") != "True")
                or (options.get("allow_pickle") == "True")
            )
            if unsafe:
                wrong.append(f"{name(path)}:{node.lineno}: {ast.unparse(node)[:80]}")
    assert not wrong


def test_nothing_is_written_by_a_memory_map():
    """A full disk turns such a write into the end of the process, without an error that anybody could catch."""
    maps = re.compile(r"open_memmap|mode=\"[rw]\+\"")
    found = {name(path) for path in HARNESS + PLUGINS if maps.search(path.read_text("utf-8"))}
    assert not found


def test_the_tree_stays_light():
    sizes = {path: path.stat().st_size for path in tracked()}
    assert {name(path): size for path, size in sizes.items() if size > 10_000_000} == {}
    weights = sum(size for path, size in sizes.items() if path.suffix == ".safetensors")
    assert weights < 12_000_000, f"embedded weights take {weights / 1e6:.1f} MB"


def test_the_tree_speaks_of_the_project_alone():
    """No package index by host, no path of some machine: both are wrong everywhere else."""
    hosts = re.compile(
        r"(?:https?://|index-url\W+)[\w.-]*(?:py"
        r"pi|python"
        r"hosted|registry\.n"
        r"pmjs|deb\.deb"
        r"ian)\.(?:org|com|net)"
    )
    paths = re.compile(r"(?<![\w.])/(?:wo" r"rk|fa" r"rm|tmp/bash_j" r"obs)[/\w.-]*|/ro" r"ot/")
    found = []
    for path in tracked():
        if path.stat().st_size > 2_000_000:
            continue
        try:
            text = path.read_text("utf-8")
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.split("\n"), 1):
            found += [f"{name(path)}:{number}: {item}" for rule in (hosts, paths) for item in rule.findall(line)]
    assert not found


def test_commands_print_through_one_door():
    """``say`` spells out what a terminal obeys; ``print`` and ``typer.echo`` do not."""
    commands = [path for path in [*HARNESS, *PLUGINS] if "typer" in path.read_text("utf-8") and path.name != "say.py"]
    found = [
        f"{name(path)}:{node.lineno}"
        for path in commands
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("print", "typer.echo", "click.echo", "typer.secho")
    ]
    assert len(commands) > 10
    assert found == []
