import io
import json
import os
import shutil
import signal
import struct
import sys
import tarfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from limits import small_disk
from PIL import Image
from pools import encoded, noise, write_folder, write_parquet, write_tar, write_webdataset

from benchbench.errors import BenchError, MissingError, UsageError
from benchbench.models.clip import model as clip_module
from benchbench.models.clip.model import open_clip_model
from benchbench_plugins.generators.knn import KNN
from benchbench_plugins.generators.knn.pools import build as build_module
from benchbench_plugins.generators.knn.pools import open_backend
from benchbench_plugins.generators.knn.pools.build import build_index
from benchbench_plugins.generators.knn.pools.pictures import embed_pictures

WRITERS = {"folder": write_folder, "webdataset": write_webdataset, "parquet": write_parquet}


def build(pool, out, clip, **options):
    return build_index(Path(pool), Path(out), clip, "mine", batch=4, **options)


def opened(index, clip=None, **values):
    return open_backend(KNN(pool="mine", **values), index, index / "scratch", clip)


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


@pytest.mark.parametrize("kind", WRITERS)
def test_search_is_brute_force_over_the_pictures_of_any_format(tmp_path, clip, kind):
    pictures = noise(11)
    pool = WRITERS[kind](tmp_path / "pool", pictures)
    facts = build(pool, tmp_path / "index", clip)
    assert (facts["count"], facts["source"]["kind"], facts["width"]) == (11, kind, 24)
    model = open_clip_model(clip, "mine")
    rows, queries = embed_pictures(model, list(pictures), 4), embed_pictures(model, list(noise(5, seed=1)), 4)
    cosines = queries @ rows.T
    backend = opened(tmp_path / "index")
    found = backend.search(queries, 4)
    for row, hits in zip(cosines, found, strict=True):
        assert [hit.similarity for hit in hits] == pytest.approx(sorted(row, reverse=True)[:4], abs=1e-6)
        best = np.argsort(-row)[:4]
        for place, picture in zip(best, backend.pictures(hits), strict=True):
            np.testing.assert_array_equal(picture, pictures[place])


@pytest.mark.parametrize("kind", WRITERS)
def test_captions_come_from_where_the_format_keeps_them(tmp_path, clip, kind):
    pool = WRITERS[kind](tmp_path / "pool", noise(6))
    facts = build(pool, tmp_path / "index", clip)
    assert facts["captions"] == (3 if kind == "folder" else 6)
    query = embed_pictures(open_clip_model(clip, "mine"), [noise(6)[4]], 1)
    (hits,) = opened(tmp_path / "index").search(query, 1)
    assert hits[0].caption == "picture 4"
    assert hits[0].similarity == pytest.approx(1, abs=1e-5)
    assert hits[0].url == ("https://example.org/4.png" if kind == "parquet" else None)
    assert build(pool, tmp_path / "bare", clip, captions=False)["captions"] == 0


def test_equal_pools_give_equal_bytes_and_a_second_build_does_nothing(tmp_path, clip, monkeypatch):
    for name in ("one", "two"):
        build(write_folder(tmp_path / name / "pool", noise(9)), tmp_path / name / "pool" / "index", clip)
    index = tmp_path / "one" / "pool" / "index"
    assert contents(index) == contents(tmp_path / "two" / "pool" / "index")
    assert set(contents(index)) == {"index.json", "metadata.parquet", "vectors.faiss"}
    assert not (index / ".building").exists()
    before = {path: path.stat().st_mtime_ns for path in index.iterdir()}
    monkeypatch.setattr(clip_module, "open_clip_model", None)  # would fail if it were opened
    assert build(tmp_path / "one" / "pool", index, clip)["built"] is False
    assert {path: path.stat().st_mtime_ns for path in index.iterdir()} == before


def test_where_a_pool_lies_is_not_part_of_its_index(tmp_path, clip):
    for name in ("a", "somewhere/else"):
        build(write_folder(tmp_path / name, noise(3)), tmp_path / f"{name}-index", clip)
    one, two = contents(tmp_path / "a-index"), contents(tmp_path / "somewhere" / "else-index")
    assert one.pop(".pictures") != two.pop(".pictures")
    assert one == two


@pytest.mark.skipif(sys.platform != "linux", reason="file systems of others refuse such names")
def test_a_pool_may_lie_in_a_folder_whose_name_is_not_utf_8(tmp_path, clip):
    pool = write_folder(tmp_path / os.fsdecode(b"caf\xe9"), noise(3))
    assert build(pool, tmp_path / "index", clip)["count"] == 3
    backend = opened(tmp_path / "index")
    assert len(list(backend.pictures(backend.search(np.eye(24, dtype=np.float32)[:1], 3)[0]))) == 3


