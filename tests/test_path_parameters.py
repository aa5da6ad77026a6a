"""Parameters that are paths: their content is part of the key, their folders are nobody's business."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from toys import LEARNER, World

import benchbench
from benchbench.errors import UsageError
from benchbench.planning.resolved import instantiate, resolve, with_hashed_paths
from benchbench.planning.spec import parse_spec
from benchbench.plugins import param
from benchbench.plugins.parameters import build, format_value, parameters, values_of

BENCH = "from benchbench.cli import main; main()"

READS = '''
from __future__ import annotations
from dataclasses import dataclass
from pathlib import Path
import numpy as np
from benchbench import Generator, param

@dataclass(frozen=True)
class Reads(Generator):
    """Real images as bright as a file says."""
    path: Path | None = param(None, help="A folder with level.txt.")
    more: tuple[Path, ...] | None = param(None, stage="fit", help="Further folders.")
    text: str = param("", path=True, must_exist=False, stage="sample", help="A file, or none.")

    def fit(self, train, context):
        (context.folder / "level.txt").write_text(" ".join(str(len(list(path.iterdir()))) for path in self.more or ()))

    def sample(self, train, context):
        level = int((self.path / "level.txt").read_text()) if self.path else 0
        yield train.subset(np.arange(context.n_syn) % len(train)).with_images(
            np.full((context.n_syn, 4, 4, 3), level, np.uint8))
'''


@dataclass(frozen=True)
class Holds:
    """One path of each shape."""

    path: Path = param(Path("here"), help="A path.")
    maybe: Path | None = param(None, help="A path or none.")
    several: tuple[Path, ...] = param((Path("a"),), help="Paths.")
    text: str = param("", path=True, help="Text that is a path.")


def make(**values: Any) -> Holds:
    made: Holds = build(Holds, values, subject="toy")
    return made


def test_texts_and_paths_become_absolute_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    assert make().path == tmp_path / "here"
    assert make(path="a/../b,c").path == tmp_path / "b,c"
    assert make(path="~/b").path == Path("/home/me/b")
    assert make(path=Path("b")) == make(path="b") == make(path=str(tmp_path / "b"))
    assert make(maybe="none").maybe is make().maybe is None
    assert make(several="a//b/c///d").several == (tmp_path / "a", tmp_path / "b/c", Path("/d"))
    assert make(several=["a", Path("/d")]).several == (tmp_path / "a", Path("/d"))
    assert (make().text, make(text="b").text, make(text=Path("/d")).text) == ("", str(tmp_path / "b"), "/d")
    assert values_of(make(path="here", several=tmp_path / "a")) == {}  # the defaults


def test_a_path_survives_its_own_text(tmp_path):
    for made in (make(), make(path="x y", maybe="m", several="/a//b", text="t")):
        texts = {item.name: format_value(getattr(made, item.name)) for item in parameters(Holds)}
        assert make(**texts) == made


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("path", "", "toy:path=: must not be empty; leave it out for the default"),
        ("path", None, "toy:path=none: must not be empty"),
        ("path", 3, "toy:path=3: must be a path"),
        ("several", "a////b", "toy:several=a////b: must not be empty"),
        ("text", 3, "toy:text=3: must be text"),
    ],
)
def test_one_line_for_each_mistake(name, value, told):
    with pytest.raises(UsageError) as error:
        make(**{name: value})
    assert str(error.value) == told


def test_path_is_for_text_alone():
    @dataclass(frozen=True)
    class Odd:
        many: tuple[str, ...] = param((), path=True, help="No.")

    with pytest.raises(TypeError, match=r"^Odd.many: path=True is for text; annotate it with Path instead$"):
        parameters(Odd)


# In keys and tables -----------------------------------------------------------------------------------------------


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    made = World(tmp_path / "plugins", tmp_path / "results")
    monkeypatch.setenv("TOY_LOG", str(made.log))
    (made.folder / "reads.py").write_text(READS, "utf-8")
    monkeypatch.chdir(tmp_path)
    fill(tmp_path / "pool", "9")
    return made


def fill(folder: Path, level: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "level.txt").write_text(level)


def bound(world, values):
    return with_hashed_paths(resolve("generator", parse_spec(f"{world.folder}/reads.py:{values}"), "quick"))


def test_keys_know_content_and_tables_know_names(world, tmp_path):
    one = bound(world, "path=pool")
    assert one.text.startswith("plugins/reads.py:path=pool@")
    shutil.copytree("pool", "other/copy")
    two = bound(world, "path=other/copy")
    assert two.values("sample") == one.values("sample")
    assert len(one.values("sample")["path"]) == 64
    assert two.sentence() == one.sentence()
    fill(tmp_path / "other/copy", "8")
    assert bound(world, "path=other/copy").values("sample") != one.values("sample")


def test_a_path_of_another_stage_stays_out_of_the_key(world):
    found = bound(world, "path=pool,more=pool//plugins,text=pool")
    assert set(found.values("fit")) == {"path", "more"}
    assert set(found.values("sample")) == {"path", "text"}
    assert len(found.values("fit")["more"]) == 2
    assert "more=pool@" in found.text
    assert "/plugins@" in found.text


def test_a_default_path_counts_too(world, tmp_path):
    text = READS.replace("Path | None = param(None", f"Path = param(Path({str(tmp_path / 'pool')!r})")
    (world.folder / "reads.py").write_text(text, "utf-8")
    before = bound(world, "")
    assert before.text == "plugins/reads.py"
    fill(tmp_path / "pool", "8")
    assert bound(world, "").values("sample") != before.values("sample")


def test_a_path_that_need_not_exist_counts_as_absent(world):
    absent = bound(world, "text=nowhere.txt")
    assert absent.text == "plugins/reads.py:text=nowhere.txt@absent"
    Path("nowhere.txt").write_text("now")
    assert bound(world, "text=nowhere.txt").values("sample") != absent.values("sample")


def test_a_worker_elsewhere_makes_the_same_plugin(world, monkeypatch, tmp_path):
    found = bound(world, "path=pool,more=pool//plugins,text=pool")
    location = json.loads(json.dumps(found.location()))
    monkeypatch.chdir(tmp_path / "plugins")
    assert instantiate(location) == found.plugin
    assert isinstance(instantiate(location).path, Path)


TINTS = """
from __future__ import annotations
from dataclasses import dataclass
from pathlib import Path
from benchbench import Augmentation

