"""A moved or renamed file costs nobody a result, and what only looks like a move is still seen."""

from __future__ import annotations

import shutil

import pytest
from test_fingerprint import BOTH, FILES, FIT_ONLY, NOTHING, Package, changed

import benchbench.keys.imports
from benchbench.keys.code import CodeSource, explain, fingerprint, harness_code


@pytest.fixture
def pkg(tmp_path):
    return Package(tmp_path / "pkg", FILES)


def move(pkg, old, new):
    path = pkg.root / new
    path.parent.mkdir(parents=True, exist_ok=True)
    (pkg.root / old).rename(path)


def small(tmp_path, files):
    return Package(tmp_path / "pkg", files)


def test_a_moved_helper_has_the_same_key_and_an_edit_of_it_another(pkg):
    before = pkg.hashes()
    move(pkg, "gens/helper.py", "deep/er/tools.py")
    pkg.edit("gens/mine.py", "from .helper import", "from ..deep.er.tools import")
    assert pkg.hashes() == before
    assert changed(pkg, "deep/er/tools.py", "SCALE = 1", "SCALE = 2") == BOTH


def test_a_moved_helper_of_a_helper_and_one_imported_inside_a_method(pkg):
    before = pkg.hashes()
    move(pkg, "gens/inversion.py", "maths/inverse.py")
    pkg.edit("gens/mine.py", "from .inversion import", "from pkg.maths.inverse import")
    pkg.edit("common.py", "from pkg.gens import inversion", "from pkg.maths import inverse as inversion")
    pkg.write("maths/__init__.py", '"""Only words."""\n')
    assert pkg.hashes() == before
    assert changed(pkg, "maths/inverse.py", "* rate", "+ rate") == FIT_ONLY
    assert changed(pkg, "maths/__init__.py", "Only", "Fewer") == NOTHING


def test_the_module_of_the_plugin_may_be_renamed(pkg):
    before = pkg.hashes()
    move(pkg, "gens/mine.py", "elsewhere/plugin.py")
    pkg.edit("elsewhere/plugin.py", "from .helper", "from ..gens.helper")
    pkg.edit("elsewhere/plugin.py", "from .inversion", "from ..gens.inversion")
    moved = pkg.source("elsewhere.plugin")
    assert (fingerprint(moved, "fit"), fingerprint(moved, "sample")) == before
    assert "elsewhere.plugin" in explain(moved, "fit")  # an explanation is read by people


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("import pkg.one\nx = pkg.one.f()", "import pkg.sub.one\nx = pkg.sub.one.f()"),
        ("import pkg.one as o\nx = o.f()", "from .sub import one as o\nx = o.f()"),
        ("from . import one\nx = one.f()", "from pkg.sub import one\nx = one.f()"),
        ("from .one import f, os", "from .sub.one import os, f"),
        ("from .one import *", "from .sub.one import *"),
        (
            "import importlib\nx = importlib.import_module('.one')",
            "import importlib\nx = importlib.import_module('.sub.one')",
        ),
        ("import os, pkg.one", "import os, pkg.sub.one"),
    ],
)  # fmt: skip
def test_every_way_to_import_survives_a_move(tmp_path, before, after):
    one = "import os\ndef f(): return 1\n"
    here = small(tmp_path / "a", {"mine.py": f"{before}\nclass Mine: pass\n", "one.py": one})
    there = small(tmp_path / "b", {"mine.py": f"{after}\nclass Mine: pass\n", "sub/one.py": one})
    assert fingerprint(here.source("mine"), "fit") == fingerprint(there.source("mine"), "fit")
    there.edit("sub/one.py", "1", "2")
    assert fingerprint(here.source("mine"), "fit") != fingerprint(there.source("mine"), "fit")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        # two helpers that stay as they are, and a plugin that takes from the other one
        ("from .a import f\nfrom .b import g", "from .b import f\nfrom .a import g"),
        ("import pkg.a, pkg.b\nx = pkg.a.f() - pkg.b.f()", "import pkg.a, pkg.b\nx = pkg.b.f() - pkg.a.f()"),
        ("from . import a, b", "from . import a as b, b as a"),
        ("from .a import f\nfrom . import b", "from .b import f\nfrom . import a"),
        ("from .a import f", "from .a import g as f"),
        ("from .a import f", "from .a import f as g"),
        # names outside the plugin's own code stay
        ("import torch.nn as nn", "import torch.fx as nn"),
        ("from torch.nn import init", "from torch.fx import init"),
        ("import json, pkg.a", "import os, pkg.a"),
        ("from ._compiled import f", "from ._other import f"),
        ("import pkg.a\nx = pkg.missing.f", "import pkg.a\nx = pkg.other.f"),
    ],
)
def test_what_only_looks_like_a_move_is_seen(tmp_path, before, after):
    files = {"a.py": "def f(): return 1\ndef g(): return 2\n", "b.py": "def f(): return 3\ndef g(): return 4\n"}
    hashes = [
        fingerprint(small(tmp_path / name, {**files, "mine.py": f"{text}\nclass Mine: pass\n"}).source("mine"), "fit")
        for name, text in (("before", before), ("after", after))
    ]
    assert hashes[0] != hashes[1]


