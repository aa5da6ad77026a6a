"""``bench check`` finds the files that a result depends on and that no key knows of."""

from __future__ import annotations

import os
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import brokenplugins
import numpy as np
import pytest
from toys import write_toys

from benchbench.cli import run_command
from benchbench.errors import MissingError, UsageError
from benchbench.plugins import Augmentation, Learner, Metric, param
from benchbench.testing import run_checks, small_part

PROMISE = "opens only files that enter its key"


@pytest.fixture
def notes(tmp_path):
    path = tmp_path / "notes" / "words.txt"
    path.parent.mkdir()
    path.write_text("one two")
    os.utime(path, (1_000_000_000, 1_000_000_000))
    return path


def judged(cls: type, **options: Any) -> str:
    """Return what the check says, "" where it passes."""
    found = [item for item in run_checks(cls, **options) if item.name == PROMISE]
    assert len(found) == 1
    assert found[0].ok == (not found[0].message)
    return found[0].message


@dataclass(frozen=True)
class Reads(brokenplugins.Copies):
    """Reads a file named by text."""

    words: str = param("", help="A folder.")

    def sample(self, train, context):
        if self.words:
            (Path(self.words) / "words.txt").read_text()
        yield from super().sample(train, context)


@dataclass(frozen=True)
class ReadsDeclared(Reads):
    """Says so."""

    words: str = param("", path=True, help="A folder.")


@dataclass(frozen=True)
class ReadsPath(brokenplugins.Copies):
    """Reads a file in another thread, as a loader of images does."""

    words: Path | None = param(None, help="A file.")

    def sample(self, train, context):
        thread = threading.Thread(target=(self.words or Path(__file__)).read_text)
        thread.start()
        thread.join()
        yield from super().sample(train, context)


@dataclass(frozen=True)
class Undeclared(brokenplugins.Copies):
    """Reads one file."""

    file: str = param("", help="A file.")

    def sample(self, train, context):
        if self.file:
            Path(self.file).read_text()
        yield from super().sample(train, context)


def test_a_text_that_names_a_folder_is_to_be_a_path(notes):
    told = judged(Reads, values={"words": str(notes.parent)})
    assert told == (f"it opens {notes}, whose content is not part of its key; annotate its parameter words with Path")
    assert judged(ReadsDeclared, values={"words": str(notes.parent)}) == ""
    assert judged(ReadsPath, values={"words": str(notes)}) == ""
    assert judged(Reads) == ""


def test_a_file_that_no_parameter_names_has_two_remedies(notes):
    @dataclass(frozen=True)
    class Fits(brokenplugins.Copies):
        """Reads in fit."""

        def fit(self, train, context):
            (context.folder / "copy.txt").write_bytes(notes.read_bytes())

    told = judged(Fits)
    assert told.startswith(
        f"it opens {notes}, whose content is not part of its key; make it a parameter annotated Path"
    )
    assert "input_paths()" in told

    @dataclass(frozen=True)
    class Names(Fits):
        """Names it."""

        def input_paths(self):
            return (notes.parent,)

    assert judged(Names) == ""


def test_data_files_and_what_is_made_on_the_way_are_no_strangers(tmp_path):
    @dataclass(frozen=True)
    class Ships(brokenplugins.Copies):
        """Reads a file beside its code and one that it makes."""

        data_files: ClassVar[tuple[str, ...]] = ("thirdparty/bench-brighter/pyproject.toml",)

        def sample(self, train, context):
            (Path(__file__).parent / "thirdparty/bench-brighter/pyproject.toml").read_text("utf-8")
            with tempfile.TemporaryDirectory() as folder:
                np.save(Path(folder) / "made.npy", np.zeros(3))
                np.load(Path(folder) / "made.npy")
            yield from super().sample(train, context)

    @dataclass(frozen=True)
    class Forgets(Ships):
        """Does not name the file."""

        data_files: ClassVar[tuple[str, ...]] = ()

    assert judged(Ships) == ""
    assert "pyproject.toml" in judged(Forgets)


def test_a_cache_is_no_input_and_downloaded_data_is(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path))
    monkeypatch.delenv("BENCH_DATA", raising=False)
    for name in ("contents/scan.json", "data/set/images.bin"):
        path = tmp_path / name
        path.parent.mkdir(parents=True)
        path.write_text("x")
        os.utime(path, (1_000_000_000, 1_000_000_000))
    assert judged(Undeclared, values={"file": str(tmp_path / "contents/scan.json")}) == ""
    assert "images.bin" in judged(Undeclared, values={"file": str(tmp_path / "data/set/images.bin")})


def test_other_kinds_are_watched_too(notes):
    @dataclass(frozen=True)
    class Scores(Metric):
        """Reads."""

        def score(self, real, synthetic, context):
            notes.read_text()
            return {"extractor": "none", "n_score": len(synthetic), "n_reference": len(real), "fd": 1.0}

    @dataclass(frozen=True)
    class Tints(Augmentation):
        """Reads."""

        def apply(self, images, targets, rng, info):
            notes.read_text()
            return images, targets

    @dataclass(frozen=True)
    class Learns(Learner):
        """Reads before it fails."""

        def train(self, task, context):
            raise ValueError(notes.read_text())

    @dataclass(frozen=True)
    class Loads(brokenplugins.Tiny):
        """Reads."""

        def load(self, split, context):
            notes.read_text()
            return super().load(split, context)

    for cls in (Scores, Tints, Learns, Loads):
        assert str(notes) in judged(cls), cls


def test_a_path_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(UsageError, match=r"^reads:words=.*gone: no such file or folder$"):
        run_checks(ReadsPath, name="reads", values={"words": tmp_path / "gone"})


# On a dataset -----------------------------------------------------------------------------------------------------

SEES = """
from __future__ import annotations
from dataclasses import dataclass
from benchbench import Generator

@dataclass(frozen=True)
class Sees(Generator):
    \"\"\"Repeats real images, of one dataset alone.\"\"\"
    def sample(self, train, context):
        assert context.info.name == "toy", context.info.name
        assert sorted(train.counts) == [6, 7, 7] and train.classes == context.info.classes
        for chunk in context.chunks(context.n_syn, 5):
            yield train.subset([index % len(train) for index in chunk])
"""


def test_a_plugin_is_checked_on_images_of_a_dataset(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_toys(tmp_path)
    Path("sees.py").write_text(SEES, "utf-8")
    assert run_command(["check", "./sees.py", "--data", "./toydata.py"]) == 0
    assert f"ok    {PROMISE}" in capsys.readouterr().out
    assert run_command(["check", "./sees.py"]) == 1
    assert run_command(["check", "./toydata.py", "--data", "./toydata.py"]) == 2
    told = capsys.readouterr().err
    assert "--data ./toydata.py: ./toydata.py is a dataset, which is checked by itself; omit --data" in told
    assert run_command(["check", "./sees.py", "--data", "no-such-data"]) == 2


def test_a_small_part_is_balanced_and_agrees_with_its_description(tmp_path, monkeypatch):
    write_toys(tmp_path)
    path = tmp_path / "toydata.py"
    info, train = small_part(str(path), count=9)
    assert train.counts.tolist() == [3, 3, 3] == list(info.class_counts)
    assert (len(train), info.counts["train"]) == (9, 9)
    path.write_text(
        path.read_text("utf-8") + "\n    def needs(self):\n        from benchbench import RequiredFile, Requirements\n"
        "        return Requirements(files=(RequiredFile(__import__('pathlib').Path('/gone'), 'images', 'x'),))\n"
    )
    with pytest.raises(MissingError, match="not found: images; looked for /gone"):
        small_part(str(path))
