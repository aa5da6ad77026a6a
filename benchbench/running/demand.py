"""What is to run, added up and held against this machine: disk, memory, memory of the accelerator."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ..disk import free_space, same_disk, size_text
from ..files import decoded_root
from ..machine import accelerator_memory, free_memory
from ..store.store import Store, tree_size

if TYPE_CHECKING:
    from .run import Status


@dataclass(frozen=True)
class Demand:
    """What the steps to do need, and what there is of it: bytes, ``None`` where nobody knows.

    Attributes:
        folder: where they write.
        disk: images that they write there, and the most that one of them writes and removes.
        free_disk: room there.
        step: the step that holds most images at once.
        images: bytes of these images.
        memory: most memory of one step.
        free_memory: memory that is free.
        accelerator: most images that one step holds on the accelerator; 0 without one.
        accelerator_memory: memory that the accelerator has.
        streamed: trainings whose images do not fit and are read from the disk as they go.
        warning: what is short and stops nothing; mostly empty.
    """

    folder: str
    disk: int
    free_disk: int | None
    step: str
    images: int
    memory: int
    free_memory: int | None
    accelerator: int
    accelerator_memory: int | None
    streamed: int = 0
    warning: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the numbers, and the refusal under its name."""
        return asdict(self) | {"refusal": self.refusal()}

    def __str__(self) -> str:
        parts = [f"{size_text(self.disk)} of disk{_of(self.free_disk, size_text)}"]
        parts.append(f"{_gib(self.memory)} of memory for a step{_of(self.free_memory, _gib)}")
        if self.accelerator:
            parts.append(f"{_gib(self.accelerator)} of the accelerator{_of(self.accelerator_memory, _gib, 'there')}")
        if self.streamed:
            many = "1 training reads its" if self.streamed == 1 else f"{self.streamed} trainings read their"
            parts.append(f"{many} images from the disk")
        return ", ".join(parts)

    def refusal(self) -> str:
        """Return why the steps cannot be done here, empty if they can."""
        if self.free_disk is not None and self.disk > self.free_disk:
            why = f"{size_text(self.disk)} of images are to be written and {size_text(self.free_disk)} are free"
            return f"results folder {self.folder}: {why}; choose another with --results, or fewer images (--n-syn)"
        # Only what is forced to be there can be too large; every other training reads from the disk what does not fit.
        advice = "leave out images=resident or ask for fewer images"
        if self.free_memory is not None and self.images > self.free_memory:
            why = f"its images take {_gib(self.images)} of memory and {_gib(self.free_memory)} are free"
            return f"{self.step}: {why}; {advice}"
        if self.accelerator_memory is not None and self.accelerator > self.accelerator_memory:
            why = f"images of one step take {_gib(self.accelerator)} and it has {_gib(self.accelerator_memory)}"
            return f"--device cuda: the accelerator is too small: {why}; {advice}"
        return ""


def demand(status: Status, store: Store) -> Demand:
    """Add up what the steps to run need, less what earlier runs left of them and what damaged artifacts give back."""
    todo, needs = status.todo, status.needs
    read = sum(needs[key].disk for key, step in todo.items() if step.stage == "data")
    made = sum(need.disk for need in needs.values()) - read
    made -= sum(min(store.begun_size(key), need.disk) for key, need in needs.items() if need.disk)
    made -= sum(store.size(key) for key, _, _ in status.corrupt)
    decoded, warning = decoded_root(), ""
    if read and same_disk(decoded, store.root):
        read = max(read - tree_size(decoded), 0)  # these are linked
    elif read and (room := free_space(decoded)) is not None and room < read:
        warning = f"{decoded}: {size_text(room)} are free and the decoded images may take {size_text(read)}"
        warning += "; what does not fit is kept in the results folder alone"
    largest = max(todo, key=lambda key: needs[key].images, default="")
    accelerator = max((need.accelerator for need in needs.values()), default=0)
    return Demand(
        folder=str(store.root.parent),
        disk=max(made + read, 0) + max((need.temporary for need in needs.values()), default=0),
        free_disk=free_space(store.root),
        step=todo[largest].label if largest else "",
        images=needs[largest].images if largest else 0,
        memory=max((need.memory for need in needs.values()), default=0),
        free_memory=free_memory() if sys.platform == "linux" else None,
        accelerator=accelerator,
        accelerator_memory=accelerator_memory() if accelerator else None,
        streamed=sum(need.streamed > 0 for need in needs.values()),
        warning=warning,
    )


def _gib(size: float) -> str:
    return f"{size / 2**30:.1f} GiB"


def _of(have: int | None, text: Any, word: str = "free") -> str:
    return "" if have is None else f" ({text(have)} {word})"