def test_a_killed_build_continues_and_ends_with_the_same_bytes(tmp_path, clip, monkeypatch):
    monkeypatch.setattr(build_module, "PART", 4)
    pool = write_folder(tmp_path / "pool", noise(19))
    (pool / "part 1" / "broken.png").write_bytes(b"no picture")
    build(pool, tmp_path / "whole", clip)
    embedded = []

    def counting(model, pictures, batch):
        embedded.append(len(pictures))
        if len(embedded) == 3:
            raise KeyboardInterrupt
        return embed_pictures(model, pictures, batch)

    monkeypatch.setattr(build_module, "embed_pictures", counting)
    with pytest.raises(KeyboardInterrupt):
        build(pool, tmp_path / "killed", clip)
    with pytest.raises(UsageError, match=r"an unfinished index; run `bench index build POOL --out .*killed` again"):
        opened(tmp_path / "killed")
    monkeypatch.setattr(build_module, "embed_pictures", embed_pictures)
    seen = []
    build(pool, tmp_path / "killed", clip, on_progress=lambda done, total: seen.append(done))
    assert seen[0] == 8  # two parts were there
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


class Averages:
    """Stands in for a CLIP where a process is forked, which torch need not survive."""

    name, width, resolution = "averages", 12, 2

    def encode_images(self, images, batch):
        rows = images.reshape(len(images), -1).astype(np.float32) + 1
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_process_that_is_killed_leaves_a_build_that_continues(tmp_path, clip, monkeypatch):
    monkeypatch.setattr(build_module, "PART", 8)
    monkeypatch.setattr(clip_module, "open_clip_model", lambda *_, **__: Averages())
    pool, real, done = write_folder(tmp_path / "pool", noise(40)), build_module.write_atomic, []

    def kill_after_three(path, content):
        real(path, content)
        done.append(path.name.startswith("part-"))
        if sum(done) == 3:
            os.kill(os.getpid(), signal.SIGKILL)

    child = os.fork()
    if child == 0:
        build_module.write_atomic = kill_after_three
        build(pool, tmp_path / "out", clip)
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert len(list((tmp_path / "out" / ".building").glob("part-*.json"))) == 3
    (tmp_path / "out" / ".vectors.faiss.tmp-0123456789abcdef").write_bytes(b"half of it")
    build(pool, tmp_path / "out", clip)
    build(pool, tmp_path / "whole", clip)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    assert build_module.layout.read_facts(tmp_path / "out", "")["count"] == 40


def test_a_pool_that_changed_between_two_builds_is_embedded_anew(tmp_path, clip):
    pool = write_folder(tmp_path / "pool", noise(5))
    build(pool, tmp_path / "index", clip)
    first = contents(tmp_path / "index")
    (pool / "new.png").write_bytes(encoded(noise(1, seed=9)[0]))
    assert build(pool, tmp_path / "index", clip)["count"] == 6
    changed = pool / "part 0" / "0000.png"
    changed.write_bytes(encoded(noise(1, seed=5)[0]))
    os.utime(changed, ns=(2**61, 2**61))
    assert build(pool, tmp_path / "index", clip)["built"]
    assert contents(tmp_path / "index") != first


def zoo(folder: Path) -> dict[str, str]:
    """Write one picture of each awkward kind; return why the unusable ones are that."""
    folder.mkdir()
    rgb = noise(1, side=32)[0]
    image = Image.fromarray(rgb)
    image.save(folder / "good.webp", lossless=True)
    Image.fromarray(rgb[:1, :1]).save(folder / "one pixel.png")
    image.convert("CMYK").save(folder / "cmyk.jpg")
    image.convert("RGBA").save(folder / "rgba.png")
    image.convert("P").save(folder / "palette.gif")
    image.convert("L").save(folder / "grey.png")
    Image.fromarray((np.arange(1024).reshape(32, 32) * 60).astype(np.uint16)).save(folder / "grey16.png")
    other = Image.fromarray(noise(1, side=32, seed=3)[0])
    image.save(folder / "animated.gif", save_all=True, append_images=[other])
    Image.new("RGB", (3, 700), "red").save(folder / "tall.png")
    (folder / "copy.webp").write_bytes((folder / "good.webp").read_bytes())
    whole = encoded(noise(1, side=64)[0])
    (folder / "truncated.png").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.png").write_text("not a picture")
    (folder / "link.png").symlink_to(folder / "nowhere.png")
    header = b"IHDR" + struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    bomb = whole[:12] + header + struct.pack(">I", zlib.crc32(header)) + whole[33:]
    (folder / "bomb.png").write_bytes(bomb)
    reasons = {"truncated.png": "truncated", "empty.jpg": "an empty file", "text.png": "not an image, or damaged"}
    reasons["link.png"] = "cannot be read: No such file or directory"
    return {**reasons, "bomb.png": "more than 64 megapixels"}