def test_swapped_contents_of_two_files_are_seen(tmp_path):
    text = "from .a import f\nfrom .b import f as g\nclass Mine: pass\n"
    hashes = [
        fingerprint(small(tmp_path / name, {"mine.py": text, "a.py": one, "b.py": two}).source("mine"), "fit")
        for name, one, two in (("x", "f = 1", "f = 2"), ("y", "f = 2", "f = 1"))
    ]
    assert hashes[0] != hashes[1]


def test_twins_that_differ_in_what_they_import_are_told_apart(tmp_path):
    """``a`` and ``b`` are the same text; only where it leads differs, and two steps away."""
    files = {
        "mine.py": "from .a import f\nfrom .b import f as g\nclass Mine: pass\n",
        "a/__init__.py": "from .deep import f", "a/deep.py": "from .last import f", "a/last.py": "f = 1",
        "b/__init__.py": "from .deep import f", "b/deep.py": "from .last import f", "b/last.py": "f = 2",
    }  # fmt: skip
    here = small(tmp_path / "x", files)
    there = small(tmp_path / "y", {**files, "a/last.py": "f = 2", "b/last.py": "f = 1"})
    assert fingerprint(here.source("mine"), "fit") != fingerprint(there.source("mine"), "fit")


# The harness ------------------------------------------------------------------------------------------------------

LAZY = """
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    from .diffusion import open_folder as open_folder
_PLACES = {"Base": "bases", **dict.fromkeys(("open_clip", "ClipUser"), "clip")}
def __getattr__(name):
    from importlib import import_module
    return getattr(import_module(f".{_PLACES[name]}", __name__), name)
"""
MODELS = {
    "__init__.py": LAZY.replace(".diffusion", ".models.diffusion").replace('"bases"', '"models.bases"'),
    "plugins.py": "class Generator: ...\n",
    "models/__init__.py": LAZY,
    "models/diffusion.py": "from .steps import ddim\ndef open_folder(): return 1\n",
    "models/steps.py": "def ddim(): return 1\n",
    "models/clip.py": "def open_clip(): return 1\n",
    "models/bases.py": """
        from ..plugins import Generator
        class Base(Generator):
            def fit(self):
                return 1
            def sample(self):
                return 2
    """,
    "subsets.py": "X = 1\n",
    "planning/subsets.py": "from ..context import derive_seed\nY = 1\n",
    "planning/steps.py": "Z = 1\n",
}


