import io
import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from benchbench.models.clip.layout import clip_identity
from benchbench.models.clip.model import open_clip_model
from benchbench_plugins.foundations.glyph import GlyphCLIP, GlyphPool
from benchbench_plugins.foundations.pretrain import pool
from benchbench_plugins.foundations.pretrain.captions import CHARACTERS, caption
from benchbench_plugins.foundations.pretrain.corpus import Batch

pq = pytest.importorskip("pyarrow.parquet")
pytest.importorskip("faiss")


def batch(index, size):
    """A stand-in for the corpus: batch `index` is a pure function of its number."""
    g, rng = torch.Generator().manual_seed(index), random.Random(index)
    chars = torch.randint(0, len(CHARACTERS), (size,), generator=g)
    grey = torch.rand(size, 1, 32, 32, generator=g) * 2 - 1
    return Batch(grey.expand(-1, 3, -1, -1), chars, [caption(int(char), [], rng) for char in chars])


CORPUS = SimpleNamespace(seed=0, batch=batch)


def quiet(_line):
    """Report nothing."""


def test_images_of_a_pool_are_those_of_its_batches():
    rows = pool.draw_pool(CORPUS, 503)
    assert [key for key, *_ in rows] == [f"{i:09d}" for i in range(503)]
    second = batch(pool.FIRST_CHUNK + 1, 500)
    assert rows[502][1] == second.captions[2]
    pixels = np.asarray(Image.open(io.BytesIO(rows[502][3])))
    assert pixels.shape == (32, 32)
    assert pixels / 127.5 - 1 == pytest.approx(second.images[2, 0].numpy(), abs=0.5 / 127)


def test_pool_and_index_are_written_once_and_again_alike(tmp_path):
    for name in ("first", "second"):
        pool.write_pool(CORPUS, GlyphCLIP().folder(), tmp_path / name, quiet, count=40)
    files = sorted(path.name for path in (tmp_path / "first").iterdir())
    assert files == ["00000.parquet", "index.json", "metadata.parquet", "vectors.faiss"]
    for name in files:
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes(), name


def test_embedded_pool_holds_every_character_in_many_styles():
    folder = GlyphPool().folder()
    assert sum(path.stat().st_size for path in folder.iterdir()) < 6_000_000
    table = pq.read_table(folder / pool.SHARD)
    assert table.column_names == ["key", "caption", "png"]
    captions = table["caption"].to_pylist()
    assert len(captions) == pool.COUNT == len(set(table["png"].to_pylist()))
    for character in CHARACTERS:
        assert sum(character.name.removeprefix("digit ") in text for text in captions) >= 5, character.name
    names = {character.name.split()[1] for character in CHARACTERS[:10]}
    digits = sum(bool(names & set(text.split(",")[0].split())) for text in captions)
    assert 0.2 < digits / len(captions) < 0.5
    for style in ("bold", "handwritten", "low resolution", "on a light background", "slanted left"):
        assert sum(style in text for text in captions) > 50


def test_embedded_index_is_that_of_the_embedded_clip():
    import json

    import faiss

    folder = GlyphPool().folder()
    assert json.loads((folder / "index.json").read_text("utf-8"))["clip"] == {
        "name": "glyph-clip",
        "identity": clip_identity(GlyphCLIP().folder()),
    }
    index = faiss.read_index(str(folder / "vectors.faiss"))
    table = pq.read_table(folder / pool.SHARD).slice(100, 20).to_pylist()
    images = [np.asarray(Image.open(io.BytesIO(row["png"])).convert("RGB")) for row in table]
    rows = open_clip_model(GlyphCLIP().folder(), "glyph-clip").encode_images(np.stack(images))
    cosines, places = index.search(rows, 1)
    assert places[:, 0].tolist() == list(range(100, 120))
    assert cosines[:, 0] == pytest.approx(np.ones(20), abs=1e-4)
