import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pools import encoded, noise, write_clip_retrieval, write_folder, write_parquet, write_pool_clip

from benchbench.errors import BenchError, UsageError
from benchbench.files import cache_root
from benchbench.models.clip.model import open_clip_model
from benchbench.plugins.context import Context
from benchbench.plugins.images import ImageSet
from benchbench.plugins.parameters import build, values_of
from benchbench.testing import conformance, tiny_images, tiny_info
from benchbench_plugins.generators.knn import KNN
from benchbench_plugins.generators.knn.pools import Hit
from benchbench_plugins.generators.knn.pools.build import build_index
from benchbench_plugins.generators.knn.pools.pictures import embed_pictures


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    """A CLIP, another one, and a pool whose index was built by the first."""
    folder = tmp_path_factory.mktemp("knn")
    write_pool_clip(folder / "clip")
    write_pool_clip(folder / "other", seed=1)
    pictures = np.concatenate([noise(30), noise(3)])
    write_folder(folder / "pool", pictures)
    build_index(folder / "pool", folder / "index", folder / "clip", "mine")
    return folder


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path_factory.mktemp("cache")))


def knn(world, preset="quick", **values):
    values = {"clip": str(world / "clip"), "pool": str(world / "index"), "k": 4, **values}
    return build(KNN, values, subject="knn", preset=preset)


def run(plugin, train, tmp_path, n_syn=1000):
    """Run both stages as the harness does; returns the images, the facts of both stages, and the fitted folders."""
    info, folders, fits = tiny_info(train), [], []
    plugin = plugin.resolve(info)
    for number, shard in enumerate(plugin.shards(len(train))):
        places = [tmp_path / f"{name}{number}" for name in ("fit", "scratch")]
        for place in places:
            place.mkdir(parents=True, exist_ok=True)
        context = Context(seed=0, info=info, folder=places[0], scratch=places[1], shard=shard)
        plugin.fit(train, context)
        folders.append(context.folder)
        fits.append(context.facts)
    n_syn = plugin.output_count(len(train), n_syn, n_syn)
    context = Context(seed=0, info=info, folder=tmp_path, scratch=tmp_path, fitted=tuple(folders), n_syn=n_syn)
    made = ImageSet.concatenate(list(plugin.sample(train, context)))
    return made, context.facts, fits


def neighbours(world, train, k):
    """Rank the pool by brute force: for each training image the places of its k nearest pictures."""
    clip, pictures = open_clip_model(world / "clip", "mine"), np.concatenate([noise(30), noise(3)])
    cosines = embed_pictures(clip, list(np.asarray(train.images)), 8) @ embed_pictures(clip, list(pictures), 8).T
    return np.argsort(-cosines, axis=1, kind="stable")[:, :k], cosines


@pytest.mark.parametrize("values", [{}, {"deduplicate": "false", "spare": 2}, {"dedup_similarity": 0.999}])
def test_knn_keeps_what_generators_promise(world, values):
    train = tiny_images()
    values = {"clip": str(world / "clip"), "pool": str(world / "index"), "k": 4, "shard_size": 17, **values}
    conformance(KNN, name="knn", values=values, info=tiny_info(train), train=train)


def test_the_pictures_are_the_nearest_ones_with_the_labels_of_their_queries(world, tmp_path):
    train = tiny_images(8)
    made, facts, fits = run(knn(world, deduplicate=False), train, tmp_path)
    places, cosines = neighbours(world, train, 4)
    pictures = np.concatenate([noise(30), noise(3)])
    assert len(made) == 8 * 4
    for image, label, origin in zip(made.images, made.labels, made.origins, strict=True):
        query, rank = origin["source"], origin["rank"]
        assert label == train.labels[query]
        place = places[query, rank]
        assert origin["similarity"] == pytest.approx(cosines[query, place], abs=1e-5)
        np.testing.assert_array_equal(image, pictures[place])
    assert [origin["rank"] for origin in made.origins] == sorted(origin["rank"] for origin in made.origins)
    assert facts["used"] == 32
    assert fits[0]["pool"]["clip"]["name"] == "mine"
    assert str(tmp_path) not in json.dumps([facts, *fits, *made.origins])


