"""What steps need of a machine, from the images that they work on: disk, memory, memory of the accelerator.

All numbers are bytes. What a plugin keeps beside images (weights, features, embeddings) is not counted, except for the
memory that it declares itself.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Mapping
from functools import cached_property
from typing import Any, NamedTuple

from ..machine import LIBRARIES, WORKER, training_room
from .resolved import instantiate
from .steps import Step, info_from_json


class Need(NamedTuple):
    """What one step needs.

    Attributes:
        disk: images that it leaves in the store.
        temporary: images that it writes there while it runs.
        images: images that it holds in memory at once; what it reads from the disk as it goes does not count.
        memory: of the worker that runs it: its libraries and images, or what its plugin declares.
        accelerator: images that it holds on the accelerator, 0 without one.
        streamed: images of a training that do not fit and are read from the disk as it goes.
    """

    disk: int
    temporary: int
    images: int
    memory: int
    accelerator: int
    streamed: int = 0


class _Facts(NamedTuple):
    """What a plugin says of itself: whether it trains, at which side in px, with which room, and its memory."""

    trains: bool
    side: int
    room: float | None
    memory: int


class Needs:
    """What each step of a plan needs."""

    def __init__(self, steps: Mapping[str, Step], device: str) -> None:
        """Take all steps of a plan, and the device that they compute on."""
        self.steps, self.device = steps, device
        self._facts: dict[str, _Facts] = {}

    @cached_property
    def room(self) -> int:
        """Bytes that the images of one training may take on the device."""
        return training_room(self.device)

    @cached_property
    def copies(self) -> int:
        """Bytes up to which a copy of some of the images is held in memory; a larger one is written to the disk."""
        return training_room("cpu") // 2

    def of(self, step: Step) -> Need:
        """Return what a step needs."""
        info, body, plugin = step.run["info"], step.body, self._plugin(step)
        size = self._size(step, plugin) if step.stage == "train" and plugin.trains else 0
        trained = int(min(size, self.room if plugin.room is None else plugin.room))  # no more is held at once
        accelerator = trained if self.device == "cuda" else 0  # they go there block by block
        copies = [count * _pixels(info["resolution"]) for count in _copied(step.stage, body, info)]
        images = trained - accelerator + sum(copy for copy in copies if copy <= self.copies)
        temporary = sum(copy for copy in copies if copy > self.copies)
        memory = max(WORKER, LIBRARIES + images, plugin.memory)
        return Need(images_on_disk(step.stage, body, info), temporary, images, memory, accelerator, size - trained)

    def _size(self, step: Step, plugin: _Facts) -> int:
        """Return the bytes of the images of a training and its test."""
        info, body = step.run["info"], step.body
        count = _of_subset(body["subset"], info) if body["mix"][0] else 0
        if body["synthetic"]:
            count += self.steps[body["synthetic"]].body["n_syn"]
        return int(count + info["counts"]["test"]) * _pixels(plugin.side)

    def _plugin(self, step: Step) -> _Facts:
        """Ask the plugin of a step once; a mistake in an answer must not keep anybody from a run."""
        location, info = step.run.get("plugin", step.run["dataset"]), step.run["info"]
        name = json.dumps([location["kind"], location["target"], location["file"], location["values"], info["name"]])
        if name not in self._facts:
            side, memory, trains, room = info["classify_resolution"], 0.0, True, None
            with contextlib.suppress(Exception):
                plugin = instantiate(location)
                memory = plugin.needs().memory_gib
                if step.stage == "train":
                    # A learner of networks lets its user force where images are, under this name.
                    room = {"resident": math.inf, "streamed": 0.0}.get(getattr(plugin, "images", ""))
                    trains, side = plugin.trains, plugin.train_resolution(info_from_json(info))
            self._facts[name] = _Facts(trains, side, room, int(memory * 2**30))
        return self._facts[name]


def images_on_disk(stage: str, body: Mapping[str, Any], info: Mapping[str, Any]) -> int:
    """Return the bytes of the images that a step leaves in the store.

    Args:
        stage: of the step.
        body: of the step.
        info: the dataset's facts as JSON.
    """
    counts = info["counts"]
    count = {
        "data": sum(counts.values()),
        "sample": body.get("n_syn", 0),
        "transform": counts.get(body.get("split"), 0),
    }.get(stage, 0)
    return int(count) * _pixels(info["resolution"])


def _copied(stage: str, body: Mapping[str, Any], info: Mapping[str, Any]) -> list[int]:
    """Return how many images are in each copy that a step makes of some of a set; a whole set stays where it is."""
    total = int(sum(info["class_counts"]))
    if stage == "reference":
        return [total - body["left_out"]["images"]] if body["left_out"] else []
    if stage == "score":
        return [body["images"]] if body["synthetic"] else [body["images"], total - body["images"]]
    return [_of_subset(body["subset"], info), body.get("rest", 0)] if body.get("subset") else []


def _of_subset(subset: Mapping[str, Any] | None, info: Mapping[str, Any]) -> int:
    """Return how many real images a step may use, ``None`` for all of the training part."""
    if subset is None:
        return int(sum(info["class_counts"]))
    return int(subset["n_real"] if subset["shots"] is None else subset["shots"] * len(info["classes"]))


def _pixels(side: int) -> int:
    return 3 * side * side
