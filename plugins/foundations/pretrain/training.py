"""What the training loops share: thread limits, checkpoints, loss logs and progress lines."""

import csv
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

Report = Callable[[str], None]


def single_thread() -> None:
    """Use one core, and wait passively for it: on a shared machine spinning threads cost a factor of five."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    torch.set_num_threads(1)


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write `state` (tensors, numbers and containers of them); a crash leaves the old file whole."""
    temporary = path.with_suffix(".tmp")
    with temporary.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def load_checkpoint(path: Path) -> dict[str, Any] | None:
    """Return what `save_checkpoint` wrote, or None when there is no file."""
    return torch.load(path, weights_only=True) if path.exists() else None


class LossLog:
    """A CSV of (step, loss, seconds), a row per `every` steps; a resumed run cuts what it will repeat."""

    def __init__(self, path: Path, steps: int, report: Report, start: int = 0, every: int = 50) -> None:
        self._path, self._steps, self._report, self._every = path, steps, report, every
        rows = []
        if start and path.exists():
            with path.open(newline="") as file:
                rows = [row for row in csv.reader(file) if row[0].isdigit() and int(row[0]) <= start]
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([["step", "loss", "seconds"], *rows])
        self._before = float(rows[-1][2]) if rows else 0.0
        self._began, self._start, self._losses, self._said = time.monotonic(), start, list[float](), 0.0

    @property
    def seconds(self) -> float:
        """Wall-clock seconds of training so far, those of resumed runs included."""
        return self._before + time.monotonic() - self._began

    def add(self, step: int, loss: float) -> None:
        """Note the loss of `step` (counted from 1)."""
        self._losses.append(loss)
        if step % self._every and step != self._steps:
            return
        mean = sum(self._losses) / len(self._losses)
        self._losses.clear()
        with self._path.open("a", newline="") as file:
            csv.writer(file).writerow([step, f"{mean:.5f}", f"{self.seconds:.1f}"])
        elapsed = time.monotonic() - self._began
        if elapsed - self._said > 15 or step == self._steps:
            self._said = elapsed
            left = elapsed / max(1, step - self._start) * (self._steps - step)
            self._report(f"step {step}/{self._steps}  loss {mean:.4f}  {elapsed:.0f} s, about {left:.0f} s left")
