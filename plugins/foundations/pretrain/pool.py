"""glyph-pool: captioned images of the corpus to retrieve from, with an index of their glyph-clip embeddings.

One parquet file in the layout that img2dataset writes (`key`, `caption`, the encoded image in the column that is
named for its format), beside it the index that `bench index build` makes.
"""

import csv
import io
import shutil
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from .captions import CHARACTERS
from .corpus import Corpus
from .pictures import save_grid
from .training import Report

COUNT = 6000
#: The numbers of the corpus's batches that the pool draws; no training and no measurement does.
FIRST_CHUNK = 6_000_000
_CHUNK, _ROW_GROUP = 500, 500
SHARD = "00000.parquet"


def draw_pool(corpus: Corpus, count: int) -> list[tuple[str, str, int, bytes]]:
    """Return key, caption, character (an index into CHARACTERS) and grey PNG of `count` images."""
    rows = []
    for start in range(0, count, _CHUNK):
        batch = corpus.batch(FIRST_CHUNK + start // _CHUNK, _CHUNK)
        grey = ((batch.images[:, 0] + 1) * 127.5).round().to(torch.uint8).numpy()
        for place in range(min(_CHUNK, count - start)):
            rows.append((f"{start + place:09d}", batch.captions[place], int(batch.chars[place]), _png(grey[place])))
    return rows


def _png(pixels: NDArray[np.uint8]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "png", optimize=True)
    return stream.getvalue()


def write_pool(corpus: Corpus, clip: Path, folder: Path, report: Report, count: int = COUNT) -> None:
    """Write the pool and its index to `folder`, replacing what is there.

    Args:
        corpus: where the images come from.
        clip: folder of glyph-clip.
        folder: the pool's folder.
        report: called with lines of progress.
        count: how many images.

    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    from ...generators.knn.pools.build import build_index

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    keys, captions, _, images = zip(*draw_pool(corpus, count), strict=True)
    table = pa.table({"key": keys, "caption": captions, "png": images})
    # Small row groups, since a reader loads a whole one for each image; PNG does not compress any further.
    kinds = {"key": "zstd", "caption": "zstd", "png": "none"}
    pq.write_table(table, folder / SHARD, row_group_size=_ROW_GROUP, compression=kinds, write_statistics=False)
    report(f"pool: {count} images, {(folder / SHARD).stat().st_size / 1e6:.1f} MB")
    facts = build_index(folder, folder, clip, "glyph-clip")
    report(f"pool: index of {facts['count']} images, {facts['duplicates']} of them twice")


def document_pool(corpus: Corpus, folder: Path, count: int = COUNT) -> None:
    """Write `pool.png`, its first 192 images, and `pool_counts.csv`, its images per character, to `folder`."""
    save_grid(corpus.batch(FIRST_CHUNK, _CHUNK).images[:192], 16, folder / "pool.png")
    chars = [char for _, _, char, _ in draw_pool(corpus, count)]
    with (folder / "pool_counts.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["character", "images"])
        writer.writerows([character.name, chars.count(i)] for i, character in enumerate(CHARACTERS))