@dataclass(frozen=True)
class Tints(Augmentation):
    \"\"\"Reads a file that is no parameter.\"\"\"
    def input_paths(self):
        return (Path("pool/level.txt"),)
    def apply(self, images, targets, rng, info):
        return images + int(Path("pool/level.txt").read_text()), targets
"""


def test_what_an_augmentation_reads_enters_the_key_of_the_training(world, tmp_path):
    (world.folder / "tints.py").write_text(TINTS, "utf-8")
    (world.folder / "toylearner.py").write_text(LEARNER.replace("AXES", '{"arch", "aug"}'), "utf-8")

    def keys():
        return {
            key for key, step in world.plan(gen="real", aug=world.file("tints")).steps.items() if step.stage == "train"
        }

    before = keys()
    assert len(before) == 1
    assert keys() == before
    fill(tmp_path / "pool", "8")
    assert keys() != before


def command(world, name: str, *values: str, site: str = "") -> subprocess.CompletedProcess[str]:
    given = world.options(gen="reads" if not values else f"reads:{values[0]}")
    flags = [
        f"--{key.replace('_', '-')}={value[0] if isinstance(value, list) else value}" for key, value in given.items()
    ]
    arguments = [sys.executable, "-c", BENCH, name, *flags, f"--results={world.results}", *values[1:]]
    environment = {**os.environ, "PYTHONPATH": site}
    return subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=200, check=False)


def test_replaced_files_are_read_again_through_the_command(world, tmp_path):
    first = command(world, "run", "path=pool", "--executor=inline")
    assert first.returncode == 0, first.stderr
    again = command(world, "run", "path=pool", "--executor=inline")
    assert "everything is cached" in again.stdout + again.stderr
    fill(tmp_path / "pool", "200")
    edited = command(world, "run", "path=pool", "--executor=inline")
    assert edited.returncode == 0, edited.stderr
    assert "everything is cached" not in edited.stdout + edited.stderr
    assert str(tmp_path) not in (world.results / "leaderboard.csv").read_text()
    levels = {int(path.read_bytes()[-1]) for path in world.results.glob("artifacts/**/images.npy")}
    assert {9, 200} <= levels


def test_a_missing_path_is_one_line_at_plan_time(world):
    done = command(world, "plan", "path=nowhere")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].endswith("reads.py:path=nowhere: no such file or folder")
    done = command(world, "plan", "more=pool//gone")
    assert done.stderr.splitlines()[-1].endswith(
        f"more=pool//gone: no such file or folder at {Path('gone').absolute()}"
    )


def test_show_says_that_it_is_a_path(world):
    arguments = [sys.executable, "-c", BENCH, "show", f"{world.folder}/reads.py"]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=True)
    assert "A folder with level.txt. (file or folder)" in done.stdout


def test_an_edited_loader_of_the_harness_makes_a_strangers_images_anew(world, tmp_path):
    """In a copy of the package, whose models a plugin of a file uses through the package's table of names."""
    site = tmp_path / "site"
    package = Path(benchbench.__file__).parent
    shutil.copytree(package, site / "benchbench", ignore=shutil.ignore_patterns("__pycache__", "models"))
    models = site / "benchbench" / "models"
    models.mkdir()
    (models / "loading.py").write_text("def level():\n    return 9\n", "utf-8")
    (models / "__init__.py").write_text(
        'PLACES = {"level": "loading"}\n\ndef __getattr__(name):\n    from importlib import import_module\n'
        '    return getattr(import_module(f".{PLACES[name]}", __name__), name)\n',
        "utf-8",
    )
    world.edit(
        "reads",
        "        level = int",
        "        from benchbench.models import level as opened\n        level = opened() + int",
    )
    steps = []
    for text in ("return 9", "return 9  # nine", "return 11"):
        (models / "loading.py").write_text(f"def level():\n    {text}\n", "utf-8")
        done = command(world, "run", "path=pool", "--executor=inline", site=str(site))
        assert done.returncode == 0, done.stderr
        steps.append("everything is cached" in done.stdout + done.stderr)
    assert steps == [False, True, False]
