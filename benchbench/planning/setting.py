"""``Setting``: one flat description of an experiment: the identity of a row, a record's part and a table's columns."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self


@dataclass(frozen=True)
class Setting:
    """What was run, whatever the draw and the seed; the rows of a table are settings.

    Attributes:
        data: spec text of the dataset, such as ``"digits"``.
        gen: spec text of the generator, such as ``"diffinv:guidance_scale=3"``.
        mix: ``"real:synthetic"`` images per group of a batch (``"0:1"``, ``"1:3"``), ``"1:0"`` for real.
        aug: spec text of the augmentation, ``"-"`` for a learner without that axis.
        learner: spec text of the learner.
        arch: architecture, ``"-"`` for a learner without that axis.
        n_real: real training images.
        n_syn: generated images, 0 for the baseline.
        shots: images per class, ``None`` for all.
        preset: ``"quick"`` or ``"paper"``.
        baseline: whether others are compared with it (trained on the real images alone).
        test: spec text of what the test images passed through, ``"-"`` for nothing.
        subset: how the real images were chosen, ``"balanced"`` or ``"groups"``.
        whole: whether all real training images were used, so that there is no other draw of them, unless the dataset
            is split anew for each draw: then the data steps of the draws differ, and draws are replicates all the same.
        control: ``""``, or what this row is there to show of the design: ``"more-real"``, ``"half-real"`` (positive)
            or ``"copies"`` (negative).
        sweep: the generator's parameters whose settings are chosen among on the validation part, joined by commas.
        more: value by name of every further axis where it is not the default, see :mod:`benchbench.planning.options`.

    """

    data: str
    gen: str
    mix: str
    aug: str
    learner: str
    arch: str
    n_real: int
    n_syn: int
    shots: int | None
    preset: str
    baseline: bool = field(default=False, kw_only=True)
    test: str = field(default="-", kw_only=True)
    subset: str = field(default="balanced", kw_only=True)
    whole: bool = field(default=False, kw_only=True)
    control: str = field(default="", kw_only=True)
    sweep: str = field(default="", kw_only=True)
    more: Mapping[str, str] = field(default_factory=dict, kw_only=True, hash=False)

    def without_paths(self) -> Self:
        """Return the setting with each absolute path in its spec texts cut to its last part."""
        texts: dict[str, Any] = {
            name: hide_paths(getattr(self, name)) for name in ("data", "gen", "aug", "learner", "test")
        }
        return dataclasses.replace(self, **texts)

    @property
    def place(self) -> tuple[Hashable, ...]:
        """Which real images: dataset, their number and choice, preset, and every further axis."""
        return self.data, self.n_real, self.shots, self.subset, self.preset, *sorted(self.more.items())

    @property
    def generation(self) -> tuple[Hashable, ...]:
        """Which generated images; settings that share it share them, draw by draw."""
        return *self.place, self.gen, self.n_syn, self.baseline

    @property
    def comparable(self) -> tuple[Hashable, ...]:
        """What a row shares with the baseline that it is compared with."""
        return *self.place, self.learner, self.arch, self.aug, self.test


@dataclass(frozen=True)
class Cell(Setting):
    """A setting with its draw and seed: one training.

    Attributes:
        draw: which few-shot draw, from 0.
        replicate: which training on that draw, from 0.
        seed: the training seed derived from all that.

    """

    draw: int
    replicate: int
    seed: int

    @property
    def setting(self) -> Setting:
        """What is left without draw and seed."""
        return Setting(**{item.name: getattr(self, item.name) for item in dataclasses.fields(Setting)})

    def to_json(self) -> dict[str, Any]:
        """Return its fields and the further axes, as ``bench plan --json`` prints them."""
        fields = {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}
        return {**fields.pop("more"), **fields}


_PATH = re.compile(r"""(?<![^\s=+:'"(\[,])(?:~?/(?!/)|[A-Za-z]:[\\/](?!/))[^\s,:;'"()\[\]+]*""")


def hide_paths(text: str) -> str:
    """Return a text with each absolute path cut to its last part: ``path=/home/me/cats`` to ``path=cats``."""

    def last(match: re.Match[str]) -> str:
        parts = [part for part in re.split(r"[\\/]", match[0]) if part]
        return parts[-1] if parts else match[0]

    return _PATH.sub(last, text)
