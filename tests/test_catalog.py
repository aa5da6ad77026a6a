"""The catalog: every plugin by name, broken ones with their reason, files without registration."""

from __future__ import annotations

import importlib
import sys
from textwrap import dedent

import pytest

from benchbench.errors import UsageError
from benchbench.planning.resolved import instantiate, resolve
from benchbench.planning.spec import parse_spec
from benchbench.plugins import Generator
from benchbench.plugins.catalog import KINDS, Catalog, Entry, catalog, load

GOOD = """
from dataclasses import dataclass
from benchbench import Generator, param

@dataclass(frozen=True)
class Mine(Generator):
    \"\"\"Mine.\"\"\"
    factor: float = param(1.5, help="A number.")
"""


@pytest.fixture(autouse=True)
def clean_imports(monkeypatch):
    """Plugins from files change the path and the modules of this process; give both back."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith(("bench_file_", "helper", "broken_")):
            del sys.modules[name]


def problem(entry: Entry) -> str:
    with pytest.raises(UsageError) as error:
        load(entry)
    assert "\n" not in str(error.value)
    return str(error.value)


def installed(tmp_path, monkeypatch, text: str, name: str = "broken_one") -> Entry:
    """Return the entry of a plugin module as a distribution would install it."""
    (tmp_path / f"{name}.py").write_text(dedent(text), "utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    return Entry("generator", "odd", f"{name}:Mine", "odd-plugins", "1.0")


def test_the_embedded_plugins_are_listed_without_being_imported():
    known = catalog()
    assert {"digits", "folder", "eurosat"} <= set(known.names("dataset"))
    assert {"real", "diffinv"} <= set(known.names("generator"))
    kinds = [entry.kind for entry in known.entries()]
    assert kinds == sorted(kinds, key=KINDS.index)
    assert all(entry.distribution == "benchbench" for entry in known.entries() if entry.name in ("digits", "real"))


def test_an_unknown_name_gets_the_nearest_ones():
    with pytest.raises(UsageError, match=r"^difinv: unknown generator \(did you mean 'diffinv'\?\); `bench list"):
        catalog().get("generator", "difinv")
    with pytest.raises(UsageError, match=r"^digits: unknown generator \(it is a dataset\)"):
        catalog().get("generator", "digits")
    with pytest.raises(UsageError, match=r"^qqq: unknown generator; there are a, b; `bench list generator` shows all$"):
        Catalog([Entry("generator", name, "m:C") for name in "ba"]).get("generator", "qqq")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("import no_such_package\n", "ModuleNotFoundError: No module named 'no_such_package' (broken_one.py:1)"),
        ("x = (\n", "SyntaxError: '(' was never closed (broken_one.py:1)"),
        ("\n\nraise RuntimeError('two\\nlines')\n", "RuntimeError: two lines (broken_one.py:3)"),
        ("raise ValueError\n", "ValueError: no message (broken_one.py:1)"),
        ("import sys\nsys.exit('bye')\n", "SystemExit: bye (broken_one.py:2)"),
        ("Other = 1\n", "AttributeError: module 'broken_one' has no attribute 'Mine'"),
    ],
)
def test_a_broken_plugin_is_told_in_one_line(tmp_path, monkeypatch, text, told):
    sys.modules.pop("broken_one", None)
    assert problem(installed(tmp_path, monkeypatch, text)) == f"odd: broken generator of odd-plugins: {told}"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("class Mine: pass\n", "odd: broken_one:Mine is not a generator (a subclass of benchbench.Generator)"),
        ("Mine = 3\n", "odd: broken_one:Mine is not a generator (a subclass of benchbench.Generator)"),
        (GOOD.replace("Generator", "Dataset"), "odd: broken_one:Mine is not a generator (a subclass of"),
        (GOOD.replace("@dataclass(frozen=True)\n", ""), "odd: broken generator: Mine: decorate it with @dataclass"),
        (GOOD.replace('param(1.5, help="A number.")', "1.5"), "odd: broken generator: Mine.factor: declare it with"),
        (GOOD.replace("factor: float", "factor: dict"), "odd: broken generator: Mine.factor: parameters are bool, int"),
    ],
)
def test_a_plugin_of_the_wrong_shape(tmp_path, monkeypatch, text, told):
    sys.modules.pop("broken_one", None)
    assert problem(installed(tmp_path, monkeypatch, text)).startswith(told)


def test_two_distributions_with_one_name(tmp_path, monkeypatch):
    """Neither wins silently; whoever uses the name is told, everything else works."""
    for number in (1, 2):
        info = tmp_path / f"dist{number}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: dist{number}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[benchbench.generators]\ntwin = mod{number}:Mine\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    catalog.cache_clear()
    try:
        entry = catalog().get("generator", "twin")
        assert entry.problem in (
            "two distributions register it: dist1 and dist2",
            "two distributions register it: dist2 and dist1",
        )
        assert problem(entry) == f"twin: broken generator: {entry.problem}"
        assert catalog().get("generator", "real").problem is None
    finally:
        catalog.cache_clear()


def test_a_plugin_from_a_file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(GOOD)
    bound = resolve("generator", parse_spec(f"{path}:factor=2"), "quick")
    assert isinstance(bound.plugin, Generator)
    assert bound.plugin.factor == 2.0
    assert (bound.name, bound.text) == ("mine.py", "mine.py:factor=2")
    assert instantiate(bound.location()) == bound.plugin


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("x = 1\n", "must define exactly one generator; it defines none"),
        (GOOD + GOOD.replace("Mine", "Yours"), "must define exactly one generator; it defines Mine, Yours"),
        (GOOD.replace("Generator", "Dataset"), "must define exactly one generator; it defines none"),
        ("def f(:\n", "cannot be imported: SyntaxError: invalid syntax (mine.py:1)"),
        ("import sys\nsys.exit(3)\n", "cannot be imported: SystemExit: 3 (mine.py:2)"),
        ("from benchbench import Nothing\n", "cannot be imported: ImportError: cannot import name 'Nothing' from"),
        (
            "from benchbench.plugins import Outcome\n",
            "cannot be imported: ImportError: Outcome is called TrainResult since version 0.2",
        ),
        (
            "from benchbench import Needs\n",
            "cannot be imported: ImportError: Needs is called Requirements since version 0.2",
        ),
        (
            GOOD + "    def external(self):\n        return ()\n",
            "cannot be imported: TypeError: Mine.external is called input_paths since version 0.2",
        ),
    ],
)
def test_a_file_that_is_no_plugin(tmp_path, text, told):
    path = tmp_path / "mine.py"
    path.write_text(text)
    with pytest.raises(UsageError) as error:
        catalog().get("generator", str(path))
    assert str(error.value).startswith(f"{path}: {told}")
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(UsageError, match=r"none.py: no such file; a generator is a registered name or a Python file$"):
        catalog().get("generator", str(tmp_path / "none.py"))


def test_a_folder_is_no_plugin_file(tmp_path):
    with pytest.raises(UsageError) as error:
        catalog().get("dataset", str(tmp_path))
    hint = f"give it to a dataset that takes a path, as NAME:path={tmp_path}"
    assert str(error.value) == f"{tmp_path}: a folder is no plugin file; {hint}"
    with pytest.raises(UsageError, match=r"a folder is no plugin file; a generator is a registered name or a file$"):
        catalog().get("generator", str(tmp_path))


def two_worlds(tmp_path) -> list[str]:
    """Two folders with a plugin and a helper of the same names and other content."""
    for folder, gain in (("one", 1), ("two", 2)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "helper.py").write_text(f"GAIN = {gain}\n")
        (tmp_path / folder / "mine.py").write_text(
            GOOD + "\n    def gain(self):\n        import helper\n        return helper.GAIN\n"
        )
    return [str(tmp_path / folder / "mine.py") for folder in ("one", "two")]


def test_files_of_one_name_in_two_folders_are_two_plugins(tmp_path):
    """Each with its own code behind its key and its own helper beside it, in whatever order they are used."""
    bounds = [resolve("generator", parse_spec(path), "quick") for path in two_worlds(tmp_path)]
    assert bounds[0].code("sample") != bounds[1].code("sample")
    for wanted in (0, 1, 0):
        assert instantiate(bounds[wanted].location()).gain() == wanted + 1


def test_a_helper_edited_in_a_running_process_is_imported_again(tmp_path):
    """A notebook edits, and runs again: new key and old code would be a stale number."""
    path, _ = two_worlds(tmp_path)
    bound = resolve("generator", parse_spec(path), "quick")
    code = bound.code("sample")
    assert bound.plugin.gain() == 1
    (tmp_path / "one" / "helper.py").write_text("GAIN = 1234\n")
    again = resolve("generator", parse_spec(path), "quick")
    assert again.plugin.gain() == 1234
    assert again.code("sample") != code


def test_a_file_called_like_a_library_is_not_run_by_what_imports_the_library(tmp_path):
    """Next to a plugin lie its own helpers, and maybe a ``PIL.py``; who runs that has no right to the name."""
    (tmp_path / "mine.py").write_text(GOOD, "utf-8")
    (tmp_path / "sndhdr.py").write_text("raise SystemExit('beside')", "utf-8")
    entry = catalog().get("generator", str(tmp_path / "mine.py"))
    load(entry)
    library = next(place for place in sys.path if place.endswith("site-packages"))
    assert sys.path.index(str(tmp_path)) > sys.path.index(library)
    importlib.import_module("sndhdr")


@pytest.mark.parametrize("line", ["import yaml", "from yaml.nodes import Node", "import queue as q"])
def test_a_helper_called_like_an_installed_module_is_refused(tmp_path, line):
    (tmp_path / "mine.py").write_text(GOOD.replace("from dataclasses", f"{line}\nfrom dataclasses"), "utf-8")
    name = line.split()[1].partition(".")[0]
    (tmp_path / f"{name}.py").write_text("raise SystemExit('beside')", "utf-8")
    with pytest.raises(UsageError) as told:
        catalog().get("generator", str(tmp_path / "mine.py"))
    why = f"{name} is {name}.py next to it and an installed module too; rename the file"
    assert str(told.value) == f"{tmp_path / 'mine.py'}: cannot be imported: ImportError: {why}"
