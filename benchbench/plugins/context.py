"""``Context``: what the harness hands to a plugin's method while a step runs."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ..files import atomic_file, is_whole, one_step_folder, safe_name
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
        precision: ``"fp32"``, ``"tf32"`` (the harness has set it), ``"bf16"`` for mixed precision, or, where nothing
            is learned, ``"fp16"``.
        folder: an empty folder; what is written there is published when the step ends well.
        scratch: a folder that survives a kill; deleted when the step is published.
        info: the dataset.
        preset: ``"quick"`` or ``"paper"``.
        n_syn: how many images ``sample`` has to make.
        shard: which training images this ``fit`` owns.
        fitted: folders that the shards of ``fit`` wrote, in order.
        reference: the folder that ``reference`` of this metric wrote, for ``score``; ``None`` without that method.
        upstream: the images that the generator before this one made, in a chain of generators.
        rest: the real training images outside the subset, for the ``sample`` of a control that declares ``reads_rest``.
        completed: chunks of ``sample`` that an earlier, killed run finished.
        skipped: chunks of ``sample`` that this run did not make again.
        facts: what ``report`` was given.
        emit: where events go.
        foundations: folder of each foundation that the plugin declared, by the name it used.
        save_every: seconds after which ``resume`` saves again; 0 to save after every item.
        before_keeping: called with a path below ``scratch`` before anything appears there that a next run builds on;
            raises when it must not, because a file that the step reads changed. ``resume``, ``resume_parts`` and the
            training loop call it; so does a plugin that keeps work in ``scratch`` by itself.
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
    reference: Path | None = None
    upstream: ImageSet | None = None
    rest: ImageSet | None = None
    completed: int = 0
    skipped: int = 0
    facts: dict[str, Any] = field(default_factory=dict)
    emit: Emit = lambda event: None
    foundations: dict[str, Path] = field(default_factory=dict)
    save_every: float = 30.0
    before_keeping: Callable[[Path], None] = lambda path: None
    _labels: set[str] = field(default_factory=set, init=False, repr=False)

    def foundation(self, name: str) -> Path:
        """Return the folder of a foundation: an embedded name, a local folder or a hub id that is on this machine."""
        if name not in self.foundations:
            from .locate import locate

            self.foundations[name] = locate(name)
        return self.foundations[name]

    def rng(self, *names: Any) -> np.random.Generator:
        """Return a NumPy generator seeded from this step's seed and ``names``."""
        import numpy as np

        return np.random.default_rng(derive_seed(self.seed, *names))

    def torch_rng(self, *names: Any, device: str = "cpu") -> torch.Generator:
        """Return a torch generator seeded from this step's seed and ``names``.

        Draw on the CPU and move what was drawn: another device has other streams, and so would make other images.
        """
        import torch

        return torch.Generator(device=device).manual_seed(derive_seed(self.seed, *names))

    def progress(self, items: Iterable[T], total: int | None = None, label: str = "", unit: str = "it") -> Iterator[T]:
        """Yield ``items``, reporting how far it is; costs nothing measurable below 10,000 items a second."""
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

        They are what a reader of the number should know: how many images a filter dropped, which links were dead.
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

    def resume(
        self, items: Iterable[T], *state: Any, total: int | None = None, label: str = "fitting", unit: str = "step"
    ) -> Iterator[T]:
        """Yield the ``items`` that a killed run has not finished, with progress, and save ``state`` on the way.

        One line makes the loop of a ``fit`` survive a kill::

            for step in context.resume(range(self.steps), network, optimizer, losses):
                ...

        ``state`` is saved in ``scratch`` every ``save_every`` seconds and after the last item. The next run restores
        it, in place, and continues with the item after it. So whatever an item changes and a later one reads belongs
        into ``state``. Draw random numbers from ``rng`` or ``torch_rng`` by the item's name, or from a generator
        that is in ``state``; then ``fit`` writes the same bytes with a kill and without.

        Args:
            items: the work in order, the same in every run.
            state: what the items change: torch tensors, NumPy arrays, generators of either, lists and dictionaries
                (of numbers, texts, tensors and such lists), and whatever has ``state_dict`` and ``load_state_dict``,
                as modules, optimisers and schedulers have. Made before the loop as in a first run.
            total: how many items there are, if they have no length.
            label: what progress calls the loop; another one for each loop of a step.
            unit: what progress calls an item.

        Raises:
            ValueError: two loops of one step have one label.
            TypeError: something in ``state`` cannot be saved.
        """
        self._once(label)
        file = self.scratch / f"{safe_name(label)}.resume"
        if total is None:
            total = len(items)  # type: ignore[arg-type]
        # What was computed on another device or in another precision is not continued: its bytes would be neither's.
        identity = [self.seed, self.device, self.precision, total]
        done, saved_at = _restore(file, state, identity), time.monotonic()
        for place, item in enumerate(self.progress(items, total=total, label=label, unit=unit)):
            if place < done:
                continue
            yield item
            if place + 1 == total or time.monotonic() - saved_at >= self.save_every:
                self.before_keeping(file)
                _save(file, place + 1, state, identity)
                saved_at = time.monotonic()

    def resume_parts(
        self, items: Sequence[T], make: Callable[[T, Path], None], *, label: str = "fitting", unit: str = "part"
    ) -> list[Path]:
        """Have ``make(item, folder)`` fill an empty folder for each item; return the folders in order.

        The sibling of :meth:`resume` for results that do not fit into memory: each item has a folder in ``scratch``,
        and an item whose folder a killed run finished is not made again.

        Args:
            items: the work in order, the same in every run; an item reads nothing that an earlier one left in memory.
            make: writes the results of one item.
            label: what progress calls the loop; another one for each loop of a step.
            unit: what progress calls an item.

        Raises:
            ValueError: two loops of one step have one label.
        """
        self._once(label)
        folders = []
        for place, item in enumerate(self.progress(items, label=label, unit=unit)):
            folders.append(self.scratch / safe_name(label) / f"part-{place:06d}")
            if not is_whole(folders[-1]):
                with one_step_folder(folders[-1]) as draft:
                    make(item, draft)
                    self.before_keeping(folders[-1])
        return folders

    def _once(self, label: str) -> None:
        if label in self._labels:
            raise ValueError(f"two loops that resume are called {label!r}; give each its own label=")
        self._labels.add(label)


