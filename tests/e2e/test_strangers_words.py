"""Plugins, folders and files whose names and texts want to act, through every command: they are read, nothing more."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import sys

import pytest
from looking import records
from markdown_it import MarkdownIt
from PIL import Image
from toys import write_toys

#: What a terminal obeys, but the ends of our own lines and the tab; what has no place in UTF-8.
OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u202e\ud800-\udfff]")
WORDS = "\\x1b]0;owned\\x07\\x1b[2J\\nbench: fake [bold]x[/bold] <img src=x> ![a](b) $x$ |\\u202e\\x9b1m caf\\udce9"
IMPORTS = """import dataclasses, toydata, toygen, toymetric
from benchbench import UsageError
from benchbench.plugins import Column
"""
DATA = f'''
class Strangers(toydata.ToyData):
    """Grey \\x1b[31m [link=http://e]x[/link]."""

    def info(self):
        texts = dict.fromkeys(("licence", "source", "paper"), "{WORDS}")
        classes = ("=1+1", "<b>\\x1b[31m", "$\\\\frac{{1}}{{0}}$ [red]")
        return dataclasses.replace(super().info(), classes=classes, notes=("{WORDS}",), **texts)
'''
GEN = f'''
class Strangers(toygen.ToyGen):
    """Shifted \\x1b[31m."""

    def sample(self, train, context):
        context.log("{WORDS}")
        context.report(said="{WORDS}")
        if self.fail == "sample":
            raise ValueError("{WORDS}")
        yield from super().sample(train, context)
'''
METRIC = f'''
class Strangers(toymetric.ToyMetric):
    """Means \\x1b[31m."""

    def columns(self):
        return (Column("fd", "{WORDS}", 2, "less"), Column("=1+1", "<b>", 2, "more"))

    def score(self, real, synthetic, context):
        if self.fail:
            raise UsageError("{WORDS}")
        return super().score(real, synthetic, context) | {{"=1+1": 0.5, "extractor": "=1 \\x1b[31m"}}
'''
TRAIN = ("--learner", "./toylearner.py", "--arch", "a", "--mix", "0:1", "--seeds", "1")
RUN = ("--data", "./=data.py", "--gen", "./gen [red].py", "--gen", "./gen [red].py:fail=sample", *TRAIN)
RUN += ("--metric", "./metric.py", "--metric", "./metric.py:fail=true", "--executor", "processes", "--workers", "1")


def harmless(done):
    """Return what a command printed, having seen that nothing in it acts and no line is a stranger's."""
    assert not OBEYED.search(done.out + done.err)
    assert "internal error" not in done.err
    assert not re.search("^bench: fake", done.out + done.err, re.MULTILINE)
    return done.out + done.err


@pytest.fixture(scope="module")
def strangers(tmp_path_factory, environment):
    """A folder of plugins whose every text is hostile, and the results of a run with them."""
    from driving import Bench

    bench = Bench(tmp_path_factory.mktemp("strangers"), environment)
    write_toys(bench.folder)
    for name, text in (("=data", DATA), ("gen [red]", GEN), ("metric", METRIC)):
        (bench.folder / f"{name}.py").write_text(IMPORTS + text, "utf-8")
    shown = harmless(bench("run", *RUN, code=1))
    assert "gen [red].py" in shown
    assert rf": {WORDS}" in shown.replace("\\xb1", "±")
    return bench


def test_records_hold_what_was_said_and_can_be_read(strangers):
    found = records(strangers.folder / "results")
    assert len(found) == 3
    (failed,) = (record for record in found if record["status"] == "failed")
    assert "\x1b]0;owned\x07\x1b[2J bench: fake" in failed["error"]
    assert all(r"caf\udce9" in record["provenance"]["notes"][0] for record in found)
    assert len(json.loads(strangers("report", "--json").out)) == 3


COMMANDS = [
    *(("report",), ("show", "./=data.py"), ("show", "./gen [red].py"), ("show", "./metric.py"), ("list",)),
    *(("plan", *RUN[:-4], "--cells"), ("cache", "ls"), ("cache", "verify"), ("cache", "gc", "--dry-run")),
    ("gallery", "--data", "./=data.py", "--aug", "default", "--count", "3", "--versions", "1"),
]


@pytest.mark.parametrize("arguments", COMMANDS, ids=lambda arguments: " ".join(arguments[:2]))
def test_no_command_prints_what_acts(strangers, arguments):
    done = strangers(*arguments, code=None)
    assert done.code == 0, done.err
    harmless(done)
    if arguments[0] == "show" and "data" in arguments[1]:
        assert rf"note         {WORDS}" in done.out


def test_no_check_prints_what_acts(strangers):
    for name in ("./=data.py", "./metric.py:fail=true"):
        assert "FAIL" in harmless(strangers("check", name, code=None))


def test_why_prints_nothing_that_acts(strangers):
    for record in records(strangers.folder / "results"):
        harmless(strangers("why", record["key"][:12]))


def test_pages_and_tables_show_it_as_text(strangers):
    results = strangers.folder / "results"
    table = list(csv.reader((results / "leaderboard.csv").open(newline="", encoding="utf-8")))
    cells = [cell for row in table for cell in row]
    assert not [cell for cell in cells if re.match(r"[=+@\t\r]|-\D", cell) or OBEYED.search(cell)]
    assert "'=1+1" in table[0]
    assert r"'=1 \x1b[31m" in cells
    page = (results / "leaderboard.md").read_text("utf-8")
    assert not OBEYED.search(page)
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(page)
    inline = [child for token in tokens for child in token.children or []]
    assert {child.type for child in inline} <= {"text", "softbreak", "image"}
    assert {child.attrs["src"].partition("/")[0] for child in inline if child.type == "image"} == {"figures"}
    assert r"\x1b]0;owned\x07\x1b[2J bench: fake [bold]x[/bold] <img src=x> ![a](b) $x$ |" in "".join(
        child.content for child in inline
    )


# -- names of files and folders ----------------------------------------------------------------------------------------

LATIN = os.fsdecode(b"caf\xe9")
TITLE = "e\x1b]0;t\x07\x1b[31m"
NAMES = (LATIN, "new\nline", TITLE, "quo\"te' ta\tb", "\u202egnp", "=1+1 $x$ [bold]😀 %41;|", "--help", "x" * 250)


@pytest.fixture
def pets(toys):
    """A folder of images, beside the toy plugins."""
    for number, split in enumerate(("train", "test")):
        for shade, name in enumerate(("cat", "dog")):
            folder = toys.folder / "pets" / split / name
            folder.mkdir(parents=True)
            for place in range(2):
                Image.new("RGB", (8, 8), (90 * shade, 40 * number, place)).save(folder / f"{place}.png")
    return toys


BARE = (*TRAIN, "--gen", "real", "--metric", "none", "--executor", "inline")


@pytest.mark.skipif(sys.platform != "linux", reason="file systems of others refuse such names")
def test_folders_of_any_name_hold_results_images_and_plugins(pets):
    for place, name in enumerate(NAMES):
        folder = pets.folder / name
        folder.mkdir()
        shutil.copytree(pets.folder / "pets", folder / "pets")
        for plugin in ("toylearner.py", "toynotes.py"):
            shutil.copy(pets.folder / plugin, folder)
        run = ("run", "--data", "folder:path=pets", *BARE)
        done = pets.at(folder)(*run, f"--results=../{name}/{name}")
        harmless(done)
        assert (folder / name / "leaderboard.csv").read_text("utf-8").count("\n") == 2
        if place < 2:
            harmless(pets("report", f"--results={name}/{name}"))
            assert json.loads(pets("report", f"--results={name}/{name}", "--json").out)


@pytest.mark.skipif(sys.platform != "linux", reason="file systems of others refuse such names")
@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "--data", f"folder:path={LATIN}", *BARE),
        ("run", "--data", "folder:path=pets", *BARE[2:], "--learner", f"./{LATIN}.py"),
        ("run", "--data", "folder:path=pets", *BARE, "--arch", LATIN),
        ("run", "--data", "folder:path=pets", *BARE, "--sweep", f"learner.shift={LATIN}"),
        ("show", f"./{LATIN}.py"),
        ("check", f"./{LATIN}.py"),
        ("gallery", "--data", f"folder:path={LATIN}"),
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_a_name_that_no_record_can_hold_is_one_line(pets, arguments):
    (pets.folder / "pets").rename(pets.folder / LATIN)
    shutil.copy(pets.folder / "toylearner.py", pets.folder / f"{LATIN}.py")
    done = pets(*arguments, code=2)
    assert done.err.endswith(r"caf\udce9.py: is not UTF-8; rename it, or link to it by another name" + "\n") or (
        re.fullmatch(r"bench: \S*caf\\udce9: is not UTF-8; rename it, or link to it by another name\n", done.err)
    )
    assert done.err.count("\n") == 1
    assert not (pets.folder / "results").exists()


def test_an_odd_folder_of_a_class_is_one_line_or_works(pets):
    for name in NAMES:
        for split in ("train", "test"):
            (pets.folder / "pets" / split / "dog").rename(pets.folder / "pets" / split / name)
        done = pets("plan", "--data", "folder:path=pets", *BARE[:-2], code=None)
        harmless(done)
        assert done.code == 0 or re.fullmatch("bench: .* is not plain text; rename it\n", done.err)
        assert (done.code == 0) == (name in NAMES[-4:])
        for split in ("train", "test"):
            (pets.folder / "pets" / split / name).rename(pets.folder / "pets" / split / "dog")


def test_what_is_in_the_way_of_a_report_is_one_line(pets):
    pets("run", "--data", "folder:path=pets", *BARE)
    results = pets.folder / "results"
    (results / "leaderboard.csv").unlink()
    (results / "leaderboard.csv").mkdir()
    (results / "leaderboard.md").unlink()
    (results / "leaderboard.md").symlink_to("nowhere/at/all")
    done = pets("report", code=1)
    assert re.fullmatch(r"bench: results/leaderboard.csv: cannot be written \([^\n]+\); [^\n]+\n", done.err)
    assert not (results / "leaderboard.md").is_symlink()
    assert (results / "leaderboard.md").read_text("utf-8").startswith("# Leaderboard")
    done = pets("run", "--data", "folder:path=pets", *BARE, code=2)
    assert done.err.count("\n") == 1
    assert "results/leaderboard.csv is a folder; move it away" in done.err
