"""Stage 1: embed the real images, search the pool, fetch the pictures and bring them to the dataset's resolution."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.format import write_array_header_1_0
from numpy.typing import NDArray

from benchbench.errors import BenchError
from benchbench.models.clip.layout import clip_identity
from benchbench.plugins.context import Context
from benchbench.plugins.images import ImageSet, batches

from .pools import Backend, is_address, kind_of, open_backend
from .pools.build import index_of
from .pools.pictures import embed_pictures, fit_into, pixel_digest

if TYPE_CHECKING:
    from . import KNN

#: Queries at a time: what a kill costs, and how many are embedded at once.
PART = 16
#: The files of a part, and of what ``fit`` leaves.
IMAGES, HITS, PICTURES, BROKEN = "images.npy", "hits.jsonl", "pictures.jsonl", "broken.jsonl"
#: Mean absolute difference, of 255, below which two pictures are the same one, encoded or scaled another time.
NEAR = 2.0
#: Blocks along each side by whose sums pairs are ruled out before their pixels are compared.
BLOCKS = 4
#: Training images whose pixels are compared at a time.
CHUNK = 256


@dataclass(frozen=True)
class Retrieved:
    """What ``fit`` leaves for ``sample``: the pictures of one shard, and the hits of each query.

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

    @staticmethod
    def load(folder: Path) -> Retrieved:
        """Open what :func:`retrieve` wrote."""
        images = np.load(folder / IMAGES, mmap_mode="r", allow_pickle=False)
        return Retrieved(images, *(read_lines(folder / name) for name in (PICTURES, HITS, BROKEN)))


def retrieve(knn: KNN, train: ImageSet, context: Context) -> None:
    """Fetch the neighbours of the images ``context.shard`` and write a :class:`Retrieved`.

    Raises:
        BenchError: the pool cannot be opened or was built with another CLIP, it has fewer than ``k`` pictures, or not
            one picture of the shard could be had; one line.
    """
    from benchbench.models.clip.model import open_clip_model

    clip_folder = context.foundation(knn.clip)
    identity = {"name": knn.clip, "identity": clip_identity(clip_folder)}
    backend = _open(knn, context, clip_folder, identity)
    if backend.size is not None:
        knn.refuse_few(backend.size)
    clip, known = open_clip_model(clip_folder, knn.clip, device=context.device), TrainingImages(train.images)
    side = context.info.resolution

    def fetch(part: range, folder: Path) -> None:
        """Write the neighbours of the training images ``part``; what an earlier part has or misses is left out."""
        earlier = list(folder.parent.glob("part-*"))
        seen = {item["key"] for other in earlier for name in (PICTURES, BROKEN) for item in read_lines(other / name)}
        queries = embed_pictures(clip, [np.asarray(train.images[place]) for place in part], PART)
        answers = backend.search(queries, knn.k + knn.spare)
        wanted = {hit.key: hit for hits in answers for hit in hits if hit.key not in seen}
        images, pictures, broken = [], [], []
        for hit, pixels in zip(wanted.values(), backend.pictures(list(wanted.values())), strict=True):
            if isinstance(pixels, str):
                broken.append({"key": hit.key, "reason": pixels})
                continue
            images.append(fit_into(pixels, side, knn.resize))
            facts = {"key": hit.key, "digest": pixel_digest(pixels), "caption": hit.caption, "url": hit.url}
            # Whatever is made of it here, a dataset takes the centre square.
            pictures.append({**facts, "copy": fit_into(pixels, side, "crop") in known})
        stacked = np.stack(images) if images else np.zeros((0, side, side, 3), dtype=np.uint8)
        np.save(folder / IMAGES, stacked, allow_pickle=False)
        write_lines(folder / PICTURES, pictures)
        write_lines(folder / BROKEN, broken)
        write_lines(folder / HITS, [[[hit.key, hit.similarity] for hit in hits] for hits in answers])

    parts = [context.shard[part.start : part.stop] for part in batches(len(context.shard), PART)]
    _merge(context.resume_parts(parts, fetch, label="retrieving"), context.folder, side)
    merged = Retrieved.load(context.folder)
    context.report(
        pool=backend.describe(),
        queries=len(merged.hits),
        pictures=len(merged.pictures),
        broken=len(merged.broken),
        broken_reasons=dict(Counter(item["reason"] for item in merged.broken).most_common(10)),
        fewest_hits=min((len(row) for row in merged.hits), default=0),
    )


