"""A tiny world of file plugins without torch: a run through the real harness takes a fraction of a second.

``TOY_LOG=FILE`` in the environment has the plugins write down what they do, ``TOY_PAUSE=STAGE`` has a stage wait
half-way, so that a test can kill it there, and ``TOY_KILL=NUMBER`` kills the process at that image.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchbench.planning.options import make_request
from benchbench.planning.plan import Plan, make_plan
from benchbench.running.run import run

#: The stages of a run with all of them, and the options of a command in their folder.
STAGES = ("data", "fit", "sample", "train", "score")
_TRAINS = ("--data", "./toydata.py", "--learner", "./toylearner.py", "--arch", "a", "--mix", "0:1", "--seeds", "1")
OPTIONS = ("--gen", "./toygen.py", *_TRAINS, "--metric", "./toymetric.py")
#: Names that are no plugin file of this world.
GIVEN = ("none", "real", "more-real", "half-real", "copies")
#: Without generator and metric, in the process of the command.
BARE = (*_TRAINS, "--metric", "none", "--executor", "inline")

NOTES = """
import os, time

def note(what):
    if "TOY_LOG" in os.environ:
        with open(os.environ["TOY_LOG"], "a") as log:
            log.write(what + "\\n")

def pause(stage):
    if os.environ.get("TOY_PAUSE") == stage:
        time.sleep(60)
"""

DATA = '''
from __future__ import annotations
from dataclasses import dataclass
import numpy as np
from toynotes import pause
from benchbench import Dataset, DatasetInfo, ImageSet, param

@dataclass(frozen=True)
class ToyData(Dataset):
    """Three shades of grey."""
    per_class: int = param(PER_CLASS, low=1, help="Training images per class.")
    held_out: int = param(HELD_OUT, low=0, help="Validation images.")
    prompt: str = param("a {}", stage="sample", help="Matters to generators only.")
    cap: int = param(0, low=0, help="The cap of the paper preset, 0 for none.")
    group: int = param(0, low=0, help="Size of the authors' groups, 0 for none.")

    def info(self):
        classes = ("dark", "grey", "light")
        counts = {"train": 3 * self.per_class, "validation": self.held_out, "test": TESTS}
        shares = (0.5, 0.5, 0.5)
        limits = {"paper_cap": self.cap or None, "group_size": self.group or None}
        return DatasetInfo(
            "toy", classes, counts, (self.per_class,) * 3, 4, 4, 4, shares, shares, True, "none", **limits
        )

    def load(self, split, context):
        labels = np.arange(context.info.counts[split], dtype=np.int64) % 3
        rng = np.random.default_rng(["train", "validation", "test"].index(split))
        noise = rng.integers(0, 60, (len(labels), 4, 4, 3), dtype=np.uint8)
        pause("data")
        return ImageSet(noise + (labels * 80).astype(np.uint8)[:, None, None, None], labels, context.info.classes)
'''

GEN = '''
from __future__ import annotations
import os, signal
from dataclasses import dataclass
from pathlib import Path
import numpy as np
from toynotes import note, pause
from benchbench import Generator, ImageSet, param

@dataclass(frozen=True)
class ToyGen(Generator):
    """Real images, shifted by what fit learned."""
    strength: float = param(1.0, low=0.0, high=100.0, help="Enters fit.")
    level: int = param(2, low=0, stage="sample", help="Enters sample only.")
    parts: int = param(PARTS, low=1, help="Shards of fit.")
    fail: str = param("no", choices=("no", "fit", "sample", "memory", "count", "die"), help="Where to break.")
    model: str = param("", help="A folder whose content decides.")

    def input_paths(self):
        return (Path(self.model),) if self.model else ()

    def shards(self, train_count):
        size = -(-train_count // self.parts)
        return [range(at, min(at + size, train_count)) for at in range(0, train_count, size)]

    def fit(self, train, context):
        from toyfit import learn
        note("fit")
        if self.fail == "fit":
            raise RuntimeError("the toy broke\\nas asked")
        if self.fail == "memory":
            raise MemoryError
        if self.fail == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        (context.scratch / "half").write_text("done")
        pause("fit")
        shift = learn(train.images[list(context.shard)]) * self.strength
        (context.folder / "shift.txt").write_text(str(int(shift)))

    def sample(self, train, context):
        from toysample import move
        note("sample")
        if self.fail == "sample":
            raise ValueError("no sample today")
        shift = sum(int((folder / "shift.txt").read_text()) for folder in context.fitted)
        for chunk in context.chunks(context.n_syn, 10):
            note(f"chunk {chunk.start}")
            if os.environ.get("TOY_KILL") == str(chunk.start):
                os.kill(os.getpid(), signal.SIGKILL)
            if chunk.start:
                pause("sample")
            rng = context.rng(chunk.start)
            chosen = rng.integers(0, len(train), len(chunk) - (self.fail == "count"))
            images = move(train.images[chosen], shift + self.level)
            origins = [{"source": int(index)} for index in chosen]
            yield ImageSet(images, train.labels[chosen], train.classes, origins)

'''

FIT = '''
GAIN = 3

def learn(images):
    """Return a whole number that depends on every image."""
    return int(images.astype(int).sum()) % 5 + GAIN
'''

SAMPLE = """
import numpy as np