def test_awkward_pictures_are_read_and_unusable_ones_are_listed(tmp_path, clip):
    reasons = zoo(tmp_path / "pool")
    facts = build(tmp_path / "pool", tmp_path / "index", clip)
    assert facts["count"] == 10
    assert facts["duplicates"] == 1
    assert facts["broken"]["count"] == len(reasons)
    listed = dict(line.split("\t") for line in (tmp_path / "index" / "broken.tsv").read_text("utf-8").splitlines())
    assert set(listed) == set(reasons)
    assert listed.pop("bomb.png").endswith(reasons.pop("bomb.png"))
    assert listed == reasons
    backend = opened(tmp_path / "index")
    model = open_clip_model(clip, "mine")
    (hits,) = backend.search(embed_pictures(model, [noise(1, side=32)[0]], 1), 10)
    assert len(hits) == 10
    got = {hit.key: pixels for hit, pixels in zip(hits, backend.pictures(hits), strict=True)}
    assert all(isinstance(pixels, np.ndarray) and pixels.dtype == np.uint8 for pixels in got.values())
    assert got["one pixel.png"].shape == (1, 1, 3)
    assert got["tall.png"].shape == (700, 3, 3)
    np.testing.assert_array_equal(got["good.webp"], noise(1, side=32)[0])
    np.testing.assert_array_equal(got["rgba.png"], noise(1, side=32)[0])


def test_rows_without_a_picture_count_as_broken(tmp_path, clip):
    pool = write_parquet(tmp_path / "pool", [*noise(4), None, b"damaged"])
    facts = build(pool, tmp_path / "index", clip)
    assert facts["count"] == 4
    assert facts["broken"]["first"][0] == ["00000.parquet/000000004", "an empty file"]


def test_metadata_of_img2dataset_beside_its_tars_is_no_pool(tmp_path, clip):
    import pyarrow as pa
    import pyarrow.parquet as pq

    pool = write_webdataset(tmp_path / "pool", noise(5))
    pq.write_table(pa.table({"url": ["x"], "key": ["0"]}), pool / "00000.parquet")
    (pool / "00000_stats.json").write_text("{}")
    assert build(pool, tmp_path / "index", clip)["source"]["kind"] == "webdataset"


def test_hostile_members_of_a_tar_lead_nowhere(tmp_path, clip):
    picture = encoded(noise(1)[0])
    path = write_tar(tmp_path / "pool" / "00000.tar", {"../../out.png": picture, "/abs.png": picture, "a.png": picture})
    with tarfile.open(path, "a") as tar:
        link = tarfile.TarInfo("link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
        double = tarfile.TarInfo("a.png")
        double.size = 3
        tar.addfile(double, io.BytesIO(b"abc"))
    before = sorted(path.name for path in tmp_path.rglob("*"))
    facts = build(tmp_path / "pool", tmp_path / "index", clip)
    assert (facts["count"], facts["duplicates"], facts["broken"]["count"]) == (3, 2, 1)
    assert facts["broken"]["first"][0][0] == "00000.tar/a#2"
    made = {path.name for path in tmp_path.rglob("*")} - set(before) - {"index"}
    assert made == {"index.json", "metadata.parquet", "vectors.faiss", "broken.tsv", ".pictures"}


def test_an_index_inside_its_pool_travels_with_it_and_is_not_indexed(tmp_path, clip):
    pool = write_parquet(tmp_path / "pool", noise(4))
    build(pool, pool, clip)
    assert build(pool, pool, clip)["built"] is False
    shutil.move(pool, tmp_path / "moved")
    backend = opened(tmp_path / "moved")
    (hits,) = backend.search(embed_pictures(open_clip_model(clip, "mine"), [noise(4)[2]], 1), 1)
    (picture,) = backend.pictures(hits)
    np.testing.assert_array_equal(picture, noise(4)[2])
    tree = write_folder(tmp_path / "tree", noise(4))
    (tree / "broken.png").write_bytes(b"rubbish")
    for place in (tree / "index", tree):
        assert build(tree, place, clip)["count"] == 4
        assert build(tree, place, clip)["built"] is False


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda pool: None, "no such folder"),
        (lambda pool: pool.mkdir(), "no pictures in it"),
        (lambda pool: write_tar(pool / "00000.tar", {"a.txt": b"text"}), "no pictures in it"),
        (lambda pool: write_parquet(pool, [None, b"x"]), "none of its 2 pictures can be used"),
        (lambda pool: (pool.mkdir(), (pool / "0.tar").write_bytes(b"x" * 2000)), "0.tar is no readable tar"),
        (lambda pool: (pool.mkdir(), (pool / "0.parquet").write_bytes(b"x")), "0.parquet is no readable parquet"),
    ],
)
def test_a_pool_without_pictures_is_refused_in_one_line(tmp_path, clip, prepare, message):
    prepare(tmp_path / "pool")
    with pytest.raises(UsageError) as caught:
        build(tmp_path / "pool", tmp_path / "index", clip, subject="pool=mine")
    assert str(caught.value).startswith(f"pool=mine: {message}")
    assert "\n" not in str(caught.value)


