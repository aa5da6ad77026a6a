"""Fingerprints: every edit that can change a result changes them, no other edit does."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import time
from pathlib import Path
from textwrap import dedent

import pytest

import benchbench.keys.imports
from benchbench.errors import UsageError
from benchbench.keys.code import STAGES, CodeSource, explain, fingerprint

PLUGIN = '''
"""A generator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchbench.plugins import Context, Generator, ImageSet, Requirements, param

from .helper import SCALE

if TYPE_CHECKING:
    from .typed_only import Unseen


@dataclass(frozen=True)
class Mine(Generator):
    """Makes images."""

    rate: float = param(0.1, help="Learning rate.")
    guidance_scale: float = param(3.0, help="Guidance.", stage="sample")
    batch: int = param(8, help="Images at once.", affects_result=False)

    def needs(self) -> Requirements:
        return Requirements(packages=("torch",))

    def seconds(self, stage, images, info):
        return 1.0

    def fit(self, train: ImageSet, context: Context) -> None:
        # learn
        from .inversion import invert

        invert(train, self.rate)

    def sample(self, train: ImageSet, context: Context):
        """Yield images."""
        from pkg.sampling import denoise

        yield denoise(train, SCALE)
'''
FILES = {
    "__init__.py": "TOP = 1\n",
    "gens/__init__.py": "",
    "gens/mine.py": PLUGIN,
    "gens/helper.py": "SCALE = 1\n",
    "gens/typed_only.py": "Unseen = 1\n",
    "gens/inversion.py": "from ..common import steps\ndef invert(train, rate):\n  return steps() * rate\n",
    "gens/unused.py": "X = 1\n",
    "common.py": "from pkg.gens import inversion\n\n\ndef steps(train):\n    return 10\n",  # a cycle
    "sampling.py": "def denoise(train, scale):\n    import pkg.deep.noise as noise\n    return noise.LEVEL\n",
    "deep/__init__.py": "WIDTH = 1\n",
    "deep/noise.py": "LEVEL = 3\n",
}
FIT = {"gens.mine", "gens.helper", "gens.inversion", "gens", "common"}
SAMPLE = {"gens.mine", "gens.helper", "sampling", "deep.noise"}


class Package:
    """A package on disk that tests write and edit."""

    def __init__(self, root, files):
        self.root = root
        for name, text in files.items():
            self.write(name, text)

    def write(self, name, text):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text), encoding="utf-8")

    def edit(self, name, old, new):
        text = (self.root / name).read_text()
        assert old in text
        (self.root / name).write_text(text.replace(old, new))

    def source(self, module="gens.mine", name="Mine"):
        return CodeSource(self.root / (module.replace(".", "/") + ".py"), name, "pkg", self.root, module)

    def hashes(self):
        return fingerprint(self.source(), "fit"), fingerprint(self.source(), "sample")


@pytest.fixture
def pkg(tmp_path):
    return Package(tmp_path / "pkg", FILES)


def changed(pkg, name, old, new):
    """Return which of fit and sample an edit changes."""
    before = pkg.hashes()
    pkg.edit(name, old, new)
    return tuple(a != b for a, b in zip(before, pkg.hashes(), strict=True))


def test_it_covers_what_each_stage_imports(pkg):
    assert set(explain(pkg.source(), "fit")) == FIT
    assert set(explain(pkg.source(), "sample")) == SAMPLE
    assert all(len(value) == 64 for value in explain(pkg.source(), "fit").values())


NOTHING, BOTH, FIT_ONLY, SAMPLE_ONLY = (False, False), (True, True), (True, False), (False, True)


@pytest.mark.parametrize(
    ("name", "old", "new", "expected"),
    [
        # the two edits on which popular harnesses return stale numbers, or compute again for nothing
        ("gens/helper.py", "SCALE = 1", "SCALE = 2", BOTH),
        ("gens/mine.py", "# learn", "# learn, with a longer comment", NOTHING),
        ("gens/mine.py", "Makes images.", "Makes beautiful images.", NOTHING),
        ("gens/mine.py", '"""Yield images."""', "", NOTHING),
        ("gens/mine.py", "Learning rate.", "The learning rate.", NOTHING),
        (
            "gens/mine.py",
            "invert(train, self.rate)",
            "invert(\n            train,\n            (self.rate),\n        )",
            NOTHING,
        ),
        ("gens/mine.py", "Context, Generator, ImageSet", "ImageSet, Context, Generator", NOTHING),
        ("gens/mine.py", "from .typed_only import Unseen", "from .other import Unseen", NOTHING),
        ("gens/typed_only.py", "1", "2", NOTHING),
        ("gens/unused.py", "1", "2", NOTHING),
        ("gens/mine.py", '("torch",)', '("torch", "timm")', NOTHING),
        ("gens/mine.py", "return 1.0", "return 2.0", NOTHING),
        # parameters
        ("gens/mine.py", "param(0.1", "param(0.2", BOTH),
        ("gens/mine.py", "param(3.0", "param(4.0", SAMPLE_ONLY),
        ("gens/mine.py", "param(8", "param(9", NOTHING),
        # fit and what it imports, through a relative import inside a method and a cycle
        ("gens/mine.py", "invert(train, self.rate)", "invert(train, 2 * self.rate)", FIT_ONLY),
        ("gens/inversion.py", "* rate", "+ rate", FIT_ONLY),
        ("common.py", "return 10", "return 20", FIT_ONLY),
        # sample and what it imports, absolutely, inside functions
        ("gens/mine.py", "denoise(train, SCALE)", "denoise(train, SCALE + 1)", SAMPLE_ONLY),
        ("sampling.py", "return noise.LEVEL", "return noise.LEVEL + 1", SAMPLE_ONLY),
        ("deep/noise.py", "3", "4", SAMPLE_ONLY),
        # packages on the way, which nobody imports from
        ("__init__.py", "1", "2", NOTHING),
        ("deep/__init__.py", "1", "2", NOTHING),
    ],
)
def test_edits(pkg, name, old, new, expected):
    assert changed(pkg, name, old, new) == expected


def test_an_edit_of_equal_length_a_moment_later_is_seen(pkg):
    for value in range(1, 9):
        assert changed(pkg, "gens/helper.py", f"= {value}", f"= {value + 1}") == BOTH
    assert changed(pkg, "gens/helper.py", "= 9", "= 9  # nine") == NOTHING


def test_an_edit_within_one_tick_of_a_coarse_clock_is_seen(pkg, monkeypatch):
    def coarse(status):
        tick = 2_000_000_000
        return (
            status.st_size,
            status.st_mtime_ns // tick * tick,
            status.st_ctime_ns // tick * tick,
            status.st_ino,
        )

    monkeypatch.setattr(benchbench.keys.imports, "signature", coarse)
    assert changed(pkg, "gens/helper.py", "= 1", "= 2") == BOTH


def test_undoing_an_edit_gives_the_old_fingerprint(pkg):
    before = pkg.hashes()
    pkg.edit("gens/helper.py", "1", "2")
    assert pkg.hashes() != before
    pkg.edit("gens/helper.py", "2", "1")
    assert pkg.hashes() == before


def test_a_module_that_appears_later_is_seen(pkg):
    pkg.edit("gens/helper.py", "SCALE = 1", "try:\n    from .fast import SCALE\nexcept ImportError:\n    SCALE = 1")
    before = pkg.hashes()
    pkg.write("gens/fast.py", "SCALE = 5\n")
    assert all(a != b for a, b in zip(before, pkg.hashes(), strict=True))


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("from . import one", {"gens", "gens.one"}),
        ("from .one import y", {"gens.one"}),
        ("from .. import two", {"__init__", "two"}),
        ("from ..two import y as z", {"two"}),
        ("import pkg", {"__init__"}),
        ("import pkg.two", {"__init__", "two"}),
        ("import pkg.two as t", {"two"}),
        ("from pkg import two", {"__init__", "two"}),
        ("from pkg.gens import one", {"gens", "gens.one"}),
        ("from pkg.gens.one import y", {"gens.one"}),
        ("from pkg.deep import *", {"deep", "deep.three"}),
        ("from pkg.space import four", {"space.four"}),
        ("import importlib; importlib.import_module('pkg.two')", {"two"}),
        ("from importlib import import_module; import_module('.one')", {"gens.one"}),
        ("def f():\n    class C:\n        from .one import y", {"gens.one"}),
        ("try:\n    from .one import y\nexcept ImportError:\n    from .nowhere import y", {"gens.one"}),
        ("import numpy, json, pkgother; from os import path", set()),
        ("from ..... import far", set()),
        ("from benchbench import plugins; from benchbench.plugins.context import Context", set()),
    ],
)
def test_every_way_to_import(tmp_path, statement, found):
    files = {
        "gens/__init__.py": "", "gens/one.py": "y = 1", "two.py": "y = 2", "__init__.py": "",
        "deep/__init__.py": "__all__ = ['three']", "deep/three.py": "", "space/four.py": "",
    }  # fmt: skip
    pkg = Package(tmp_path / "pkg", {**files, "gens/mine.py": statement + "\nclass Mine: pass\n"})
    assert set(explain(pkg.source(), "fit")) == {"gens.mine", *found}


def test_the_harness_counts_where_it_decides_results(tmp_path, monkeypatch):
    harness = Package(
        tmp_path / "benchbench",
        {
            "keys/imports.py": "",
            "plugins.py": "X = 1",
            "subsets.py": "X = 1",
            "training/__init__.py": "",
            "training/loop.py": "from ..plugins import X\nfrom .mixing import mix\n"
            "from benchbench.statistics import frechet",
            "training/mixing.py": "def mix(): return 1",
            "statistics/__init__.py": "",
            "statistics/frechet.py": "",
        },
    )
    monkeypatch.setattr(benchbench.keys.imports, "HARNESS_ROOT", harness.root)
    text = "class Mine:\n    def train(self):\n        from benchbench.training.loop import run\n"
    pkg = Package(tmp_path / "pkg", {"gens/mine.py": text})
    modules = set(explain(pkg.source(), "train"))
    names = {"training.loop", "training.mixing", "statistics", "statistics.frechet"}
    assert modules == {"gens.mine", *(f"benchbench.{name}" for name in names)}
    assert set(explain(pkg.source(), "score")) == {"gens.mine"}
    before = fingerprint(pkg.source(), "train")
    harness.edit("training/mixing.py", "return 1", "return 2")
    assert fingerprint(pkg.source(), "train") != before


@pytest.mark.parametrize("stage", STAGES)
def test_each_stage_sees_its_own_methods_and_those_of_no_stage(tmp_path, stage):
    every = sorted(frozenset().union(*STAGES.values()))
    lines = [
        f"    def {name}(self):\n        return 'before {name}'\n" for name in [*every, "helper", "needs", "table"]
    ]
    pkg = Package(tmp_path / "pkg", {"mine.py": "class Mine:\n" + "".join(lines)})
    source = pkg.source("mine")
    seen = set()
    for name in [*every, "helper", "needs", "table"]:
        before = fingerprint(source, stage)
        pkg.edit("mine.py", f"before {name}", f"after {name}")
        if fingerprint(source, stage) != before:
            seen.add(name)
    assert seen == STAGES[stage] | {"helper"}


def test_a_method_of_another_stage_counts_when_it_is_called(tmp_path):
    text = """
    class Mine:
        def fit(self):
            return self._first()
        def _first(self):
            return self.sample() + self.needs()
        def sample(self):
            return 1
        def needs(self):
            return 2
        def score(self):
            return 3
    """
    pkg = Package(tmp_path / "pkg", {"gens/mine.py": text})
    assert changed(pkg, "gens/mine.py", "return 1", "return 10")[0]
    assert changed(pkg, "gens/mine.py", "return 2", "return 20")[0]
    assert not changed(pkg, "gens/mine.py", "return 3", "return 30")[0]


def test_stages_of_a_base_class_are_told_apart_too(tmp_path):
    base = "class Base:\n    def fit(self):\n        return 1\n    def sample(self):\n        return 2\n"
    own = "from .base import Base\nclass Mine(Base):\n    def sample(self):\n        return super().sample()\n"
    pkg = Package(tmp_path / "pkg", {"gens/base.py": base, "gens/mine.py": own})
    assert changed(pkg, "gens/base.py", "return 1", "return 10") == FIT_ONLY
    assert changed(pkg, "gens/base.py", "return 2", "return 20") == SAMPLE_ONLY


def test_a_base_class_of_another_distribution_counts(tmp_path, monkeypatch):
    base = "from benchbench.plugins import Generator\nfrom .core import invert\nclass Base(Generator): ...\n"
    other = Package(
        tmp_path / "site" / "theirs_dist",
        {"__init__.py": "from .impl import Base", "impl.py": base, "core.py": "X = 1", "unused.py": ""},
    )
    own = "from abc import ABC\nfrom theirs_dist import Base\n\n\nclass Mine(Base, ABC):\n    pass\n"
    pkg = Package(tmp_path / "pkg", {"gens/mine.py": own})
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    assert set(explain(pkg.source(), "fit")) == {"gens.mine", "theirs_dist.impl", "theirs_dist.core"}
    before = pkg.hashes()
    other.edit("core.py", "1", "2")
    assert pkg.hashes()[0] != before[0]
    assert "theirs_dist" not in sys.modules


def test_a_loose_file_counts_with_its_siblings(tmp_path):
    (tmp_path / "mine.py").write_text(
        "import shared\nimport json\nclass Mine:\n    def fit(self):\n        import tools.deep\n"
    )
    (tmp_path / "shared.py").write_text("X = 1")
    (tmp_path / "other.py").write_text("X = 1")
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "__init__.py").write_text("")
    (tmp_path / "tools" / "deep.py").write_text("")
    spec = importlib.util.spec_from_file_location("loose_mine", tmp_path / "mine.py")
    assert spec is not None
    source = CodeSource(tmp_path / "mine.py", "Mine", "", tmp_path, "mine")
    assert set(explain(source, "fit")) == {"mine", "shared", "tools", "tools.deep"}
    assert set(explain(source, "sample")) == {"mine", "shared"}
    before = fingerprint(source, "sample")
    (tmp_path / "shared.py").write_text("X = 2")
    assert fingerprint(source, "sample") != before


def test_a_class_of_an_installed_package_lies_below_its_top_level(pkg, monkeypatch):
    pkg.write("__init__.py", "")
    pkg.write("gens/__init__.py", "")
    pkg.write("gens/plain.py", "class Plain:\n    pass\n")
    name = "fingerprinted_pkg"
    renamed = pkg.root.rename(pkg.root.with_name(name))
    monkeypatch.syspath_prepend(str(renamed.parent))
    module = importlib.import_module(f"{name}.gens.plain")
    try:
        source = CodeSource.from_class(module.Plain)
        assert (source.package, source.module, source.root) == (name, "gens.plain", renamed)
    finally:
        for loaded in [item for item in sys.modules if item.partition(".")[0] == name]:
            del sys.modules[loaded]


def test_from_class_takes_a_class_of_a_loose_file_and_refuses_one_without():
    class Inner:
        pass

    source = CodeSource.from_class(Inner)
    assert (source.package, source.module, source.path) == ("", "test_fingerprint", Path(__file__))
    assert "test_fingerprint" in explain(source, "fit")
    Inner.__module__ = "typed_into_an_interpreter"
    with pytest.raises(UsageError, match=r"^Inner: its source file cannot be found; define the class in a .py file$"):
        CodeSource.from_class(Inner)


def test_a_moved_or_renamed_install_has_the_same_fingerprint(pkg, tmp_path):
    pkg.edit("gens/mine.py", "from pkg.sampling", "from ..sampling")
    pkg.edit("sampling.py", "import pkg.deep.noise as noise", "from .deep import noise")
    pkg.edit("common.py", "from pkg.gens import", "from .gens import")
    before = pkg.hashes()
    root = tmp_path / "elsewhere" / "folder"
    shutil.copytree(pkg.root, root)
    moved = CodeSource(root / "gens" / "mine.py", "Mine", "renamed", root, "gens.mine")
    assert (fingerprint(moved, "fit"), fingerprint(moved, "sample")) == before


def test_data_files_and_pinned_distributions_count(tmp_path):
    text = """
    from typing import ClassVar
    class Mine:
        data_files: ClassVar[tuple[str, ...]] = ("words.txt", "tables")
        pinned_distributions: ClassVar[tuple[str, ...]] = ("pytest", "no-such-dist")
    """
    pkg = Package(tmp_path / "pkg", {"gens/mine.py": text, "gens/words.txt": "a", "gens/tables/one.csv": "1"})
    found = explain(pkg.source(), "sample")
    assert found["pinned:pytest"] == pytest.__version__
    assert found["pinned:no-such-dist"] == "not installed"
    assert {"data:words.txt", "data:tables"} <= set(found)
    assert changed(pkg, "gens/words.txt", "a", "b") == BOTH
    assert changed(pkg, "gens/tables/one.csv", "1", "2") == BOTH
    before = pkg.hashes()
    pkg.write("gens/tables/two.csv", "3")
    assert pkg.hashes() != before
    (pkg.root / "gens/words.txt").unlink()
    with pytest.raises(UsageError) as caught:
        pkg.hashes()
    path = pkg.root / "gens/words.txt"
    assert str(caught.value) == f"Mine: data file words.txt is not there; it belongs at {path}"
    pkg.edit("gens/mine.py", '("words.txt", "tables")', "tuple(NAMES)")
    with pytest.raises(UsageError, match=r"mine.py:4: Mine.data_files: must be a tuple of texts written out"):
        pkg.hashes()


@pytest.mark.parametrize("text", ["SCALE = (\n", "x = 1\ndef f(:\n    pass\n", "SCALE = 1\n\x00"])
def test_a_helper_that_is_no_python_is_named_with_its_line(pkg, text):
    (pkg.root / "gens/helper.py").write_text(text)
    with pytest.raises(UsageError, match=r"^[^\n]*helper\.py:?\d*: [^\n]+$") as caught:
        pkg.hashes()
    if "def f" in text:
        assert str(caught.value).startswith(f"{pkg.root / 'gens/helper.py'}:2: no valid Python: ")


def test_an_unknown_stage_and_a_missing_file(pkg):
    stages = "data, fit, sample, train, reference, score"
    with pytest.raises(ValueError, match=f"^'fitting' is no stage; the stages are {stages}$"):
        fingerprint(pkg.source(), "fitting")
    with pytest.raises(UsageError, match=r"^Mine: its source file .*nowhere\.py is not there$"):
        fingerprint(pkg.source("gens.nowhere"), "fit")


def test_a_thousand_questions_take_milliseconds(pkg, monkeypatch):
    monkeypatch.setattr(benchbench.keys.imports, "is_settled", lambda mark, read_ns: True)
    pkg.hashes()
    begun = time.process_time()
    for _ in range(500):
        pkg.hashes()
    assert time.process_time() - begun < 0.5


def test_planning_imports_nothing_heavy():
    code = (
        "import sys, benchbench.keys.code as f\n"
        "f.harness_code('benchbench.training.loop')\n"
        "heavy = ('torch', 'numpy', 'benchbench_plugins', 'typer')\n"
        "print([name for name in sys.modules if name.split('.')[0] in heavy])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_public_models_count_as_a_plugins_own_helpers(tmp_path, monkeypatch):
    """A stranger's cached images go stale when a loader is edited, or the base class, and not for its planning."""
    root = Path(benchbench.keys.imports.__file__).parent.parent
    harness = tmp_path / "benchbench"
    shutil.copytree(root, harness, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(benchbench.keys.imports, "HARNESS_ROOT", harness)
    text = """
        from benchbench.models.generators import TextToImageGenerator

        class Mine(TextToImageGenerator):
            def sample(self, train, context):
                yield from self.sampled(train, context, [], None)
        """
    pkg = Package(tmp_path / "pkg", {"mine.py": dedent(text)})
    source = pkg.source("mine")
    assert "benchbench.models.diffusion.parts" in explain(source, "sample")
    assert "benchbench.plugins.generator" not in explain(source, "sample")

    def edited(file: str, before: str, after: str) -> bool:
        known = fingerprint(source, "sample")
        path = harness / file
        original = path.read_text("utf-8")
        assert before in original
        path.write_text(original.replace(before, after), "utf-8")
        changed = fingerprint(source, "sample") != known
        path.write_text(original, "utf-8")
        assert fingerprint(source, "sample") == known
        return changed

    assert edited("models/diffusion/parts.py", "import torch\n", "import torch\nEDITED = 1\n")
    assert edited("models/generators.py", "CHUNK = 50", "CHUNK = 49")
    assert not edited("models/generators.py", ">= 128", ">= 129")  # in needs, which plans
    assert not edited("plugins/generator.py", "import annotations\n", "import annotations\nEDITED = 1\n")