def _open(knn: KNN, context: Context, clip_folder: Path, identity: dict[str, str]) -> Backend:
    """Open the pool; a folder of pictures is indexed first, unless an earlier step did."""
    folder = None if is_address(knn.pool) else context.foundation(knn.pool)
    if folder is not None and kind_of(folder) == "pictures":
        index = index_of(folder, clip_folder, identity, context, f"knn:pool={knn.pool}")
        knn, folder = replace(knn, pictures=str(folder)), index
    return open_backend(knn, folder, context.scratch / "downloads", identity)


def _merge(parts: Sequence[Path], target: Path, side: int) -> None:
    """Join the parts of a shard; the images are copied from file to file, never all in memory."""
    pictures, rows, broken = (
        [item for part in parts for item in read_lines(part / name)] for name in (PICTURES, HITS, BROKEN)
    )
    place = {item["key"]: number for number, item in enumerate(pictures)}
    hits = [[[rank, place[key], value] for rank, (key, value) in enumerate(row) if key in place] for row in rows]
    if not pictures:
        why = f" ({broken[0]['key']}: {broken[0]['reason']})" if broken else ""
        raise BenchError(f"knn: not one of {len(broken)} pictures found for these images could be had{why}")
    with (target / IMAGES).open("wb") as merged:  # not through a memory map, which a full disk turns into a crash
        write_array_header_1_0(
            merged, {"descr": "|u1", "fortran_order": False, "shape": (len(pictures), side, side, 3)}
        )
        for part in parts:
            merged.write(np.load(part / IMAGES, mmap_mode="r", allow_pickle=False).data)
    write_lines(target / PICTURES, pictures)
    write_lines(target / HITS, hits)
    write_lines(target / BROKEN, broken)


class TrainingImages:
    """Answers whether a picture is one of the training images: a pool may hold the very images that query it.

    By the triangle inequality the differences of the block sums bound the difference of the pixels from below, and
    that of the whole sums bounds them in turn, so that most images are ruled out without looking at their pixels and
    no copy is missed.
    """

    def __init__(self, images: NDArray[np.uint8]) -> None:
        """Sum up the images, uint8 ``(N, R, R, 3)``."""
        self.images = images
        sums = _block_sums(images)
        self.order = np.argsort(sums.sum(axis=1), kind="stable")
        self.sums = sums[self.order]
        self.totals = self.sums.sum(axis=1)

    def __contains__(self, picture: NDArray[np.uint8]) -> bool:
        """Return whether uint8 ``(R, R, 3)`` differs from one of them by less than :data:`NEAR` on average."""
        limit = NEAR * picture.size
        (sums,) = _block_sums(picture[None])
        first, last = np.searchsorted(self.totals, (sums.sum() - limit, sums.sum() + limit))
        near = np.abs(self.sums[first:last] - sums).sum(axis=1) < limit
        rows = self.order[first:last][near]
        pixels = picture.astype(np.int16)
        for start in range(0, len(rows), CHUNK):
            others = np.stack([self.images[row] for row in rows[start : start + CHUNK]]).astype(np.int16)
            if (np.abs(others - pixels).sum(axis=(1, 2, 3), dtype=np.int64) < limit).any():
                return True
        return False


def _block_sums(images: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return the sums over blocks, int64 ``(n, blocks * blocks * 3)``, of uint8 ``(n, H, W, 3)``; a part at a time."""
    edges = [np.unique(np.arange(BLOCKS) * side // BLOCKS) for side in images.shape[1:3]]
    rows = [np.zeros((0, edges[0].size * edges[1].size * 3), dtype=np.int64)]
    for start in range(0, len(images), CHUNK):
        part = np.asarray(images[start : start + CHUNK]).astype(np.int64)
        part = np.add.reduceat(np.add.reduceat(part, edges[0], axis=1), edges[1], axis=2)
        rows.append(part.reshape(len(part), -1))
    return np.concatenate(rows)


def write_lines(path: Path, items: Sequence[Any]) -> None:
    """Write JSON values, one a line."""
    path.write_text("".join(json.dumps(item, sort_keys=True) + "\n" for item in items), "utf-8")


def read_lines(path: Path) -> list[Any]:
    """Read what :func:`write_lines` wrote."""
    return [json.loads(line) for line in path.read_text("utf-8").split("\n") if line]