def move(images, by):
    return ((images.astype(int) + by) % 256).astype(np.uint8)
"""

FILTER = '''
from __future__ import annotations
from dataclasses import dataclass
from benchbench import Generator, param

@dataclass(frozen=True)
class ToyFilter(Generator):
    """Turns the images of the link before upside down."""
    needs_upstream = True
    keep: int = param(1, help="Anything.")

    def fit(self, train, context):
        (context.folder / "mean.txt").write_text(str(int(context.upstream.images.mean())))

    def sample(self, train, context):
        yield context.upstream.with_images(context.upstream.images[:, ::-1])
'''

LEARNER = '''
from __future__ import annotations
import os, signal, sys, time
from dataclasses import dataclass
import numpy as np
from toynotes import note, pause
from benchbench import Learner, TrainResult, UsageError, param

@dataclass(frozen=True)
class ToyLearner(Learner):
    """Nearest mean; some architectures misbehave."""
    axes = frozenset(AXES)
    shift: float = param(0.0, help="Moves the threshold.")

    def architectures(self, names, info):
        return ("a", "b") if tuple(names) == ("all",) else tuple(names)

    def train(self, task, context):
        note(f"train {task.arch}")
        pause("train")
        if task.arch == "boom":
            raise ValueError("boom as asked")
        if task.arch == "memory":
            raise MemoryError
        if task.arch == "leave":
            sys.exit(7)
        if task.arch == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if task.arch == "sleep":
            time.sleep(60)
        parts = [part for part in (task.real, task.synthetic) if part is not None]
        images = np.concatenate([part.images for part in parts]).mean(axis=(1, 2, 3))
        labels = np.concatenate([part.labels for part in parts])
        classes = range(len(task.info.classes))
        means = np.array([images[labels == c].mean() if (labels == c).any() else 1e9 for c in classes])
        noise = context.rng("noise").normal(0, 25, len(task.test)) + self.shift
        seen = task.test.images.mean(axis=(1, 2, 3)) + noise
        found = np.abs(seen[:, None] - means).argmin(axis=1)
        details = {"noise": np.float32(noise[0]), "real": len(task.real) if task.real else 0, "means": means}
        answers = np.eye(len(classes), dtype=np.float32)[found]
        return TrainResult(answers, 5, 50, 3, [(5, float("nan"))], details)
'''

HUB = """
    def needs(self):
        from benchbench import Requirements, UsageError
        from benchbench.plugins.locate import locate
        try:
            locate("me/model")
        except UsageError:
            return Requirements(foundations=("me/model",))
        return Requirements(packages=("no_such_package",), foundations=("me/model",))
"""

START = """
    weights: str = param("", help="A folder that architecture b starts from.")

    def foundations(self, arch, info):
        return (self.weights,) if arch == "b" else ()
