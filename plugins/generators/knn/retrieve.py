"""Stage 1: embed the real images, search the pool, fetch the pictures and bring them to the dataset's resolution."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap

from benchbench.errors import BenchError
from benchbench.models.clip.layout import clip_identity
from benchbench.plugins.context import Context
from benchbench.plugins.images import ImageSet

from ...retrieval.backend import Backend, Hit, Missing, Options, is_address, kind_of, open_backend
from ...retrieval.embed import embed_pictures, open_clip
from ...retrieval.onthefly import index_of
from ...retrieval.pictures import fit_into, pixel_digest
from .copies import TrainingImages
from .shards import BROKEN, HITS, IMAGES, PICTURES, Retrieved, read_lines, write_lines

#: Queries at a time: what a kill costs, and how many are embedded at once.
PART = 16


@dataclass(frozen=True)
class RetrievalSettings:
    """Parameters of this stage; see the plugin."""

    pool: str
    clip: str
    k: int
    spare: int
    resize: str


def retrieve(train: ImageSet, context: Context, settings: RetrievalSettings, options: Options) -> None:
    """Fetch the neighbours of the images ``context.shard`` and write a :class:`.shards.Retrieved`.

    Raises:
        BenchError: the pool cannot be opened or was built with another CLIP, it has fewer than ``k`` pictures, or not
            one picture of the shard could be had; one line.
    """
    clip_folder = context.foundation(settings.clip)
    identity = {"name": settings.clip, "identity": clip_identity(clip_folder)}
    options = replace(options, scratch=context.scratch / "downloads")
    backend = _open(context, settings, options, clip_folder, identity)
    if backend.size is not None and backend.size < settings.k:
        raise BenchError(f"knn:k={settings.k}: pool={settings.pool} has {backend.size} pictures; ask for no more")
    work = _Work(context.scratch / "parts", context.info.resolution, settings)
    parts = [
        range(start, min(start + PART, context.shard.stop))
        for start in range(context.shard.start, context.shard.stop, PART)
    ]
    clip, known = None, None
    for number, part in enumerate(context.progress(parts, label="retrieving", unit="part")):
        if not work.remembers(number):
            clip = clip or open_clip(clip_folder, settings.clip, context.device)
            queries = embed_pictures(clip, [np.asarray(train.images[place]) for place in part], PART)
            known = known or TrainingImages(train.images)
            work.do(number, queries, backend, known)
    _merge(work.folders(len(parts)), context.folder, context.info.resolution)
    _report(context, backend, settings)


def _open(
    context: Context, settings: RetrievalSettings, options: Options, clip_folder: Path, identity: dict[str, str]
) -> Backend:
    if is_address(settings.pool):
        return open_backend(settings.pool, None, identity, options)
    folder = context.foundation(settings.pool)
    if kind_of(folder) == "pictures":
        index = index_of(folder, clip_folder, identity, context, f"knn:pool={settings.pool}")
        return open_backend(settings.pool, index, identity, replace(options, pictures=folder))
    return open_backend(settings.pool, folder, identity, options)


class _Work:
    """The parts of a shard; a picture that an earlier part fetched, or failed to fetch, is not asked for again."""

    def __init__(self, folder: Path, side: int, settings: RetrievalSettings) -> None:
        self.folder, self.side, self.settings = folder, side, settings
        self.seen: set[str] = set()
        folder.mkdir(parents=True, exist_ok=True)

    def _part(self, number: int) -> Path:
        return self.folder / f"part-{number:06d}"

    def folders(self, count: int) -> list[Path]:
        return [self._part(number) for number in range(count)]

    def remembers(self, number: int) -> bool:
        """Return whether an earlier, killed run finished a part, and take note of its pictures."""
        folder = self._part(number)
        if not folder.is_dir():
            return False
        self.seen |= {item["key"] for name in (PICTURES, BROKEN) for item in read_lines(folder / name)}
        return True

    def do(
        self, number: int, queries: np.ndarray[Any, np.dtype[np.float32]], backend: Backend, known: TrainingImages
    ) -> None:
        found = backend.search(queries, self.settings.k + self.settings.spare)
        wanted: dict[str, Hit] = {}
        for hit in (hit for hits in found for hit in hits):
            if hit.key not in self.seen:
                wanted.setdefault(hit.key, hit)
        images, pictures, broken = [], [], []
        for hit, item in zip(wanted.values(), backend.pictures(list(wanted.values())), strict=True):
            if isinstance(item, Missing):
                broken.append({"key": item.key, "reason": item.reason})
                continue
            images.append(fit_into(item.pixels, self.side, self.settings.resize))
            told = {"key": hit.key, "digest": pixel_digest(item.pixels), "caption": hit.caption, "url": hit.url}
            # Whatever is made of it here, a dataset takes the centre square.
            pictures.append({**told, "copy": fit_into(item.pixels, self.side, "crop") in known})
        self.seen |= set(wanted)
        draft = self.folder / ".draft"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir()
        stacked = np.stack(images) if images else np.zeros((0, self.side, self.side, 3), dtype=np.uint8)
        np.save(draft / IMAGES, stacked, allow_pickle=False)
        write_lines(draft / PICTURES, pictures)
        write_lines(draft / BROKEN, broken)
        write_lines(draft / HITS, [[[hit.key, hit.similarity] for hit in hits] for hits in found])
        os.replace(draft, self._part(number))


def _merge(parts: Sequence[Path], target: Path, side: int) -> None:
    """Join the parts of a shard; the images are copied from file to file, never all in memory."""
    pictures = [item for part in parts for item in read_lines(part / PICTURES)]
    broken = [item for part in parts for item in read_lines(part / BROKEN)]
    place = {item["key"]: number for number, item in enumerate(pictures)}
    hits = [
        [[rank, place[key], value] for rank, (key, value) in enumerate(row) if key in place]
        for part in parts
        for row in read_lines(part / HITS)
    ]
    if not pictures:
        why = f" ({broken[0]['key']}: {broken[0]['reason']})" if broken else ""
        raise BenchError(f"knn: not one of {len(broken)} pictures found for these images could be had{why}")
    merged = open_memmap(target / IMAGES, mode="w+", dtype=np.uint8, shape=(len(pictures), side, side, 3))
    at = 0
    for images in _arrays(parts):
        merged[at : at + len(images)] = images
        at += len(images)
    merged.flush()
    write_lines(target / PICTURES, pictures)
    write_lines(target / HITS, hits)
    write_lines(target / BROKEN, broken)


def _arrays(parts: Sequence[Path]) -> Iterator[np.ndarray[Any, np.dtype[np.uint8]]]:
    for part in parts:
        yield np.load(part / IMAGES, mmap_mode="r", allow_pickle=False)


def _report(context: Context, backend: Backend, settings: RetrievalSettings) -> None:
    made = Retrieved.load(context.folder)
    reasons = Counter(item["reason"] for item in made.broken)
    context.report(
        pool=backend.describe(),
        queries=len(made.hits),
        pictures=len(made.pictures),
        broken=len(made.broken),
        broken_reasons=dict(reasons.most_common(10)),
        fewest_hits=min((len(row) for row in made.hits), default=0),
    )
