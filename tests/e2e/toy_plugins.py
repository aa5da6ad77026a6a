"""Small plugins of every kind, as files: each stage of a run in milliseconds, without torch.

``TOY_PAUSE=STAGE`` in the environment makes a stage wait half-way, so that a test can kill it there.
"""

from __future__ import annotations

from pathlib import Path

#: The options that use them all.
OPTIONS = ("--gen", "./blend.py", "--data", "./shades.py", "--learner", "./means.py", "--metric", "./spread.py")
#: The same without generator and metric, in this process.
BARE = (
    "--data",
    "./shades.py",
    "--learner",
    "./means.py",
    "--arch",
    "mean",
    "--metric",
    "none",
    "--executor",
    "inline",
)
STAGES = ("data", "fit", "sample", "train", "score")

_HEAD = """
from __future__ import annotations
import json, os, time
from dataclasses import dataclass
import numpy as np
from pause import pause
from benchbench.plugins import *
"""

PAUSE = """
import os, time
def pause(stage):
    if os.environ.get("TOY_PAUSE") == stage:
        time.sleep(60)
"""

SHADES = (
    _HEAD
    + '''
@dataclass(frozen=True)
class Shades(Dataset):
    """Three shades of grey with noise."""

    noise: float = param(60.0, low=0.0, help="Standard deviation in grey levels.")

    def info(self):
        return DatasetInfo(
            name="shades", classes=("dark", "grey", "light"), counts={"train": 30, "validation": 6, "test": 90},
            class_counts=(10, 10, 10), resolution=16, classify_resolution=16, generate_resolution=16,
            mean=(0.5,) * 3, std=(0.25,) * 3, flip_keeps_class=True, foundation="glyph-sd",
        )

    def load(self, split, context):
        labels = np.arange(self.info().counts[split], dtype=np.int64) % 3
        rng = np.random.default_rng(len(labels))
        pixels = 60 + 60 * labels[:, None] + rng.normal(0, self.noise, (len(labels), 1))
        images = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)[:, :, None, None] * np.ones((1, 16, 16, 3), np.uint8)
        images[:, 0, 0] = np.arange(len(labels))[:, None]  # no two images are alike,
        images[:, 0, 1] = len(labels)  # in no two parts
        pause("data")
        return ImageSet(images, labels, self.info().classes, [{"source": i} for i in range(len(labels))])
'''
)

BLEND = (
    _HEAD
    + '''
from levels import LEVEL

@dataclass(frozen=True)
class Blend(Generator):
    """Each real image, brighter or darker."""

    strength: float = param(5.0, low=0.0, high=100.0, stage="sample", help="Grey levels to add at most.")
    fail: str = param("no", choices=("no", "fit", "sample", "memory", "count", "die"), help="Where to break.")

    def shards(self, train_count):
        return (range(0, train_count // 2), range(train_count // 2, train_count))

    def fit(self, train, context):
        if self.fail == "fit":
            raise RuntimeError("the toy broke\\nas it was told")
        if self.fail == "memory":
            raise MemoryError
        if self.fail == "die":
            os.kill(os.getpid(), 9)
        half = context.scratch / "half"
        half.write_text("done")
        pause("fit")
        means = [float(train.images[i].mean()) for i in context.shard]
        (context.folder / "means.json").write_text(json.dumps(means))

    def sample(self, train, context):
        if self.fail == "sample":
            raise ValueError("no sample today")
        for place, chunk in enumerate(context.chunks(context.n_syn, 10)):
            if place == 1:
                pause("sample")
            source = np.array([i % len(train) for i in chunk])
            shift = context.rng(chunk.start).uniform(-1, 1, (len(chunk), 1, 1, 1)) * self.strength + LEVEL
            images = np.clip(train.images[source] + shift, 0, 255).astype(np.uint8)
            kept = len(chunk) - (self.fail == "count")
            part = ImageSet(images, train.labels[source], train.classes, [{"source": int(i)} for i in source])
            yield part.subset(np.arange(kept))
'''
)

LEVELS = "LEVEL = 1\n"

MEANS = (
    _HEAD
    + '''
@dataclass(frozen=True)
class Means(Learner):
    """The class whose mean grey is nearest, of a few images chosen by the seed."""

    axes = frozenset({"arch", "mix"})
    images: int = param(9, low=1, help="How many images to look at.")

    def architectures(self, names, info):
        return tuple(name for one in names for name in (("mean", "median") if one == "all" else (one,)))

    def train(self, task, context):
        pause("train")
        sets = [images for images in (task.real, task.synthetic) if images is not None]
        grey = np.concatenate([np.asarray(s.images).mean(axis=(1, 2, 3)) for s in sets])
        labels = np.concatenate([s.labels for s in sets])
        chosen = context.rng("images").permutation(len(labels))[: max(self.images, 3)]
        classes = len(task.info.classes)
        chosen = np.concatenate([chosen, [np.flatnonzero(labels == c)[0] for c in range(classes)]])
        middle = np.median if task.arch == "median" else np.mean
        centres = np.array([middle(grey[chosen][labels[chosen] == c]) for c in range(classes)])
        found = np.abs(np.asarray(task.test.images).mean(axis=(1, 2, 3))[:, None] - centres).argmin(axis=1)
        return TrainResult(np.eye(classes, dtype=np.float32)[found], steps=1, images_seen=len(labels), parameters=3)
'''
)

SPREAD = (
    _HEAD
    + '''
@dataclass(frozen=True)
class Spread(Metric):
    """Difference of mean greys, squared."""

    def score(self, real, synthetic, context):
        pause("score")
        distance = float(np.mean(real.images) - np.mean(synthetic.images)) ** 2
        return {"fd": distance, "extractor": "mean-grey", "n_score": len(synthetic), "n_reference": len(real)}
'''
)

FILES = {
    "pause.py": PAUSE,
    "levels.py": LEVELS,
    "shades.py": SHADES,
    "blend.py": BLEND,
    "means.py": MEANS,
    "spread.py": SPREAD,
}


def write(folder: Path) -> None:
    """Write the plugins into a folder."""
    for name, source in FILES.items():
        (folder / name).write_text(source.lstrip(), "utf-8")