"""

METRIC = '''
from __future__ import annotations
from dataclasses import dataclass
from toynotes import pause
from benchbench import Metric, param

@dataclass(frozen=True)
class ToyMetric(Metric):
    """Difference of means."""
    fail: bool = param(False, help="Raises.")
    scale: float = param(1.0, help="Multiplies.")
    least: int = param(1, help="Images that it needs.")

    every: bool = param(False, help="Compares all images.")

    def least_images(self):
        return self.least

    def compares_all(self):
        return self.every

    def score(self, real, synthetic, context):
        if self.fail:
            raise RuntimeError("no score today")
        pause("score")
        fd = abs(real.images.mean() - synthetic.images.mean()) * self.scale
        return {"fd": fd, "extractor": "mean", "n_score": len(synthetic), "n_reference": len(real)}
'''


def texts(per_class: int = 8, held_out: int = 0, tests: int = 12, parts: int = 1) -> dict[str, str]:
    """Return the files of the plugins by stem, with these sizes of the dataset and parts of a fit."""
    data = DATA.replace("PER_CLASS", str(per_class)).replace("HELD_OUT", str(held_out)).replace("TESTS", str(tests))
    found = {"toynotes": NOTES, "toydata": data, "toygen": GEN.replace("PARTS", str(parts)), "toyfit": FIT}
    found |= {"toysample": SAMPLE, "toyfilter": FILTER, "toymetric": METRIC}
    return found | {"toylearner": LEARNER.replace("AXES", '{"arch", "mix"}')}


def write_toys(folder: Path, files: dict[str, str] | None = None) -> None:
    """Write plugins into a folder; by default with validation images, and a fit in two parts."""
    for name, text in (files or texts(per_class=10, held_out=6, tests=90, parts=2)).items():
        (folder / f"{name}.py").write_text(text.lstrip(), "utf-8")


class World:
    """The plugin files in a folder, and runs with them."""

    def __init__(self, folder: Path, results: Path) -> None:
        self.folder, self.results = folder, results
        folder.mkdir(parents=True, exist_ok=True)
        self.log = results.parent / "log.txt"
        files = texts()
        files["toyplain"] = LEARNER.replace("AXES", "()")
        files["toyzero"] = files["toyplain"].replace("    axes", "    trains = False\n    axes")
        files["toyhub"] = files["toylearner"] + HUB
        files["toystart"] = files["toylearner"] + START
        write_toys(folder, files)

    def file(self, name: str) -> str:
        """Return a plugin as the command line spells it: ``toygen`` or ``toygen:level=3``."""
        stem, colon, rest = name.partition(":")
        return f"{self.folder / stem}.py{colon}{rest}"

    def options(self, **options: Any) -> dict[str, Any]:
        """Return a request's options: one generator, architecture, mix and seed, no controls, unless said otherwise."""
        given = {"gen": "toygen", "data": "toydata", "learner": "toylearner", "metric": "toymetric"} | options
        for kind in ("gen", "data", "learner", "metric"):
            names = [given[kind]] if isinstance(given[kind], str) else given[kind]
            given[kind] = [
                "+".join(name if name in GIVEN else self.file(name) for name in chain.split("+")) for chain in names
            ]
        return {"arch": "a", "n_syn": 40, "mix": "0:1", "seeds": 1, **given}

    def plan(self, **options: Any) -> Plan:
        return make_plan(make_request(self.options(**options)))

    def run(self, executor: str = "inline", workers: int | None = None, **options: Any) -> list[Any]:
        return run(results=self.results, executor=executor, workers=workers, **self.options(**options))

    def process(self, environment: dict[str, str] | None = None, executor: str = "inline", **options: Any) -> Any:
        """Start the same run in a process of its own."""
        call = {"results": str(self.results), "executor": executor, "workers": 2, **self.options(**options)}
        code = "import json, sys; from benchbench.running.run import run; run(**json.loads(sys.argv[1]))"
        command = [sys.executable, "-c", code, json.dumps(call)]
        return subprocess.Popen(command, env={**os.environ, **(environment or {})}, stderr=subprocess.PIPE)

    def executed(self) -> list[str]:
        """Return what ran since the last call, sorted."""
        found = sorted(self.log.read_text().split("\n")[:-1]) if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return found

    def files(self, *names: str) -> dict[str, bytes]:
        """Return the bytes of every file below some folders (or files) of the results."""
        every = [path for name in names for path in [self.results / name, *(self.results / name).rglob("*")]]
        return {str(path.relative_to(self.results)): path.read_bytes() for path in every if path.is_file()}

    def edit(self, name: str, old: str, new: str) -> None:
        """Change a plugin file, as somebody does who takes longer than a tick of the clock."""
        path = self.folder / f"{name}.py"
        text = path.read_text("utf-8")
        assert old in text
        stamp = path.stat().st_mtime_ns
        path.write_text(text.replace(old, new), "utf-8")
        os.utime(path, ns=(stamp + 2_000_000_000, stamp + 2_000_000_000))
