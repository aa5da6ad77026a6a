"""``Context``: what the harness hands to a plugin's method while a step runs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from .images import batches

if TYPE_CHECKING:
    import numpy as np
    import torch

    from . import DatasetInfo
    from .images import ImageSet

T = TypeVar("T")

#: An event of a running step: ``{"what": "progress" | "log", ...}``; JSON only, since it crosses processes.
Emit = Callable[[dict[str, Any]], None]


def derive_seed(*parts: Any) -> int:
    """Return a seed in [0, 2**63) from the text of its parts; the same everywhere and for ever."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


@dataclass
class Context:
    """The surroundings of one step.

    Attributes:
        seed: derived from the spec; derive everything random from it through ``rng`` or ``torch_rng``.
        device: ``"cpu"`` or ``"cuda"``.
        precision: ``"fp32"``, or ``"bf16"`` for mixed precision.
        folder: an empty folder; what is written there is published when the step ends well.
        scratch: a folder that survives a kill; deleted when the step is published.
        info: the dataset.
        preset: ``"quick"`` or ``"paper"``.
        n_syn: how many images ``sample`` has to make.
        shard: which training images this ``fit`` owns.
        fitted: folders that the shards of ``fit`` wrote, in order.
        upstream: the images of the link before, in a chain of generators.
        completed: chunks of ``sample`` that an earlier, killed run finished.
        facts: what ``report`` was told.
        emit: where events go.
        foundations: folder of each foundation that the plugin declared, by the name it used.
    """

    seed: int
    folder: Path
    scratch: Path
    info: DatasetInfo
    device: str = "cpu"
    precision: str = "fp32"
    preset: str = "quick"
    n_syn: int = 0
    shard: range = range(0)
    fitted: tuple[Path, ...] = ()
    upstream: ImageSet | None = None
    completed: int = 0
    skipped: int = 0
    facts: dict[str, Any] = field(default_factory=dict)
    emit: Emit = lambda event: None
    foundations: dict[str, Path] = field(default_factory=dict)

    def foundation(self, name: str) -> Path:
        """Return the folder of a foundation: an embedded name, a local folder or a hub id that is on this machine."""
        if name not in self.foundations:
            from .locate import locate

            self.foundations[name] = locate(name).folder
        return self.foundations[name]

    def rng(self, *names: Any) -> np.random.Generator:
        """Return a NumPy generator seeded from this step's seed and ``names``."""
        import numpy as np

        return np.random.default_rng(derive_seed(self.seed, *names))

    def torch_rng(self, *names: Any, device: str = "cpu") -> torch.Generator:
        """Return a torch generator seeded from this step's seed and ``names``."""
        import torch

        return torch.Generator(device=device).manual_seed(derive_seed(self.seed, *names))

    def progress(self, items: Iterable[T], total: int | None = None, label: str = "", unit: str = "it") -> Iterator[T]:
        """Yield ``items``, reporting how far it is; costs nothing measurable below 10,000 items a second."""
        import time

        if total is None:
            total = len(items)  # type: ignore[arg-type]
        last = 0.0
        for done, item in enumerate(items):
            now = time.monotonic()
            if now - last > 0.2:
                self.emit({"what": "progress", "label": label, "done": done, "total": total, "unit": unit})
                last = now
            yield item
        self.emit({"what": "progress", "label": label, "done": total, "total": total, "unit": unit})

    def log(self, text: str) -> None:
        """Print one line above the progress bars."""
        self.emit({"what": "log", "text": text})

    def report(self, **facts: Any) -> None:
        """Keep facts about this step, JSON values, with its result and in the records that rest on it.

        For what a reader of the number should know: how many images a filter dropped, which links were dead.
        """
        self.facts.update(facts)

    def chunks(self, total: int, size: int, label: str = "sampling") -> Iterator[range]:
        """Yield the ranges of ``range(total)`` that a killed run has not finished yet, with progress."""
        every = list(batches(total, size))
        self.skipped = min(self.completed, len(every))
        for done, chunk in enumerate(every):
            self.emit({"what": "progress", "label": label, "done": chunk.start, "total": total, "unit": "img"})
            if done >= self.skipped:
                yield chunk
        self.emit({"what": "progress", "label": label, "done": total, "total": total, "unit": "img"})