def test_too_many_pictures_are_sent_to_clip_retrieval(tmp_path, clip, monkeypatch):
    monkeypatch.setattr(build_module, "MOST_PICTURES", 3)
    with pytest.raises(UsageError, match=r"4 pictures, above the 3 .*clip-retrieval index"):
        build(write_folder(tmp_path / "pool", noise(4)), tmp_path / "index", clip)


def test_two_builds_into_one_folder_do_not_mix(tmp_path, clip):
    from filelock import FileLock

    (tmp_path / "index").mkdir()
    with FileLock(tmp_path / "index" / ".build.lock"), pytest.raises(UsageError, match="another build is at work"):
        build(write_folder(tmp_path / "pool", noise(2)), tmp_path / "index", clip)


def test_a_folder_that_cannot_be_written_is_said(tmp_path, clip):
    (tmp_path / "file").write_text("")
    with pytest.raises(BenchError, match="cannot write the index"):
        build(write_folder(tmp_path / "pool", noise(2)), tmp_path / "file" / "index", clip)


def test_a_disk_that_is_full_is_said(tmp_path, clip):
    pool = write_folder(tmp_path / "pool", noise(40))
    with small_disk(tmp_path / "disk", 2**14) as disk:
        with pytest.raises(BenchError, match=r"cannot write the index: .*: disk full: [\d.]+ k?B free in ") as error:
            build(pool, disk / "index", clip)
        assert "Errno" not in str(error.value)


@pytest.fixture(scope="module")
def built(tmp_path_factory, clip):
    folder = tmp_path_factory.mktemp("built")
    build(write_folder(folder / "pool", noise(6)), folder / "index", clip)
    return folder


@pytest.fixture
def index(built, tmp_path):
    shutil.copytree(built / "index", tmp_path / "index")
    return tmp_path / "index"


def fetched(index, **values):
    backend = opened(index, **values)
    hits = backend.search(np.eye(24, dtype=np.float32)[:2], 2)
    return [item for row in hits for item in backend.pictures(row)]


def test_another_clip_is_refused_and_both_are_named(index, other_clip):
    from benchbench.models.clip.layout import clip_identity

    with pytest.raises(UsageError) as caught:
        opened(index, {"name": "theirs", "identity": clip_identity(other_clip)})
    assert str(caught.value) == (
        "pool=mine: the index was built with clip=mine, the queries use clip=theirs; give the CLIP of the index, "
        "or build another index with --clip theirs"
    )
    with pytest.raises(BenchError, match="width 24, the queries 20"):
        opened(index).search(np.eye(20, dtype=np.float32), 1)


def test_pictures_that_moved_are_found_where_the_user_says(built, index, tmp_path):
    assert len(fetched(index)) == 4
    (index / ".pictures").write_text(str(tmp_path / "gone"))
    with pytest.raises(MissingError, match=r"its pictures are not at .*gone; give their folder with pictures=FOLDER"):
        fetched(index)
    assert len(fetched(index, pictures=str(built / "pool"))) == 4
    (index / ".pictures").unlink()
    with pytest.raises(MissingError, match="does not know where its pictures are"):
        fetched(index)


