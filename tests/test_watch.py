"""Files that change under a running bench: nothing made from the wrong ones is published, or kept for the next run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from toys import World

from benchbench.keys import content as contents
from benchbench.plugins.images import ImageSet
from benchbench.running import watch
from benchbench.running.work import run_step
from benchbench.store.store import Store

#: Does at a moment of a step what ``EVENTS`` in the environment says: JSON, Python code by moment.
EVENTS = """
import json, os

def happen(moment):
    exec(json.loads(os.environ.get("EVENTS", "{}")).get(moment, ""))

"""

HEAD = """
from __future__ import annotations
import os
from dataclasses import dataclass
from pathlib import Path
import numpy as np
from events import happen
from benchbench import *

def shade_of(path):
    return int((Path(path) / "shade.txt").read_text())

"""

#: Paints images in the shade that its files say, read anew for each chunk.
PAINTER = (
    HEAD
    + '''
@dataclass(frozen=True)
class Painter(Generator):
    """Paints."""
    data_files = ("words.txt",)
    model: str = param("", help="In input_paths.")
    folder: Path = param(Path("nowhere"), help="A path.", must_exist=False)
    foundation: str = param("", help="A pretrained model.")

    def needs(self):
        return Requirements(foundations=(self.foundation,) if self.foundation else ())

    def input_paths(self):
        return (Path(self.model),) if self.model else ()

    def fit(self, train, context):
        happen("fit begins")
        for item in context.resume(range(4), shades := np.zeros(4, np.int64), label="shades"):
            shades[item] = shade_of(self.model) if self.model else 1
            happen(f"fit {item}")
        for part in context.resume_parts(range(3), lambda item, out: self.part(item, out), label="parts"):
            pass
        (context.folder / "shades.txt").write_text(str(shades.tolist()))
        happen("fit ends")

    def part(self, item, out):
        (out / "shade.txt").write_text(str(shade_of(self.model) if self.model else 1))
        happen(f"part {item}")

    def sample(self, train, context):
        given = [path for path in (self.model, self.foundation) if path] + [self.folder] * self.folder.exists()
        shades = [shade_of(path) for path in given]
        happen("sample begins")
        for chunk in context.chunks(40, 10):
            if self.model:
                shades[0] = shade_of(self.model)
            happen(f"chunk {chunk.start}")
            images = np.full((10, 4, 4, 3), sum(shades), np.uint8)
            yield ImageSet(images, np.arange(10) % 3, train.classes)
        happen("sample ends")
'''
)

#: A dataset in a folder, an augmentation with a file, and a metric with one.
OTHERS = {
    "shadedata": '''
@dataclass(frozen=True)
class ShadeData(Dataset):
    """Three classes, as dark as a file says."""
    path: str = param("", help="The folder.")

    def input_paths(self):
        return (Path(self.path),)

    def info(self):
        shade = shade_of(self.path) / 255
        happen("info")
        counts = {"train": 24, "validation": 0, "test": 12}
        return DatasetInfo("shade", ("a", "b", "c"), counts, (8,) * 3, 4, 4, 4, (shade,) * 3, (0.5,) * 3, True, "none")

    def load(self, split, context):
        labels = np.arange(context.info.counts[split]) % 3
        images = np.repeat((labels + shade_of(self.path))[:, None, None, None], 48, 1).reshape(-1, 4, 4, 3)
        happen(f"load {split}")
        return ImageSet(images.astype(np.uint8), labels, context.info.classes)
''',
    "shadeaug": '''
@dataclass(frozen=True)
class ShadeAug(Augmentation):
    """Does nothing, with files."""
    is_base = True
    path: str = param("", help="In input_paths.")
    model: str = param("", help="A foundation.")

    def needs(self):
        return Requirements(foundations=(self.model,) if self.model else ())

    def input_paths(self):
        return (Path(self.path),) if self.path else ()
''',
    "shademetric": '''
@dataclass(frozen=True)
class ShadeMetric(Metric):
    """As dark as a file says that no parameter names."""

    def input_paths(self):
        return (Path(os.environ["SHADE"]),)

    def score(self, real, synthetic, context):
        shade = shade_of(os.environ["SHADE"])
        happen("score")
        return {"shade": shade}
''',
}


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    made = World(tmp_path / "plugins", tmp_path / "results")
    monkeypatch.setenv("TOY_LOG", str(made.log))
    (made.folder / "events.py").write_text(EVENTS)
    (made.folder / "painter.py").write_text(PAINTER)
    (made.folder / "words.txt").write_text("one")
    for name, text in OTHERS.items():
        (made.folder / f"{name}.py").write_text(HEAD + text)
    learner = (made.folder / "toystart.py").read_text().replace('{"arch", "mix"}', '{"arch", "mix", "aug"}')
    (made.folder / "toystart.py").write_text(learner)
    return made


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "model"
    fill(folder, 10)
    return folder


def fill(folder: Path, shade: int, hours: int = 1) -> None:
    """Write a folder whose files are some hours old, so that a change shows whatever the grain of the clock."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "shade.txt").write_text(str(shade))
    stamp = (folder / "shade.txt").stat().st_mtime - hours * 3600
    os.utime(folder / "shade.txt", (stamp, stamp))