def test_a_class_uses_a_picture_once_and_two_classes_are_reported(world, tmp_path):
    train = tiny_images(12)
    made, facts, _ = run(knn(world), train, tmp_path)
    places, _ = neighbours(world, train, 4)
    pictures = np.concatenate([noise(30), noise(3)])
    wanted = {(int(train.labels[query]), pictures[place].tobytes()) for query in range(12) for place in places[query]}
    got = [(int(label), image.tobytes()) for label, image in zip(made.labels, made.images, strict=True)]
    assert len(set(got)) == len(got)
    assert set(got) == wanted
    shared = {image for _, image in got if sum(image == other for _, other in got) > 1}
    assert facts["two_class_pictures"] == len(shared) > 0
    assert facts["duplicates"] == 48 - len(got)
    assert facts["distinct"] == len({image for _, image in got})
    assert {item["key"] for item in facts["examples"]} <= {origin["key"] for origin in made.origins}
    for origin, label, image in zip(made.origins, made.labels, made.images, strict=True):
        others = {train.classes[other] for other, same in got if same == image.tobytes() and other != label}
        assert set(origin.get("also", ())) == others
    # Fewer than asked for, and the first of them are as balanced as can be.
    few, _, _ = run(knn(world), train, tmp_path / "few", n_syn=8)
    assert few.counts.tolist() == [2, 2, 2, 2]


def test_a_killed_retrieval_does_not_ask_for_what_it_has(world, tmp_path, monkeypatch):
    from benchbench_plugins.generators.knn import retrieve
    from benchbench_plugins.generators.knn.pools.local import LocalIndex

    train, asked, real = tiny_images(40), [], LocalIndex.pictures

    def counting(self, hits):
        asked.extend(hit.key for hit in hits)
        return real(self, hits)

    monkeypatch.setattr(LocalIndex, "pictures", counting)
    monkeypatch.setattr(retrieve, "PART", 8)
    run(knn(world), train, tmp_path)
    assert len(asked) == len(set(asked))  # one shard asks for a picture once


def test_a_plain_folder_is_indexed_on_the_way_and_once(world, tmp_path, monkeypatch):
    from benchbench_plugins.generators.knn.pools import build as builder

    shutil.copytree(world / "pool", tmp_path / "pictures")
    (tmp_path / "pictures" / "broken.png").write_bytes(b"rubbish")
    train, builds, real = tiny_images(8), [], builder.build_index
    monkeypatch.setattr(builder, "build_index", lambda *a, **k: builds.append(1) or real(*a, **k))
    made, _, fits = run(knn(world, pool=str(tmp_path / "pictures"), shard_size=4), train, tmp_path / "one")
    indexed, _, _ = run(knn(world), train, tmp_path / "two")
    np.testing.assert_array_equal(made.images, indexed.images)
    assert len(builds) == 1
    assert fits[0]["pool"]["broken"] == 1
    assert fits[0]["pool"]["clip"]["name"] == "clip"  # no place on this machine
    run(knn(world, pool=str(tmp_path / "pictures")), train, tmp_path / "three")
    assert len(builds) == 1
    (tmp_path / "pictures" / "more.png").write_bytes(encoded(noise(1, seed=9)[0]))
    run(knn(world, pool=str(tmp_path / "pictures")), train, tmp_path / "four")
    assert len(builds) == 2


@pytest.mark.parametrize("put_back", [True, False])
def test_an_index_of_pictures_that_were_swapped_meanwhile_is_not_kept(world, tmp_path, monkeypatch, put_back):
    """Every later run with the right pictures would take it for theirs."""
    from benchbench_plugins.generators.knn.pools import build as builder

    pool, other, right = (shutil.copytree(world / "pool", tmp_path / name) for name in ("pool", "other", "right"))
    next(path for path in other.rglob("*.png")).write_bytes(encoded(noise(1, seed=9)[0]))
    shutil.rmtree(right)
    real = builder.embed_pictures

    def swapped(*arguments):
        if not right.exists():
            pool.rename(right)
            other.rename(pool)
        return real(*arguments)

    monkeypatch.setattr(builder, "embed_pictures", swapped)
    if put_back:
        writes = builder.write_atomic

        def last_part(path, content):
            writes(path, content)
            if path.name.startswith("part-"):
                pool.rename(other)
                right.rename(pool)

        monkeypatch.setattr(builder, "write_atomic", last_part)
    with pytest.raises(BenchError, match="its pictures changed while they were indexed; run again"):
        run(knn(world, pool=str(pool)), tiny_images(8), tmp_path / "one")
    (index,) = (cache_root() / "indexes").iterdir()
    assert [path.name for path in index.iterdir() if not path.name.startswith(".")] == []
    assert not list(index.rglob("part-*"))