def test_a_pool_that_changed_behind_its_index_is_an_error(built, index, tmp_path):
    shutil.copytree(built / "pool", tmp_path / "pool")
    for path in (tmp_path / "pool").rglob("*.png"):
        path.write_bytes(encoded(noise(1, seed=77)[0]))
    with pytest.raises(BenchError, match="is no longer the picture that was indexed"):
        fetched(index, pictures=str(tmp_path / "pool"))
    shutil.rmtree(tmp_path / "pool")
    (tmp_path / "pool").mkdir()
    with pytest.raises(BenchError, match="is no longer there below"):
        fetched(index, pictures=str(tmp_path / "pool"))


def cut(path, count):
    path.write_bytes(path.read_bytes()[:-count])


def scribble(path):
    path.write_bytes(b"rubbish" + path.read_bytes()[7:])


def spoil_facts(index, **changes):
    path = index / "index.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda index: (index / "index.json").write_text("{"), "index.json cannot be read"),
        (lambda index: (index / "index.json").write_text("[]"), "index.json is not that of an index"),
        (lambda index: spoil_facts(index, version=9), "an index of version 9, this is version 1"),
        (lambda index: spoil_facts(index, clip=None), "index.json lacks clip"),
        (lambda index: spoil_facts(index, count=5), "vectors.faiss has 6 rows of 24, index.json says 5"),
        (
            lambda index: (index / "vectors.faiss").write_bytes(b"rubbish"),
            "the index is damaged: vectors.faiss is cut short",
        ),
        (lambda index: (index / "vectors.faiss").unlink(), "the index is damaged: vectors.faiss is not there"),
        (
            lambda index: (index / "metadata.parquet").write_bytes(b"rubbish"),
            "the index is damaged: metadata.parquet is cut",
        ),
        (lambda index: (index / "metadata.parquet").unlink(), "the index is damaged: metadata.parquet is not there"),
        (lambda index: cut(index / "vectors.faiss", 1), "the index is damaged: vectors.faiss is cut short"),
        (lambda index: cut(index / "metadata.parquet", 1), "the index is damaged: metadata.parquet is cut short"),
        (lambda index: scribble(index / "vectors.faiss"), "vectors.faiss is damaged; build the index again"),
    ],
)
def test_a_damaged_index_is_one_line(index, spoil, message):
    spoil(index)
    with pytest.raises(BenchError) as caught:
        fetched(index)
    assert str(caught.value).startswith(f"pool=mine: {message}")
    assert "\n" not in str(caught.value)


def test_an_index_of_another_pool_or_by_another_clip_is_not_replaced(built, index, clip, other_clip, tmp_path):
    before = contents(index)
    other = write_folder(tmp_path / "other", noise(3, seed=5))
    same_names = write_folder(tmp_path / "same", noise(6))
    for pool, by in ((other, clip), (same_names, clip), (built / "pool", other_clip), (other, other_clip)):
        with pytest.raises(UsageError) as caught:
            build(pool, index, by)
        said = f"{index}: holds an index of {built / 'pool'} by mine (6 pictures); give another --out"
        assert str(caught.value) == said
        assert contents(index) == before
        assert not (index / ".building").exists()
    assert build(other, index, clip, cached=lambda: True)["count"] == 3


def test_an_index_follows_a_pool_that_moved_and_one_that_changed(clip, tmp_path):
    pool, index = write_folder(tmp_path / "pool", noise(4)), tmp_path / "index"
    assert not build(pool, index, clip)["rebuilt"]
    pool = pool.rename(tmp_path / "moved")
    assert not build(pool, index, clip)["built"]
    write_folder(tmp_path / "pool", noise(5))
    assert build(tmp_path / "pool", index, clip)["rebuilt"]


def test_a_damaged_index_is_built_again(built, index, clip):
    cut(index / "vectors.faiss", 1)
    assert build(built / "pool", index, clip)["built"]
    assert contents(index) == contents(built / "index")


def test_a_file_is_neither_pool_nor_index(tmp_path, clip):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="is a file; give a folder"):
        build(tmp_path / "file", tmp_path / "index", clip)
    with pytest.raises(UsageError, match="is a file; give the folder of an index"):
        build(write_folder(tmp_path / "pool", noise(2)), tmp_path / "file", clip)


def test_a_plain_folder_says_how_to_index_it(tmp_path):
    with pytest.raises(UsageError, match="bench index build mine --out mine-index"):
        opened(tmp_path)