def events(monkeypatch, **moments: str) -> None:
    """Let things happen at moments of a step, a chunk by ``chunk_10=``, say."""
    code = {moment.replace("_", " "): f"import os, shutil, signal\n{text}" for moment, text in moments.items()}
    monkeypatch.setenv("EVENTS", json.dumps(code))


def away(folder: Path) -> str:
    """Return code that puts another folder in the place of one."""
    other = folder.with_name("other")
    fill(other, 99, hours=2)
    return f"os.rename({str(folder)!r}, {str(folder) + '-kept'!r}); os.rename({str(other)!r}, {str(folder)!r})\n"


def back(folder: Path) -> str:
    """Return code that takes it back."""
    place = str(folder)
    return f"os.rename({place!r}, {place + '-other'!r}); os.rename({place + '-kept'!r}, {place!r})\n"


def kept(world: World) -> list[str]:
    """Return the chunks that are kept for the next run, by name."""
    return sorted(path.name[:12] for path in (world.results / "artifacts/.partial").glob("*/chunk-*"))


# Between the plan and the step

#: Options with something that reads the model, and what its step says when the model changed before it began.
READERS = {
    "input_paths": ({"gen": "painter:model={}"}, "painter.py: model={} changed since the plan; run again"),
    "a parameter": ({"gen": "painter:folder={}"}, "painter.py: folder={} changed since the plan; run again"),
    "a foundation": (
        {"gen": "painter:foundation={}"},
        "painter.py: foundation={} changed since the plan; run again",
    ),
    "an architecture": (
        {"learner": "toystart:weights={}", "arch": "b"},
        "toystart.py: the model '{}' changed since the plan; run again",
    ),
    "an augmentation": ({"aug": "shadeaug:path={}"}, "shadeaug.py: path={} changed since the plan; run again"),
    "its foundation": ({"aug": "shadeaug:model={}"}, "shadeaug.py: model={} changed since the plan; run again"),
    "a metric": ({"metric": "shademetric"}, "shademetric.py: '{}' changed since the plan; run again"),
}


@pytest.fixture
def photos(tmp_path):
    """The folder of a dataset, whose step comes before all others."""
    folder = tmp_path / "photos"
    fill(folder, 5)
    return folder


@pytest.mark.parametrize("reader", READERS)
def test_files_that_changed_before_a_step_begins_fail_it(world, model, photos, monkeypatch, reader):
    given, error = READERS[reader]
    options = {"gen": "painter", "metric": "none", "learner": "toystart", "data": f"shadedata:path={photos}"}
    options |= {name: value.format(model) for name, value in given.items()}
    if "aug" in options:
        options["aug"] = [world.file(options["aug"])]
    monkeypatch.setenv("SHADE", str(model))
    events(monkeypatch, load_test=away(model))
    steps = list(world.plan(baseline=False, **options).steps.values())
    failed = next(event for event in (ended(world, step) for step in steps) if event["what"] == "failed")
    assert failed["error"] == error.format(model)
    events(monkeypatch)
    exec("import os\n" + back(model))
    assert [ended(world, step)["what"] for step in steps] == ["done"] * len(steps)


def test_photos_that_changed_before_they_are_read_fail_their_step(world, photos, monkeypatch):
    """Between the plan and the step, and while the plan was made."""
    options = {"data": f"shadedata:path={photos}", "gen": "real", "metric": "none"}
    (step, *_) = world.plan(**options).steps.values()
    exec("import os\n" + away(photos))
    event = ended(world, step)
    assert event["error"] == f"shadedata.py: path={photos} changed since the plan; run again"
    exec("import os\n" + back(photos))
    assert ended(world, step)["what"] == "done"
    events(monkeypatch, info=f"if not os.path.exists({str(photos) + '-kept'!r}):\n    {away(photos)}")
    (step, *_) = world.plan(**options).steps.values()
    assert ended(world, step)["error"] == "shade: its files changed while the run was planned; run again"
    (again, *_) = world.plan(**options).steps.values()
    assert again.key != step.key, "what was measured on the others is in the key"
    assert ended(world, again)["what"] == "done"