def _save(file: Path, done: int, state: Sequence[Any], identity: list[Any]) -> None:
    """Write the number of finished items and the state at once: a kill leaves the old file or the new one."""
    import torch

    file.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(file) as stream:
        torch.save({"identity": identity, "done": done, "state": [_saved(part) for part in state]}, stream)


def _restore(file: Path, state: Sequence[Any], identity: list[Any]) -> int:
    """Set ``state`` to what :func:`_save` wrote and return how many items are finished, 0 without a file of its own."""
    import numpy as np
    import torch

    try:
        kept = torch.load(file, map_location="cpu", weights_only=True)
        done, parts = int(kept["done"]), list(kept["state"])
    except Exception:  # no file yet; a damaged one costs the items in it, not the run, whatever the reader trips over
        return 0
    if kept.get("identity") != identity:
        return 0
    for part, saved in zip(state, parts, strict=True):
        if isinstance(part, torch.Tensor):
            with torch.no_grad():
                part.copy_(saved)
        elif isinstance(part, np.ndarray):
            part[...] = saved.numpy()
        elif isinstance(part, torch.Generator):
            part.set_state(saved)
        elif isinstance(part, np.random.Generator):
            part.bit_generator.state = saved
        elif isinstance(part, list):
            part[:] = saved
        elif isinstance(part, dict):
            part.clear()
            part.update(saved)
        else:
            part.load_state_dict(saved)
    return done


def _saved(part: Any) -> Any:
    """Return one part of a state as tensors and plain values, which are read without running any code."""
    import numpy as np
    import torch

    if isinstance(part, torch.Tensor):
        return part.detach()
    if isinstance(part, np.ndarray):
        return torch.from_numpy(np.ascontiguousarray(part))
    if isinstance(part, torch.Generator):
        return part.get_state()
    if isinstance(part, np.random.Generator):
        return _plain(part.bit_generator.state)
    if isinstance(part, (list, dict)):
        return _plain(part)
    if not hasattr(part, "state_dict"):  # a number, say, which could not be restored in place
        raise TypeError(f"context.resume cannot save a {type(part).__name__} as state; put it into a list or an array")
    return _plain(part.state_dict())


def _plain(value: Any) -> Any:
    import torch

    if isinstance(value, dict):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_plain(item) for item in value)
    if value is None or isinstance(value, (bool, torch.Tensor)):
        return value
    for kind in (int, float, str):
        if isinstance(value, kind):  # NumPy's float64 is a float too, and would not be read back
            return kind(value)
    raise TypeError(f"context.resume cannot save a {type(value).__name__} inside of its state; make it a tensor")
