import numpy as np
import pytest
from pools import encoded, noise, write_clip_retrieval

from benchbench.errors import BenchError, UsageError
from benchbench_plugins.generators.knn import KNN
from benchbench_plugins.generators.knn.pools import kind_of, open_backend


def opened(folder, clip=None, pictures=None):
    return open_backend(KNN(pool="laion", pictures=pictures), folder, folder / "scratch", clip)


def unit(count, width=8, seed=0):
    rows = np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture
def files(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for number, pixels in enumerate(noise(6)):
        (folder / f"{number}.png").write_bytes(encoded(pixels))
    return folder


def metadata(files, count=6):
    return {"image_path": [str(files / f"{number}.png") for number in range(count)], "caption": list("abcdef")[:count]}


@pytest.mark.parametrize("factory", ["Flat", "IVF2,Flat", "HNSW8"])
def test_the_folder_of_clip_retrieval_is_searched_and_read(tmp_path, files, factory):
    rows = unit(6)
    folder = write_clip_retrieval(tmp_path / "index", rows, metadata(files), factory=factory)
    assert kind_of(folder) == "clip-retrieval"
    backend = opened(folder, {"name": "any", "identity": "any"})
    found = backend.search(rows[3:5], 2)
    assert [hits[0].key for hits in found] == ["3", "4"]
    assert found[0][0].similarity == pytest.approx(1, abs=1e-5)
    assert found[0][0].caption == "d"
    (picture,) = backend.pictures(found[0][:1])
    np.testing.assert_array_equal(picture, noise(6)[3])
    assert backend.describe() == {
        "kind": "clip-retrieval", "size": 6, "width": 8, "clip": None, "index_key": factory,
    }  # fmt: skip


def test_rows_of_the_metadata_follow_the_names_of_its_files(tmp_path, files):
    folder = write_clip_retrieval(tmp_path / "index", unit(6), metadata(files), files=3)
    hits = opened(folder).search(unit(6), 1)
    assert [(row[0].key, row[0].caption) for row in hits] == list(zip("012345", "abcdef", strict=True))


def test_files_are_found_by_name_where_the_user_says_and_beside_the_index(tmp_path, files):
    told = {"image_path": [f"/somewhere/else/{number}.png" for number in range(6)]}
    folder = write_clip_retrieval(tmp_path / "index", unit(6), told)
    (hits,) = opened(folder).search(unit(1), 1)
    (missing,) = opened(folder).pictures(hits)
    assert missing == "its file is not there and it has no url"
    (picture,) = opened(folder, pictures=str(files)).pictures(hits)
    np.testing.assert_array_equal(picture, noise(6)[0])
    relative = {"image_path": [f"images/{number}.png" for number in range(6)]}
    folder = write_clip_retrieval(tmp_path / "relative", unit(6), relative)
    (picture,) = opened(folder).pictures(hits)
    np.testing.assert_array_equal(picture, noise(6)[0])


def test_broken_files_are_missing_and_urls_are_downloaded_in_order(tmp_path, files, monkeypatch):
    from benchbench_plugins.generators.knn.pools import server

    (files / "1.png").write_bytes(b"rubbish")
    told = metadata(files)
    told["image_path"] = [*told["image_path"][:2], None, None, None, str(files / "5.png")]
    told["url"] = [None, None, "http://a/2.png", "", "http://a/4.png", None]
    asked = []

    def fetch(links, downloader):
        for url in links:
            asked.append(url)
            yield "HTTP 404"

    monkeypatch.setattr(server, "linked_pictures", fetch)
    folder = write_clip_retrieval(tmp_path / "index", unit(6), told)
    backend = opened(folder)
    hits = [row[0] for row in backend.search(unit(6), 1)]
    found = list(backend.pictures(hits))
    reasons = [item if isinstance(item, str) else "" for item in found]
    assert reasons == ["", "not an image, or damaged", "HTTP 404", "neither file nor url", "HTTP 404", ""]
    assert asked == ["http://a/2.png", "http://a/4.png"]


def test_what_does_not_belong_together_is_refused(tmp_path, files):
    short = write_clip_retrieval(tmp_path / "short", unit(6), metadata(files, 5), files=1)
    with pytest.raises(BenchError, match="metadata/ has 5 rows for 6 vectors"):
        opened(short).search(unit(1), 1)
    nameless = write_clip_retrieval(tmp_path / "nameless", unit(6), {"caption": list("abcdef")})
    with pytest.raises(UsageError, match="neither image_path nor url"):
        opened(nameless).search(unit(1), 1)
    fine = write_clip_retrieval(tmp_path / "fine", unit(6), metadata(files))
    with pytest.raises(BenchError, match="width 8, the queries 5"):
        opened(fine).search(unit(1, 5), 1)
    for path in (fine / "metadata").iterdir():
        path.write_bytes(b"x")
    with pytest.raises(BenchError, match=r"metadata_0.parquet cannot be read"):
        opened(fine).search(unit(1), 1)
    (fine / "image.index").write_bytes(b"x")
    with pytest.raises(BenchError, match=r"image.index is damaged"):
        opened(fine).search(unit(1), 1)
    for path in (fine / "metadata").iterdir():
        path.unlink()
    (fine / "metadata.hdf5").write_bytes(b"x")
    with pytest.raises(UsageError, match=r"without metadata/\*.parquet \(only metadata.hdf5\)"):
        opened(fine)