def ended(world: World, step) -> dict:
    """Run one step in this process and return its last event."""
    told: list[dict] = []
    run_step(json.loads(json.dumps(step.to_json())), str(world.results / "artifacts"), told.append)
    return told[-1]


def test_what_a_plugin_reads_may_depend_on_what_is_there(world, model, monkeypatch):
    """A path that was not there for the plan is one that has changed; so is one that is there no more."""
    options = {"gen": f"painter:folder={model.with_name('later')}", "metric": "none"}
    *_, sample, _train = chain(world, **options)
    fill(model.with_name("later"), 3)
    assert (
        ended(world, sample)["error"]
        == f"painter.py: folder={model.with_name('later')} changed since the plan; run again"
    )
    options = {"gen": f"painter:model={model}", "metric": "none"}
    *_, sample, _train = chain(world, **options)
    model.rename(model.with_name("gone"))
    assert ended(world, sample)["error"] == (
        f"{model}: cannot be read: No such file or directory; it was there when the run was planned: run again"
    )


def chain(world: World, **options) -> list:
    """Plan a run and carry out its first two steps, data and fit; return all steps."""
    steps = [step for step in world.plan(baseline=False, **options).steps.values()]
    assert [step.stage for step in steps] == ["data", "fit", "sample", "train"]
    for step in steps[:2]:
        assert ended(world, step)["what"] == "done", ended(world, step)
    return steps


# While the step runs


SWAPPED = "was touched while the step ran, and may have been something else; run again"
CHANGED = "changed since the plan; run again"
#: When the model is taken away and put back, how the step ends if it looks before each chunk is kept, with the number
#: of chunks that are kept then, and how it ends if it looks at the end alone. A chunk reads before things happen in it.
SWAPS = {
    "for good": ({"chunk 10": "away"}, CHANGED, 1, CHANGED),
    "for the last chunk": ({"chunk 20": "away", "sample ends": "back"}, CHANGED, 2, SWAPPED),
    "for one chunk": ({"chunk 10": "away", "chunk 20": "back"}, CHANGED, 1, SWAPPED),
    "within one chunk": ({"chunk 10": "both"}, SWAPPED, 1, SWAPPED),
    "without a substitute": ({"chunk 10": "gone"}, CHANGED, 1, CHANGED),
}


@pytest.mark.parametrize("always", [True, False])
@pytest.mark.parametrize("swap", SWAPS)
def test_files_that_change_while_images_are_made_leave_nothing(world, model, monkeypatch, swap, always):
    """Also when they are put back before anybody looks: nobody can say then what a chunk was made of."""
    monkeypatch.setattr(watch, "REST", 0 if always else 1e9)
    *_, sample, _train = chain(world, gen=f"painter:model={model}", metric="none")
    code = {"away": away(model), "back": back(model), "gone": f"os.rename({str(model)!r}, {str(model) + '-kept'!r})"}
    code["both"] = code["away"] + code["back"]
    moments, said, left, said_late = SWAPS[swap]
    events(monkeypatch, **{moment.replace(" ", "_"): code[what] for moment, what in moments.items()})
    event = ended(world, sample)
    assert event["what"] == "failed"
    assert event["error"] == f"{model}: {said if always else said_late}"
    assert kept(world) == [f"chunk-{place:06d}" for place in range(left if always else 0)]
    assert not Store(world.results / "artifacts").has(sample.key)
    if Path(f"{model}-kept").exists():
        if swap != "without a substitute":
            model.rename(f"{model}-wrong")
        Path(f"{model}-kept").rename(model)
    events(monkeypatch)
    assert ended(world, sample)["what"] == "done"
    store = Store(world.results / "artifacts")
    assert np.unique(ImageSet.load(store.path(sample.key)).images).tolist() == [10]
    assert store.meta(sample.key)["sampled_before_kill"] == (left if always else 0)


@pytest.mark.parametrize("touch", ["os.chmod({0!r}, 0o600)", "os.link({0!r}, {1!r})", "pass"])
def test_a_permission_or_a_hard_link_costs_nobodys_work(world, model, monkeypatch, touch):
    monkeypatch.setattr(watch, "REST", 0)
    *_, sample, _train = chain(world, gen=f"painter:model={model}", metric="none")
    events(monkeypatch, chunk_10=touch.format(str(model / "shade.txt"), str(model.with_name("linked"))))
    assert ended(world, sample)["what"] == "done"