@pytest.fixture
def harness(tmp_path, monkeypatch):
    package = Package(tmp_path / "site" / "benchbench", MODELS)
    monkeypatch.setattr(benchbench.keys.imports, "HARNESS_ROOT", package.root)
    return package


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("from benchbench.models import open_folder", {"models.diffusion", "models.steps"}),
        ("from benchbench.models import open_clip as clip", {"models.clip"}),
        ("from benchbench.models import diffusion", {"models.diffusion", "models.steps"}),
        ("from benchbench.models.diffusion import open_folder", {"models.diffusion", "models.steps"}),
        ("from benchbench import open_folder", {"models.diffusion", "models.steps"}),
        ("from benchbench import Base", {"models.bases"}),
        (
            "from benchbench import models",
            {"models", "models.diffusion", "models.steps", "models.clip", "models.bases"},
        ),
        ("from benchbench.plugins import Generator", set()),
        ("from benchbench.planning import subsets, steps", {"planning.subsets"}),
        ("from benchbench.planning.steps import Z", set()),
    ],
)
def test_models_count_like_a_helper_of_the_plugins_own(tmp_path, harness, statement, found):
    pkg = small(tmp_path, {"mine.py": f"class Mine:\n    def sample(self):\n        {statement}\n"})
    assert set(explain(pkg.source("mine"), "sample")) == {"mine", *(f"benchbench.{name}" for name in found)}
    assert set(explain(pkg.source("mine"), "fit")) == {"mine"}


def test_an_edited_loader_is_seen_and_another_name_of_the_table_is_not(tmp_path, harness):
    pkg = small(tmp_path, {"mine.py": "from benchbench.models import open_folder\nclass Mine: pass\n"})
    before = fingerprint(pkg.source("mine"), "sample")
    harness.edit("models/__init__.py", '{"Base"', '{"more": "clip", "Base"')
    harness.edit("models/clip.py", "1", "2")
    assert fingerprint(pkg.source("mine"), "sample") == before
    harness.edit("models/steps.py", "1", "2")
    assert fingerprint(pkg.source("mine"), "sample") != before


def test_a_name_that_the_table_leads_elsewhere_is_seen(tmp_path, harness):
    pkg = small(tmp_path, {"mine.py": "from benchbench.models import open_clip\nclass Mine: pass\n"})
    before = fingerprint(pkg.source("mine"), "sample")
    harness.edit("models/__init__.py", '"clip")', '"bases")')
    assert fingerprint(pkg.source("mine"), "sample") != before
    harness.edit("models/__init__.py", '"bases")', '"clip")')
    assert fingerprint(pkg.source("mine"), "sample") == before


@pytest.mark.parametrize("place", ["benchbench.models", "benchbench.models.bases", "benchbench"])
def test_a_base_class_of_models_belongs_to_the_plugin(tmp_path, harness, place):
    text = f"from {place} import Base\nclass Mine(Base):\n    def sample(self):\n        return super().sample()\n"
    pkg = small(tmp_path, {"gens/mine.py": text})
    assert set(explain(pkg.source(), "fit")) == {"gens.mine", "benchbench.models.bases"}
    before = pkg.hashes()
    harness.edit("models/bases.py", "return 1", "return 10")
    fit, sample = pkg.hashes()
    assert (fit != before[0], sample == before[1]) == (True, True)
    harness.edit("models/bases.py", "return 2", "return 20")
    assert pkg.hashes()[0] == fit
    assert pkg.hashes()[1] != sample


def test_the_harness_may_move_its_interfaces_and_its_helpers(tmp_path, harness):
    text = "from benchbench.plugins import Generator\nfrom benchbench.models.steps import ddim\nclass Mine: pass\n"
    pkg = small(tmp_path, {"mine.py": text})
    before = fingerprint(pkg.source("mine"), "sample")
    (harness.root / "models/steps.py").rename(harness.root / "models/schedules.py")
    pkg.edit("mine.py", "models.steps", "models.schedules")
    pkg.edit("mine.py", "benchbench.plugins import", "benchbench.plugins.generator import")
    assert fingerprint(pkg.source("mine"), "sample") == before


def test_harness_code_is_the_content_alone(harness, monkeypatch):
    monkeypatch.setattr("benchbench.keys.code.installed_module", lambda name: CodeSource(
        harness.root / f"{name.replace('.', '/')}.py", "", "benchbench", harness.root, name
    ).as_module())  # fmt: skip
    shutil.copy(harness.root / "planning/subsets.py", harness.root / "models/chosen.py")
    before = harness_code("planning.subsets")
    assert harness_code("models.chosen") == before  # the same text under another name
    harness.edit("planning/subsets.py", "Y = 1", "Y = 1  # one")
    assert harness_code("planning.subsets") == before
    harness.edit("planning/subsets.py", "Y = 1", "Y = 2")
    assert harness_code("planning.subsets") != before