def test_a_cache_that_cannot_be_written_is_done_without(world, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "file"))
    made, _, _ = run(knn(world, pool=str(world / "pool")), tiny_images(8), tmp_path)
    assert len(made) > 8


def test_a_folder_of_clip_retrieval_serves_and_its_broken_files_are_counted(world, tmp_path):
    pictures, clip = noise(30), open_clip_model(world / "clip", "mine")
    files = []
    for number, pixels in enumerate(pictures):
        files.append(str(tmp_path / f"{number}.png"))
        Path(files[-1]).write_bytes(encoded(pixels) if number % 3 else b"rubbish")
    write_clip_retrieval(tmp_path / "index", embed_pictures(clip, list(pictures), 8), {"image_path": files})
    train = tiny_images(8)
    made, facts, fits = run(knn(world, pool=str(tmp_path / "index")), train, tmp_path / "run")
    places, _ = neighbours(world, train, 4)
    broken = {int(place) for place in places.ravel() if place < 30 and place % 3 == 0}
    assert facts["broken"] == fits[0]["broken"] >= len(broken) > 0
    assert fits[0]["broken_reasons"] == {"not an image, or damaged": fits[0]["broken"]}
    assert all(int(origin["key"]) % 3 for origin in made.origins)
    spare, _, _ = run(knn(world, pool=str(tmp_path / "index"), spare=8), train, tmp_path / "spare")
    assert len(spare) > len(made)
    for path in files:
        Path(path).write_bytes(b"rubbish")
    with pytest.raises(BenchError, match=r"not one of \d+ pictures found for these images could be had"):
        run(knn(world, pool=str(tmp_path / "index")), train, tmp_path / "none")
    with pytest.raises(BenchError, match=r"knn:k=31: pool=.* has 30 pictures"):
        run(knn(world, pool=str(tmp_path / "index"), k=31), train, tmp_path / "many")


def test_a_threshold_that_empties_a_class_names_it(world, tmp_path):
    train = tiny_images(8)
    with pytest.raises(
        BenchError, match=r"knn:min_similarity=1: leaves no picture for 4 of 4 classes \(class-0, class-1"
    ):
        run(knn(world, min_similarity=1.0), train, tmp_path)
    made, facts, _ = run(knn(world, min_similarity=-1.0), train, tmp_path / "all")
    assert facts["too_far"] == 0
    assert len(made) == facts["found"]


def test_near_duplicates_are_left_out_when_asked(world, tmp_path):
    train = tiny_images(8)
    every, _, _ = run(knn(world), train, tmp_path / "all")
    few, facts, _ = run(knn(world, dedup_similarity=0.5), train, tmp_path / "few")
    assert 4 <= len(few) < len(every)
    rows = embed_pictures(open_clip_model(world / "clip", "mine"), list(few.images), 8)
    cosines = rows @ rows.T
    for one in range(len(few)):
        for other in range(one):
            assert few.labels[one] != few.labels[other] or cosines[one, other] < 0.5
    assert facts["duplicates"] >= len(every) - len(few)


def test_counts_shards_and_presets(world):
    plugin = knn(world)
    assert (
        plugin.output_count(50, None, 500),
        plugin.output_count(50, 70, 500),
        plugin.output_count(50, 900, 500),
    ) == (200, 70, 200)
    assert plugin.shards(50) == (range(50),)
    assert len(plugin.shards(50_000)) == 64
    paper = build(KNN, {}, subject="knn", preset="paper")
    assert (paper.k, paper.clip, paper.resize) == (10, "openai/clip-vit-large-patch14", "pad")
    assert values_of(build(KNN, {"deduplicate": "false", "downloads": "2"}, subject="knn"), stage="fit") == {}
    assert KNN.may_yield_fewer


