"""What ``fit`` leaves for ``sample``: pictures at the dataset's resolution, and the hits of each query."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

IMAGES, HITS, PICTURES, BROKEN = "images.npy", "hits.jsonl", "pictures.jsonl", "broken.jsonl"


@dataclass(frozen=True)
class Retrieved:
    """The pictures of one shard.

    Attributes:
        images: uint8 ``(P, R, R, 3)``, each distinct picture once; memory-mapped.
        pictures: for each of them ``key``, ``digest`` of the pixels as fetched, ``caption``, ``url`` and ``copy``,
            whether it equals a training image.
        hits: for each query of the shard ``[rank, picture, similarity]``, best first; broken ones left out.
        broken: ``key`` and ``reason`` of each picture that could not be had.
    """

    images: NDArray[np.uint8]
    pictures: Sequence[dict[str, Any]]
    hits: Sequence[Sequence[tuple[int, int, float]]]
    broken: Sequence[dict[str, str]]

    def save(self, folder: Path) -> None:
        """Write the four files."""
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / IMAGES, self.images, allow_pickle=False)
        write_lines(folder / PICTURES, self.pictures)
        write_lines(folder / HITS, self.hits)
        write_lines(folder / BROKEN, self.broken)

    @staticmethod
    def load(folder: Path) -> Retrieved:
        """Open what ``save`` wrote."""
        images = np.load(folder / IMAGES, mmap_mode="r", allow_pickle=False)
        hits = [
            [(int(rank), int(place), float(value)) for rank, place, value in row] for row in read_lines(folder / HITS)
        ]
        return Retrieved(images, read_lines(folder / PICTURES), hits, read_lines(folder / BROKEN))


def write_lines(path: Path, items: Sequence[Any]) -> None:
    """Write JSON values, one a line."""
    path.write_text("".join(json.dumps(item, sort_keys=True) + "\n" for item in items), "utf-8")


def read_lines(path: Path) -> list[Any]:
    """Read what :func:`write_lines` wrote."""
    return [json.loads(line) for line in path.read_text("utf-8").split("\n") if line]
