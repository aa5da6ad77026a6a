"""What a plan is made of: generations, subsets, and the cells that pair them with a training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import UsageError
from ..plugins.catalog import reason
from ..plugins.metric import Column
from .chains import aug_text
from .resolved import ResolvedPlugin
from .setting import Cell
from .steps import Step, digest


@dataclass(frozen=True)
class PlannedCell:
    """One setting of the benchmark with its draw and seed: a leaf of the plan.

    Attributes:
        setting: the cell as records and tables show it.
        spec_id: hash of the setting without draw, seed and code.
        train: key of the training step.
        data: key of the dataset's step.
        fit: keys of every ``fit`` shard that it uses.
        sample: keys of every link's images that it uses.
        score: key of each metric's step by the metric's spelling.
        reference: keys of what metrics know of the real images alone.
        code: fingerprint by stage.
        transform: key of the transformed test images, if they are.
        columns: columns of each metric by its spelling.
        notes: facts about the dataset for the record.
    """

    setting: Cell
    spec_id: str
    train: str
    data: str
    fit: tuple[str, ...]
    sample: tuple[str, ...]
    score: dict[str, str]
    code: dict[str, str]
    transform: str | None = None
    reference: tuple[str, ...] = ()
    columns: Mapping[str, tuple[Column, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def steps(self) -> dict[str, list[str]]:
        """Keys by stage."""
        return {
            "data": [self.data],
            "fit": list(self.fit),
            "sample": list(self.sample),
            "transform": [self.transform] if self.transform else [],
            "train": [self.train],
            "reference": sorted(self.reference),
            "score": sorted(self.score.values()),
        }


@dataclass(frozen=True)
class Generation:
    """A chain of generators on one subset: its images, or the real subset itself."""

    chain: tuple[ResolvedPlugin, ...]
    is_real: bool
    n_syn: int
    fit: tuple[str, ...] = ()
    sample: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The chain as the command line spells it."""
        return "+".join(link.text for link in self.chain)

    @property
    def control(self) -> str:
        """What kind of control it is: a chain that begins with one is one too; empty for what is generated."""
        return next((link.plugin.control for link in self.chain if link.plugin.control), "")


@dataclass(frozen=True)
class Transform:
    """What the test images pass through before they are classified; without a key, nothing."""

    text: str
    sentence: dict[str, Any] | None
    code: str | None
    key: str | None


@dataclass(frozen=True)
class Subset:
    """Which real training images a cell may use, and how many (``rest``) there are beside them.

    ``group_size`` matters to the rule ``groups`` alone.
    """

    shots: int | None
    n_real: int | None
    draw: int
    count: int
    rest: int
    rule: str = "balanced"
    group_size: int | None = None

    @property
    def whole(self) -> bool:
        """Whether the whole training part was asked for; by number one may ask for all of it too."""
        return self.shots is None and self.n_real is None

    def body(self) -> dict[str, Any] | None:
        """Return what enters keys; ``None`` for the whole training part."""
        if self.whole:
            return None
        body: dict[str, Any] = {"shots": self.shots, "n_real": self.n_real, "draw": self.draw}
        if self.rule != "balanced":
            body |= {"rule": self.rule, "group_size": self.group_size}
        return body


@dataclass(frozen=True)
class Training:
    """One training of a plan: everything that its cell's sentence names."""

    generation: Generation
    subset: Subset
    learner: ResolvedPlugin
    aug: tuple[ResolvedPlugin, ...]
    arch: str | None
    mix: tuple[int, int]
    test: Transform
    replicate: int
    more: Mapping[str, str] = field(default_factory=dict)
    sweep: str = ""


def label_of(training: Training, where: str, several_augs: bool) -> str:
    """Return what people read of a training while it runs.

    Args:
        training: what is trained.
        where: the real images that it rests on, as `` 5-shot digits draw 2``; empty where none are trained on.
        several_augs: whether there are trainings that differ in nothing but their augmentation.
    """
    what = f"{training.arch or training.learner.name} on {training.generation.text}{where}"
    what += f", mix {training.mix[0]}:{training.mix[1]}" if all(training.mix) else ""
    what += f", {aug_text(training.aug)}" if training.aug and several_augs else ""
    what += f", tested through {training.test.text}" if training.test.key else ""
    what += "".join(f", {name} {value}" for name, value in training.more.items())
    return f"train {what}, seed {training.replicate + 1}"


def make_cell(
    training: Training,
    step: Step,
    data: ResolvedPlugin,
    data_key: str,
    scores: dict[str, str],
    setting: tuple[str, str],
) -> PlannedCell:
    """Return the cell of a training: its setting, its identity, its keys and its code.

    Args:
        training: what is trained.
        step: its step.
        data: the dataset.
        data_key: key of the dataset's step.
        scores: key of each metric's step by the metric's spelling.
        setting: preset and precision.
    """
    preset, precision = setting
    generation, test, subset = training.generation, training.test, training.subset
    shared: dict[str, Any] = {
        "preset": preset,
        "n_real": subset.count,
        "n_syn": generation.n_syn,
        "shots": subset.shots,
    }
    cell = Cell(
        **shared,
        data=data.text,
        gen=generation.text,
        baseline=generation.is_real,
        mix=f"{training.mix[0]}:{training.mix[1]}",
        aug=aug_text(training.aug),
        learner=training.learner.text,
        arch=training.arch or "-",
        test=test.text,
        draw=subset.draw,
        replicate=training.replicate,
        seed=step.body["seed"],
        subset=subset.rule,
        whole=not subset.rest,
        control=generation.control,
        more=training.more,
        sweep=training.sweep,
    )
    # Identity is what the texts of the setting stand for: values in full, files by their content.
    identity = shared | {
        "data": data.sentence() | {"external": data.input_hashes},
        "gen": [link.sentence() for link in generation.chain],
        "mix": list(training.mix),
        "aug": [link.sentence() for link in training.aug],
        "learner": training.learner.sentence(),
        "arch": training.arch,
        "precision": precision,
    }
    if subset.rule != "balanced":
        identity["subset"] = subset.rule
    if test.key:
        identity["test"] = test.sentence
    identity |= {name: given for name in ("more", "sweep") if (given := getattr(training, name))}
    keys = (step.key, data_key, generation.fit, generation.sample)
    return PlannedCell(cell, digest(identity)[:16], *keys, scores, _code(training, data), test.key)


def _code(training: Training, data: ResolvedPlugin) -> dict[str, str]:
    code = {"data": data.code("data"), "train": training.learner.code("train")}
    for link in training.generation.chain if not training.generation.is_real else ():
        for stage in ("fit", "sample") if link.plugin.has_fit else ("sample",):
            code[f"{stage} {link.name}"] = link.code(stage)
    code |= {f"aug {link.name}": link.code("train") for link in training.aug}
    return code | ({"transform": training.test.code} if training.test.code else {})


def columns_of(metric: ResolvedPlugin) -> tuple[Column, ...]:
    """Return the columns that a metric declares; records keep them, so that a wrong one must not get there.

    Raises:
        UsageError: they are no list of columns, or one is called ``error``.
    """
    try:
        columns = tuple(metric.plugin.columns())
    except Exception as error:
        raise UsageError(f"{metric.text}: columns failed: {reason(error)}") from error
    if wrong := [column for column in columns if not isinstance(column, Column)]:
        raise UsageError(f"{metric.text}: columns must return a list of Column; got {wrong[0]!r}")
    if any(column.key == "error" for column in columns):  # records keep there why a metric failed
        raise UsageError(f"{metric.text}: columns must not call a number 'error'")
    return columns