def test_pictures_elsewhere_enter_the_key_and_own_ones_do_so_with_the_index(world, tmp_path):
    assert knn(world).input_paths() == ((world / "pool").resolve(),)
    assert knn(world, pictures=str(tmp_path)).input_paths() == (tmp_path,)
    write_parquet(tmp_path / "own", noise(5))
    build_index(tmp_path / "own", tmp_path / "own", world / "clip", "mine")
    own = knn(world, pool=str(tmp_path / "own"))
    assert own.input_paths() == ()
    assert set(own.needs().foundations) == {str(world / "clip"), str(tmp_path / "own")}
    assert knn(world, pool=str(world / "pool")).input_paths() == ()
    server = knn(world, pool="http://127.0.0.1:1234")
    assert (server.input_paths(), server.needs().foundations) == ((), (str(world / "clip"),))


def mistakes(world, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "killed" / ".building").mkdir(parents=True)
    (tmp_path / "file").write_text("")
    facts = json.loads((world / "index" / "index.json").read_text())
    shutil.copytree(world / "index", tmp_path / "moved")
    (tmp_path / "moved" / ".pictures").write_text(str(tmp_path / "gone"))
    return [
        ({"pool": str(tmp_path / "none")}, "no such folder; give a folder of pictures"),
        ({"pool": "glyph-poool"}, "neither an embedded pool nor a folder"),
        ({"pool": str(tmp_path / "file")}, "not a folder"),
        ({"pool": str(tmp_path / "empty")}, "no pictures in it"),
        ({"pool": ""}, "knn:pool=: must not be empty"),
        ({"pool": " "}, "knn:pool=: is empty; give an embedded pool"),
        ({"clip": " "}, "knn:clip=: is empty; "),
        ({"pictures": " "}, "knn:pictures=: is empty; "),
        ({"pool": str(tmp_path / "killed")}, f"an unfinished index; run `bench index build POOL --out {tmp_path}"),
        (
            {"pool": str(world / "pool"), "k": 34},
            "has at most 33 pictures (unreadable ones not yet counted); ask for no more",
        ),
        ({"k": 34}, "has 33 pictures; ask for no more"),
        (
            {"clip": str(world / "other")},
            f"built with clip={facts['clip']['name']}, the queries use clip={world}/other",
        ),
        ({"pool": str(tmp_path / "moved")}, "its pictures are not at"),
        ({"clip": str(world / "pool")}, "no config.json"),
        ({"clip": str(world / "pool"), "pool": "http://a"}, "no config.json"),
    ]


def test_mistakes_are_said_before_any_work(world, tmp_path):
    for values, message in mistakes(world, tmp_path):
        with pytest.raises(UsageError) as caught:
            knn(world, **values).resolve(tiny_info())
        assert message in str(caught.value)
        assert str(caught.value).startswith("knn:")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["metadata.parquet", "vectors.faiss"])
def test_a_damaged_index_is_said_before_any_work(world, tmp_path, name):
    shutil.copytree(world / "index", tmp_path / "index")
    path = tmp_path / "index" / name
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(BenchError, match=f"^knn:pool=.*: the index is damaged: {name} is cut short"):
        knn(world, pool=str(tmp_path / "index")).resolve(tiny_info())
    path.unlink()
    with pytest.raises(BenchError, match=f"^knn:pool=.*: the index is damaged: {name} is not there"):
        knn(world, pool=str(tmp_path / "index")).resolve(tiny_info())