def test_files_that_did_not_change_are_not_read_again(world, model, monkeypatch):
    """The hashes that the plan remembered serve the steps, whichever process takes them."""
    later = time.time_ns() + 3_000_000_000  # the change times are those of a moment ago
    monkeypatch.setattr(time, "time_ns", lambda: later)
    monkeypatch.setattr(watch, "REST", 0)
    options = {"gen": [f"painter:model={model}", f"painter:foundation={model}"], "metric": "none"}
    steps = world.plan(**options).steps.values()
    read, whole = [], contents.hash_file
    monkeypatch.setattr(contents, "hash_file", lambda path: read.append(path) or whole(path))
    assert [ended(world, step)["what"] for step in steps] == ["done"] * len(steps)
    assert [path for path in read if model in path.parents] == []


@pytest.mark.parametrize("put_back", [True, False])
def test_a_kill_is_as_safe_as_an_error(world, model, monkeypatch, put_back):
    """What was kept and not checked before the kill is not built on, whatever is there then."""
    *_, sample, _train = chain(world, gen=f"painter:model={model}", metric="none")
    events(monkeypatch, chunk_10=away(model), chunk_20=back(model), chunk_30="os.kill(os.getpid(), signal.SIGKILL)")
    code = (
        "import json, sys; from benchbench.running import watch, work; watch.REST = 1e9\n"
        "work.run_step(json.loads(sys.argv[1]), sys.argv[2], print)"
    )
    arguments = [json.dumps(sample.to_json()), str(world.results / "artifacts")]
    killed = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, timeout=120, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert kept(world) == ["chunk-000000", "chunk-000001", "chunk-000002"]
    events(monkeypatch)
    if not put_back:
        exec("import os\n" + away(model).replace("-kept", "-kept-again"))
        assert ended(world, sample)["error"].endswith(CHANGED)
        assert kept(world) == []
        model.rename(f"{model}-wrong-again")
        Path(f"{model}-kept-again").rename(model)
    assert ended(world, sample)["what"] == "done"
    store = Store(world.results / "artifacts")
    assert np.unique(ImageSet.load(store.path(sample.key)).images).tolist() == [10]
    assert store.meta(sample.key)["sampled_before_kill"] == 0


def test_a_note_that_cannot_be_read_costs_what_is_kept(world, model, monkeypatch):
    monkeypatch.setattr(watch, "REST", 0)
    *_, sample, _train = chain(world, gen=f"painter:model={model}", metric="none")
    events(monkeypatch, chunk_20="raise ValueError")
    assert ended(world, sample)["what"] == "failed"
    assert kept(world) == ["chunk-000000", "chunk-000001"]
    (chunk,) = (world.results / "artifacts/.partial").glob("*/chunk-000000-*")
    (chunk.parent / watch.UNCHECKED).write_text("[")
    events(monkeypatch, sample_begins="raise ValueError")
    assert ended(world, sample)["what"] == "failed"
    assert kept(world) == []


@pytest.mark.parametrize("moment", ["fit 1", "part 1"])
def test_what_a_fit_saves_was_made_from_the_right_files(world, model, monkeypatch, moment):
    monkeypatch.setattr(watch, "REST", 0)
    _data, fit, *_ = world.plan(gen=f"painter:model={model}", metric="none", baseline=False).steps.values()
    assert ended(world, _data)["what"] == "done"
    events(monkeypatch, **{moment.replace(" ", "_"): away(model)})
    assert ended(world, fit)["error"] == f"{model}: {CHANGED}"
    partial = Store(world.results / "artifacts").scratch(fit.key)
    left = {path.relative_to(partial).as_posix() for path in partial.rglob("*") if path.name[0] != "."}
    parts = {"shades.resume", "parts", "parts/part-000000", "parts/part-000000/shade.txt"}
    assert left == (parts if moment == "part 1" else set())
    exec("import os\n" + back(model))
    events(monkeypatch)
    assert ended(world, fit)["what"] == "done"


def test_other_stages_and_other_files_are_watched_too(world, model, photos, monkeypatch):
    """The photos while they are read, the file of a metric, a word list beside the plugin."""
    monkeypatch.setenv("SHADE", str(model))
    options = {"data": f"shadedata:path={photos}", "gen": "painter", "metric": "shademetric", "baseline": False}
    steps = {step.stage: step for step in world.plan(**options).steps.values()}
    words = world.folder / "words.txt"
    happens = {"data": ("load_train", photos), "sample": ("chunk_10", words), "score": ("score", model)}
    for stage in ("data", "fit", "sample", "score"):
        if stage in happens:
            moment, path = happens[stage]
            code = away(path) if path.is_dir() else f"open({str(path)!r}, 'w').write('two')"
            events(monkeypatch, **{moment: code})
            assert ended(world, steps[stage])["error"] == f"{path}: {CHANGED}", stage
            if path.is_dir():
                exec("import os\n" + back(path))
            else:
                path.write_text("one")
        events(monkeypatch)
        assert ended(world, steps[stage])["what"] == "done", stage