def test_training_images_in_the_pool_are_counted_and_left_out(world, tmp_path):
    train = tiny_images(8)
    near = np.asarray(train.images).astype(int)[:4] + 1  # encoded another time
    own = [*np.asarray(train.images)[4:], *np.clip(near, 0, 255).astype(np.uint8)]
    pool = write_folder(tmp_path / "pool", np.stack([*own, *noise(12, seed=4)]))
    values = {"pool": str(pool), "k": 2}
    made, facts, _ = run(knn(world, **values, spare=18), train, tmp_path / "out")
    differences = np.abs(made.images[:, None].astype(int) - np.asarray(train.images)[None].astype(int))
    assert differences.mean(axis=(2, 3, 4)).min() >= 2
    assert (len(made), facts["training_copies"]) == (16, 8)
    kept, facts, _ = run(knn(world, **values, spare=18, keep_queries="true"), train, tmp_path / "kept")
    assert facts["training_copies"] == 8
    assert {image.tobytes() for image in kept.images} & {image.tobytes() for image in own}
    only = write_folder(tmp_path / "only", np.stack(own))
    with pytest.raises(BenchError, match=r"leaves no picture for 4 of 4 classes .* equal a training image; give spare"):
        run(knn(world, pool=str(only), k=1), train, tmp_path / "none")


@pytest.mark.parametrize("resize", ["crop", "pad", "squash"])
def test_a_training_image_is_known_whatever_its_shape_was(world, tmp_path, resize):
    from benchbench_plugins.generators.knn.pools.pictures import fit_into

    wide = noise(8, side=64, seed=3)[:, 8:48]
    train = replace(tiny_images(8), images=np.stack([fit_into(item, 16, "crop") for item in wide]))
    pool = write_folder(tmp_path / "pool", wide)
    for number, pixels in enumerate(noise(12, seed=4)):
        (pool / f"{number}.png").write_bytes(encoded(pixels))
    made, facts, _ = run(knn(world, pool=str(pool), k=2, spare=18, resize=resize), train, tmp_path / "out")
    assert facts["training_copies"] == 8
    assert not any(origin["key"].startswith("part") for origin in made.origins)


def test_a_large_folder_is_to_be_indexed_by_hand(world, tmp_path, monkeypatch):
    from benchbench_plugins.generators import knn as package

    monkeypatch.setattr(package, "MOST_UNINDEXED", 20)
    with pytest.raises(
        UsageError, match=r"33 pictures without an index, .*run `bench index build .* --clip .*` and give"
    ):
        knn(world, pool=str(world / "pool")).resolve(tiny_info())


def test_planning_imports_nothing_heavy(world):
    program = (
        "import sys; from benchbench_plugins.generators.knn import KNN; from benchbench.testing import tiny_info;"
        f"p = KNN(pool={str(world / 'index')!r}, clip={str(world / 'clip')!r}, k=3);"
        "import types; p.resolve(None); p.needs(); p.input_paths(); p.shards(9);"
        "assert not {'torch', 'transformers', 'faiss', 'pyarrow', 'pandas'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


class Server:
    """Stands in for a retrieval server: random hits, every fifth of them a dead link."""

    size = None

    def __init__(self, knn, scratch):
        self.knn, self.scratch, self.asked = knn, scratch, []

    def search(self, embeddings, k):
        rng = np.random.default_rng(int(abs(embeddings[0, 0]) * 1e6))
        return [[Hit(str(key), 0.5, None, f"http://a/{key}") for key in rng.permutation(30)[:k]] for _ in embeddings]

    def pictures(self, hits):
        self.asked += [hit.key for hit in hits]
        for hit in hits:
            number = int(hit.key)
            yield noise(30, side=24)[number] if number % 5 else "HTTP 404"

    def describe(self):
        return {"kind": "server"}


def test_a_server_is_a_pool_like_any_other(world, tmp_path, monkeypatch):
    from benchbench_plugins.generators.knn.pools import server

    opened = []
    monkeypatch.setattr(server, "ServerPool", lambda *a: opened.append(Server(*a)) or opened[-1])
    train = tiny_images(20)
    plugin = knn(world, pool="http://127.0.0.1:1", indice_name="laion", timeout=3.0, safe="false", allow_private="true")
    made, facts, fits = run(plugin, train, tmp_path)
    assert opened[0].knn == plugin
    assert opened[0].scratch.is_relative_to(tmp_path)
    assert made.images.shape[1:] == (16, 16, 3)
    assert fits[0]["broken_reasons"] == {"HTTP 404": facts["broken"]}
    assert all(origin["url"] == f"http://a/{origin['key']}" and int(origin["key"]) % 5 for origin in made.origins)
    # A dead link that several queries found is followed once.
    assert len(opened[0].asked) == len(set(opened[0].asked))
